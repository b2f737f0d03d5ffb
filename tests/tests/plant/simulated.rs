//! What the library says of a recording in front of the gateway.

use bulkhead_agent::{
    capture::Reader,
    compile::{Limits, Placed, compile},
    config::parse_config,
    policy::{SourceFile, resolve_texts},
    replay::{Frames, Judged, Place, Setting},
};
use bulkhead_common::decide::Action;
use bulkhead_tests::lab::topology::{DEVICE_SIDE, UPLINK};

/// Whether each frame of a capture passes, as the library says. Its interfaces are called as those of the gateway.
pub(crate) fn simulated(capture: &[u8], policy: &str, config: &str) -> Vec<(Vec<u8>, bool)> {
    let files = [SourceFile { path: "policy.toml".into(), text: policy.into() }];
    let policy = resolve_texts(&files).policy.expect("the policy of the plant is valid");
    let tables = compile(&policy, &Limits { devices: 64, rules: 64, rows: 4096 }).expect("it is small");
    let (config, _, _) = parse_config("bulkhead.toml", config);
    let config = config.expect("the agent runs with it");
    let place = |name: &str| {
        let (id, segment) = config.segments_on(name).remove(0);
        Place { segment: segment.row(id), anywhere: false, ..Place::default() }
    };
    let places = [place(DEVICE_SIDE), place(UPLINK)];
    let placed = config.management.pin(Placed {
        segments: config.segment_ids(),
        trusted: config.trusted_hosts(),
        ..Placed::default()
    });
    let now = jiff::Timestamp::now();
    let setting = Setting { policy: &policy, tables: &tables, placed: &placed, places: &places, now };
    let mut frames = Frames::new(setting, config.flows.settings(0));
    let mut reader = Reader::new(capture).expect("it was written here");
    let mut said = Vec::new();
    while let Some(frame) = reader.next_frame().expect("it is whole") {
        let place = usize::from(frame.name == Some(UPLINK));
        let Judged::Decided(decision) = frames.arrive(&frame, frame.time, place) else {
            panic!("all of it was recorded")
        };
        said.push((frame.bytes.to_vec(), decision.action == Action::Pass));
    }
    said
}
