//! What must hold of every decision, whatever the policy: read from the frame and the tables by other means than
//! `decide` does.

use std::net::IpAddr;

use bulkhead_agent::compile::Tables;
use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict},
    mode::Mode,
    reason::Grant,
};

use super::gateway;

/// Destination address of a plain IP packet below at most two tags.
fn destination(frame: &[u8]) -> Option<IpAddr> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8] | [0x91, 0]) {
        at += 4;
    }
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => frame.get(at + 18..at + 22)?.try_into().ok().map(|ip: [u8; 4]| ip.into()),
        [0x86, 0xdd] => frame.get(at + 26..at + 42)?.try_into().ok().map(|ip: [u8; 16]| ip.into()),
        _ => None,
    }
}

/// The first promise that a decision breaks.
pub fn broken(frame: &[u8], tables: &Tables, decision: &Decision) -> Option<&'static str> {
    let Decision { verdict, action, rule, source, destination: responder, .. } = *decision;
    if let Verdict::Allow(grant) = verdict {
        if action != Action::Pass {
            return Some("an allowed frame is dropped");
        }
        let needs_rule = match grant {
            Grant::Flow | Grant::Rule | Grant::Adopted | Grant::Related | Grant::GatewayReply => true,
            Grant::Management
            | Grant::Arp
            | Grant::Dhcp
            | Grant::NeighborDiscovery
            | Grant::Remediation
            | Grant::Unmanaged
            | Grant::Membership
            | Grant::Lldp
            | Grant::Stp
            | Grant::Redundancy
            | Grant::Eapol
            | Grant::Ptp => false,
        };
        match tables.rule(rule) {
            None if needs_rule => return Some("no rule stands behind what a rule allows"),
            Some(_) if !needs_rule => return Some("a rule is named that did not allow it"),
            // An error about a flow goes to either end of it, of which one may be nobody's device.
            Some(entry) if grant != Grant::Related => {
                let is_end = |id: u32| tables.device(id).is_some_and(|device| device.name == entry.device);
                if !is_end(source) && !is_end(responder) {
                    return Some("neither end is the device whose rule it is");
                }
            }
            Some(_) | None => {}
        }
    }
    // The address of an enforcing device, looked up by hand. What is the gateway's is no device's.
    let address = destination(frame).filter(|address| !gateway().contains(address))?;
    let row = tables.addresses.get(&Address::from(address))?;
    let held = Mode::from_code(row.mode) != Mode::Monitor;
    match verdict {
        Verdict::Deny(_) if held && action == Action::Pass && decision.destination == row.device => {
            Some("a denied packet reaches an enforcing device")
        }
        Verdict::Allow(Grant::Unmanaged) if decision.destination != 0 || held => {
            Some("unmanaged traffic to a device")
        }
        Verdict::Allow(_) | Verdict::Deny(_) => None,
    }
}
