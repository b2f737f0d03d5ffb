//! What becomes of a talk: it is learned, it is allowed already, a person has to decide, or it is left out. In: what is known of it, and what the
//! policy says of it. Out: its fate, with each reason by its name.

use std::collections::BTreeMap;

use bulkhead_common::wire::{protocol, pseudo};

use super::{
    Found, Habit, Judge, Party, Settings, Talk,
    judge::{Asking, Said},
};
use crate::{
    model::Policy,
    policy::built_in,
    traffic::{End, Kind, Service},
};

/// Why something is not learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Left {
    /// Not within the time that is looked at.
    Outside,
    /// Neither end is a device of the policy.
    Apart,
    /// One end is in no network and no device.
    Unknown,
    /// One end was cut off.
    Quarantined,
    /// The source was trying many partners or ports.
    Scan,
    /// Nobody answered, or only to refuse.
    Unanswered,
    /// It was seen too seldom.
    OneOff,
    /// ICMP errors: they pass with what they are about.
    Error,
    /// Hosts that ask for an address.
    NoAddress,
    /// There was no room for another talk.
    NoRoom,
}

/// Why a person has to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Doubt {
    /// SSH, Telnet, RDP, VNC, `WinRM` and their like.
    RemoteAdmin,
    /// SMB, `NetBIOS`, the endpoint mapper of Windows.
    FileSharing,
    /// FTP, TFTP: neither says who one is.
    FileTransfer,
    /// The other end is somewhere in the Internet.
    Internet,
    /// Two devices of one class.
    Peers,
    /// Nobody answers, so that nothing shows that it is wanted.
    OneWay,
    /// Who began was not seen, and the port does not tell.
    Guessed,
    /// It was seen only while its source was scanning.
    InScan,
    /// It was seen first when its source had scanned.
    AfterScan,
    /// A rule allows it at times, and it was seen at others.
    OutsideWindow,
    /// A rule allowed it until it expired.
    Expired,
    /// No policy can name it.
    Unnameable,
}

/// What becomes of a talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is proposed.
    Learned,
    /// The policy allows it.
    Covered,
    /// A person has to say.
    Decide(Vec<Doubt>),
    /// It is not.
    Left(Left),
}

impl Left {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Apart => "apart",
            Self::Unknown => "unknown",
            Self::Quarantined => "quarantined",
            Self::Scan => "scan",
            Self::Unanswered => "unanswered",
            Self::OneOff => "one-off",
            Self::Error => "icmp-error",
            Self::NoAddress => "no-address",
            Self::NoRoom => "no-room",
        }
    }

    /// The same as a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Outside => "not wholly within the time that is looked at",
            Self::Apart => "neither end is a device of the policy, or both are the same",
            Self::Unknown => "one end is no device and in no network of the policy",
            Self::Quarantined => "one end is a device in quarantine",
            Self::Scan => "its source was trying many partners or ports",
            Self::Unanswered => "nobody answered, or only to refuse",
            Self::OneOff => "seen too seldom to be a habit",
            Self::Error => "ICMP errors pass with the conversation they are about",
            Self::NoAddress => {
                "from or to a host without an address: DHCP, or a question whether an address is free"
            }
            Self::NoRoom => "more different talks than are told apart",
        }
    }
}

impl Doubt {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RemoteAdmin => "remote-admin",
            Self::FileSharing => "file-sharing",
            Self::FileTransfer => "file-transfer",
            Self::Internet => "internet",
            Self::Peers => "peers",
            Self::OneWay => "one-way",
            Self::Guessed => "guessed",
            Self::InScan => "in-scan",
            Self::AfterScan => "after-scan",
            Self::OutsideWindow => "outside-window",
            Self::Expired => "expired",
            Self::Unnameable => "unnameable",
        }
    }

    /// The same as a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::RemoteAdmin => "remote administration: whoever has it has the device",
            Self::FileSharing => "file sharing: the way most worms take",
            Self::FileTransfer => "file transfer without a proof of who it is",
            Self::Internet => "the other end is in the Internet, and in no network of the policy",
            Self::Peers => "both are of one class, and such devices seldom need each other",
            Self::OneWay => "nobody answers, so nothing shows that it is wanted",
            Self::Guessed => {
                "its begin was not seen, and the port does not say who asks: it may run the other way, and then the rule has to"
            }
            Self::InScan => "it was only seen while its source was trying many partners or ports",
            Self::AfterScan => "it began when its source had been trying many partners or ports",
            Self::OutsideWindow => {
                "a rule allows it at times, and it was seen at others: widen its `windows`, or leave it so"
            }
            Self::Expired => "a rule allowed it, and has expired",
            Self::Unnameable => "no service of a policy can be this",
        }
    }
}

/// Services that are told and never answered.
const TOLD: [(u8, u16, u16); 6] = [
    (protocol::UDP, 162, 162),
    (protocol::UDP, 319, 320),
    (protocol::UDP, 514, 514),
    (protocol::UDP, 2055, 2055),
    (protocol::UDP, 4739, 4739),
    (protocol::UDP, 6343, 6343),
];

/// UDP ports that both ends of a conversation use, so that whoever is heard first seems to begin: NTP between servers, PTP, IKE and its way
/// through NAT, CODESYS, EtherNet/IP I/O, FINS, DNP3, PROFINET, EtherCAT, BACnet/IP.
const EQUALS: [(u16, u16); 11] = [
    (123, 123),
    (319, 320),
    (500, 500),
    (1740, 1743),
    (2222, 2222),
    (4500, 4500),
    (9600, 9600),
    (20_000, 20_000),
    (34_962, 34_964),
    (34_980, 34_980),
    (47_808, 47_808),
];

const REMOTE_ADMIN: [(u16, u16); 9] = [
    (22, 23),
    (512, 514),
    (992, 992),
    (2323, 2323),
    (3389, 3389),
    (5500, 5500),
    (5800, 5803),
    (5900, 5903),
    (5985, 5986),
];
const FILE_SHARING: [(u16, u16); 3] = [(135, 135), (137, 139), (445, 445)];

/// What a service is suspected of by what it is.
fn by_service(service: Service) -> Option<Doubt> {
    let Service { protocol, number } = service;
    let is_in = |ranges: &[(u16, u16)]| ranges.iter().any(|(low, high)| (*low..=*high).contains(&number));
    match protocol {
        protocol::TCP if is_in(&REMOTE_ADMIN) => Some(Doubt::RemoteAdmin),
        protocol::UDP if number == 3389 => Some(Doubt::RemoteAdmin),
        protocol::TCP | protocol::UDP if is_in(&FILE_SHARING) => Some(Doubt::FileSharing),
        protocol::TCP if matches!(number, 20 | 21 | 989 | 990) => Some(Doubt::FileTransfer),
        protocol::UDP if number == 69 => Some(Doubt::FileTransfer),
        _ => None,
    }
}

/// Whether a policy can name it (the words of `[service.NAME]`).
fn is_nameable(service: Service) -> bool {
    let Service { protocol, number } = service;
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => number != 0,
        protocol::ICMP | protocol::ICMPV6 | pseudo::LLC => true,
        pseudo::ETHERTYPE => {
            number >= 0x0600 && !matches!(number, 0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x9100)
        }
        // Extension headers of IPv6, nothing, experiments.
        0 | 43 | 44 | 51 | 59 | 60 | 135 | 139 | 140 | 252..=255 => false,
        _ => true,
    }
}

/// Whether some service has the port.
fn is_known(policy: &Policy, service: Service) -> bool {
    let Service { protocol, number } = service;
    // `any` and its like know every port.
    let narrow = |all: &[crate::model::Selector]| {
        all.iter()
            .any(|s| s.protocol == protocol && (s.low..=s.high).contains(&number) && s.high - s.low < 256)
    };
    built_in().values().any(|all| narrow(all)) || policy.services.iter().any(|one| narrow(&one.selectors))
}

/// The fate of each talk.
pub fn fates(policy: &Policy, found: &Found, judge: &Judge) -> BTreeMap<Talk, Fate> {
    let mut fates = Fates { policy, found, asking: judge.ask() };
    let alone = found.talks.iter().map(|(talk, habit)| (*talk, habit, false));
    let scanning = found.in_scans.iter().map(|(talk, habit)| (*talk, habit, true));
    alone.chain(scanning).map(|(talk, habit, in_scan)| (talk, fates.of(&talk, habit, in_scan))).collect()
}

/// What fates depend on.
struct Fates<'a> {
    policy: &'a Policy,
    found: &'a Found,
    asking: Asking<'a>,
}

impl Fates<'_> {
    /// The fate of a talk.
    fn of(&mut self, talk: &Talk, habit: &Habit, in_scan: bool) -> Fate {
        if [talk.from, talk.to].contains(&Party::Unknown) {
            return Fate::Left(Left::Unknown);
        }
        let [low, high] = habit.samples;
        let first = self.about(&low, habit);
        let said = [first, if low == high { first } else { self.about(&high, habit) }];
        if said == [Said::Allowed; 2] && habit.ends.iter().all(|end| self.is_allowed_with(talk, habit, end)) {
            return Fate::Covered;
        }
        let settings = self.found.settings;
        let has_ports = matches!(talk.service.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        let is_frame = matches!(talk.service.protocol, pseudo::ETHERTYPE | pseudo::LLC);
        let one_way = !is_frame && !habit.is_exchange();
        let to_many = talk.to.is_many();
        if one_way
            && !to_many
            && (talk.service.protocol == protocol::TCP || !is_steady(self.found, talk, habit))
        {
            return Fate::Left(Left::Unanswered);
        }
        // Days on which it came to nothing teach nothing.
        let is_rare = !one_way && !is_frame && habit.exchanges() < settings.days;
        if is_rare || is_one_off(habit, &settings) {
            return Fate::Left(if in_scan { Left::Scan } else { Left::OneOff });
        }
        let mut doubts: Vec<Doubt> = by_service(talk.service).into_iter().collect();
        let mut doubt = |is_so, doubt| {
            if is_so {
                doubts.push(doubt)
            }
        };
        doubt([talk.from, talk.to].contains(&Party::Internet), Doubt::Internet);
        doubt(self.are_peers(talk), Doubt::Peers);
        let by_design = TOLD.iter().any(|(protocol, low, high)| {
            *protocol == talk.service.protocol && (*low..=*high).contains(&talk.service.number)
        });
        let steady_to_many = to_many && is_steady(self.found, talk, habit);
        doubt((one_way || to_many) && !by_design && !steady_to_many, Doubt::OneWay);
        doubt(has_ports && habit.opened == 0 && self.may_run_backward(talk), Doubt::Guessed);
        // What a scanner found he uses later: whatever came to something with whom he had tried is for a person. Attempts before that are
        // part of trying.
        let began = habit.first_exchange().or_else(|| habit.days.first().copied());
        let is_behind = self.found.tried.get(&[talk.from, talk.to]).is_some_and(|day| began >= Some(*day));
        let is_unsure = self.found.scans.unwatched > 0 || self.found.untried > 0;
        doubt(in_scan, Doubt::InScan);
        doubt(!in_scan && (is_behind || is_unsure), Doubt::AfterScan);
        doubt(said.contains(&Said::AtTimes), Doubt::OutsideWindow);
        doubt(said.contains(&Said::Expired), Doubt::Expired);
        doubt(!is_nameable(talk.service), Doubt::Unnameable);
        if doubts.is_empty() { Fate::Learned } else { Fate::Decide(doubts) }
    }

    /// What the policy says of it at the times at which it was seen.
    fn about(&mut self, kind: &Kind, habit: &Habit) -> Said {
        let said = self.asking.about(kind);
        let is_open = said == Said::AtTimes && self.asking.throughout(kind, &habit.times);
        if is_open { Said::Allowed } else { said }
    }

    /// Whether it is allowed with one of those whom the talk tells of together.
    fn is_allowed_with(&mut self, talk: &Talk, habit: &Habit, end: &End) -> bool {
        let kind = habit.with(talk, *end);
        self.about(&kind, habit) == Said::Allowed
    }

    /// Whether a talk of which no begin was seen may run the other way: no service has its port; or both ends use the port of one, so that
    /// whoever is heard first seems to begin. That is so of datagrams between equals, and of all that was seen in both directions.
    fn may_run_backward(&self, talk: &Talk) -> bool {
        let Service { protocol, number } = talk.service;
        let back = Talk { from: talk.to, to: talk.from, service: talk.service };
        let both = [&self.found.talks, &self.found.in_scans].iter().any(|talks| talks.contains_key(&back));
        let is_equals = EQUALS.iter().any(|(low, high)| (*low..=*high).contains(&number));
        let is_undirected = protocol == protocol::UDP && is_equals && !talk.to.is_many();
        !is_known(self.policy, talk.service) || is_undirected || (both && protocol != protocol::TCP)
    }

    fn are_peers(&self, talk: &Talk) -> bool {
        let class = |party: Party| self.policy.devices[party.device()?.0 as usize].class;
        let [from, to] = [class(talk.from), class(talk.to)];
        from.is_some() && from == to
    }
}

/// Seen on most of the days on which the device was, from its own first day on.
pub(super) fn is_steady(found: &Found, talk: &Talk, habit: &Habit) -> bool {
    let settings = found.settings;
    let of = |party: Party| Some(&found.devices.get(&party.device()?)?.days);
    let Some(days) = of(talk.from).or_else(|| of(talk.to)) else { return false };
    let since = habit.days.first().copied();
    let there = days.iter().filter(|day| Some(**day) >= since).count() as u64;
    // A day more than others need.
    habit.day_count() > settings.days
        && u64::from(habit.day_count()) * 100 >= there * u64::from(settings.steady)
}

/// Whether it came to something too seldom to be a habit.
pub(super) fn is_seldom(habit: &Habit, settings: &Settings) -> bool {
    habit.exchanges() < settings.days || is_one_off(habit, settings)
}

fn is_one_off(habit: &Habit, settings: &Settings) -> bool {
    habit.day_count() < settings.days || (habit.flows < settings.flows && habit.hours < settings.hours)
}
