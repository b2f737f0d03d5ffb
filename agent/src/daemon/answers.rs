//! What the agent knows, in the words of the control socket.

use std::collections::BTreeMap;

use bulkhead_common::{
    forward::fate,
    lookup::Unmanaged,
    reason::{Grant, Reason},
    wire::mac,
};

use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    agent::{Agent, user, world},
    beside,
    history::HistoryKeeper,
    inventory::InventoryKeeper,
    log,
    nic::Nic,
};
use crate::{
    compile::{Host, Placed},
    config::{Forward, Infrastructure, Segment},
    control::{
        Body, DeviceStatus, Failure, ForwardStatus, Identity, InterfaceStatus, Reply, RuleStatus,
        SegmentStatus, Status, ViolationStatus,
    },
    dataplane::{AttachMode, DataplaneError, DeviceCounts, Entry, LinkNews, monotonic_ns},
    diagnostic::Location,
    model::{Criticality, Mode, Selector},
    report::why::{Answer, Heard, Question},
};

/// What stands for a device where neither end is one. No device can be called so.
pub(super) const UNMANAGED: &str = "(unmanaged)";

impl Agent {
    /// Answers beside the loop: the flows are counted one by one, and there may be a million.
    pub(super) fn tell_status(&self, foreign: u64, back: oneshot::Sender<Reply>) {
        let gathered = self.status(foreign).and_then(|status| Ok((status, self.dataplane.flow_reader()?)));
        beside::answer("status", back, move || {
            let counted = gathered.and_then(|(status, flows)| {
                let kept = flows.count()?;
                let flows_evicted = status.flows_evicted.saturating_sub(kept as u64);
                Ok(Status { flows: kept, flows_evicted, ..status })
            });
            match counted {
                Ok(status) => Reply::Ok(Box::new(Body::Status(Box::new(status)))),
                Err(error) => Reply::Error(world(error)),
            }
        });
    }

    pub(super) fn tell_inventory(&self, after: Option<String>, back: oneshot::Sender<Reply>) {
        if let Some(inventory) = &self.inventory {
            return inventory.tell(after, back);
        }
        let why = "no inventory is kept: `[inventory]` says `enabled = false`\nhint: `bulkhead inventory --pcap FILE` reads recorded traffic";
        drop(back.send(Reply::Error(user(why))));
    }

    /// Everything but how many flows are kept: without it, all that were made have made room.
    fn status(&self, foreign: u64) -> Result<Status, DataplaneError> {
        let tally = self.dataplane.tally()?;
        let mut modes: BTreeMap<String, usize> =
            ["monitor", "enforce", "quarantine"].map(|m| (m.to_owned(), 0)).into();
        for device in &self.in_force.policy.devices {
            *modes.entry(device.mode.name().to_owned()).or_default() += 1;
        }
        Ok(Status {
            gateway: self.gateway.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: self.since.clone(),
            revision: self.revision(),
            generation: self.dataplane.active()?.generation,
            number: self.pointer.current,
            policy: self.in_force.origin.name().to_owned(),
            files: self.files_status(),
            pending: self.pending_status(),
            warnings: self.all_warnings(),
            modes,
            quarantined: (self.in_force.policy.devices.iter())
                .filter(|device| device.mode == Mode::Quarantine)
                .map(|device| device.name.clone())
                .collect(),
            stages: self.stage_counts(),
            by_hand: self.modes_by_hand(),
            infrastructure: words(&self.config.infrastructure),
            segments: self.segments(),
            management: self.management(),
            interfaces: self.interfaces()?,
            link_news: self.link_news.messages,
            link_news_lost: self.link_news.lost,
            forwarded: self.forwarded()?,
            flows: 0,
            flows_refused: tally.flows_refused,
            flows_evicted: tally.flows_made,
            fragments_refused: tally.fragments_refused,
            leases: self.dataplane.leases()?.len(),
            leases_refused: tally.leases_refused,
            names: self.dataplane.applied().map(|a| self.names.status(&a.tables)).unwrap_or_default(),
            samples_lost: tally.samples_lost,
            flows_limit: self.dataplane.sizes().flows,
            counters_behind_ms: u64::try_from(self.dataplane.counters_behind().as_millis())
                .unwrap_or(u64::MAX),
            verdicts_limit: self.dataplane.sizes().cache.verdicts(),
            drift: self.drift_status(),
            violations: ViolationStatus {
                violations: tally.violations,
                delivered: tally.delivered,
                aggregated: tally.aggregated,
                lost: tally.lost,
                foreign,
                ..self.reporter.counts()
            },
            probe: self.reporter.honesty.status().cloned(),
            no_probe: self.reporter.honesty.obstacle().map(str::to_owned),
            history: self.history.as_ref().map(HistoryKeeper::status),
            shadow: self.shadow_brief(),
            inventory: self.inventory.as_ref().map(InventoryKeeper::status),
            sinks: self.reporter.sinks(),
            log_refused: log::refused(),
        })
    }

    /// What left without the kernel, where anything may.
    fn forwarded(&self) -> Result<Option<ForwardStatus>, DataplaneError> {
        if !self.config.forwards_directly() {
            return Ok(None);
        }
        let counts = self.dataplane.forwarded()?;
        let mut named = fate::NAMES.into_iter().map(str::to_owned).zip(counts);
        let direct = named.next().map_or(0, |(_, packets)| packets);
        let LinkNews { messages, lost, .. } = self.route_news;
        let kernel = named.filter(|(_, packets)| *packets > 0).collect();
        Ok(Some(ForwardStatus { direct, kernel, route_news: messages, route_news_lost: lost }))
    }

    pub(super) fn all_warnings(&self) -> Vec<String> {
        let mut warnings: Vec<String> = self.unconfirmed().into_iter().collect();
        warnings.extend(self.went_back_warnings());
        warnings.extend(self.warnings.values().cloned());
        warnings.extend(self.nics.list.iter().flat_map(Nic::problems));
        warnings.extend(self.nics.moved.iter().cloned());
        warnings.extend(self.nics.left_over.iter().map(|name| {
            format!("`{name}` is no longer configured and still enforced: `bulkhead detach --interface {name}` ends that")
        }));
        let sinks = self.reporter.sinks();
        let troubles = sinks.iter().filter_map(|sink| Some((&sink.name, sink.trouble()?)));
        warnings.extend(troubles.map(|(name, trouble)| format!("sink `{name}` {trouble}")));
        warnings.extend(self.reporter.forgotten());
        let history = self.history.as_ref().map(HistoryKeeper::status);
        let collector = history.as_ref().and_then(|status| status.collector.as_ref()?.problem.clone());
        warnings.extend(collector.map(|why| format!("no exporter of flows is heard: {why}")));
        let trouble = history.and_then(|status| status.problem);
        warnings.extend(
            trouble.map(|why| format!("the history of flows is not written, and waits in memory: {why}")),
        );
        let inventory = self.inventory.as_ref().and_then(|inventory| inventory.status().problem);
        warnings.extend(inventory.map(|why| format!("the inventory of devices: {why}")));
        warnings.extend(self.ourselves());
        if self.in_force.policy.devices.is_empty() {
            warnings.push("the policy declares no device: nothing is enforced for any device".to_owned());
        }
        for (name, change) in &self.overrides.devices {
            if self.in_force.policy.device(name).is_none() {
                warnings.push(format!(
                    "the mode of `{name}` was set to {} by hand, and no such device exists: `bulkhead release {name}` forgets it",
                    change.mode.name()
                ));
            }
        }
        warnings
    }

    fn management(&self) -> String {
        let pin = &self.config.management;
        let from: Vec<String> = pin.from.iter().map(ToString::to_string).collect();
        let over: Vec<String> = pin.services.iter().map(selector).collect();
        let names: Vec<&str> =
            self.config.segments.iter().filter(|s| s.management).map(|s| s.name.as_str()).collect();
        if names.is_empty() || from.is_empty() || over.is_empty() {
            return "none".to_owned();
        }
        format!("{} from {} on {}", over.join(", "), from.join(", "), names.join(", "))
    }

    fn segments(&self) -> Vec<SegmentStatus> {
        let list = self.config.numbered().map(|(id, segment)| {
            let Segment {
                name,
                interface,
                vlan,
                unmanaged,
                management,
                trusted,
                fragments,
                dhcp_servers,
                routers,
                infrastructure,
            } = segment;
            SegmentStatus {
                name: name.clone(),
                id,
                interface: interface.clone(),
                vlan: *vlan,
                unmanaged: Unmanaged::name(*unmanaged).to_owned(),
                management: *management,
                trusted: *trusted,
                fragments: fragments.name().to_owned(),
                dhcp_servers: dhcp_servers.iter().map(ToString::to_string).collect(),
                routers: routers.iter().map(ToString::to_string).collect(),
                infrastructure: words(infrastructure),
            }
        });
        list.collect()
    }

    fn interfaces(&self) -> Result<Vec<InterfaceStatus>, DataplaneError> {
        let list = self.nics.list.iter().map(|nic| {
            let counts = self.dataplane.interface_counts(nic.counter)?;
            let own = nic.segments.first();
            Ok(InterfaceStatus {
                name: nic.config.name.clone(),
                role: nic.config.role.name().to_owned(),
                pair: nic.config.pair.as_ref().map(|pair| pair.peer.clone()),
                forward: if nic.forwards { Forward::Direct } else { Forward::Kernel }.name().to_owned(),
                state: nic.state().name().to_owned(),
                open_us: nic.open.map(|open| u64::try_from(open.as_micros()).unwrap_or(u64::MAX)),
                attached: nic.attached.map_or("none", AttachMode::name).to_owned(),
                program: nic.entry.map_or("none", Entry::name).to_owned(),
                unmanaged: own.map(|(_, own)| own.unmanaged).map_or("none", Unmanaged::name).to_owned(),
                problem: Some(nic.problems().join("\n")).filter(|problems| !problems.is_empty()),
                mtu: nic.mtu,
                rx_queues: nic.rx_queues,
                seen: counts.seen.packets,
                passed: counts.passed.packets,
                dropped: counts.dropped.packets,
                would_drop: counts.would_drop.packets,
                remembered: counts.remembered,
            })
        });
        list.collect()
    }

    pub(super) fn devices(&self) -> Result<Vec<DeviceStatus>, DataplaneError> {
        let Some(applied) = self.dataplane.applied() else { return Ok(Vec::new()) };
        let leased = self.leased()?;
        let mut list = Vec::new();
        for (device, id) in self.in_force.policy.devices.iter().zip(&applied.ids.devices) {
            let counts = self.dataplane.device_counts(*id)?;
            let change = self.overrides.devices.get(&device.name);
            list.push(DeviceStatus {
                name: device.name.clone(),
                mode: device.mode.name().to_owned(),
                changed: change.map(|c| {
                    let why = c.why.as_ref().map(|w| format!(": {w}")).unwrap_or_default();
                    format!("by {} at {}{why}", c.by, c.at)
                }),
                criticality: match device.criticality {
                    Criticality::Low => "low",
                    Criticality::Medium => "medium",
                    Criticality::High => "high",
                    Criticality::Safety => "safety",
                }
                .to_owned(),
                zone: self.in_force.policy.zone_of(device).map(str::to_owned),
                class: self.in_force.policy.class_of(device).map(str::to_owned),
                mac: device.macs.iter().map(ToString::to_string).collect(),
                ip: device.addresses.iter().map(ToString::to_string).collect(),
                dhcp: device.dynamic,
                leases: (device.macs.iter().filter(|_| device.dynamic))
                    .flat_map(|own| leased.get(&mac::from_octets(own.0)).cloned().unwrap_or_default())
                    .collect(),
                names: self.names.of_device(&applied.tables, &device.name),
                identity: Some(if device.macs.is_empty() { Identity::Address } else { Identity::Mac }),
                segment: device.segment.clone(),
                vlan: device.vlan,
                place: place(&device.location),
                ..counted(&counts)
            });
        }
        list.push(DeviceStatus { name: UNMANAGED.to_owned(), ..counted(&self.dataplane.device_counts(0)?) });
        Ok(list)
    }

    pub(super) fn rules(&mut self) -> Result<Vec<RuleStatus>, DataplaneError> {
        self.look_at_hits()?;
        let Some(applied) = self.dataplane.applied() else { return Ok(Vec::new()) };
        let now = Timestamp::now();
        let list = applied.tables.rules.iter().enumerate().map(|(at, rule)| {
            let hits = self.hits.of(at);
            RuleStatus {
                rule: rule.text.clone(),
                holder: rule.holder.clone(),
                place: place(&rule.location),
                schedule: rule.schedule.as_ref().map(ToString::to_string),
                open: rule.schedule.as_ref().is_none_or(|schedule| schedule.open_until(now).is_some()),
                packets: hits.map_or(0, |hits| hits.packets),
                bytes: hits.map_or(0, |hits| hits.bytes),
                last_hit: hits.and_then(|hits| hits.last).map(|last| format!("{last:.0}")),
                since: hits.map(|hits| format!("{:.0}", hits.since)).unwrap_or_default(),
                comment: rule.comment.clone(),
                owner: rule.owner.clone(),
                ticket: rule.ticket.clone(),
                source: rule.source.name().to_owned(),
            }
        });
        Ok(list.collect())
    }

    /// Asks the compiled tables and the kernel's, and says whether they agree. On which interface the packet
    /// would arrive is not known, so all are asked.
    pub(super) fn why(&self, from: &str, to: &str, service: &str) -> Result<Answer, Failure> {
        let no_policy = || world("no policy is applied yet");
        let applied = self.dataplane.applied().ok_or_else(no_policy)?;
        let policy = &self.in_force.policy;
        // An address of a device means the device.
        let starts = from.parse().ok().and_then(|address| policy.device_of(address));
        let starts = starts.map_or(from, |device| device.name.as_str());
        let learned = self.names.for_question(&applied.tables, starts);
        let question =
            Question::knowing(policy, from, to, service, &self.nics.addresses, &learned).map_err(world)?;
        let supposed = question.supposed(&applied.tables);
        let is_supposed = !supposed.is_empty();
        let base = self.config.management.pin(Placed {
            settings: self.dataplane.settings().map_err(world)?,
            gateway: self.nics.addresses.clone(),
            segments: self.config.segment_ids(),
            trusted: self.trusted_hosts(),
            named: self
                .names
                .rows(&applied.tables, self.calendar.deadlines())
                .into_iter()
                .chain(supposed)
                .collect(),
            deadlines: self.calendar.deadlines().to_vec(),
            ..Placed::default()
        });
        let parts = question.parts(&applied.tables, &base.management_services);
        let mut agrees = None;
        let mut heard = Vec::new();
        for (on, segment) in self.config.alike() {
            // The kernel is asked as an untagged frame would ask it: about the segment an interface is by itself.
            let alike = |nic: &&Nic| nic.segments.first().is_some_and(|(id, _)| *id == segment.segment);
            let host = Host::new(&applied.tables, Placed { segment, ..base.clone() });
            host.set_now(monotonic_ns());
            let there = self.nics.list.iter().filter(alike).find_map(|nic| nic.index);
            let live = match there {
                Some(index) => Some(self.dataplane.live(index).map_err(world)?.ok_or_else(no_policy)?),
                // An interface that is not there has no row in the kernel yet.
                None => None,
            };
            let mut decisions = Vec::new();
            for part in &parts {
                let decision = question.ask(*part, &host);
                if let Some(live) = live.as_ref().filter(|_| !is_supposed) {
                    let kernel = question.ask(*part, live);
                    let same = kernel.verdict == decision.verdict
                        && kernel.action == decision.action
                        && kernel.rule == applied.ids.rule(decision.rule)
                        && kernel.device == applied.ids.device(decision.device);
                    agrees = Some(agrees.unwrap_or(true) && same);
                }
                decisions.push((*part, decision));
            }
            heard.push(Heard { on: Some(on), decisions });
        }
        let mut answer = question.answer(&applied.tables, &heard);
        answer.kernel_agrees = agrees;
        if answer.reason == Reason::OutsideSchedule.name() {
            let deadlines = vec![u64::MAX; applied.tables.schedules.len()];
            let segments = self.config.alike().into_iter().map(|(_, segment)| segment);
            let hosts = segments.map(|segment| {
                Host::new(&applied.tables, Placed { segment, deadlines: deadlines.clone(), ..base.clone() })
            });
            answer.help = question.opens(&applied.tables, hosts, &parts, Timestamp::now());
        }
        Ok(answer)
    }
}

fn words(infrastructure: &Infrastructure) -> BTreeMap<String, bool> {
    infrastructure.words().into_iter().map(|(word, _, on)| (word.to_owned(), on)).collect()
}

fn selector(selector: &Selector) -> String {
    let protocol = if selector.protocol == bulkhead_common::wire::protocol::TCP { "tcp" } else { "udp" };
    if selector.low == selector.high {
        format!("{protocol}/{}", selector.low)
    } else {
        format!("{protocol}/{}-{}", selector.low, selector.high)
    }
}

fn place(location: &Location) -> String {
    format!("{}:{}", location.path, location.line)
}

/// A device of which only the counts are known.
fn counted(counts: &DeviceCounts) -> DeviceStatus {
    let grants = Grant::ALL.iter().map(|g| (g.name(), counts[usize::from(g.code())]));
    let reasons = Reason::ALL.iter().map(|r| (r.name(), counts[usize::from(r.code())]));
    DeviceStatus {
        name: String::new(),
        mode: String::new(),
        changed: None,
        criticality: String::new(),
        zone: None,
        class: None,
        mac: Vec::new(),
        ip: Vec::new(),
        dhcp: false,
        leases: Vec::new(),
        names: Vec::new(),
        identity: None,
        segment: None,
        vlan: None,
        place: String::new(),
        allowed: grants.clone().map(|(_, n)| n).sum(),
        denied: reasons.clone().map(|(_, n)| n).sum(),
        counts: grants.chain(reasons).filter(|(_, n)| *n > 0).map(|(w, n)| (w.to_owned(), n)).collect(),
    }
}
