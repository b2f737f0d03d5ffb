//! A row in the kernel: the loaded program runs on each frame (BPF_PROG_TEST_RUN), and every counter is read.

use std::collections::BTreeMap;

use bulkhead_agent::dataplane::{Dataplane, EventReader, Moment, XdpAction};
use bulkhead_common::{
    decide::decide,
    layout::{Event, START_BYTES, Traffic, is_answer},
    parse::parse,
    reason::Reason,
    wire::mac,
};
use bulkhead_tests::lab::Room;
use jiff::Timestamp;

use super::{
    COUNTER, LO, SIZES, Setup, calendar,
    expect::{Moved, told, word},
    gateway, moment, named, open,
    rows::{Expected, Fate, Learned, Row, Step},
    tables, text,
};

/// A fresh data path with the names of everything that was ever applied to it.
pub struct Kernel {
    pub dataplane: Dataplane,
    pub events: EventReader,
    devices: BTreeMap<u32, String>,
    rules: BTreeMap<u32, String>,
    /// The policy in force: rows come sorted by file, so most find theirs there already.
    policy: Option<String>,
    calendar: Timestamp,
    /// What devices have learned in this row.
    learned: Vec<Learned>,
}

impl Kernel {
    pub fn new(room: &Room, pins: &str) -> Self {
        let (dataplane, events) = open(room, pins, SIZES);
        Self {
            dataplane,
            events,
            devices: BTreeMap::from([(0, "-".into())]),
            rules: BTreeMap::new(),
            policy: None,
            calendar: calendar(),
            learned: Vec::new(),
        }
    }

    pub fn set(&mut self, setup: &Setup) {
        setup.configure(&mut self.dataplane);
    }

    /// Turns the calendar.
    pub fn turn(&mut self, calendar: Timestamp) {
        self.calendar = calendar;
        if let Some(applied) = self.dataplane.applied() {
            let Moment { deadlines, .. } = moment(&applied.tables, calendar);
            self.dataplane.reschedule(&deadlines).unwrap_or_else(|error| panic!("{error}"));
            self.put_names(&deadlines);
        }
    }

    /// A device learns an address between two policies.
    fn learn(&mut self, learned: &Learned) {
        self.learned.push(learned.clone());
        let applied = self.dataplane.applied().expect("a policy was applied");
        let Moment { deadlines, .. } = moment(&applied.tables, self.calendar);
        self.put_names(&deadlines);
    }

    fn put_names(&mut self, deadlines: &[u64]) {
        let tables = self.dataplane.applied().expect("a policy was applied").tables.clone();
        for (key, row) in named::rows(&tables, deadlines, self.learned.iter().map(|one| (one, 0))) {
            let fits = self.dataplane.learn_name(key, row).unwrap_or_else(|error| panic!("{error}"));
            assert!(fits, "{key:?}");
        }
    }

    pub fn apply(&mut self, policy: &str) {
        self.policy = Some(policy.to_owned());
        let tables = tables(&[(policy, &text(policy))]);
        let now = moment(&tables, self.calendar);
        let named = named::rows(&tables, &now.deadlines, self.learned.iter().map(|one| (one, 0)));
        let moment = Moment { named, ..now };
        let applied = self.dataplane.apply(tables, &gateway(), &Setup::segments(), &moment);
        let applied = applied.unwrap_or_else(|error| panic!("{policy}: {error}"));
        for (device, id) in applied.tables.devices.iter().zip(&applied.ids.devices) {
            self.devices.insert(*id, device.name.clone());
        }
        for (rule, id) in applied.tables.rules.iter().zip(&applied.ids.rules) {
            self.rules.insert(*id, format!("{}:{}", rule.location.path, rule.location.line));
        }
    }

    /// Every counter there is.
    fn counters(&self) -> Moved {
        self.dataplane.collect().unwrap_or_else(|error| panic!("{error}"));
        let mut moved = Moved::default();
        for id in 0..SIZES.devices {
            let name = self.devices.get(&id).cloned().unwrap_or_else(|| format!("id {id}"));
            let counts = self.dataplane.device_counts(id).expect("the id is in the map");
            for (count, code) in counts.into_iter().zip(0..).filter(|(count, _)| *count != 0) {
                moved.devices.insert((name.clone(), word(code).into()), count);
            }
        }
        for id in 0..SIZES.rules {
            let name = self.rules.get(&id).cloned().unwrap_or_else(|| format!("id {id}"));
            let Traffic { packets, bytes } = self.dataplane.rule_counts(id).expect("the id is in the map");
            if packets != 0 {
                moved.rules.insert(name, (packets, bytes));
            }
        }
        moved.interface = self.dataplane.interface_counts(COUNTER).expect("the interface has counters");
        let tally = self.dataplane.tally().expect("the tally is readable");
        assert_eq!(tally.violations, tally.delivered + tally.aggregated + tally.lost);
        let refused =
            (tally.flows_refused, tally.fragments_refused, tally.leases_refused, tally.samples_lost);
        assert_eq!(refused, (0, 0, 0, 0));
        Moved { violations: tally.violations, lost: tally.lost, ..moved }
    }

    /// What the live maps answer when asked in words (`why`): the same, and asking leaves no trace.
    fn asked(&self, bytes: &[u8]) -> Expected {
        let live = self.dataplane.live(LO).expect("the maps are readable").expect("a policy was applied");
        let decision = decide(&parse(bytes), &live);
        let device = |id: u32| (id != 0).then(|| self.devices[&id].clone());
        told(&decision, device, |id| self.rules.get(&id).cloned())
    }

    /// The frame's fate and exactly what moved.
    fn step(&mut self, before: &Moved, bytes: &[u8]) -> (XdpAction, Moved) {
        let action = self.dataplane.test_run(bytes).unwrap_or_else(|error| panic!("{error}"));
        let after = self.counters();
        (action, difference(before, &after))
    }
}

fn difference(before: &Moved, after: &Moved) -> Moved {
    let traffic =
        |a: Traffic, b: Traffic| Traffic { packets: b.packets - a.packets, bytes: b.bytes - a.bytes };
    let (a, b) = (before.interface, after.interface);
    let mut moved = Moved {
        devices: after.devices.clone(),
        rules: after.rules.clone(),
        interface: bulkhead_common::layout::InterfaceCounters {
            seen: traffic(a.seen, b.seen),
            passed: traffic(a.passed, b.passed),
            dropped: traffic(a.dropped, b.dropped),
            would_drop: traffic(a.would_drop, b.would_drop),
            // Whether a packet was decided or remembered is no promise of a row.
            remembered: 0,
        },
        violations: after.violations - before.violations,
        lost: after.lost - before.lost,
    };
    for (key, count) in &before.devices {
        *moved.devices.get_mut(key).expect("a counter never disappears") -= count;
    }
    for (key, (packets, bytes)) in &before.rules {
        let rule = moved.rules.get_mut(key).expect("a counter never disappears");
        *rule = (rule.0 - packets, rule.1 - bytes);
    }
    moved.devices.retain(|_, count| *count != 0);
    moved.rules.retain(|_, (packets, _)| *packets != 0);
    moved
}

/// Runs a row on a data path that remembers nothing; `Err` says which step went otherwise.
pub fn run(row: &Row, kernel: &mut Kernel) -> Result<(), String> {
    kernel.dataplane.forget().unwrap_or_else(|error| panic!("{error}"));
    while kernel.events.next_record().is_some() {}
    kernel.set(&Setup::default());
    kernel.turn(calendar());
    let forgets = !std::mem::take(&mut kernel.learned).is_empty();
    if forgets || kernel.policy.as_deref() != Some(row.policy) {
        kernel.apply(row.policy);
    }
    let mut result = Ok(());
    for step in &row.steps {
        match step {
            Step::Wait(_) => unreachable!("a row that waits is for the host"),
            Step::Set(setup) => kernel.set(setup),
            Step::Policy(name) => kernel.apply(name),
            Step::Clock(time) => kernel.turn(*time),
            Step::Learn(learned) => kernel.learn(learned),
            Step::Frame { text, bytes, expected } => {
                let before = kernel.counters();
                let asked = kernel.asked(bytes);
                if asked != *expected {
                    result =
                        Err(format!("live maps, `{text}`:\n  expected {expected:?}\n  found    {asked:?}"));
                    break;
                }
                let (action, moved) = kernel.step(&before, bytes);
                let wanted = Moved::by(expected, bytes.len());
                let fate = if expected.action == Fate::Drop { XdpAction::Drop } else { XdpAction::Pass };
                if action != fate || moved != wanted {
                    result = Err(format!(
                        "kernel, `{text}`:\n  expected {fate:?} {wanted:?}\n  found    {action:?} {moved:?}"
                    ));
                    break;
                }
                if let Some(event) = kernel.events.next_record()
                    && let Err(what) = matches_frame(&event, bytes, expected)
                {
                    result = Err(format!("kernel, `{text}`: the event's {what}: {event:?}"));
                    break;
                }
            }
        }
    }
    result
}

/// An event tells of the frame what the frame says.
fn matches_frame(event: &Event, bytes: &[u8], expected: &Expected) -> Result<(), String> {
    let packet = parse(bytes);
    let key = &event.key;
    // A later fragment is told with the ports of its packet.
    let (service, port, answer) = if packet.fragment.is_later() {
        (key.port, event.other_port, key.answer)
    } else if is_answer(&packet) {
        (packet.source_port, packet.destination_port, 1)
    } else {
        (packet.service_port, packet.source_port, 0)
    };
    let start = &bytes[..bytes.len().min(START_BYTES)];
    let (kept, rest) = event.start.split_at(usize::from(event.kept).min(START_BYTES));
    if kept != start || rest.iter().any(|byte| *byte != 0) {
        return Err(format!("start is not that of the frame: {:02x?}", event.start));
    }
    let same = [
        ("length", u64::from(event.len), u64::from(packet.len)),
        ("source MAC", mac::from_octets(key.source_mac), packet.source_mac),
        ("destination MAC", mac::from_octets(key.destination_mac), packet.destination_mac),
        ("source", key.source.low, packet.source.low),
        ("source network", key.source.high, packet.source.high),
        ("destination", key.destination.low, packet.destination.low),
        ("destination network", key.destination.high, packet.destination.high),
        ("port", key.port.into(), service.into()),
        ("other port", event.other_port.into(), port.into()),
        ("answer", key.answer.into(), answer.into()),
        ("vlan", key.vlan.into(), packet.vlan.into()),
        ("interface", key.ifindex.into(), LO.into()),
        ("dropped", key.dropped.into(), u64::from(expected.action == Fate::Drop)),
    ];
    for (what, found, wanted) in same {
        if found != wanted {
            return Err(format!("{what} is {found:#x}, not {wanted:#x}"));
        }
    }
    match Reason::from_code(key.reason).map(Reason::name) {
        Some(name) if name == expected.word => Ok(()),
        other => Err(format!("reason is {other:?}")),
    }
}
