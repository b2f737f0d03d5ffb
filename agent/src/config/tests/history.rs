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

#[test]
fn collector_hears_those_who_are_named_at_one_address() {
    let read = |text: &str| read(&format!("{UPLINK}[history.collector]\n{text}")).history;
    let history =
        read("listen = \"10.0.0.254:2055\"\nfrom = [\"fd00::1\", \"10.0.0.1\", \"::ffff:10.0.0.1\"]\n");
    let collector = history.and_then(|history| history.collector).expect("a collector");
    assert_eq!(collector.listen.to_string(), "10.0.0.254:2055");
    assert_eq!(collector.from.len(), 2);
    for wrong in [
        "",
        "listen = \"10.0.0.254:2055\"\n",
        "listen = \"10.0.0.254:2055\"\nfrom = []\n",
        "from = [\"10.0.0.1\"]\n",
        "listen = \"10.0.0.254\"\nfrom = [\"10.0.0.1\"]\n",
        "listen = \"10.0.0.254:2055\"\nfrom = [\"10.0.0.0/24\"]\n",
        "listen = \"10.0.0.254:2055\"\nfrom = [\"0.0.0.0\"]\n",
    ] {
        assert_eq!(codes(&format!("{UPLINK}[history.collector]\n{wrong}")), ["BH0622"], "{wrong}");
    }
}
