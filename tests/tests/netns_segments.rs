//! Segments that are VLANs of a trunk, with raw tagged frames: that needs nothing of the kernel.

mod gateway;
mod trunk;

use bulkhead_tests::lab::Topology;
use gateway::require_topology;
use trunk::{DROPPED, IN_LINE, REASONS, forwards, trunk, wait_reasons};

#[test]
fn vlans_of_a_trunk_are_segments_of_their_own() {
    let test = "vlans_of_a_trunk_are_segments_of_their_own";
    let Some(lab) = require_topology(test, Topology::Bridged, 1500) else { return };
    let agent = trunk(&lab);
    let passed = [
        IN_LINE,
        // Strangers may be elsewhere on the trunk, in any VLAN or none, and resolve addresses there.
        "attacker>hmi tcp 49157>502 S vlan=20",
        "attacker>hmi tcp 49158>502 S",
        "attacker>all arp ask hmi vlan=20",
        "attacker>all arp ask hmi",
    ];
    forwards(&lab, &passed.map(|line| (line, line)), &DROPPED);
    wait_reasons(&agent, &REASONS);
}
