//! A denied kind of conversation for a person: who, what, why, and what helps.

use std::net::IpAddr;

use bulkhead_common::{decide::Action, reason::Reason, wire::protocol};
use ipnet::IpNet;
use jiff::Timestamp;

use super::{Setting, report::Break, tally::Denied};
use crate::{
    compile::nearest,
    model::{Policy, Selector, spelled},
    policy::{Remedy, called, permission},
    traffic::{End, Service},
};

/// What happens to conversations that were allowed and then not remembered: the word and the sentence.
const BROKEN_OFF: (&str, &str) = (
    "broken-off",
    "it began and went on, was then silent for so long that the gateway forgot it, and who spoke next did not begin it",
);
const BROKEN_OFF_HELP: &str =
    "let the gateway remember longer than its silence lasts: `tcp_idle` or `udp_idle` of `[flows]`";
const UNKNOWN: &str = "a link-local address that is made of no hardware address of the policy says nothing of who has it: the device may be allowed, or not";

/// A moment, seconds since 1970, as RFC 3339.
pub(super) fn moment(seconds: i64) -> String {
    let seconds = seconds.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(seconds).map(|time| time.to_string()).unwrap_or_default()
}

/// A denied kind in words.
pub(super) fn told(setting: &Setting<'_>, denied: &Denied) -> Break {
    let Denied { kind, seen, reason, action, ends, unknown, broken_off } = denied;
    let device = setting.device(setting.more_critical(*ends));
    let [from, to] = [(kind.from, ends[0]), (kind.to, ends[1])];
    let selector = selector(kind.service);
    let service = called(setting.policy, selector);
    let near = [from, to].map(|(end, device)| setting.known(&end, device));
    let (missing, help) = match (unknown, broken_off) {
        (true, _) => (None, Some(UNKNOWN.to_owned())),
        (_, true) => (None, Some(BROKEN_OFF_HELP.to_owned())),
        (false, false) => remedy(setting, *reason, [from, to], &service),
    };
    let (reason, explanation) = if *broken_off { BROKEN_OFF } else { (reason.name(), reason.text()) };
    Break {
        device: device.map(|device| device.name.clone()),
        criticality: device.map(|device| device.criticality.name().to_owned()),
        from: setting.name_of(&from.0, from.1),
        from_address: kind.from.to_string(),
        to: setting.name_of(&to.0, to.1),
        to_address: kind.to.to_string(),
        service,
        selector: spelled(selector),
        flows: seen.flows,
        answered: seen.answered,
        packets: seen.packets[0].saturating_add(seen.packets[1]),
        first: moment(seen.first),
        last: moment(seen.last),
        dropped: *action == Action::Drop,
        reason: reason.to_owned(),
        explanation: explanation.to_owned(),
        nearest: nearest(setting.policy, setting.tables, near[0], near[1]),
        missing,
        help,
    }
}

/// What a rule would have to name: of ICMP a type, whatever its code.
pub(super) fn selector(service: Service) -> Selector {
    let Service { protocol, number } = service;
    match protocol {
        protocol::ICMP | protocol::ICMPV6 => {
            Selector { protocol, low: number & 0xff00, high: number | 0x00ff }
        }
        _ => service.selector(),
    }
}

/// Lines that would allow it, or what would help instead.
fn remedy(
    setting: &Setting<'_>,
    reason: Reason,
    ends: [(End, u32); 2],
    service: &str,
) -> (Option<String>, Option<String>) {
    let device = ends.iter().rev().find_map(|(_, id)| setting.device(*id));
    match Remedy::of(reason) {
        Remedy::Other(advice) => {
            let name = device.map_or("DEVICE", |device| device.name.as_str());
            (None, Some(advice.replace("DEVICE", name)))
        }
        Remedy::Flow => (
            None,
            Some(
                "a rule allows the conversation the other way, and who began it was not seen: begin the recording earlier, or look at who asks"
                    .to_owned(),
            ),
        ),
        Remedy::Rule => {
            let words = ends.map(|(end, device)| word(setting, &end, device));
            let [Some(from), Some(to)] = words else {
                let help = "a rule names ends by device or address, and one end here has neither: make it a device by its hardware address first";
                return (None, Some(help.to_owned()));
            };
            let is_device = |name: &str| setting.policy.device(name).is_some();
            let missing = permission(&from, &to, service, is_device);
            let stranger = "one end is nobody that the policy knows: find out who it is before you allow it, and make it a device if it is one";
            let other_times = "a rule allows it at other times: widen its windows, or its `expires`";
            let help = (reason == Reason::UnknownPeer)
                .then_some(stranger)
                .or_else(|| (reason == Reason::OutsideSchedule).then_some(other_times))
                .map(str::to_owned);
            (missing, help)
        }
    }
}

/// An end as a rule would name it, and no more than it.
fn word(setting: &Setting<'_>, end: &End, device: u32) -> Option<String> {
    if let Some(device) = setting.device(device) {
        return Some(device.name.clone());
    }
    let address = end.address?;
    if setting.is_gateway(address) {
        return Some("gateway".to_owned());
    }
    if address == IpAddr::from([255, 255, 255, 255]) {
        return Some("broadcast".to_owned());
    }
    Some(alone(setting.policy, address).unwrap_or_else(|| address.to_string()))
}

/// The network or group that is this address and nothing else.
fn alone(policy: &Policy, address: IpAddr) -> Option<String> {
    let prefix = IpNet::from(address);
    let network = policy.networks.iter().find(|one| one.cidrs == [prefix] && one.names.is_empty());
    let group = policy.multicasts.iter().find(|one| one.cidrs == [prefix]);
    network.map(|one| one.name.clone()).or_else(|| group.map(|one| format!("multicast:{}", one.name)))
}
