//! What the configuration says of the history.

use super::*;

#[test]
fn history_is_in_the_state_folder_unless_it_is_elsewhere_or_off() {
    let file = |text: &str| read(&format!("{text}{UPLINK}")).history.map(|history| history.file);
    assert_eq!(file(""), Some("/var/lib/bulkhead/history.db".into()));
    assert_eq!(file("state = \"/srv/state\"\n"), Some("/srv/state/history.db".into()));
    let off = read(&format!("{UPLINK}[history]\nenabled = false\n"));
    assert_eq!(off.history, None);
}

#[test]
fn history_that_is_spelled_wrong_is_refused_and_nothing_else_is_written_where_it_is() {
    let text = format!("{UPLINK}[history]\nfile = \"/srv/flows\"\ndays = 0\nflush = \"0s\"\nsize = 5\n");
    assert_eq!(codes(&text), ["BH0621", "BH0606", "BH0605", "BH0101"]);
    assert_eq!(codes(&format!("{UPLINK}[history]\nfile = \"flows.db\"\n")), ["BH0608"]);
    let sink =
        format!("{UPLINK}[history]\nfile = \"/srv/flows.db\"\n[sink.log]\nto = \"file:/srv/flows.db\"\n");
    assert_eq!(codes(&sink).len(), 1);
}
