//! As many denied packets as the machine can make, of more kinds than there is room for: whoever else is denied one packet
//! meanwhile is told of by itself, nothing grows beyond its bound, and every packet is accounted for.
//!
//! How fast that is, and what it costs, is for `cargo xtask bench flood`.

use bulkhead_tests::{
    lab::{
        Agent, Topology, lab_for,
        onslaught::{self, Onslaught},
    },
    skip::Tier,
};
use serde_json::Value;

/// At least so many frames are sent.
const FRAMES: u64 = 4_000_000;
/// What docs/violations.md promises, KiB.
const MEMORY: u32 = 160 << 10;

#[test]
fn one_packet_of_another_device_is_told_in_the_middle_of_a_flood() {
    let test = "one_packet_of_another_device_is_told_in_the_middle_of_a_flood";
    let Some(lab) = lab_for(Tier::Netns, test, Topology::Bridged, 1500) else { return };
    let mut agent = Agent::new(&lab, &onslaught::policy(&lab)).expect("an agent");
    let found = onslaught::run(&lab, &mut agent, FRAMES).expect("every packet is told of");
    println!("{found:#?}");
    let Onslaught { sent, others, counts, after, .. } = found;

    for (index, (_, record)) in (0..).zip(&others) {
        let expected = (&false.into(), &1.into(), &Value::Null);
        assert_eq!((&record["others"], &record["count"], &record["scan"]), expected, "{record}");
        assert_eq!(record["destination"]["ip"], onslaught::other(index).1.to_string(), "{record}");
    }
    assert_eq!(others.len(), usize::from(onslaught::OTHERS));
    let of = |key: &str| counts[key].as_u64().expect("a count");
    assert_eq!((of("lost"), of("refused")), (0, 0), "{counts}");
    // The link may have dropped some, but the flood did come.
    assert!((sent / 4..=sent + u64::from(onslaught::OTHERS)).contains(&of("violations")), "{sent}: {counts}");
    assert!(after.peak < MEMORY, "{} KiB", after.peak);
}
