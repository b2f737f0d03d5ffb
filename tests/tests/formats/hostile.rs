//! Random records whose names want to be something else. In: a number. Out: always the same record for it.

use std::net::IpAddr;

use bulkhead_agent::{
    model::Mode,
    record::{
        Action, Cause, End, Gap, Heartbeat, Icmp, Modes, Record, Scan, Severity, VERSION, Verdict, Violation,
    },
};

/// What breaks a line, a field, a value or a reader of one of the formats.
const EVIL: [&str; 40] = [
    "|",
    "=",
    "\\",
    "\"",
    "]",
    "[",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{2029}",
    "\u{202e}",
    "\u{feff}",
    "\u{fffe}",
    "\\n",
    "\\|",
    "\\=",
    "\\\\",
    "x=y",
    " cs1=z",
    "CEF:0|",
    "LEEF:2.0|",
    "x09",
    "<134>1 ",
    "- - -",
    "{\"a\":1}",
    "\",\"count\":9",
    "'",
    "%s",
    "ü",
    "日本",
    "😀",
    "e\u{301}",
    " ",
    "  ",
    "#011",
];

/// SplitMix64 (Steele, Lea, Flood 2014): a case is its seed, so one that fails can be run alone.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).expect("it is an index")]
    }

    fn flag(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(make(self)) } else { None }
    }

    /// A small number, or any.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => u64::MAX,
            1 => self.next(),
            _ => self.below(1000),
        }
    }

    fn port(&mut self) -> u16 {
        u16::try_from(self.below(65_536)).expect("it is below")
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).expect("it is below")
    }

    /// Mostly short; sometimes much too long.
    fn text(&mut self) -> String {
        let pieces = match self.below(20) {
            0 => 0,
            1 => self.below(600),
            _ => self.below(8),
        };
        let mut text = String::new();
        for _ in 0..pieces {
            match self.below(4) {
                0 | 1 => text.push_str(self.one(&EVIL)),
                2 => text.push_str(self.one(&["press", "plc", "office", "eth1", "a", "7"])),
                _ => text.extend(char::from_u32(u32::try_from(self.below(0x11_0000)).expect("it is below"))),
            }
        }
        text
    }

    fn boot(&mut self) -> String {
        format!("{:016x}", self.next())
    }

    fn seq(&mut self) -> u64 {
        self.number().max(1)
    }

    fn time(&mut self) -> String {
        match self.below(8) {
            0 => self.text(),
            1 => self
                .one(&["-009999-01-02T01:59:59Z", "9999-12-30T22:00:00.9Z", "2026-03-02T10:00:00+23:59"])
                .to_owned(),
            _ => format!("2026-03-02T10:{:02}:07.{:06}Z", self.below(60), self.below(1_000_000)),
        }
    }

    fn end(&mut self) -> End {
        End {
            name: self.maybe(Self::text),
            mac: self.maybe(|random| {
                if random.below(8) == 0 {
                    random.text()
                } else {
                    format!("02:00:00:00:{:02x}:66", random.byte())
                }
            }),
            ip: self.maybe(|random| {
                if random.flag() {
                    let octets = u32::try_from(random.next() >> 32).expect("it is half");
                    IpAddr::from(octets.to_be_bytes())
                } else {
                    IpAddr::from((u128::from(random.next()) << 64 | u128::from(random.next())).to_be_bytes())
                }
            }),
            port: self.maybe(Self::port),
        }
    }

    fn violation(&mut self) -> Violation {
        Violation {
            v: VERSION,
            time: self.time(),
            first: self.time(),
            gateway: self.text(),
            boot: self.boot(),
            seq: self.seq(),
            severity: self.one(&[
                Severity::Info,
                Severity::Low,
                Severity::Medium,
                Severity::High,
                Severity::Critical,
            ]),
            revision: self.maybe(|random| format!("{:012x}", random.next() >> 16)),
            device: self.maybe(Self::text),
            criticality: self.maybe(|random| random.one(&["low", "medium", "high", "safety"]).to_owned()),
            mode: self.one(&[Mode::Monitor, Mode::Enforce, Mode::Quarantine]),
            verdict: Verdict::Deny,
            action: self.one(&[Action::Dropped, Action::Passed]),
            reason: if self.below(8) == 0 { self.text() } else { "no-rule".to_owned() },
            explanation: self.text(),
            source: self.end(),
            destination: self.end(),
            protocol: match self.below(6) {
                0 => self.text(),
                1 => format!("ip/{}", self.byte()),
                _ => {
                    self.one(&["tcp", "udp", "icmp", "icmpv6", "arp", "0x8892", "802.3", "mixed"]).to_owned()
                }
            },
            icmp: self.maybe(|random| Icmp { r#type: random.byte(), code: random.byte() }),
            vlan: self.maybe(Self::port),
            inner_vlan: self.maybe(Self::port),
            interface: self.text(),
            answer: self.flag(),
            others: self.flag(),
            scan: self.maybe(|random| Scan {
                hosts: random.number(),
                ports: random.number(),
                devices: random.number(),
                at_least: random.flag(),
            }),
            packet: self.maybe(|random| match random.below(4) {
                0 => random.text(),
                1 => "ab".repeat(usize::try_from(random.below(2000)).expect("it is below")),
                _ => "0a".repeat(64),
            }),
            count: self.number(),
            bytes: self.number(),
        }
    }

    /// A record of any kind.
    pub(crate) fn record(&mut self) -> Record {
        match self.below(8) {
            0 => Record::Gap(Gap {
                v: VERSION,
                time: self.time(),
                gateway: self.text(),
                boot: self.boot(),
                seq: self.seq(),
                cause: self.one(&[Cause::Before, Cause::Restart, Cause::Ring, Cause::Spool]),
                explanation: self.text(),
                first: self.maybe(|random| format!("{}-{}", random.boot(), random.seq())),
                last: self.maybe(|random| format!("{}-{}", random.boot(), random.seq())),
                count: self.number(),
            }),
            1 => Record::Heartbeat(Heartbeat {
                v: VERSION,
                time: self.time(),
                gateway: self.text(),
                boot: self.boot(),
                seq: self.seq(),
                revision: self.maybe(|random| format!("{:012x}", random.next() >> 16)),
                modes: Modes { monitor: self.number(), enforce: self.number(), quarantine: self.number() },
                violations: self.number(),
                warnings: (0..self.below(12)).map(|_| self.text()).collect(),
                count: self.number(),
            }),
            _ => Record::Violation(Box::new(self.violation())),
        }
    }
}
