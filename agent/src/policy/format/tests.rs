//! What was written down means what it meant: policies of every construct, drawn from a tape of random numbers.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostic::{Location, render_text},
    policy::{SourceFile, resolve_texts},
};

fn resolve(text: &str) -> Policy {
    let outcome = resolve_texts(&[SourceFile { path: "p.toml".into(), text: text.into() }]);
    let shown = render_text(&outcome.diagnostics, &outcome.sources, false);
    outcome.policy.unwrap_or_else(|| panic!("{shown}\n{text}"))
}

/// The policy as if everything stood in one place.
fn nowhere(mut policy: Policy) -> Policy {
    let place = Location { path: Arc::from(""), line: 1, column: 1, span: 0..0 };
    let locations = policy.devices.iter_mut().map(|it| &mut it.location);
    let locations = locations.chain(policy.networks.iter_mut().map(|it| &mut it.location));
    let locations = locations.chain(policy.classes.iter_mut().map(|it| &mut it.location));
    let locations = locations.chain(policy.zones.iter_mut().map(|it| &mut it.location));
    let locations = locations.chain(policy.groups.iter_mut().map(|it| &mut it.location));
    let locations = locations.chain(policy.rules.iter_mut().map(|it| &mut it.location));
    locations.for_each(|location| *location = place.clone());
    policy.rules.iter_mut().for_each(|rule| rule.words = None);
    policy
}

fn assert_same_again(text: &str) {
    let policy = resolve(text);
    let written = format(&policy);
    let again = resolve(&written);
    assert_eq!(format(&again), written);
    assert_eq!(nowhere(again), nowhere(policy), "{text}\n--- written\n{written}");
}

/// Numbers to choose by; a used-up tape chooses the first of everything.
struct Tape(std::vec::IntoIter<u16>);

impl Tape {
    fn below(&mut self, bound: usize) -> usize {
        usize::from(self.0.next().unwrap_or_default()) % bound
    }

    fn chance(&mut self) -> bool {
        self.below(2) == 1
    }

    fn pick<'p>(&mut self, from: &[&'p str]) -> &'p str {
        from[self.below(from.len())]
    }

    /// Some of them, at least one.
    fn some(&mut self, from: &[String]) -> String {
        let count = 1 + self.below(3);
        let some: Vec<String> = (0..count).map(|_| format!("{:?}", from[self.below(from.len())])).collect();
        format!("[{}]", some.join(", "))
    }

    fn words(&mut self) -> String {
        let keys = ["comment", "owner", "ticket"];
        let texts = ["\"plain\"", "'quo\"te'", "\"a\\nb\\tc\"", "'back\\slash'", "\"gr\u{fc}n # = [x]\""];
        let mut out = String::new();
        for key in keys {
            if self.chance() {
                out.push_str(&format!("{key} = {}\n", self.pick(&texts)));
            }
        }
        out
    }

    fn terms(&mut self, services: &[String]) -> String {
        let mut out = format!("service = {}\n{}", self.some(services), self.words());
        if self.chance() {
            let dates = ["2027-01-31T18:00:00Z", "2030-02-01 00:00:00.25+05:30", "1999-12-31T23:59:59-11:00"];
            out.push_str(&format!("expires = {}\n", self.pick(&dates)));
        }
        if self.chance() {
            let windows: Vec<String> = (0..1 + self.below(3))
                .map(|_| {
                    let days =
                        self.pick(&["[\"mon-fri\"]", "[\"sun\", \"tue\"]", "\"fri-mon\"", "\"sun-sat\""]);
                    let (from, to) =
                        (self.pick(&["00:00", "06:15"]), self.pick(&["18:30", "24:00", "00:00", "05:59"]));
                    let to = if from == to { "12:00" } else { to };
                    let zone = self.pick(&["UTC", "europe/berlin", "America/New_York"]);
                    format!("{{ days = {days}, from = {from:?}, to = {to:?}, zone = {zone:?} }}")
                })
                .collect();
            out.push_str(&format!("windows = [{}]\n", windows.join(", ")));
        }
        if self.chance() {
            out.push_str(&format!("source = {:?}\n", self.pick(&["hand", "learned", "mud"])));
        }
        out
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n}")).collect()
}

/// A policy file without a mistake: each zone, class and group holds two devices that write no rules.
fn draw(tape: &mut Tape) -> String {
    let (zones, classes, groups) =
        (names("z", 2 + tape.below(2)), names("c", 1 + tape.below(2)), names("g", tape.below(4)));
    let (devices, networks) = (names("dev.", 1 + tape.below(4)), names("net-", 1 + tape.below(3)));
    let mut text = String::from("version = 1\n");
    let mut services = vec!["ntp".to_owned(), "dns".to_owned(), "any".to_owned()];
    if tape.chance() {
        for zone in &zones {
            text.push_str(&format!("[zone.{zone}]\n{}", tape.words().replace("ticket", "# ticket")));
        }
    }
    for (n, service) in names("own-", tape.below(3)).into_iter().enumerate() {
        let traffic = [
            "udp = [53, \"1000-2000\", \"2001\"]",
            "icmp = [\"3/4\", \"3/5\", \"8\", \"echo-reply\"]\nicmpv6 = [\"1/255\", \"2-4\", \"5/0\"]",
            "protocol = [\"gre\", 50]\nllc = \"stp\"",
            "ethertype = [\"0x88b8\", \"0x88b9\", \"goose\"]\nsctp = \"2905\"",
            "include = [\"modbus\", \"ntp\"]",
        ];
        let include = if n > 0 && tape.chance() { "include = \"own-0\"" } else { tape.pick(&traffic) };
        text.push_str(&format!("[service.{service}]\ntcp = \"{}-{}\"\n{include}\n", n * 10 + 1, n * 10 + 15));
        services.push(service);
    }
    for (n, network) in networks.iter().enumerate() {
        let more = [
            "",
            "except = [\"10.9.1.0/24\", \"10.9.2.2/32\"]\n",
            "dns = [\"A.Example.\", \"*.b_1.example\"]\n",
        ];
        text.push_str(&format!(
            "[network.{network}]\ncidr = [\"10.9.0.0/16\", \"fd00:{n}::/64\"]\n{}",
            tape.pick(&more)
        ));
    }
    text.push_str("[network.cloud]\ndns = [\"vendor.example\"]\ncomment = \"x\"\n");
    text.push_str("[multicast.line]\nip = [\"239.1.2.3\"]\nmac = [\"03:00:00:00:00:00/46\"]\n");
    let mut declare = |name: &str, rest: &str, n: usize| {
        text.push_str(&format!(
            "[device.\"{name}\"]\nmac = \"02:00:00:00:00:{n:02x}\"\nip = [\"10.1.0.{n}\"]\n{rest}\n"
        ));
    };
    for n in 0..2 * zones.len().max(classes.len()) {
        let (zone, class) = (&zones[n % zones.len()], &classes[n % classes.len()]);
        declare(&format!("base{n}"), &format!("zone = {zone:?}\nclass = {class:?}"), n + 1);
    }
    for (n, device) in devices.iter().enumerate() {
        let more = [
            "mode = \"enforce\"\nvlan = 7\nsegment = \"eth0.7\"",
            "criticality = \"safety\"",
            "mode = \"quarantine\"",
        ];
        let class = if tape.chance() {
            format!("class = {:?}\n", classes[tape.below(classes.len())])
        } else {
            String::new()
        };
        declare(
            device,
            &format!("{class}zone = {:?}\n{}", zones[tape.below(zones.len())], tape.pick(&more)),
            n + 100,
        );
    }
    for (n, group) in groups.iter().enumerate() {
        let mut members = vec!["base0".to_owned(), networks[0].clone(), "cloud".to_owned()];
        members.extend(groups[..n].iter().map(|group| format!("group:{group}")));
        members.push(format!("zone:{}", zones[0]));
        let some = tape.some(&members);
        text.push_str(&format!(
            "[group.{group}]\nmembers = {some}\n{}",
            if tape.chance() { "comment = \"c\"\n" } else { "" }
        ));
    }
    // Whom everybody may name, at either end; a group may hold what only answers.
    let mut from: Vec<String> = ["base0", "base1", "any", "gateway"].map(str::to_owned).to_vec();
    from.extend(networks.iter().cloned());
    from.extend(zones.iter().map(|zone| format!("zone:{zone}")));
    from.extend(classes.iter().map(|class| format!("class:{class}")));
    let mut to = from.clone();
    to.extend(groups.iter().map(|group| format!("group:{group}")));
    to.extend(["cloud", "broadcast", "multicast:line", "multicast:mdns"].map(str::to_owned));
    let holders = devices
        .iter()
        .map(|name| format!("device.{name:?}"))
        .chain(classes.iter().map(|c| format!("class.{c}")));
    for holder in holders.collect::<Vec<_>>() {
        for _ in 0..tape.below(4) {
            let end = if tape.chance() { ("from", &from) } else { ("to", &to) };
            text.push_str(&format!(
                "[[{holder}.allow]]\n{} = {}\n{}",
                end.0,
                tape.some(end.1),
                tape.terms(&services)
            ));
        }
    }
    for class in &classes {
        text.push_str(&format!(
            "[class.{class}]\n{}\n",
            tape.pick(&["mode = \"enforce\"", "criticality = \"low\"", "", "comment = \"k\""])
        ));
    }
    for _ in 0..tape.below(4) {
        let (a, b) = if tape.chance() { (0, 1) } else { (1, 0) };
        text.push_str(&format!(
            "[[conduit]]\nfrom = \"zone:{}\"\nto = [\"zone:{}\"]\n{}",
            zones[a],
            zones[b],
            tape.terms(&services)
        ));
    }
    if tape.chance() {
        text.push_str(&format!("[quarantine]\npeers = [\"base0\", {:?}]\n", networks[0]));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_down_means_what_it_meant(tape in prop::collection::vec(any::<u16>(), 0..400)) {
        assert_same_again(&draw(&mut Tape(tape.into_iter())));
    }

    #[test]
    fn messages_of_icmp_are_written_and_read_as_they_were(ends in any::<(u16, u16)>(), v6 in any::<bool>()) {
        let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
        let key = if v6 { "icmpv6" } else { "icmp" };
        let mut policy = resolve(&format!("version = 1\n[service.s]\n{key} = \"8\"\n"));
        policy.services[0].selectors[0].low = low;
        policy.services[0].selectors[0].high = high;
        prop_assert_eq!(resolve(&format(&policy)).services, policy.services);
    }
}

#[test]
fn a_group_of_the_device_itself_and_a_network_is_the_network() {
    let text = "version = 1\n[device.a]\nip = \"10.0.0.1\"\n[[device.a.allow]]\nto = \"group:g\"\nservice = \"ntp\"\n\
                [network.n]\ncidr = \"10.9.0.0/24\"\n[group.g]\nmembers = [\"a\", \"n\"]\n";
    assert_same_again(text);
}

#[test]
fn the_services_of_a_class_without_devices_are_not_kept() {
    assert_same_again("version = 1\n[class.c]\n[[class.c.allow]]\nto = \"gateway\"\nservice = \"ntp\"\n");
}

#[test]
fn a_small_policy_reads_well() {
    let text = "version = 1\n[device.plc]\nip = \"10.0.0.1\"\n[[device.plc.allow]]\nfrom = \"gateway\"\n\
                service = [\"ntp\", \"dns\"]\nexpires = 2027-01-31T18:00:00+01:00\n\
                windows = [{ days = \"fri-mon\", from = \"22:00\", to = \"00:00\", zone = \"utc\" }]\n";
    let expected = "version = 1\n\n[device.plc]\nip = [\"10.0.0.1\"]\n\n[[device.plc.allow]]\nfrom = [\"gateway\"]\n\
                    service = [\"dns\", \"ntp\"]\nexpires = 2027-01-31T17:00:00Z\n\
                    windows = [{ days = [\"mon\", \"fri-sun\"], from = \"22:00\", to = \"24:00\", zone = \"UTC\" }]\n";
    assert_eq!(format(&resolve(text)), expected);
}
