//! Rules as text. In: a rule. Out: its `allow` entry, or its conduit.

use super::text::{Table, string};
use crate::model::{Holder, Peer, Policy, Rule, Schedule, Source, Window, clock};

/// `[[device.NAME.allow]]` or `[[class.NAME.allow]]`.
pub(super) fn entry(policy: &Policy, rule: &Rule, path: &[&str]) -> Table {
    let own = match rule.holder {
        Holder::Device(id) => Some(Peer::Device(id)),
        Holder::Class(id) => Some(Peer::Class(id)),
        Holder::Conduit => None,
    };
    let mut table = Table::entry(path);
    // A class that talks within itself is both ends; either word says that.
    if own.is_some_and(|own| rule.initiators == [own]) {
        peers(policy, &mut table, "to", &rule.responders);
    } else {
        peers(policy, &mut table, "from", &rule.initiators);
    }
    terms(policy, rule, &mut table);
    table
}

/// `[[conduit]]`.
pub(super) fn conduit(policy: &Policy, rule: &Rule) -> Table {
    let mut table = Table::entry(&["conduit"]);
    peers(policy, &mut table, "from", &rule.initiators);
    peers(policy, &mut table, "to", &rule.responders);
    terms(policy, rule, &mut table);
    table
}

fn peers(policy: &Policy, table: &mut Table, key: &str, peers: &[Peer]) {
    table.list(key, peers.iter().map(|peer| policy.peer_name(*peer).into_owned()));
}

fn terms(policy: &Policy, rule: &Rule, table: &mut Table) {
    let Rule {
        holder: _,
        initiators: _,
        responders: _,
        words: _,
        services,
        schedule,
        comment,
        owner,
        ticket,
        source,
        location: _,
    } = rule;
    table.list("service", services.iter().map(|id| policy.services[id.0 as usize].name.clone()));
    if let Some(Schedule { expires, windows }) = schedule {
        if let Some(expires) = expires {
            table.bare("expires", expires.to_string());
        }
        let windows: Vec<String> = windows.iter().map(window).collect();
        table.raw_list("windows", &windows);
    }
    table.words("comment", comment.as_deref());
    table.words("owner", owner.as_deref());
    table.words("ticket", ticket.as_deref());
    table.words("source", (*source != Source::default()).then(|| source.name()));
}

fn window(window: &Window) -> String {
    let days: Vec<String> = window.day_words().iter().map(|day| string(day)).collect();
    let Window { days: _, from, to, zone } = window;
    let [from, to, zone] = [clock(*from), clock(*to), zone.clone()].map(|text| string(&text));
    format!("{{ days = [{}], from = {from}, to = {to}, zone = {zone} }}", days.join(", "))
}
