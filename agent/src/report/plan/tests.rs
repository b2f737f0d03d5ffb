//! Plans of small plants, and promises that hold for any two policies.

use std::fmt::Write as _;

use bulkhead_common::{lookup::Rules, wire::protocol};
use proptest::prelude::*;

use super::*;
use crate::{
    compile::{Host, Placed, compile},
    diagnostic::render_text,
    policy::{SourceFile, resolve_texts},
};

mod conversations;
mod denials;

const ROOM: Limits = Limits { devices: 4096, rules: 65_536, rows: 1 << 20 };

/// A policy with its tables.
pub(super) struct Compiled {
    pub(super) policy: Policy,
    pub(super) tables: Tables,
}

impl Compiled {
    pub(super) fn of(text: &str) -> Self {
        let outcome = resolve_texts(&[SourceFile { path: "p.toml".to_owned(), text: text.to_owned() }]);
        let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
        let policy = outcome.policy.unwrap_or_else(|| panic!("{shown}\n{text}"));
        let tables = compile(&policy, &ROOM).expect("a few rows fit");
        Self { policy, tables }
    }

    fn side(&self) -> Side<'_> {
        Side { policy: &self.policy, tables: &self.tables }
    }
}

fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().expect("a time")
}

fn planned(old: &Compiled, new: &Compiled, flows: Option<(&[KnownFlow], &World)>) -> Plan {
    plan(
        old.side(),
        new.side(),
        &Asked { hops: HOPS, now: now(), limits: ROOM, flows, past: &Past::default() },
    )
}

/// Devices, classes, zones, networks and rules between them, some of them strange.
pub(super) fn random_policy() -> impl Strategy<Value = String> {
    let device = (0..4u8, 0..3u8, 0..3u8, 0..5u8, 0..4u8);
    let rule = (0..9u8, 0..9u8, 0..3u8, 0..4u8);
    let all = (prop::collection::vec(device, 2..7), prop::collection::vec(rule, 0..9), 0..3u8);
    let texts = all.prop_map(|(devices, rules, networks)| {
        let mut text = "version = 1\n[class.c0]\n[class.c1]\n[zone.z0]\n[zone.z1]\n".to_owned();
        for (at, (mode, class, zone, mac, criticality)) in devices.iter().enumerate() {
            let _ = writeln!(text, "[device.d{at}]\nip = \"10.0.{}.{}\"", at % 2, at + 1);
            let mode = ["monitor", "enforce", "quarantine", "monitor"][usize::from(*mode)];
            let criticality = ["low", "medium", "high", "safety"][usize::from(*criticality)];
            let _ = writeln!(text, "mode = \"{mode}\"\ncriticality = \"{criticality}\"");
            let _ = if *class < 2 { writeln!(text, "class = \"c{class}\"") } else { Ok(()) };
            let _ = if *zone < 2 { writeln!(text, "zone = \"z{zone}\"") } else { Ok(()) };
            let _ = if *mac > 0 { writeln!(text, "mac = \"00:1d:9c:00:00:{at:02x}\"") } else { Ok(()) };
        }
        let cidrs = ["\"10.0.0.0/24\"", "\"10.0.0.0/16\"", "\"10.0.1.0/24\", \"10.9.0.0/16\""];
        let _ = writeln!(text, "[network.n0]\ncidr = [{}]", cidrs[usize::from(networks)]);
        let _ = writeln!(text, "[network.n1]\ncidr = \"10.8.0.0/15\"\nexcept = \"10.9.1.0/24\"");
        for (holder, peer, service, kind) in rules {
            let all = devices.len();
            let holder = usize::from(holder) % (all + 2);
            let holder =
                if holder < all { format!("device.d{holder}") } else { format!("class.c{}", holder - all) };
            let peers = ["d0", "d1", "class:c0", "class:c1", "zone:z0", "zone:z1", "n0", "n1", "any"];
            let service = ["modbus", "ssh", "profinet-rt"][usize::from(service)];
            let (end, peer) = (["from", "to"][usize::from(kind % 2)], peers[usize::from(peer)]);
            let is_used = match peer.split_once(':') {
                Some(("class", name)) => devices.iter().any(|d| format!("c{}", d.1) == name),
                Some((_, name)) => devices.iter().any(|d| format!("z{}", d.2) == name),
                None => holder != format!("device.{peer}"),
            };
            if is_used {
                let _ = writeln!(text, "[[{holder}.allow]]\n{end} = \"{peer}\"\nservice = \"{service}\"");
            }
            let _ = if is_used && kind > 2 { writeln!(text, "comment = \"why {kind}\"") } else { Ok(()) };
        }
        text
    });
    // Frames need hardware addresses, which some devices lack.
    texts.prop_filter("it is a policy", |text| {
        let file = SourceFile { path: "p.toml".to_owned(), text: text.clone() };
        resolve_texts(&[file]).policy.is_some()
    })
}

/// What a policy says, wherever it stands.
fn unplaced(mut said: Said) -> Said {
    said.rules.iter_mut().for_each(|rule| {
        rule.place.clear();
        // It counts with the devices, not with the rule.
        rule.devices = 0;
    });
    said.rules.sort();
    said
}

/// The ids of what a table knows, as names.
fn pairs(compiled: &Compiled) -> Vec<(String, String, bool)> {
    let Compiled { policy, tables } = compiled;
    let host = Host::new(tables, Placed::default());
    let address = |device: &crate::model::Device| host.endpoint(&device.addresses[0].into());
    let mut found = Vec::new();
    for from in &policy.devices {
        for to in &policy.devices {
            let class = host.class(protocol::TCP, 502);
            let row = host.permitted(&address(from), &address(to), class);
            found.push((from.name.clone(), to.name.clone(), row.rule != 0));
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_difference_applied_to_the_old_policy_gives_the_new_one(a in random_policy(), b in random_policy()) {
        let (a, b) = (Compiled::of(&a), Compiled::of(&b));
        let (old, new) = (Said::of(&a.policy), Said::of(&b.policy));
        let diff = Diff::between(&old, &new);
        prop_assert_eq!(unplaced(diff.apply(&old)), unplaced(new));
        if diff.permits_the_same() {
            prop_assert_eq!(a.tables.revision, b.tables.revision);
        }
    }

    #[test]
    fn a_policy_does_not_differ_from_itself(text in random_policy()) {
        let policy = Compiled::of(&text);
        let plan = planned(&policy, &policy, None);
        prop_assert!(!plan.changes, "{}", plan.text());
        prop_assert_eq!((plan.rows_changed, plan.devices.total(), plan.modes.total()), (0, 0, 0));
        prop_assert_eq!(&plan.reachability, &Reachability { hops: HOPS, complete: true, ..Reachability::default() });
        prop_assert_eq!(plan.text(), format!("nothing changes: revision {}\n", policy.tables.revision));
    }

    #[test]
    fn another_rule_never_takes_a_permission_away(text in random_policy(), service in 0..2u8) {
        let old = Compiled::of(&text);
        let service = ["modbus", "ssh"][usize::from(service)];
        let more = format!("{text}[[device.d0.allow]]\nfrom = [\"d1\", \"n1\"]\nservice = \"{service}\"\n");
        let new = Compiled::of(&more);
        for ((from, to, before), (_, _, after)) in pairs(&old).into_iter().zip(pairs(&new)) {
            prop_assert!(after || !before, "{} -> {}", from, to);
        }
        let plan = planned(&old, &new, None);
        prop_assert_eq!(plan.reachability.lost.total(), 0, "{}", plan.text());
        prop_assert_eq!((plan.rules.removed.total(), plan.rules.changed.total()), (0, 0));
    }
}

const CELL: &str = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\nmode = \"enforce\"\n[device.hmi]\nip = \"10.20.1.20\"\n\
                    [[device.plc.allow]]\nfrom = \"hmi\"\nservice = [\"modbus\", \"ssh\"]\n";

#[test]
fn rows_count_the_same_when_only_numbers_move() {
    let old = Compiled::of(CELL);
    // Sorted before all others: every dense number moves.
    let new = Compiled::of(&format!("{CELL}[device.a]\nip = \"10.20.1.99\"\n"));
    assert_eq!(planned(&old, &new, None).rows_changed, 1, "the address of the new device");
}

#[test]
fn a_group_of_networks_is_called_as_in_the_file() {
    let text = |members: &str| {
        format!(
            "{CELL}[network.lab]\ncidr = \"10.8.0.0/24\"\n[network.office]\ncidr = \"10.9.0.0/24\"\n\
             [group.dash]\nmembers = [{members}]\n[[device.plc.allow]]\nfrom = [\"group:dash\", \"hmi\"]\nservice = \"https\"\n"
        )
    };
    let (old, new) = (Compiled::of(&text("\"office\"")), Compiled::of(&text("\"office\", \"lab\"")));
    let texts = |one: &Compiled| one.tables.rules.iter().map(|rule| rule.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&old), ["group:dash, hmi -> plc https", "hmi -> plc modbus, ssh"]);
    assert_eq!(texts(&old), texts(&new), "its counters go on");
    let text = planned(&old, &new, None).text();
    let told = "~ device plc: group:dash (lab, office), hmi -> plc https  (p.toml:16)\n    from was group:dash (office), hmi\n";
    assert!(text.contains(told), "{text}");
}
