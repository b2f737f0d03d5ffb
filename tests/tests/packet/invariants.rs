//! What must hold of every decision, whatever the policy: read from the frame and the tables by other means than
//! `decide` does.

use std::net::IpAddr;

use bulkhead_agent::compile::Tables;
use bulkhead_common::{
    address::Address,
    decide::{Action, Decision, Verdict},
    layout::EndRow,
    lookup::device_flag,
    mode::Mode,
    reason::Grant,
};

use super::gateway;

/// Source and destination address of a plain IP packet below at most two tags.
fn ends(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8] | [0x91, 0]) {
        at += 4;
    }
    let address = |at: usize, len: usize| -> Option<IpAddr> {
        let octets = frame.get(at..at + len)?;
        let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
        v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
    };
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some([address(at + 14, 4)?, address(at + 18, 4)?]),
        [0x86, 0xdd] => Some([address(at + 10, 16)?, address(at + 26, 16)?]),
        _ => None,
    }
}

/// The row of the device behind the sender's hardware address.
fn sender(frame: &[u8], tables: &Tables) -> Option<EndRow> {
    let [a, b, c, d, e, f] = frame.get(6..12)?.try_into().ok()?;
    tables.macs.get(&u64::from_be_bytes([0, 0, a, b, c, d, e, f])).copied()
}

/// Who speaks: nobody in another's name, and who is quarantined below his breath.
fn speaks(frame: &[u8], tables: &Tables, grant: Grant) -> Option<&'static str> {
    let sender = sender(frame, tables);
    if grant != Grant::Management
        && let Some([source, _]) = ends(frame)
        && !gateway().contains(&source)
        && let Some(owner) = tables.addresses.get(&Address::from(source))
        && owner.flags & device_flag::HAS_MAC != 0
        && sender.is_none_or(|sender| sender.device != owner.device)
    {
        return Some("somebody else speaks from a device's address");
    }
    let of_the_link = matches!(
        grant,
        Grant::Lldp
            | Grant::Stp
            | Grant::Redundancy
            | Grant::Eapol
            | Grant::Ptp
            | Grant::Membership
            | Grant::Unmanaged
    );
    let held = sender.is_some_and(|sender| Mode::from_code(sender.mode) == Mode::Quarantine);
    (held && of_the_link).then_some("a quarantined device takes part in more than finding addresses")
}

/// The first promise that a decision breaks.
pub fn broken(frame: &[u8], tables: &Tables, decision: &Decision) -> Option<&'static str> {
    let Decision { verdict, action, rule, source, destination: responder, .. } = *decision;
    if let Verdict::Allow(grant) = verdict {
        if action != Action::Pass {
            return Some("an allowed frame is dropped");
        }
        if let Some(promise) = speaks(frame, tables, grant) {
            return Some(promise);
        }
        let needs_rule = match grant {
            Grant::Flow | Grant::Rule | Grant::Adopted | Grant::Related | Grant::GatewayReply => true,
            Grant::Management
            | Grant::Arp
            | Grant::Dhcp
            | Grant::NeighborDiscovery
            | Grant::Remediation
            | Grant::Unmanaged
            | Grant::Receiver
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
                // A class's rule is that of all its devices.
                let own = entry.holder.strip_prefix("device ");
                let is_end = |id: u32| {
                    tables.device(id).is_some_and(|device| own.is_none_or(|own| own == device.name))
                };
                if !is_end(source) && !is_end(responder) {
                    return Some("neither end is a device whose rule it is");
                }
            }
            Some(_) | None => {}
        }
    }
    // The address of an enforcing device, looked up by hand. What is the gateway's is no device's.
    let [_, address] = ends(frame)?;
    let to_group = address.is_multicast() && frame[0] & 1 != 0;
    if to_group && decision.destination != 0 {
        return Some("a group is taken for a device");
    }
    let address = Some(address).filter(|address| !gateway().contains(address))?;
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
