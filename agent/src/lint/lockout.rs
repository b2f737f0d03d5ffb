//! Whether whoever is at work could lock himself out. In: a policy, the session he works in, the management pin, a moment.
//! Out: a warning if no pin keeps his way open and the policy closes it. What the pin admits no policy can close.

use std::net::IpAddr;

use bulkhead_common::{address::Address, wire::protocol};
use ipnet::IpNet;
use jiff::Timestamp;

use crate::{
    diagnostic::{Diagnostic, quote},
    model::{Device, DeviceId, Mac, Mode, Peer, Policy, Rule, Selector},
};

/// The next session may not come.
const LOCKED_OUT: &str = "BH0515";

/// A session over TCP in which somebody works on the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Where he is.
    pub from: IpAddr,
    /// The gateway's address that he reached.
    pub to: IpAddr,
    /// And its port.
    pub port: u16,
    /// His hardware address, if he is a neighbour of the gateway.
    pub mac: Option<Mac>,
}

/// What of the configuration keeps the gateway reachable.
#[derive(Clone, Copy, Debug)]
pub struct Pin<'c> {
    /// Who may always reach it.
    pub from: &'c [IpNet],
    /// Over what.
    pub services: &'c [Selector],
    /// Whether a segment that the session can come by honours it.
    pub honoured: bool,
    /// A segment that the session can come by and that drops what is between no devices, if there is one.
    pub closed: Option<&'c str>,
}

impl Session {
    /// By an address of its own or, where it has none or a DHCP server gives it one, by its hardware address.
    fn is_from(&self, device: &Device) -> bool {
        let maker = Address::from(self.from).eui64_maker();
        let made = |mac: &Mac| {
            let [a, b, c, d, e, f] = mac.0;
            u64::from_be_bytes([0, 0, a, b, c, d, e, f]) == maker
        };
        device.addresses.contains(&self.from)
            || self.mac.is_some_and(|mac| device.macs.contains(&mac))
            || device.macs.iter().any(made)
    }

    /// Over the port of the gateway?
    fn is_of(&self, selector: &Selector) -> bool {
        selector.protocol == protocol::TCP && (selector.low..=selector.high).contains(&self.port)
    }
}

impl Pin<'_> {
    /// Whether no policy can close a session.
    pub fn keeps(&self, session: &Session) -> bool {
        self.honoured && self.names(session)
    }

    /// Whether it would keep the session open on a segment that honours it.
    fn names(&self, session: &Session) -> bool {
        self.from.iter().any(|net| net.contains(&session.from))
            && self.services.iter().any(|selector| session.is_of(selector))
    }
}

/// What would close a session's way, if anything does.
pub fn locked_out(policy: &Policy, session: &Session, pin: &Pin<'_>, now: Timestamp) -> Option<Diagnostic> {
    if pin.keeps(session) {
        return None;
    }
    let own = (0..).map(DeviceId).zip(&policy.devices);
    let own = own.into_iter().find(|(_, device)| session.is_from(device));
    let Session { from, to: _, port, mac: _ } = *session;
    let (why, location) = match own {
        None => {
            let segment = pin.closed?;
            (format!("segment {} drops what is between no devices", quote(segment)), None)
        }
        Some((id, device)) => {
            let is_open = match device.mode {
                Mode::Monitor => true,
                Mode::Enforce => policy.rules.iter().any(|rule| admits(policy, rule, id, session, now)),
                Mode::Quarantine => policy.remediation.iter().any(|peer| reaches(policy, *peer, session)),
            };
            if is_open {
                return None;
            }
            let name = quote(&device.name);
            let why = match device.mode {
                Mode::Quarantine => format!("device {name} is quarantined"),
                Mode::Enforce | Mode::Monitor => {
                    format!("no rule lets device {name} reach the gateway over tcp/{port} now")
                }
            };
            (why, Some(device.location.clone()))
        }
    };
    let message =
        format!("you are connected from {from}, which the management pin does not cover, and {why}");
    let help = if pin.names(session) {
        "set `management = true` in the agent's configuration for the interface or segment you come by, or your next session may be denied".to_owned()
    } else {
        format!(
            "add the address to `from` of `[management]` in the agent's configuration, and {port} to its `tcp`, or your next session may be denied"
        )
    };
    let found = Diagnostic::warning(LOCKED_OUT, message).help(help);
    Some(match location {
        Some(location) => found.at(location, "you are here"),
        None => found,
    })
}

fn admits(policy: &Policy, rule: &Rule, id: DeviceId, session: &Session, now: Timestamp) -> bool {
    let services = rule.services.iter().flat_map(|service| &policy.services[service.0 as usize].selectors);
    rule.initiators.iter().any(|peer| policy.means(*peer, id))
        && rule.responders.iter().any(|peer| reaches(policy, *peer, session))
        && services.into_iter().any(|selector| session.is_of(selector))
        && rule.schedule.as_ref().is_none_or(|schedule| schedule.open_until(now).is_some())
}

/// Whether a peer is the gateway, at the address of the session.
fn reaches(policy: &Policy, peer: Peer, session: &Session) -> bool {
    match peer {
        Peer::Gateway | Peer::Any => true,
        Peer::Network(id) => policy.networks[id.0 as usize].holds(session.to),
        Peer::Device(_)
        | Peer::Class(_)
        | Peer::Zone(_)
        | Peer::Group(_)
        | Peer::Multicast(_)
        | Peer::Broadcast => false,
    }
}
