//! Small plants and what is made of rows: what is learned of them, what it costs, where it is put, and what never is.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;

use super::{
    Fate, First, Found, Judge, Settings, Surroundings, Talk, Who, fates,
    propose::{Bounds, Material, Merged, Proof, Proposal, Scope, Settled, gather, merge, pieces, settle},
};
use crate::{
    model::Policy,
    policy::{SourceFile, resolve_texts},
    traffic::{Day, End, Hours, Kind, Row, Seen, Service},
};

mod apart;
mod edges;
mod learned;
mod merged;
mod priced;
mod scans;

/// A Monday.
pub(super) const MONDAY: i32 = 20_780;

/// A plant of one file.
pub(super) struct Plant {
    pub(super) files: Vec<SourceFile>,
    pub(super) policy: Policy,
    pub(super) settings: Settings,
    pub(super) surroundings: Surroundings,
}

/// All that was made of rows.
pub(super) struct Made {
    pub(super) found: Found,
    pub(super) fates: BTreeMap<Talk, Fate>,
    pub(super) proposal: Proposal,
    pub(super) text: String,
    pub(super) merged: Vec<Merged>,
    pub(super) proof: Proof,
}

pub(super) fn plant(text: &str) -> Plant {
    plants(&[("plant.toml", text)])
}

pub(super) fn plants(files: &[(&str, &str)]) -> Plant {
    let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).into(), text: (*text).into() };
    let files: Vec<SourceFile> = files.iter().map(file).collect();
    let outcome = resolve_texts(&files);
    let found = outcome.diagnostics;
    let policy = outcome.policy.unwrap_or_else(|| panic!("{found:?}"));
    Plant { files, policy, settings: Settings::default(), surroundings: Surroundings::default() }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_second(Day(MONDAY + 30).begin()).expect("a time")
}

impl Plant {
    pub(super) fn make(&self, rows: &[Row], scope: Scope, bounds: Option<&Bounds>) -> Made {
        let who = Who::new(&self.policy, &self.surroundings.placed);
        let mut first = First::new(&who, self.settings);
        rows.iter().for_each(|row| first.read(row));
        let mut second = first.again();
        rows.iter().for_each(|row| second.read(row));
        let found = second.found();
        let judge = Judge::new(&self.policy, self.surroundings.clone(), now()).expect("it is small");
        let fates = fates(&self.policy, &found, &judge);
        let material = Material { who: &who, found: &found, fates: &fates };
        let proposal = gather(&material, scope, &self.surroundings.placed.gateway, bounds);
        let settled =
            settle(&material, proposal, &self.files, &self.surroundings, now()).expect("it is TOML");
        let Settled { proposal, pieces, merged, after: _, proof } = settled;
        let text: String = pieces.iter().map(|piece| piece.text()).collect();
        assert!(proposal.dropped.is_empty(), "{:?}\n{text}", proposal.dropped);
        Made { found, fates, proposal, text, merged, proof }
    }

    /// The same, for everybody, exactly.
    pub(super) fn learn(&self, rows: &[Row]) -> Made {
        self.make(rows, Scope::All, None)
    }
}

impl Made {
    /// The words of a fate, by `from -> to service`.
    pub(super) fn fate(&self, plant: &Plant, text: &str) -> String {
        let who = Who::new(&plant.policy, &plant.surroundings.placed);
        let shown = |talk: &Talk| {
            let [from, to] = [talk.from, talk.to].map(|party| who.name(party));
            format!("{from} -> {to} {}", crate::model::spelled(talk.service.selector()))
        };
        match self.fates.iter().find(|(talk, _)| shown(talk) == text) {
            Some((_, Fate::Learned)) => "learned".into(),
            Some((_, Fate::Covered)) => "covered".into(),
            Some((_, Fate::Left(left))) => left.name().into(),
            Some((_, Fate::Decide(doubts))) => {
                doubts.iter().map(|doubt| doubt.name()).collect::<Vec<_>>().join(" ")
            }
            None => format!("nothing of {:?}", self.fates.keys().map(shown).collect::<Vec<_>>()),
        }
    }
}

pub(super) fn end(text: &str) -> End {
    match text.parse::<IpAddr>() {
        Ok(address) => End::at(address),
        Err(_) => End::hardware(text.parse().expect("an address of one of the two kinds")),
    }
}

pub(super) fn tcp(from: &str, to: &str, number: u16) -> Kind {
    Kind { from: end(from), to: end(to), service: Service { protocol: 6, number } }
}

pub(super) fn udp(from: &str, to: &str, number: u16) -> Kind {
    Kind { from: end(from), to: end(to), service: Service { protocol: 17, number } }
}

/// Answered conversations from eight to ten o'clock of one day.
pub(super) fn seen(kind: Kind, day: i32, flows: u64) -> Row {
    let day = Day(day);
    let (first, last) = (day.begin() + 8 * 3600, day.begin() + 10 * 3600);
    let hours = Hours::between(day, first, last);
    let packets = [flows * 6, flows * 5];
    let seen = Seen {
        flows,
        opened: flows,
        answered: flows,
        packets,
        bytes: packets,
        last,
        hours,
        ..Seen::at(first)
    };
    Row { kind, day, seen }
}

/// The same on a working week.
pub(super) fn week(kind: Kind, flows: u64) -> Vec<Row> {
    (MONDAY..MONDAY + 5).map(|day| seen(kind, day, flows)).collect()
}

/// A SYN that an open or closed port answers once, or nobody.
pub(super) fn probe(kind: Kind, day: i32, hour: i64, answered: bool) -> Row {
    let first = Day(day).begin() + hour * 3600 + 60;
    let n = u64::from(answered);
    let seen = Seen { flows: 1, opened: 1, answered: n, packets: [1 + n, n], ..Seen::at(first) };
    Row { kind, day: Day(day), seen }
}
