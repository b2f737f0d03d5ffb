//! Networks with DNS names: what their rules come to for each device.

use super::*;

/// Devices with a rule of their own each, and a class of them all with another.
fn many(devices: usize) -> Tables {
    let mut text = "version = 1\n[network.cloud]\ndns = \"*.cloud.example\"\n[network.spares]\n\
                    dns = \"spares.example\"\n[class.all]\n[[class.all.allow]]\nto = \"spares\"\nservice = \"ntp\"\n\
                    [device.aloof]\nip = \"10.9.0.1\"\nmac = \"00:1d:9c:c7:b0:70\"\n"
        .to_owned();
    for n in 0..devices {
        let (class, rule) =
            ("class = \"all\"", "to = [\"cloud\", \"spares\"]\nservice = [\"https\", \"ssh\"]");
        let ip = format!("10.1.{}.{}", n / 250, n % 250 + 1);
        text += &format!("[device.d{n}]\nip = \"{ip}\"\n{class}\n[[device.d{n}.allow]]\n{rule}\n");
    }
    compiled(&[("a.toml", &text)])
}

#[test]
fn network_with_names_is_one_peer_however_many_rules_name_it() {
    let tables = many(300);
    let [cloud, spares] = &tables.named[..] else { panic!("{} peers", tables.named.len()) };
    // Two services, and that there is some; the class has a third.
    assert_eq!((cloud.permissions.len(), spares.permissions.len()), (900, 1200));
    for peer in &tables.named {
        assert!(peer.permissions.is_sorted_by_key(|one| (one.device, one.class)));
    }
    let device = tables.device_id("d7").expect("it is there").0 + 1;
    assert_eq!(cloud.of_device(device).len(), 3);
    let rules = spares.of_device(device).iter().map(|one| tables.rule(one.row.rule).expect("a rule"));
    let rules: BTreeSet<&str> = rules.map(|rule| rule.text.as_str()).collect();
    assert!(rules.len() == 2 && rules.contains("class:all -> spares ntp"), "{rules:?}");
    let names: Vec<&[String]> = tables.named_for(device).map(|(peer, _)| peer.names.as_slice()).collect();
    assert_eq!(names, [["*.cloud.example"], ["spares.example"]]);
    let aloof = tables.device_id("aloof").expect("it is there").0 + 1;
    assert_eq!((cloud.of_device(aloof), tables.named_for(aloof).count()), (&[][..], 0));
}

#[test]
fn every_device_is_found_by_its_name_and_says_whether_it_uses_names() {
    let tables = many(30);
    for (at, device) in tables.devices.iter().enumerate() {
        assert_eq!(tables.device_id(&device.name).map(|id| id.0 as usize), Some(at));
    }
    assert_eq!(tables.device_id("d"), None);
    let aloof = tables.device_id("aloof").expect("it is there").0 + 1;
    for row in tables.macs.values().chain(tables.addresses.values()) {
        assert_eq!(row.flags & device_flag::BY_NAME == 0, row.device == aloof);
    }
    assert_eq!((tables.macs.len(), tables.addresses.len()), (1, 31));
}

#[test]
fn rules_that_hold_at_times_are_one_row_by_name_that_holds_at_all_of_them() {
    let rule = |day: &str| {
        format!(
            "[[device.plc.allow]]\nto = \"cloud\"\nservice = \"https\"\n\
             windows = [{{ days = \"{day}\", from = \"08:00\", to = \"10:00\", zone = \"UTC\" }}]\n"
        )
    };
    let device = "version = 1\n[network.cloud]\ndns = \"cloud.example\"\n[device.plc]\nip = \"10.1.0.1\"\n";
    let tables = compiled(&[("a.toml", &format!("{device}{}{}", rule("mon"), rule("tue")))]);
    let row = |class: fn(u32) -> bool| {
        let own = tables.named[0].of_device(1).iter().filter(|one| class(one.class));
        own.map(|one| one.row.schedule).collect::<Vec<_>>()
    };
    assert_eq!(row(|class| class != class::PAIR), [1]);
    assert_eq!(row(|class| class == class::PAIR), [0], "that there is a service is so at any time");
    assert_eq!(tables.schedules[0].len(), 2);
}
