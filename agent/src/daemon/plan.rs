//! What another policy would change: everything that only the agent knows is gathered at once, and the comparison is made
//! beside it, so that no event waits for it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bulkhead_common::{
    flow,
    layout::{Flow, FlowKey},
    lookup::{Unmanaged, identity},
};
use tokio::sync::oneshot;

use super::{
    agent::{Agent, refused, user, world},
    beside,
    ourselves::not_ourselves,
    policies::{self, Gate},
};
use crate::{
    compile::{Limits, Placed, Tables},
    control::{Body, Failure, File, Reply},
    dataplane::{FlowReader, StableIds, monotonic_ns},
    diagnostic::counted,
    model::{Mode, Policy},
    observe::Spoken,
    policy::SourceFile,
    report::plan::{Asked, KnownFlow, Past, Side, World, plan},
    signing::Requirement,
    store::Overrides,
};

/// Flows that are looked at: each takes a few microseconds.
const MOST_FLOWS: usize = 1 << 20;

/// What was asked for.
pub(super) struct Wanted {
    pub(super) files: Option<Vec<File>>,
    pub(super) hops: u32,
    /// Seconds.
    pub(super) recent: u64,
}

/// Everything the comparison needs.
struct Known {
    policy: Policy,
    tables: Arc<Tables>,
    overrides: Overrides,
    limits: Limits,
    flows: FlowReader,
    translation: Translation,
    past: Past,
    /// Segments that pass what no device is part of, and say nothing.
    silent: Vec<String>,
    world: World,
    segments: Vec<String>,
    signing: Requirement,
}

impl Agent {
    /// Answers in its own time. One at a time: a second one is told to wait.
    pub(super) fn plan(&self, wanted: Wanted, back: oneshot::Sender<Reply>) {
        let busy = || world("another plan is being made\nhint: try again in a moment");
        let place = Arc::clone(&self.planning).try_acquire_owned().map_err(|_| busy());
        let begun = place.and_then(|place| Ok((place, self.gather(Duration::from_secs(wanted.recent))?)));
        let (place, known) = match begun {
            Ok(begun) => begun,
            Err(failure) => return drop(back.send(Reply::Error(failure))),
        };
        let configured = self.config.policy.clone();
        beside::answer("plan", back, move || {
            let reply = match known.compare(wanted, &configured) {
                Ok(body) => Reply::Ok(Box::new(body)),
                Err(failure) => Reply::Error(failure),
            };
            drop(place);
            reply
        });
    }

    fn gather(&self, recent: Duration) -> Result<Known, Failure> {
        let no_policy = || world("no policy is applied yet");
        let applied = self.dataplane.applied().ok_or_else(no_policy)?;
        let settings = self.dataplane.settings().map_err(world)?;
        let placed = self.config.management.pin(Placed {
            settings,
            gateway: self.nics.addresses.clone(),
            segments: self.config.segment_ids(),
            trusted: self.trusted_hosts(),
            ..Placed::default()
        });
        let names = self.in_force.policy.devices.iter().map(|device| device.name.clone());
        let devices = applied.ids.devices.iter().copied().zip(names).collect();
        let silent =
            self.config.alike().into_iter().filter(|(_, row)| row.unmanaged == Unmanaged::Pass.code());
        Ok(Known {
            past: self.reporter.past(recent, &self.dataplane, &self.config, &devices).map_err(world)?,
            silent: silent.map(|(names, _)| names).collect(),
            policy: self.in_force.policy.clone(),
            tables: Arc::clone(&applied.tables),
            overrides: self.overrides.clone(),
            limits: self.limits,
            flows: self.dataplane.flow_reader().map_err(world)?,
            translation: Translation::of(&applied.ids),
            world: World {
                segments: self.config.alike().into_iter().map(|(_, row)| row).collect(),
                placed,
                leases: self.dataplane.leases().map_err(world)?.into_iter().collect(),
                now: monotonic_ns(),
            },
            segments: self.config.segment_ids().into_keys().collect(),
            signing: self.config.signing.clone(),
        })
    }
}

impl Known {
    fn compare(self, wanted: Wanted, configured: &std::path::Path) -> Result<Body, Failure> {
        let Self {
            policy,
            tables,
            overrides,
            limits,
            flows,
            translation,
            past,
            silent,
            world,
            segments,
            signing,
        } = self;
        let in_force = tables.revision.to_string();
        let refuse = |error: policies::Refused| refused(&error, &in_force);
        // Judged as `apply` would, but for the age of a signed set: to look back is no harm.
        let gate = Gate { signing: &signing, accepted: None, in_force: None, allow_older: true };
        let read = match wanted.files {
            Some(files) => {
                let files = files.into_iter().map(|f| SourceFile { path: f.path, text: f.text }).collect();
                policies::from_pushed(files, &gate)
            }
            None => policies::from_path(configured, &gate),
        };
        let passed = read.map_err(&refuse)?;
        let layers = policies::whole(passed.files);
        let candidate = policies::prepare(layers, &overrides, &limits).and_then(not_ourselves);
        let candidate = candidate.map_err(&refuse)?;
        known_segments(&candidate.tables, &segments)?;
        let (flows, all_flows) = flows.read(MOST_FLOWS).map_err(super::agent::world)?;
        let recent = Duration::from_secs(wanted.recent);
        let flows = flows.iter().map(|(key, flow)| translation.flow(key, flow, &world));
        let flows: Vec<KnownFlow> = flows.filter(|flow| flow.live || flow.idle <= recent).collect();
        let flows = Some((flows.as_slice(), &world));
        let asked = Asked { hops: wanted.hops, now: jiff::Timestamp::now(), limits, flows, past: &past };
        let old = Side { policy: &policy, tables: &tables };
        let new = Side { policy: &candidate.policy, tables: &candidate.tables };
        let plan = plan(old, new, &asked);
        let mut notes = Vec::new();
        let enforced = candidate.policy.devices.iter().filter(|device| device.mode.enforces());
        let strangers = enforced.filter(|device| policy.device(&device.name).is_none()).count();
        if strangers > 0 && !silent.is_empty() {
            notes.push(format!(
                "new and enforcing at once: {}; what passes today on {}, where unmanaged traffic is not reported, is not remembered",
                counted(strangers, "device"),
                silent.join(", ")
            ));
        }
        if !all_flows {
            notes.push(format!("only the first {MOST_FLOWS} flows were looked at"));
        }
        for (name, change) in &overrides.devices {
            let mode = change.mode.name();
            notes.extend(match candidate.policy.device(name) {
                Some(_) => Some(format!("`{name}` stays in {mode}: set by hand, whatever the policy says")),
                None if change.mode == Mode::Quarantine && policy.device(name).is_some() => Some(format!(
                    "`{name}` is in quarantine by hand, and the policy has no such device any more"
                )),
                None => None,
            });
        }
        let warnings = candidate.doubts.told(&candidate.policy) + &passed.notes;
        Ok(Body::Plan(Box::new(plan.remarked(warnings, notes))))
    }
}

/// Refuses tables that name a segment that is not configured.
pub(super) fn known_segments(tables: &Tables, segments: &[String]) -> Result<(), Failure> {
    let Some(strange) = tables.segments.iter().find(|name| !segments.contains(name)) else { return Ok(()) };
    Err(user(format!(
        "the policy cannot be applied: a device must be seen on segment `{strange}`, which is not configured\n\
         help: the segments are {}",
        segments.join(", ")
    )))
}

/// Ids of the kernel and those of the tables.
pub(super) struct Translation {
    devices: BTreeMap<u32, u32>,
    rules: BTreeMap<u32, u32>,
}

impl Translation {
    pub(super) fn of(ids: &StableIds) -> Self {
        let back = |ids: &[u32]| ids.iter().copied().zip(1..).collect();
        Self { devices: back(&ids.devices), rules: back(&ids.rules) }
    }

    pub(super) fn flow(&self, key: &FlowKey, known: &Flow, world: &World) -> KnownFlow {
        let device = |who: u32| {
            let stable = Some(who).filter(|who| who & identity::DEVICE != 0);
            stable.and_then(|who| self.devices.get(&(who & !identity::DEVICE))).copied().unwrap_or(0)
        };
        let devices = [known.low, known.high].map(device);
        let Spoken { from, to, service, client } = Spoken::of(key, known.initiator);
        KnownFlow {
            from: from.into(),
            to: to.into(),
            protocol: key.protocol,
            service,
            client_port: client,
            devices: if known.initiator == 0 { devices } else { [devices[1], devices[0]] },
            rule: self.rules.get(&known.rule).copied().unwrap_or(0),
            idle: Duration::from_nanos(world.now.saturating_sub(known.seen)),
            live: !flow::is_expired(known, key.protocol, world.now, &world.placed.settings),
        }
    }
}
