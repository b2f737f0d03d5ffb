//! What is kept of what is said, and what comes of it.
#![allow(clippy::cast_possible_truncation, reason = "small numbers become octets")]

use std::net::{IpAddr, Ipv4Addr};

use jiff::SignedDuration;

use super::{super::*, *};

fn take(inventory: &mut Inventory, frame: &[u8], seconds: i64) -> Vec<String> {
    let heard = hear(frame).expect("somebody sent it");
    inventory.take(&heard, at(seconds)).iter().map(ToString::to_string).collect()
}

fn device(inventory: &Inventory, of: Of) -> &Device {
    inventory.devices().find(|device| device.of == of).expect("it is known")
}

#[test]
fn what_is_new_is_told_once_and_both_values_stay() {
    let mut inventory = Inventory::default();
    let identity = |version| tcp(DEVICE, PLC, 502, &modbus_identity(&[(2, version)]));
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0), ["new device 00:1d:9c:c7:b0:70"]);
    assert!(take(&mut inventory, &identity("v1"), 1).is_empty());
    assert!(take(&mut inventory, &identity("v1"), 2).is_empty());
    let changed = "00:1d:9c:c7:b0:70 changed its firmware from `v1` to `v2` (modbus)";
    assert_eq!(take(&mut inventory, &identity("v2"), 60), [changed]);
    // Both are said in turns, as several units behind one address do.
    assert!(take(&mut inventory, &identity("v1"), 61).is_empty());
    assert!(take(&mut inventory, &identity("v2"), 4000).is_empty());
    // A version that was not heard for an hour while another was is a change again.
    assert!(take(&mut inventory, &identity("v2"), 9000).is_empty());
    assert_eq!(take(&mut inventory, &identity("v1"), 9001).len(), 1);
    let moved = "00:1d:9c:c7:b0:70 has a new address 10.20.1.99 (arp)";
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 1, 99]), 9002), [moved]);
    let device = device(&inventory, Of::Mac(DEVICE));
    let versions: Vec<_> =
        device.of_kind(Kind::Firmware).iter().map(|f| (f.value.as_str(), f.first, f.last, f.count)).collect();
    assert_eq!(versions, [("v1", at(1), at(9001), 4), ("v2", at(60), at(9000), 3)]);
    assert_eq!(device.addresses().len(), 2);
    assert_eq!(inventory.changes().count(), 4);
}

#[test]
fn address_that_another_protocol_says_again_is_no_news() {
    let mut inventory = Inventory::default();
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0), ["new device 00:1d:9c:c7:b0:70"]);
    // It renews its lease, and says which address it has (RFC 2131, 4.3.6).
    let mut renewal = dhcp_question(DEVICE, &[]);
    renewal[12..16].copy_from_slice(&PLC);
    assert!(take(&mut inventory, &udp(DEVICE, PLC, [68, 67], &renewal), 60).is_empty());
    let known = device(&inventory, Of::Mac(DEVICE)).of_kind(Kind::Address);
    let evidence: Vec<Evidence> = known.iter().map(|fact| fact.evidence).collect();
    assert_eq!(evidence, [Evidence::Dhcp, Evidence::Arp], "both are kept");
    // Better evidence in the place of an address that was only sent from.
    let second = [10, 20, 1, 12];
    let sent = tcp(DEVICE, second, 502, &modbus_identity(&[(1, "M340")]));
    assert_eq!(take(&mut inventory, &sent, 61).len(), 1);
    assert!(take(&mut inventory, &arp(DEVICE, DEVICE, second), 62).is_empty());
}

#[test]
fn what_comes_through_a_router_is_of_the_address_it_is_from() {
    let identity = modbus_identity(&[(1, "M340")]);
    // Whoever claims an address of its own is known for a router sooner.
    for (claims, hosts) in [(true, MOST_BESIDE as u8), (false, MOST_ADDRESSES as u8)] {
        let mut inventory = Inventory::default();
        let router = Of::Mac(OTHER);
        if claims {
            take(&mut inventory, &arp(OTHER, OTHER, [10, 20, 1, 1]), 0);
        }
        for host in 0..=hosts {
            assert!(inventory.devices().all(|device| !device.router));
            take(&mut inventory, &tcp(OTHER, [10, 30, 0, 10 + host], 502, &identity), host.into());
            take(&mut inventory, &accepted(OTHER, [10, 30, 0, 10 + host], 502), host.into());
        }
        if !claims {
            take(&mut inventory, &arp(OTHER, OTHER, [10, 20, 1, 1]), 9);
        }
        take(&mut inventory, &tcp(OTHER, [10, 20, 1, 1], 502, &identity), 10);
        let listed: Vec<String> = inventory.devices().map(|device| device.of.to_string()).collect();
        let behind = (0..=hosts).map(|host| format!("10.30.0.{}", 10 + host));
        let expected: Vec<String> = [OTHER.to_string()].into_iter().chain(behind).collect();
        assert_eq!(listed, expected);
        let of_router = device(&inventory, router);
        assert!(of_router.router && of_router.addresses() == [IpAddr::V4(Ipv4Addr::new(10, 20, 1, 1))]);
        assert_eq!(of_router.of_kind(Kind::Role)[0].value, "router");
        let models = of_router.of_kind(Kind::Model);
        let own = Some(IpAddr::from([10, 20, 1, 1]));
        assert_eq!((models.len(), models[0].from), (1, own), "its own answer is its own");
        let behind = device(&inventory, Of::Address(IpAddr::from([10, 30, 0, 11])));
        assert_eq!((behind.behind, behind.of_kind(Kind::Model).len()), (Some(router), 1));
        // Whoever only answers somewhere behind it is no device.
        take(&mut inventory, &accepted(OTHER, [203, 0, 113, 7], 443), 20);
        assert_eq!(inventory.devices().count(), expected.len());
    }
}

#[test]
fn what_is_moved_behind_routers_keeps_to_the_bounds() {
    let mut inventory = Inventory::default();
    let shared = [10, 30, 0, 1];
    for router in 0..20_u8 {
        let mac = Mac([0, 0x50, 1, 0, 0, router]);
        take(&mut inventory, &arp(mac, mac, [10, 20, 9, router]), 0);
        let model = format!("model {router}");
        take(&mut inventory, &tcp(mac, shared, 502, &modbus_identity(&[(1, &model)])), 1);
        take(&mut inventory, &tcp(mac, [10, 30, 1, router], 502, &modbus_identity(&[(1, "M340")])), 2);
        assert!(device(&inventory, Of::Mac(mac)).router);
    }
    let device = device(&inventory, Of::Address(IpAddr::from(shared)));
    assert_eq!(device.of_kind(Kind::Model).len(), MOST_OF_A_KIND);
    assert_eq!((device.refused, inventory.counts().refused_facts), (8, 8));
}

#[test]
fn strangers_never_push_out_who_is_in_the_policy() {
    let mut inventory = Inventory::default();
    let text = format!("version = 1\n[device.plc]\nmac = \"{DEVICE}\"\n[device.late]\nmac = \"{OTHER}\"\n");
    let policy =
        crate::policy::resolve_texts(&[("a.toml".to_owned(), text)].map(source)).policy.expect("valid");
    inventory.know(Known::of(&policy));
    take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0);
    let stranger = |n: usize| Mac([0, 0x50, 0, 0, (n >> 8) as u8, n as u8]);
    let arrive = |inventory: &mut Inventory, n: usize, seconds| {
        take(inventory, &arp(stranger(n), stranger(n), [10, 9, (n >> 8) as u8, n as u8]), seconds)
    };
    for n in 0..2 * MOST_DEVICES {
        arrive(&mut inventory, n, 1);
    }
    let beyond = MOST_DEVICES as u64 + 1;
    assert_eq!((inventory.devices().count(), inventory.counts().refused_devices), (MOST_DEVICES, beyond));
    assert!(inventory.changes().count() == MOST_CHANGES);
    // One of the policy finds room at once, a stranger when another was not heard for an hour.
    assert_eq!(take(&mut inventory, &arp(OTHER, OTHER, HMI), 2).len(), 1);
    assert!(arrive(&mut inventory, 9000, 3000).is_empty());
    assert_eq!(arrive(&mut inventory, 9000, 3601).len(), 1);
    assert_eq!((inventory.devices().count(), inventory.counts().forgotten), (MOST_DEVICES, 2));
    device(&inventory, Of::Mac(DEVICE));
    device(&inventory, Of::Mac(OTHER));
}

fn source((path, text): (String, String)) -> crate::policy::SourceFile {
    crate::policy::SourceFile { path, text }
}

#[test]
fn facts_have_a_bound_for_each_kind_and_the_old_makes_room_after_a_day() {
    let mut inventory = Inventory::default();
    for n in 0..3 * MOST_OF_A_KIND as u8 {
        take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 9, 1 + n]), n.into());
    }
    let count = |inventory: &Inventory| device(inventory, Of::Mac(DEVICE)).of_kind(Kind::Address).len();
    let refused = 2 * MOST_OF_A_KIND as u64;
    assert_eq!((count(&inventory), inventory.counts().refused_facts), (MOST_OF_A_KIND, refused));
    let later = SignedDuration::from_hours(25).as_secs();
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 10, 1]), later).len(), 1);
    assert_eq!((count(&inventory), inventory.counts().refused_facts), (MOST_OF_A_KIND, refused));
}

#[test]
fn the_longest_assignment_names_the_vendor() {
    let mut vendors = Vendors::default();
    let head = "Registry,Assignment,Organization Name,Organization Address\n";
    assert_eq!(
        vendors.add(&format!(
            "{head}MA-L,70B3D5,IEEE Registration Authority,x\nMA-L,001D9C,\"Rockwell, Inc.\",x\n"
        )),
        2
    );
    assert_eq!(vendors.add(&format!("{head}MA-S,70B3D5F2F,TELEPLATFORMS,x\nbroken\n")), 1);
    assert_eq!(vendors.add(&format!("{head}MA-M,741AE09,Private,\n")), 1);
    let of = |text: &str| vendors.of(text.parse().expect("a MAC")).to_string();
    assert_eq!(of("70:b3:d5:f2:f1:23"), "TELEPLATFORMS");
    assert_eq!(of("70:b3:d5:00:01:23"), "IEEE Registration Authority");
    assert_eq!(of("74:1a:e0:9f:00:00"), "Private");
    assert_eq!(of("00:1d:9c:00:00:01"), "Rockwell, Inc.");
    assert_eq!(of("00:00:00:00:00:01"), "unknown");
    assert_eq!(of("02:1d:9c:00:00:01"), "locally administered");
    assert_eq!(Vendors::default().of(DEVICE), Vendor::Unknown);
}

fn report(inventory: &Inventory) -> Report {
    Report::new(inventory, inventory.known(), &Vendors::default())
}

#[test]
fn a_class_is_suggested_with_its_reasons() {
    let suggested = |frames: &[Vec<u8>]| {
        let mut inventory = Inventory::default();
        frames.iter().for_each(|frame| drop(take(&mut inventory, frame, 0)));
        let listed = report(&inventory).devices.remove(0);
        listed.suggested.map(|s| (s.class, s.confidence.name(), s.because.len()))
    };
    assert_eq!(suggested(&[arp(DEVICE, DEVICE, PLC)]), None);
    assert_eq!(suggested(&[accepted(DEVICE, PLC, 502)]), Some(("plc", "guess", 1)));
    let identity = tcp(DEVICE, PLC, 502, &modbus_identity(&[(2, "v1")]));
    assert_eq!(suggested(&[accepted(DEVICE, PLC, 502), identity]), Some(("plc", "likely", 2)));
    assert_eq!(suggested(&[udp(DEVICE, PLC, [44_818, 1], &enip_identity())]).map(|s| s.1), Some("certain"));
    let printer = udp(DEVICE, PLC, [5353, 5353], &mdns_announcement(PLC));
    assert_eq!(suggested(&[printer, accepted(DEVICE, PLC, 9100)]), Some(("printer", "likely", 2)));
}

#[test]
fn an_entry_for_an_unknown_device_is_valid_whatever_it_says() {
    let mut inventory = Inventory::default();
    let name = b"x\"]\n[device.evil]\nmode = 'enforce' #";
    let question = dhcp_question(DEVICE, &[(12, name), (60, "\u{2028}\rversion = 2".as_bytes())]);
    take(&mut inventory, &udp(DEVICE, [0; 4], [68, 67], &question), 0);
    take(&mut inventory, &arp(OTHER, OTHER, PLC), 1);
    take(&mut inventory, &accepted(OTHER, PLC, 502), 1);
    let report = report(&inventory);
    for (listed, expected) in report.devices.iter().zip(["x-device-evil-mode-enforce", "device-010203-2"]) {
        let text = stub(listed, &["device-010203".to_owned()].into());
        let outcome = crate::policy::resolve_texts(&[source(("a.toml".to_owned(), text.clone()))]);
        let policy = outcome.policy.unwrap_or_else(|| panic!("{text}\n{:?}", outcome.diagnostics));
        let names: Vec<&str> = policy.devices.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, [expected], "{text}");
        assert_eq!(policy.devices[0].dynamic, expected.starts_with('x'));
        assert!(text.contains("# hardware address: unknown"), "{text}");
    }
}

/// A policy with a device that has an address alone.
fn known(devices: &str) -> Known {
    let text = format!("version = 1\n{devices}");
    let outcome = crate::policy::resolve_texts(&[source(("p.toml".to_owned(), text))]);
    Known::of(&outcome.policy.unwrap_or_else(|| panic!("{:?}", outcome.diagnostics)))
}

const PLC_BY_ADDRESS: &str = "[device.plc]\nip = \"10.20.1.11\"\nmode = \"monitor\"\n";

#[test]
fn who_borrows_an_address_stays_a_stranger() {
    let mut inventory = Inventory::default();
    inventory.know(known(PLC_BY_ADDRESS));
    let stranger = Of::Mac(OTHER);
    let names = |inventory: &Inventory| {
        let device = inventory.get(stranger).expect("it is known");
        let maybe = inventory.known().maybe(device).map(str::to_owned);
        (inventory.name_of(stranger).map(str::to_owned), maybe)
    };
    // A datagram alone says nothing of whose the address is.
    take(&mut inventory, &udp(OTHER, PLC, [5353, 5353], &[]), 0);
    assert_eq!(names(&inventory), (None, Some("plc".to_owned())));
    // ARP does, as long as it is the only one.
    take(&mut inventory, &arp(OTHER, OTHER, PLC), 1);
    assert_eq!(names(&inventory), (Some("plc".to_owned()), None));
    take(&mut inventory, &arp(OTHER, OTHER, [10, 20, 1, 66]), 2);
    assert_eq!(names(&inventory), (None, Some("plc".to_owned())));
}

#[test]
fn device_without_a_hardware_address_finds_room_and_keeps_it() {
    let mut inventory = Inventory::default();
    inventory.know(known(PLC_BY_ADDRESS));
    let forged = |n: usize| Mac([2, 0x66, 0, 0, (n >> 8) as u8, n as u8]);
    for n in 0..MOST_DEVICES {
        let source = [10, 99, (n >> 8) as u8, n as u8];
        take(&mut inventory, &arp(forged(n), forged(n), source), 0);
    }
    assert_eq!(inventory.devices().count(), MOST_DEVICES);
    // It needs not wait, and what announces its address besides does not push out another.
    take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 1);
    assert_eq!(inventory.name_of(Of::Mac(DEVICE)), Some("plc"));
    take(&mut inventory, &arp(OTHER, OTHER, PLC), 2);
    assert!(inventory.get(Of::Mac(OTHER)).is_none());
    // Nor is it forgotten after an hour of silence, as all the others are before it.
    for n in 0..MOST_DEVICES {
        let n = n + MOST_DEVICES;
        take(&mut inventory, &arp(forged(n), forged(n), [10, 98, (n >> 8) as u8, n as u8]), 4000);
    }
    assert_eq!(inventory.name_of(Of::Mac(DEVICE)), Some("plc"));
}

#[test]
fn twelve_announced_addresses_hide_no_router() {
    let mut inventory = Inventory::default();
    for last in 0..MOST_OF_A_KIND as u8 {
        take(&mut inventory, &arp(OTHER, OTHER, [10, 20, 1, 100 + last]), 0);
    }
    let identity = modbus_identity(&[(1, "M340")]);
    for last in 0..=MOST_BESIDE as u8 {
        assert!(!device(&inventory, Of::Mac(OTHER)).router);
        take(&mut inventory, &tcp(OTHER, [10, 30, 0, 10 + last], 502, &identity), 1);
    }
    assert!(device(&inventory, Of::Mac(OTHER)).router);
    assert!(inventory.get(Of::Address([10, 30, 0, 10].into())).is_some());
}

#[test]
fn router_of_ipv6_is_known_by_its_networks_and_a_host_may_have_many_addresses() {
    let from = |network: u16, host: u16| Heard {
        mac: OTHER,
        source: Some([0xfd00, 0, 0, network, 0, 0, 0, host].into()),
        claims: vec![Claim::new(Kind::Model, "M340", Evidence::Modbus)],
    };
    let mut inventory = Inventory::default();
    for host in 1..40 {
        inventory.take(&from(1, host), at(0));
    }
    assert!(!device(&inventory, Of::Mac(OTHER)).router);
    for network in 2..=MOST_ADDRESSES as u16 + 1 {
        inventory.take(&from(network, 1), at(1));
    }
    assert!(device(&inventory, Of::Mac(OTHER)).router);
}

#[test]
fn advertisement_for_another_is_not_believed() {
    let target: std::net::Ipv6Addr = "fe80::7".parse().expect("an address");
    let source = IpAddr::V6(target);
    let advertisement = |option: Option<Mac>| {
        let option = option.map(|mac| [&[2, 1][..], &mac.0].concat()).unwrap_or_default();
        [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target.octets(), &option].concat()
    };
    let said = |message: &[u8], source| super::super::arp::neighbour(message, source, DEVICE).len();
    assert_eq!(said(&advertisement(Some(DEVICE)), source), 1);
    assert_eq!(said(&advertisement(Some(OTHER)), source), 0);
    assert_eq!(said(&advertisement(None), source), 1);
    // A proxy that gives no hardware address at all.
    assert_eq!(said(&advertisement(None), "fe80::1".parse().expect("an address")), 0);
    // An option of no length ends it.
    let endless = [&advertisement(None)[..], &[1, 0, 2, 1, 0, 0, 0, 0]].concat();
    assert_eq!(said(&endless, source), 1);
}

#[test]
fn entry_never_has_a_name_that_means_something_else() {
    for name in ["gateway", "any", "broadcast", "multicast", "office"] {
        let mut inventory = Inventory::default();
        inventory.know(known("[network.office]\ncidr = \"10.9.0.0/16\"\n"));
        let question = dhcp_question(DEVICE, &[(12, name.as_bytes())]);
        take(&mut inventory, &udp(DEVICE, [0; 4], [68, 67], &question), 0);
        let report = Report::new(&inventory, inventory.known(), &Vendors::default());
        let text = stub(&report.devices[0], &inventory.known().taken());
        assert!(text.contains(&format!("[device.{name}-2]")), "{text}");
        assert!(crate::policy::resolve_texts(&[source(("a.toml".to_owned(), text))]).policy.is_some());
    }
}

#[test]
fn times_of_a_clock_that_was_wrong_are_brought_to_where_they_belong() {
    let mut inventory = Inventory::default();
    // Of an earlier run, and of this one, which began in 1970.
    take(&mut inventory, &arp(DEVICE, DEVICE, PLC), 0);
    let heard = hear(&arp(DEVICE, DEVICE, PLC)).expect("somebody");
    let early = |seconds| jiff::Timestamp::from_second(seconds).expect("a time");
    inventory.take(&hear(&arp(OTHER, OTHER, HMI)).expect("somebody"), early(110));
    let by = SignedDuration::from_secs(1_780_000_900 - 100);
    inventory.shift(&Shift { from: early(100), to: early(200), by });
    let other = inventory.get(Of::Mac(OTHER)).expect("it is known");
    assert_eq!((other.first, other.last, other.facts[0].first), (at(910), at(910), at(910)));
    assert_eq!(inventory.changes().last().expect("one").time, at(910));
    assert_eq!(inventory.get(Of::Mac(DEVICE)).expect("it is known").last, at(0));
    inventory.take(&heard, at(920));
    assert_eq!(inventory.get(Of::Mac(DEVICE)).expect("it is known").first, at(0));
}

#[test]
fn forged_addresses_make_no_room_without_the_hour() {
    let forged = |n: usize| Mac([2, 0x66, 0, 0, (n >> 8) as u8, n as u8]);
    let other = |n: usize| [10, 99, (n >> 8) as u8, n as u8];
    let lldp = |mac: Mac| ethernet(mac, 0x88cc, &lldp_message(9));
    // A datagram; a management address of LLDP; ARP, and then another address, so that nobody of the name is there.
    for way in 0..3 {
        let mut inventory = Inventory::default();
        inventory.know(known("[device.plc]\nip = [\"10.20.1.11\", \"10.20.0.2\"]\nmode = \"monitor\"\n"));
        for n in 0..MOST_DEVICES {
            take(&mut inventory, &arp(forged(n), forged(n), other(n)), 0);
        }
        for n in MOST_DEVICES..MOST_DEVICES + 100 {
            let mac = forged(n);
            let frame = match way {
                0 => udp(mac, PLC, [5353, 5353], &[]),
                1 => lldp(mac),
                _ => arp(mac, mac, PLC),
            };
            take(&mut inventory, &frame, 1);
            take(&mut inventory, &arp(mac, mac, other(n)), 1);
        }
        // The first one that announces it may be the device.
        assert_eq!(inventory.counts().forgotten, u64::from(way == 2), "{way}");
    }
}

#[test]
fn times_of_a_clock_that_was_ahead_end_with_what_is_heard_again() {
    const AHEAD: i64 = 300_000_000;
    let identity = |version| tcp(DEVICE, PLC, 502, &modbus_identity(&[(2, version)]));
    let stranger = |n: usize| Mac([0, 0x50, 0, 0, (n >> 8) as u8, n as u8]);
    let arrive = |inventory: &mut Inventory, n: usize, seconds| {
        take(inventory, &arp(stranger(n), stranger(n), [10, 9, (n >> 8) as u8, n as u8]), seconds)
    };
    let mut ahead = Inventory::default();
    take(&mut ahead, &identity("v1"), AHEAD + 1);
    for last in 0..MOST_OF_A_KIND as u8 {
        take(&mut ahead, &arp(DEVICE, DEVICE, [10, 20, 9, 1 + last]), AHEAD);
    }
    (1..MOST_DEVICES).for_each(|n| drop(arrive(&mut ahead, n, AHEAD)));
    // The agent begins anew with the right clock.
    let mut inventory =
        Inventory::restore(ahead.devices().cloned().collect(), ahead.changes().cloned().collect());
    inventory.follow(at(0));
    // Known, and never heard of so far: it makes room no sooner than an hour from now.
    assert!(arrive(&mut inventory, 9000, 3599).is_empty());
    assert_eq!(arrive(&mut inventory, 9000, 3600).len(), 1);
    let changed = "00:1d:9c:c7:b0:70 changed its firmware from `v1` to `v2` (modbus)";
    assert_eq!(take(&mut inventory, &identity("v2"), 3700), [changed]);
    take(&mut inventory, &identity("v1"), 3701);
    let plc = device(&inventory, Of::Mac(DEVICE));
    assert_eq!((plc.first, plc.last), (at(3700), at(3701)));
    assert!(plc.of_kind(Kind::Firmware).iter().all(|fact| fact.last <= at(3701)));
    // A fact of then makes room after a day.
    let day = SignedDuration::from_hours(24).as_secs();
    assert!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 8, 1]), day - 1).is_empty());
    assert_eq!(take(&mut inventory, &arp(DEVICE, DEVICE, [10, 20, 8, 1]), day).len(), 1);
}

#[test]
fn what_was_kept_in_a_file_keeps_to_the_bounds_of_what_is_heard() {
    let fact = |kind, value: &str| Fact {
        kind,
        value: value.to_owned(),
        evidence: Evidence::Mdns,
        from: None,
        first: at(0),
        last: at(0),
        count: 1,
    };
    let mut some = Inventory::default();
    take(&mut some, &arp(DEVICE, DEVICE, PLC), 0);
    let mut kept = device(&some, Of::Mac(DEVICE)).clone();
    kept.on = Some("cell0\u{1b}[2J".to_owned());
    kept.facts = vec![
        fact(Kind::Name, &"x".repeat(1000)),
        fact(Kind::Model, "a\u{202e}b\n"),
        fact(Kind::Role, "\u{7f}"),
    ];
    kept.facts.extend((0..20).map(|n| fact(Kind::Service, &format!("_s{n}._tcp"))));
    let changed = |now: &str| Change {
        time: at(0),
        of: Of::Mac(DEVICE),
        news: News::Changed {
            fact: Kind::Name,
            before: "a".to_owned(),
            now: now.to_owned(),
            evidence: Evidence::Mdns,
        },
    };
    let inventory = Inventory::restore(vec![kept], vec![changed("b\u{1b}[2J"), changed("\u{7f}")]);
    let kept = device(&inventory, Of::Mac(DEVICE));
    let values: Vec<&str> = kept.facts.iter().take(2).map(|fact| fact.value.as_str()).collect();
    assert_eq!(values, [&"x".repeat(MOST_CHARS), "a?b"]);
    assert_eq!((kept.facts.len(), kept.on.as_deref()), (2 + MOST_OF_A_KIND, Some("cell0?[2J")));
    let changes: Vec<String> = inventory.changes().map(ToString::to_string).collect();
    assert_eq!(changes, ["00:1d:9c:c7:b0:70 changed its name from `a` to `b?[2J` (mdns)"]);
}
