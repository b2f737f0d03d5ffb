//! What is measured, and what is promised of it.

use bulkhead_agent::dataplane::VERDICTS_OF_ONE;
use bulkhead_common::reason::{Grant, Reason};
use bulkhead_tests::{
    grid::Grid,
    lab::stream::{Family, Kind, Peers, Stream},
};

use super::filter::Features;

/// Whose packets they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The product with the policy of a grid, and room for so many verdicts.
    Gate(Grid, u32),
    /// xdp-filter.
    Filter(Features),
}

/// What all packets of a scenario meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow(Grant),
    Deny(Reason),
}

/// Packets, and who judges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) subject: Subject,
    pub(super) stream: Stream,
    pub(super) verdict: Verdict,
    /// Whether a flow is over before its next packet.
    pub(super) forgetful: bool,
}

/// What a figure is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The empty program.
    Empty,
    /// A packet of another scenario, and what that is called.
    Other(&'static str, Scenario),
}

/// One row of the table.
pub(super) struct Line {
    pub(super) group: &'static str,
    pub(super) name: String,
    pub(super) scenario: Scenario,
    pub(super) over: Over,
    /// At most so many times as much.
    pub(super) most: Option<f64>,
}

impl Line {
    /// Whether it is about what is remembered of many flows.
    pub(super) fn is_remembered(&self) -> bool {
        self.group == ESTABLISHED && self.scenario.stream.bits >= MANY && self.over == Over::Empty
    }

    /// What must be measured for it.
    pub(super) fn scenarios(&self) -> Vec<Scenario> {
        match self.over {
            Over::Empty => vec![self.scenario],
            Over::Other(_, other) => vec![self.scenario, other],
        }
    }
}

/// 10 devices with 10 rules each, 1,000 and 10,000 with 100.
pub(super) const GRIDS: [Grid; 3] = [SMALL, MIDDLE, LARGE];
const SMALL: Grid = Grid { devices: 10, entries: 10 };
const MIDDLE: Grid = Grid { devices: 1000, entries: 100 };
const LARGE: Grid = Grid { devices: 10_000, entries: 100 };

/// Bits of the numbers of flows.
const ONE: u32 = 0;
const MANY: u32 = 12;
/// More than there is room for, and no packet of one soon after another.
const ENDLESS: u32 = 24;

/// Verdicts of IPv4 that there is room for: the agent's default.
pub(super) const VERDICTS: u32 = 1 << 16;

/// Every row.
pub(super) fn all() -> Vec<Line> {
    [established(), scale(), new(), deny(), peers()].into_iter().flatten().collect()
}

fn udp(grid: Grid, bits: u32) -> Scenario {
    Scenario {
        subject: Subject::Gate(grid, VERDICTS),
        stream: Stream { grid, bits, family: Family::V4, kind: Kind::Udp, peers: Peers::Allowed },
        verdict: Verdict::Allow(Grant::Flow),
        forgetful: false,
    }
}

fn with(scenario: Scenario, change: impl FnOnce(&mut Stream)) -> Scenario {
    let mut stream = scenario.stream;
    change(&mut stream);
    Scenario { stream, ..scenario }
}

fn with_room(scenario: Scenario, verdicts: u32) -> Scenario {
    Scenario { subject: Subject::Gate(scenario.stream.grid, verdicts), ..scenario }
}

fn over_v6(scenario: Scenario) -> Scenario {
    with(scenario, |stream| stream.family = Family::V6)
}

fn uncached(scenario: Scenario) -> Scenario {
    Scenario { verdict: Verdict::Allow(Grant::Rule), forgetful: true, ..scenario }
}

fn denied(scenario: Scenario, peers: Peers, reason: Reason) -> Scenario {
    Scenario { verdict: Verdict::Deny(reason), ..with(scenario, |stream| stream.peers = peers) }
}

fn line(
    group: &'static str,
    name: impl Into<String>,
    scenario: Scenario,
    over: Over,
    most: Option<f64>,
) -> Line {
    Line { group, name: name.into(), scenario, over, most }
}

const ESTABLISHED: &str = "established";

fn established() -> Vec<Line> {
    let group = ESTABLISHED;
    let mut lines = Vec::new();
    for (bits, most) in [(ONE, None), (MANY, Some(1.6)), (14, Some(2.0)), (16, Some(7.0))] {
        let flows = if bits == ONE { "1 flow".to_owned() } else { format!("{} flows", 1_u32 << bits) };
        let needed = VERDICTS_OF_ONE << bits;
        let (room, verdicts) = if needed > VERDICTS {
            (needed, format!(", verdicts = {needed}"))
        } else {
            (VERDICTS, String::new())
        };
        let v4 = with_room(udp(LARGE, bits), room);
        lines.push(line(group, format!("IPv4 UDP, {flows}{verdicts}"), v4, Over::Empty, most));
        lines.push(line(group, format!("IPv6 UDP, {flows}{verdicts}"), over_v6(v4), Over::Empty, None));
        if room > VERDICTS {
            let by_default = with_room(v4, VERDICTS);
            lines.push(line(group, format!("IPv4 UDP, {flows}"), by_default, Over::Empty, most));
        }
    }
    let tcp = with(udp(LARGE, MANY), |stream| stream.kind = Kind::Ack);
    lines.push(line(group, "IPv4 TCP, 4096 flows", tcp, Over::Empty, None));
    let v4 = Over::Other("IPv4", udp(LARGE, MANY));
    lines.push(line(group, "IPv6 UDP, 4096 flows", over_v6(udp(LARGE, MANY)), v4, Some(1.3)));
    lines
}

/// What a size is called.
pub(super) fn size(grid: Grid) -> String {
    format!("{} devices, {} rules", grid.devices, grid.rules())
}

fn scale() -> Vec<Line> {
    let group = "scale";
    let mut lines: Vec<Line> = [SMALL, MIDDLE]
        .into_iter()
        .map(|grid| line(group, format!("established, {}", size(grid)), udp(grid, MANY), Over::Empty, None))
        .collect();
    let small = Over::Other("10 devices", udp(SMALL, MANY));
    lines.push(line(group, format!("established, {}", size(LARGE)), udp(LARGE, MANY), small, Some(1.05)));
    lines
}

fn new() -> Vec<Line> {
    let group = "new";
    let mut lines = Vec::new();
    for grid in [SMALL, MIDDLE] {
        let name = format!("each packet by the rules, {}", size(grid));
        lines.push(line(group, name, uncached(udp(grid, MANY)), Over::Empty, None));
    }
    let large = uncached(udp(LARGE, MANY));
    let name = format!("each packet by the rules, {}", size(LARGE));
    lines.push(line(group, name.clone(), large, Over::Empty, None));
    let small = Over::Other("10 devices", uncached(udp(SMALL, MANY)));
    lines.push(line(group, name, large, small, Some(1.3)));
    for grid in [MIDDLE, LARGE] {
        let name = format!("each packet a new flow, one pushed out, {}", size(grid));
        let endless = Scenario { forgetful: false, ..uncached(udp(grid, ENDLESS)) };
        lines.push(line(group, name, endless, Over::Empty, None));
    }
    lines
}

fn deny() -> Vec<Line> {
    let group = "deny";
    let again = |bits| denied(udp(LARGE, bits), Peers::OtherService, Reason::ServiceNotAllowed);
    let random = |peers| denied(udp(LARGE, ENDLESS), peers, Reason::UnknownPeer);
    vec![
        line(group, "the same packet", again(ONE), Over::Empty, Some(1.7)),
        line(group, "4096 kinds", again(MANY), Over::Empty, Some(1.7)),
        line(group, "4096 kinds, IPv6", over_v6(again(MANY)), Over::Empty, None),
        line(group, "flood, devices to anybody", random(Peers::Anybody), Over::Empty, Some(5.0)),
        line(group, "flood, strangers to devices", random(Peers::Strangers), Over::Empty, Some(5.0)),
        line(group, "flood, strangers, IPv6", over_v6(random(Peers::Strangers)), Over::Empty, None),
    ]
}

fn peers() -> Vec<Line> {
    let group = "peers";
    let filter = |features, grid| Scenario { subject: Subject::Filter(features), ..udp(grid, MANY) };
    let ipv4 = filter(Features::Ipv4, LARGE);
    let all = filter(Features::All, MIDDLE);
    let own = udp(LARGE, MANY);
    vec![
        line(group, "xdp-filter, ipv4, 10000 entries", ipv4, Over::Empty, None),
        line(group, "xdp-filter, all features, 1000 entries", all, Over::Empty, None),
        line(group, "established", own, Over::Other("xdp-filter ipv4", ipv4), Some(0.45)),
        line(group, "established", own, Over::Other("xdp-filter all", all), Some(0.35)),
    ]
}
