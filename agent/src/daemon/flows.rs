//! The conversations that the kernel remembers, for a person. There may be a million: so they are read and told beside the
//! agent's loop, as a plan is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use bulkhead_common::{flow::state, layout::Flow, wire::protocol};
use tokio::sync::oneshot;

use super::{
    agent::{Agent, user, world},
    beside,
    plan::Translation,
};
use crate::{
    compile::{Placed, Tables, network_of},
    control::{Body, Failure, FlowEnd, FlowList, FlowStatus, Reply},
    dataplane::{FlowReader, monotonic_ns},
    diagnostic::closest,
    model::{Policy, Selector, spelled},
    policy::called,
    report::plan::{KnownFlow, World},
};

/// Conversations that are looked at.
const MOST_READ: usize = 1 << 20;
/// Conversations in one answer.
const MOST_TOLD: usize = 10_000;

/// Everything the answer needs.
struct Known {
    /// Its services and networks, and no more of it.
    policy: Policy,
    tables: Arc<Tables>,
    reader: FlowReader,
    translation: Translation,
    world: World,
}

/// Which conversations are asked for.
enum Wanted {
    All,
    /// Of the device with this dense id.
    Device(u32),
    Address(IpAddr),
}

impl Agent {
    /// Answers in its own time. One at a time: the next one is told to wait.
    pub(super) fn flows(&self, of: Option<String>, last: usize, back: oneshot::Sender<Reply>) {
        let busy =
            || world("the conversations are being read for somebody else\nhint: try again in a moment");
        let place = Arc::clone(&self.reading).try_acquire_owned().map_err(|_| busy());
        let begun = place.and_then(|place| Ok((place, self.gather_flows()?)));
        let (place, known) = match begun {
            Ok(begun) => begun,
            Err(failure) => return drop(back.send(Reply::Error(failure))),
        };
        beside::answer("flows", back, move || {
            let reply = match known.list(of.as_deref(), last.min(MOST_TOLD)) {
                Ok(list) => Reply::Ok(Box::new(Body::Flows(list))),
                Err(failure) => Reply::Error(failure),
            };
            drop(place);
            reply
        });
    }

    fn gather_flows(&self) -> Result<Known, Failure> {
        let applied = self.dataplane.applied().ok_or_else(|| world("no policy is applied yet"))?;
        let placed = Placed {
            settings: self.dataplane.settings().map_err(world)?,
            gateway: self.nics.addresses.clone(),
            ..Placed::default()
        };
        let Policy { services, networks, .. } = &self.in_force.policy;
        Ok(Known {
            // Asked every second or two, and rules are many: they are not copied.
            policy: Policy { services: services.clone(), networks: networks.clone(), ..Policy::default() },
            tables: Arc::clone(&applied.tables),
            reader: self.dataplane.flow_reader().map_err(world)?,
            translation: Translation::of(&applied.ids),
            world: World { placed, now: monotonic_ns(), ..World::default() },
        })
    }
}

impl Known {
    fn list(&self, of: Option<&str>, last: usize) -> Result<FlowList, Failure> {
        let wanted = self.wanted(of)?;
        let (flows, is_all) = self.reader.read(MOST_READ).map_err(world)?;
        let known = flows.iter().map(|(key, flow)| (self.translation.flow(key, flow, &self.world), flow));
        let mut known: Vec<(KnownFlow, &Flow)> = known.filter(|(known, _)| wanted.holds(known)).collect();
        let live = known.iter().filter(|(known, _)| known.live).count();
        let expired = known.len() - live;
        // Those that are not over, and of them those that were heard last.
        known.sort_unstable_by(|(a, _), (b, _)| {
            (!a.live, a.idle).cmp(&(!b.live, b.idle)).then_with(|| a.cmp(b))
        });
        let more = known.len().saturating_sub(last);
        known.truncate(last);
        let mut names = Names { known: self, found: BTreeMap::new() };
        let mut flows: Vec<FlowStatus> = known.iter().map(|(known, flow)| names.told(known, flow)).collect();
        flows.sort_unstable_by(|a, b| {
            let key = |one: &FlowStatus| (one.device.is_none(), one.device.clone(), !one.live);
            key(a).cmp(&key(b)).then_with(|| a.cmp(b))
        });
        Ok(FlowList { flows, live, expired, more, cut: !is_all })
    }

    fn wanted(&self, of: Option<&str>) -> Result<Wanted, Failure> {
        let Some(of) = of else { return Ok(Wanted::All) };
        if let Some(id) = self.tables.device_id(of) {
            return Ok(Wanted::Device(id.0 + 1));
        }
        if let Ok(address) = of.parse::<IpAddr>() {
            return Ok(Wanted::Address(address));
        }
        let names = self.tables.devices.iter().map(|device| device.name.as_str());
        let hint = closest(of, names).map(|name| format!("\nhelp: did you mean `{name}`?"));
        Err(user(format!(
            "`{of}` is no device of the policy in force, nor an address{}",
            hint.unwrap_or_default()
        )))
    }
}

impl Wanted {
    fn holds(&self, flow: &KnownFlow) -> bool {
        match self {
            Self::All => true,
            Self::Device(id) => flow.devices.contains(id),
            Self::Address(address) => [flow.from, flow.to].contains(address),
        }
    }
}

/// Puts names to addresses, each once.
struct Names<'k> {
    known: &'k Known,
    found: BTreeMap<IpAddr, Option<String>>,
}

impl Names<'_> {
    fn told(&mut self, flow: &KnownFlow, kept: &Flow) -> FlowStatus {
        let Known { policy, tables, .. } = self.known;
        let KnownFlow { from, to, protocol, service, client_port, devices, rule, idle, live } = *flow;
        let selector = Selector { protocol, low: service, high: service };
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let device = |id: u32| tables.device(id).map(|device| device.name.clone());
        let rule = tables.rule(rule);
        // Counted by side; whoever started it is on one of them.
        let (started, answers) = if kept.initiator == 0 { (0, 1) } else { (1, 0) };
        FlowStatus {
            device: device(devices[1]).or_else(|| device(devices[0])),
            live,
            from: FlowEnd {
                name: device(devices[0]).or_else(|| self.name(from)),
                ip: Some(from),
                port: has_ports.then_some(client_port),
            },
            to: FlowEnd {
                name: device(devices[1]).or_else(|| self.name(to)),
                ip: Some(to).filter(|to| !to.is_unspecified()),
                port: has_ports.then_some(service),
            },
            service: called(policy, selector),
            selector: spelled(selector),
            state: (protocol == protocol::TCP).then(|| progress(kept.state).to_owned()),
            age_seconds: Duration::from_nanos(self.known.world.now.saturating_sub(kept.began)).as_secs(),
            idle_seconds: idle.as_secs(),
            packets_from: kept.packets[started],
            packets_to: kept.packets[answers],
            bytes_from: kept.bytes[started],
            bytes_to: kept.bytes[answers],
            rule: rule.map(|rule| rule.text.clone()),
            holder: rule.map(|rule| rule.holder.clone()),
            place: rule.map(|rule| format!("{}:{}", rule.location.path, rule.location.line)),
        }
    }

    fn name(&mut self, address: IpAddr) -> Option<String> {
        let Known { policy, world, .. } = self.known;
        let found = self.found.entry(address).or_insert_with(|| name(policy, &world.placed.gateway, address));
        found.clone()
    }
}

fn name(policy: &Policy, gateway: &BTreeSet<IpAddr>, address: IpAddr) -> Option<String> {
    if gateway.contains(&address) { Some("gateway".to_owned()) } else { network_of(policy, address) }
}

/// How far a TCP conversation has come.
fn progress(bits: u8) -> &'static str {
    match bits {
        bits if bits & state::RESET != 0 => "reset",
        bits if bits & state::FINISHED == state::FINISHED => "closed",
        bits if bits & state::FINISHED != 0 => "half-closed",
        bits if bits & state::OPENING != 0 => "opening",
        _ => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_as_far_as_both_ends_have_said() {
        let cases = [
            (0, "open"),
            (state::ANSWERED, "open"),
            (state::OPENING | state::ANSWERED, "opening"),
            (state::FIN_LOW | state::ANSWERED, "half-closed"),
            (state::FIN_LOW | state::FIN_HIGH, "closed"),
            (state::FIN_HIGH | state::RESET, "reset"),
        ];
        for (bits, word) in cases {
            assert_eq!(progress(bits), word, "{bits}");
        }
    }
}
