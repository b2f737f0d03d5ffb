//! What may be remembered and for how long; and the words that say what is in force.

use core::cell::Cell;
use std::vec::Vec;

use super::*;
use crate::{
    address::Address,
    decide::{Action, Victim},
    layout::{
        Active, EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, Lease, RuleRow, SegmentRow, Settings,
    },
    lookup::Endpoint,
    mode::Mode,
    parse::Kind,
    wire::{dhcp, ethertype},
};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1000 * SECOND;
const LOW: Address = Address::v4(0x0a14_010b);
const HIGH: Address = Address::v4(0x0a14_0114);

/// Tables with one flow and some leases; `holds` asks for nothing else.
struct World {
    settings: Settings,
    head: Head,
    flow: Cell<Option<(FlowKey, Flow)>>,
    leases: Vec<(Address, Lease)>,
}

impl World {
    /// With a flow between the ends of a packet.
    fn of(packet: &Packet, flow: Flow) -> Self {
        let Packet { source, destination, source_port, destination_port, protocol, .. } = *packet;
        let (key, _) = flow::key(source, destination, source_port, destination_port, protocol, 0);
        Self {
            settings: Settings {
                tcp_idle: 3600 * SECOND,
                opening_idle: SECOND,
                closing_idle: SECOND,
                udp_idle: 2 * SECOND,
                ..Settings::default()
            },
            head: Head::default(),
            flow: Cell::new(Some((key, flow))),
            leases: Vec::new(),
        }
    }

    fn with_shapes(mut self, shapes: u32) -> Self {
        self.head.shapes = shapes;
        self
    }

    fn with_lease(mut self, address: Address, expires: u64) -> Self {
        self.leases.push((address, Lease { mac: 7, expires, length: 60 * SECOND }));
        self.with_shapes(shape::LEASED)
    }
}

impl Rules for World {
    fn segment(&self, _: u16) -> SegmentRow {
        unreachable!("a verdict was found already")
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
    fn head(&self) -> &Head {
        &self.head
    }
    fn now(&self) -> u64 {
        NOW
    }
    fn mac(&self, _: u64) -> EndRow {
        unreachable!("a verdict was found already")
    }
    fn endpoint(&self, _: &Address) -> Endpoint {
        unreachable!("a verdict was found already")
    }
    fn lease(&self, address: &Address) -> Lease {
        assert_ne!(self.head.shapes & shape::LEASED, 0, "no device has a lease");
        self.leases.iter().find(|(known, _)| known == address).map(|(_, lease)| *lease).unwrap_or_default()
    }
    fn bind(&self, _: &Address, _: &Lease) {
        unreachable!("nothing is changed")
    }
    fn is_management(&self, _: &Address, _: u8, _: u16) -> bool {
        unreachable!("a verdict was found already")
    }
    fn is_trusted(&self, _: &Address, _: u16, _: u32) -> bool {
        unreachable!("a verdict was found already")
    }
    fn class(&self, _: u8, _: u16) -> u32 {
        unreachable!("a verdict was found already")
    }
    fn permitted(&self, _: &Endpoint, _: &Endpoint, _: u32) -> RuleRow {
        unreachable!("a verdict was found already")
    }
    fn named(&self, _: u32, _: &Address, _: u32) -> RuleRow {
        unreachable!("a verdict was found already")
    }
    fn leased(&self, _: u32, _: u32) -> u32 {
        unreachable!("a verdict was found already")
    }
    fn is_open(&self, _: u32) -> bool {
        unreachable!("a verdict was found already")
    }
    fn with_flow<T>(&self, key: &FlowKey, f: impl FnOnce(&mut Flow) -> T) -> Option<T> {
        let (known, mut flow) = self.flow.get()?;
        let before = flow;
        let found = (known == *key).then(|| f(&mut flow));
        assert_eq!(flow, before, "nothing is changed");
        found
    }
    fn remember(&self, _: &FlowKey, _: impl FnOnce(&mut Flow)) {
        unreachable!("nothing is changed")
    }
    fn may_open(&self, _: u32) -> bool {
        unreachable!("nothing is counted")
    }
    fn with_fragments<T>(&self, _: &FragmentKey, _: impl FnOnce(&mut FragmentRow) -> T) -> Option<T> {
        unreachable!("a fragment has no key")
    }
    fn remember_fragments(&self, _: &FragmentKey, _: &FragmentRow) {
        unreachable!("a fragment has no key")
    }
}

fn datagram() -> Packet {
    Packet {
        kind: Kind::Ip,
        ethertype: ethertype::IPV4,
        protocol: protocol::UDP,
        source: LOW,
        destination: HIGH,
        source_port: 49_152,
        destination_port: 502,
        service_port: 502,
        ..Packet::EMPTY
    }
}

fn segment(tcp_flags: u8) -> Packet {
    Packet { protocol: protocol::TCP, tcp_flags, ..datagram() }
}

fn turned(packet: Packet) -> Packet {
    let Packet { source, destination, source_port, destination_port, .. } = packet;
    Packet {
        source: destination,
        destination: source,
        source_port: destination_port,
        destination_port: source_port,
        ..packet
    }
}

const FLOW: Verdict = Verdict::Allow(Grant::Flow);

/// What is remembered of a verdict on a packet, in some mode.
fn remembered(packet: &Packet, verdict: Verdict, mode: Mode, world: &World) -> Option<Holds> {
    let judgement = Judgement { verdict, rule: 0, victim: Victim::NEAREST, reading: reading::NOTHING };
    let action = match verdict {
        Verdict::Deny(_) if mode.enforces() => Action::Drop,
        Verdict::Deny(_) | Verdict::Allow(_) => Action::Pass,
    };
    let decision = Decision { verdict, action, mode, device: 1, source: 2, destination: 1, rule: 0 };
    holds(packet, &judgement, &decision, world)
}

/// The same of a packet that is allowed as one of its flow.
fn in_flow(packet: &Packet, flow: Flow) -> Option<Holds> {
    remembered(packet, FLOW, Mode::Enforce, &World::of(packet, flow))
}

#[test]
fn flow_is_remembered_for_each_side_and_no_longer_than_a_quarter_of_its_idle_time() {
    let udp = Some(Holds { life: SECOND / 2, flags: flag::FLOW });
    assert_eq!(in_flow(&datagram(), Flow::default()), udp);
    let from_the_higher = Some(Holds { life: SECOND / 2, flags: flag::FLOW });
    assert_eq!(in_flow(&turned(datagram()), Flow::default()), from_the_higher);
    // A connection may be silent for an hour.
    let tcp = Some(Holds { life: LIFE, flags: flag::FLOW });
    assert_eq!(in_flow(&segment(tcp::ACK), Flow::default()), tcp);

    for (idle, life) in [(0, 0), (3, 0), (4, 1), (4 * LIFE - 4, LIFE - 1), (4 * LIFE, LIFE), (u64::MAX, LIFE)]
    {
        let mut world = World::of(&datagram(), Flow::default());
        world.settings.udp_idle = idle;
        let found = remembered(&datagram(), FLOW, Mode::Enforce, &world);
        assert_eq!(found, Some(Holds { life, flags: flag::FLOW }), "{idle}");
    }
}

#[test]
fn segment_that_opens_closes_or_resets_is_never_remembered_as_one_of_its_flow() {
    for flags in 0..=u8::MAX {
        let changes = flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0;
        assert_eq!(in_flow(&segment(flags), Flow::default()).is_none(), changes, "{flags:#04x}");
        assert_eq!(changes_a_flow(&segment(flags)), changes, "{flags:#04x}");
        // The same bits mean nothing in a datagram.
        assert!(!changes_a_flow(&Packet { tcp_flags: flags, ..datagram() }));
    }
}

#[test]
fn flow_that_opens_or_closes_is_not_remembered() {
    for state in 0..=u8::MAX {
        let found = in_flow(&segment(tcp::ACK), Flow { state, ..Flow::default() });
        let is_steady = matches!(state, 0 | flow::state::ANSWERED);
        assert_eq!(found.is_some(), is_steady, "{state:#04x}");
    }
}

#[test]
fn flow_of_a_schedule_or_of_others_or_of_nobody_is_not_remembered() {
    assert_eq!(in_flow(&datagram(), Flow { schedule: 1, ..Flow::default() }), None);
    let world = World::of(&datagram(), Flow::default());
    let others = [
        segment(tcp::ACK),
        Packet { source_port: 49_153, ..datagram() },
        Packet { destination: Address::v4(1), ..datagram() },
    ];
    for other in others {
        assert_eq!(remembered(&other, FLOW, Mode::Enforce, &world), None, "{other:?}");
    }
    world.flow.set(None);
    assert_eq!(remembered(&datagram(), FLOW, Mode::Enforce, &world), None);
}

#[test]
fn of_what_is_allowed_only_flows_and_unmanaged_traffic_are_remembered() {
    for grant in Grant::ALL {
        let world = World::of(&datagram(), Flow::default());
        let found = remembered(&datagram(), Verdict::Allow(*grant), Mode::Monitor, &world);
        let wanted = if *grant == Grant::Flow {
            Some(Holds { life: SECOND / 2, flags: flag::FLOW })
        } else {
            (*grant == Grant::Unmanaged).then_some(Holds { life: LIFE, flags: 0 })
        };
        assert_eq!(found, wanted, "{}", grant.name());
    }
}

/// Denials that depend on who speaks with whom, where and over what: on nothing that passes by itself.
const LASTING: [Reason; 9] = [
    Reason::SourceAddressMismatch,
    Reason::SourceMacMismatch,
    Reason::DestinationMismatch,
    Reason::WrongVlan,
    Reason::WrongSegment,
    Reason::Quarantined,
    Reason::NoRule,
    Reason::UnknownPeer,
    Reason::Unmanaged,
];
/// Denials that say that there is some rule: one by name goes when what was learned is forgotten.
const OF_RULES: [Reason; 2] = [Reason::ServiceNotAllowed, Reason::WrongDirection];

#[test]
fn denial_is_remembered_when_nothing_but_the_tables_can_change_it() {
    for reason in Reason::ALL {
        for (shapes, by_name) in [(0, false), (shape::ENFORCING, false), (shape::NAMED, true)] {
            let world = World::of(&datagram(), Flow::default()).with_shapes(shapes);
            let found = remembered(&datagram(), Verdict::Deny(*reason), Mode::Monitor, &world);
            let lasts = LASTING.contains(reason) || (OF_RULES.contains(reason) && !by_name);
            let wanted = lasts.then_some(Holds { life: LIFE, flags: flag::DENIED });
            assert_eq!(found, wanted, "{} {shapes:#x}", reason.name());
        }
    }
}

#[test]
fn mode_of_a_denial_comes_back_and_no_other_bit_is_in_its_way() {
    for mode in [Mode::Monitor, Mode::Enforce, Mode::Quarantine] {
        let world = World::of(&datagram(), Flow::default()).with_lease(LOW, NOW + SECOND / 2);
        let found = remembered(&datagram(), Verdict::Deny(Reason::NoRule), mode, &world);
        let Some(Holds { life, flags }) = found else { panic!("it is remembered") };
        let marked = flags | flag::DROPPED | flag::REDIRECTED;
        assert_eq!((life, marked >> flag::MODE), (SECOND / 4, mode.code()));
        assert_eq!(flags & !(3 << flag::MODE), flag::DENIED | flag::LEASED);
    }
}

#[test]
fn no_verdict_outlives_half_of_what_is_left_of_a_lease_of_its_ends() {
    let life = |leases: &[(Address, u64)]| {
        let mut world = World::of(&datagram(), Flow::default()).with_shapes(shape::LEASED);
        for (address, expires) in leases {
            world = world.with_lease(*address, *expires);
        }
        let found = remembered(&datagram(), Verdict::Allow(Grant::Unmanaged), Mode::Monitor, &world)?;
        assert_eq!(found.flags, flag::LEASED);
        Some(found.life)
    };
    assert_eq!(life(&[]), Some(LIFE));
    assert_eq!(life(&[(LOW, NOW + 1)]), Some(0));
    assert_eq!(life(&[(HIGH, NOW + 7)]), Some(3));
    assert_eq!(life(&[(LOW, NOW + 9), (HIGH, NOW + 7)]), Some(3));
    assert_eq!(life(&[(LOW, NOW + 7), (HIGH, NOW + 9)]), Some(3));
    assert_eq!(life(&[(LOW, NOW + 2 * LIFE), (HIGH, u64::MAX)]), Some(LIFE));
    // One that is over is none; so is that of somebody else.
    assert_eq!(life(&[(LOW, NOW), (HIGH, NOW - 1)]), Some(LIFE));
    assert_eq!(life(&[(Address::v4(1), NOW + 1)]), Some(LIFE));
}

#[test]
fn leases_count_for_flows_and_denials_alike() {
    for (verdict, flags) in [(FLOW, flag::FLOW), (Verdict::Deny(Reason::UnknownPeer), flag::DENIED)] {
        let world = World::of(&datagram(), Flow::default()).with_lease(HIGH, NOW + 6);
        let found = remembered(&datagram(), verdict, Mode::Monitor, &world);
        assert_eq!(found, Some(Holds { life: 3, flags: flags | flag::LEASED }));
    }
}

#[test]
fn what_dhcp_says_is_never_remembered() {
    let v4 = [(dhcp::CLIENT, dhcp::SERVER), (dhcp::SERVER, dhcp::CLIENT)];
    let v6 = [(dhcp::CLIENT_V6, dhcp::SERVER_V6), (dhcp::SERVER_V6, dhcp::CLIENT_V6)];
    for (ethertype, pairs) in [(ethertype::IPV4, v4), (ethertype::IPV6, v6)] {
        for (source_port, destination_port) in pairs {
            let packet = Packet { ethertype, source_port, destination_port, ..datagram() };
            for verdict in [FLOW, Verdict::Allow(Grant::Unmanaged), Verdict::Deny(Reason::NoRule)] {
                let world = World::of(&packet, Flow::default());
                assert_eq!(remembered(&packet, verdict, Mode::Enforce, &world), None, "{packet:?}");
            }
        }
    }
}

#[test]
fn what_user_space_reads_or_is_malformed_is_never_remembered() {
    let verdicts = [FLOW, Verdict::Allow(Grant::Unmanaged), Verdict::Deny(Reason::NoRule)];
    for verdict in verdicts {
        let world = World::of(&datagram(), Flow::default());
        let faulty = Packet { fault: Some(Reason::MartianSource), ..datagram() };
        assert_eq!(remembered(&faulty, verdict, Mode::Enforce, &world), None);
        for reading in [reading::LEASES, reading::NAMES] {
            let judgement = Judgement { verdict, rule: 0, victim: Victim::NEAREST, reading };
            let decision = Decision {
                verdict,
                action: Action::Pass,
                mode: Mode::Enforce,
                device: 0,
                source: 0,
                destination: 0,
                rule: 0,
            };
            assert_eq!(holds(&datagram(), &judgement, &decision, &world), None);
        }
    }
}

#[test]
fn what_is_in_force_is_one_word() {
    for slot in [0, 1] {
        for edition in [0, 1, 2, 0x1234_5678, (u32::MAX >> 1) - 1] {
            for generation in [0, 1, u32::MAX] {
                let active = Active { slot, edition, generation };
                assert_eq!(Active::from_word(active.word()), active);
            }
        }
    }
    assert_eq!(Active::default().word(), 0);
}

#[test]
fn no_edition_is_that_of_an_empty_or_of_a_taken_entry() {
    let after = |edition, slot| {
        let active = Active { slot, edition, generation: 9 };
        let next = active.next_edition();
        assert_eq!((next.slot, next.generation), (slot, 9));
        next.edition
    };
    let last = u32::MAX >> 1;
    for slot in [0, 1] {
        let cases = [(0, 1), (1, 2), (7, 8), (last - 2, last - 1), (last - 1, 1), (last, 1)];
        for (edition, next) in cases {
            assert_eq!(after(edition, slot), next, "{edition:#x}");
            let word = Active { slot, edition: next, generation: 0 }.word();
            assert!(word != 0 && word != u64::from(TAKEN), "{edition:#x}");
        }
    }
}

#[test]
fn tick_of_the_last_packet_is_found_again_when_ticks_begin_anew() {
    for until in [1000, 0x1_0000, 0x1_0001, 0x7fff_ffff, u32::MAX, 0, 1, 999] {
        for before in [1_u32, 2, 250, 1000, 0xffff] {
            let last = u32::wrapping_sub(until, before);
            let half = u16::try_from(last & 0xffff).expect("16 bits");
            let known = Remembered { until, last: half, ..Remembered::default() };
            assert_eq!(known.last_tick(), last, "{before} before {until}");
        }
    }
}

#[test]
fn entry_is_silent_from_its_last_packet_on_and_not_from_when_it_was_made() {
    for now in [0_u32, 700, 0xffff, 0x1_0000, u32::MAX] {
        let made = now.wrapping_sub(900);
        let silent = |ago: u32, ticks: u32| {
            let last = u16::try_from(now.wrapping_sub(ago) & 0xffff).expect("16 bits");
            let known = Remembered { until: made.wrapping_add(1000), last, ..Remembered::default() };
            assert!(known.holds_at(now));
            known.is_silent(now, ticks)
        };
        assert!(silent(900, 250) && silent(251, 250), "{now:#x}");
        assert!(!silent(250, 250) && !silent(0, 250), "{now:#x}");
    }
}

#[test]
fn verdict_holds_up_to_its_tick_and_not_again_while_ticks_go_round() {
    assert!(LIFE / 1_000_000 < u64::from(MOST_TICKS), "no kernel has more than a thousand ticks a second");
    for until in [0_u32, 1, 1000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let known = Remembered { until, ..Remembered::default() };
        let at = |before: u32| known.holds_at(until.wrapping_sub(before));
        assert!([1, 2, 250, 1000].into_iter().all(at), "{until:#x}");
        // After it: at once, after weeks, and until its last moments come round.
        let after = [0, 1, 1000, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xfff0_0000];
        assert!(!after.into_iter().any(|ticks| known.holds_at(until.wrapping_add(ticks))), "{until:#x}");
    }
}
