//! A data path on one processor, of which one can see whether it decided a packet or remembered what it had decided of another.

use std::time::{Duration, Instant};

use bulkhead_agent::dataplane::{Dataplane, EventReader, Sizes, XdpAction};
use bulkhead_common::layout::{Flow, FlowKey, Traffic, ViolationKey};
use bulkhead_tests::{
    frame::frame,
    lab::{Room, napi},
};

use super::{CACHE, COUNTER, Setup, calendar, gateway, moment, open, tables};

const SIZES: Sizes =
    Sizes { devices: 64, rules: 128, flows: 4096, violations: 4096, ring_bytes: 4096, cache: CACHE };
pub const PASS: XdpAction = XdpAction::Pass;
pub const DROP: XdpAction = XdpAction::Drop;

/// Processors that this thread may run on.
pub fn processors() -> Vec<usize> {
    napi::processors().unwrap_or_else(|error| panic!("{error}"))
}

/// Each has a cache of its own.
pub fn go_to(processor: usize) {
    napi::pin(0, processor).unwrap_or_else(|error| panic!("{error}"));
}

/// A data path on one processor.
pub struct Gate {
    pub dataplane: Dataplane,
    pub events: EventReader,
}

impl Gate {
    pub fn new(room: &Room, pins: &str, words: &str, policy: &str) -> Self {
        Self::of_size(room, pins, SIZES, words, policy)
    }

    pub fn of_size(room: &Room, pins: &str, sizes: Sizes, words: &str, policy: &str) -> Self {
        go_to(processors()[0]);
        let (dataplane, events) = open(room, pins, sizes);
        let mut gate = Self { dataplane, events };
        gate.set(words);
        gate.apply(policy);
        gate
    }

    pub fn set(&mut self, words: &str) {
        Setup::of(words).expect("the words mean something").configure(&mut self.dataplane);
    }

    pub fn apply(&mut self, policy: &str) {
        let tables = tables(&[("policy.toml", policy)]);
        let moment = moment(&tables, calendar());
        let applied = self.dataplane.apply(tables, &gateway(), &Setup::segments(), &moment);
        applied.map(drop).unwrap_or_else(|error| panic!("{error}"));
    }

    pub fn run(&mut self, line: &str) -> XdpAction {
        let frame = frame(line).expect("it is well formed");
        self.dataplane.test_run(&frame).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn collect(&self) {
        self.dataplane.collect().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Packets that are in the counters, as they are.
    pub fn counted(&self) -> u64 {
        self.dataplane.interface_counts(COUNTER).expect("it is configured").seen.packets
    }

    /// What became of a packet, and whether it was decided: none before it is left to be counted.
    pub fn went(&mut self, line: &str) -> (XdpAction, bool) {
        self.collect();
        let before = self.counted();
        let action = self.run(line);
        let moved = self.counted() - before;
        assert!(moved <= 1, "`{line}` counts for {moved}");
        (action, moved == 1)
    }

    /// Sends a packet until it is answered from the cache.
    pub fn warm(&mut self, line: &str, wanted: XdpAction) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (action, decided) = self.went(line);
            assert_eq!(action, wanted, "`{line}`");
            if !decided {
                return;
            }
            assert!(Instant::now() < deadline, "`{line}` is never answered from the cache");
        }
    }

    /// The next packet is decided, and meets this.
    pub fn anew(&mut self, line: &str, wanted: XdpAction) {
        assert_eq!(self.went(line), (wanted, true), "`{line}`");
    }

    /// However often it comes.
    pub fn always_decided(&mut self, line: &str, wanted: XdpAction) {
        for _ in 0..8 {
            self.anew(line, wanted);
        }
    }

    /// An open connection.
    pub fn connect(&mut self, client: &str, server: &str, ports: (u16, u16), kind: &str) {
        let (from, to) = ports;
        assert_eq!(self.run(&format!("{client}>{server} {kind} {from}>{to} S")), PASS);
        assert_eq!(self.run(&format!("{server}>{client} {kind} {to}>{from} SA")), PASS);
        assert_eq!(self.run(&format!("{client}>{server} {kind} {from}>{to} A")), PASS);
    }

    pub fn stable(&self, device: &str) -> u32 {
        let applied = self.dataplane.applied().expect("a policy was applied");
        applied.ids.devices[applied.tables.device_id(device).expect("a device of the policy").0 as usize]
    }

    pub fn device(&self, device: &str, code: u8) -> u64 {
        self.dataplane.device_counts(self.stable(device)).expect("the id is in the map")[usize::from(code)]
    }

    /// All that rules have allowed.
    pub fn by_rules(&self) -> Traffic {
        let applied = self.dataplane.applied().expect("a policy was applied");
        let rules =
            applied.ids.rules.iter().map(|id| self.dataplane.rule_counts(*id).expect("it is in the map"));
        rules.fold(Traffic::default(), |sum, rule| Traffic {
            packets: sum.packets + rule.packets,
            bytes: sum.bytes + rule.bytes,
        })
    }

    pub fn flows(&self) -> Vec<(FlowKey, Flow)> {
        let reader = self.dataplane.flow_reader().unwrap_or_else(|error| panic!("{error}"));
        reader.read(usize::MAX).unwrap_or_else(|error| panic!("{error}")).0
    }

    pub fn repeats(&mut self) -> Vec<(ViolationKey, u64, u64)> {
        let mut drained = Vec::new();
        self.dataplane.drain_repeats(&mut drained).unwrap_or_else(|error| panic!("{error}"));
        drained.into_iter().map(|(key, told)| (key, told.packets, told.bytes)).collect()
    }
}

/// A policy of one device that one other may reach over one port.
pub fn only(port: u16) -> String {
    format!(
        "version = 1\n[device.plc]\nmac = \"00:1d:9c:c7:b0:70\"\nip = [\"10.20.1.11\", \"fd00:20::a14:10b\"]\n\
         mode = \"enforce\"\n[[device.plc.allow]]\nfrom = \"cell\"\nservice = \"one\"\n[network.cell]\n\
         cidr = [\"10.20.1.0/24\", \"fd00:20::a14:100/120\"]\n[service.one]\ntcp = {port}\nudp = {port}\n"
    )
}
