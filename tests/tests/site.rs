//! Generated sites are policies as people write them: of every size, without a finding, and the same each time.

use std::collections::BTreeSet;

use bulkhead_agent::{
    diagnostic::render_text,
    lint::lint,
    policy::{SourceFile, resolve_texts},
};
use bulkhead_tests::site::Site;

fn files(site: Site) -> Vec<SourceFile> {
    site.files().into_iter().map(|file| SourceFile { path: file.name, text: file.text }).collect()
}

#[test]
fn site_of_any_size_has_no_error_and_as_many_entries_as_it_says() {
    for devices in [10, 99, 101, 260] {
        let site = Site::new(devices, 1);
        let files = files(site);
        let outcome = resolve_texts(&files);
        let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
        assert!(outcome.diagnostics.is_empty(), "{devices} devices: {shown}");
        let policy = outcome.policy.expect("a policy without a finding");
        assert_eq!(policy.devices.len(), devices as usize);
        let entries: usize = files.iter().map(|file| file.text.matches(".allow]]\n").count()).sum();
        assert_eq!(entries, site.entries() as usize);
        assert_eq!(site.effective(), devices * 100);
        // Nothing is doubtful but what every plant has: some devices without a MAC address.
        let doubts = lint(&policy, "2026-06-01T12:00:00Z".parse().expect("a moment"));
        let shown = render_text(&doubts, &outcome.sources, false);
        assert!(doubts.iter().all(|found| found.code == "BH0511"), "{devices} devices: {shown}");
        assert!(doubts.len() <= 1, "{devices} devices: {shown}");
    }
}

#[test]
fn site_is_the_same_each_time_and_another_with_another_seed() {
    let [first, again, other] = [1, 1, 2].map(|seed| Site::new(120, seed).files());
    assert_eq!(first, again);
    assert_ne!(first, other);
    let names: BTreeSet<&str> = first.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names.len(), first.len());
}

#[test]
fn no_entry_of_a_class_says_again_what_another_said() {
    let file = Site::new(1000, 7).files().into_iter().find(|file| file.name.contains("classes"));
    let text = file.expect("a site has classes").text;
    for class in text.split("\n[class.").skip(1) {
        let mut seen = BTreeSet::new();
        let mut ends = None;
        for line in class.lines() {
            let Some((key, list)) = line.split_once(" = [") else { continue };
            let names: Vec<&str> = list.trim_end_matches(']').split(", ").collect();
            if key == "service" {
                let (direction, peers): (&str, Vec<&str>) = ends.take().expect("peers come first");
                for pair in peers.iter().flat_map(|peer| names.iter().map(move |name| (*peer, *name))) {
                    assert!(seen.insert((direction, pair)), "{direction} {pair:?} twice");
                }
            } else {
                ends = Some((key, names));
            }
        }
    }
}
