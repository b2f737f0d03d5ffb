//! Which name a number gets, and what happens when its generation is gone.

use super::*;
use crate::{
    compile::{Limits, Revision, compile},
    model::Policy,
    policy::{SourceFile, resolve_texts},
};

/// Two devices and two networks, of which one lies in the other.
pub(in crate::observe) const PLANT: &str = r#"
version = 1

[device.hmi-1]
mac = ["00:1d:9c:00:00:02"]
ip = ["10.20.1.12"]

[device.press-plc]
mac = ["00:1d:9c:00:00:01"]
ip = ["10.20.1.11"]
mode = "enforce"

[network.office]
cidr = ["10.9.0.0/16"]

[network.printers]
cidr = ["10.9.7.0/24"]
"#;

pub(in crate::observe) fn compiled(text: &str) -> (Policy, Tables) {
    let outcome = resolve_texts(&[SourceFile { path: "plant.toml".into(), text: text.into() }]);
    let policy = outcome.policy.unwrap_or_else(|| panic!("the policy is valid: {:?}", outcome.diagnostics));
    let tables = compile(&policy, &Limits { devices: 100, rules: 100, rows: 1000 }).expect("it fits");
    (policy, tables)
}

/// Generation 1 of the plant, where `hmi-1` has the stable id 7 and `press-plc` 3.
pub(in crate::observe) fn plant() -> Names {
    let (policy, mut tables) = compiled(PLANT);
    // The documentation shows it: how revisions are computed is another subject.
    tables.revision = Revision([0xc4; 32]);
    let mut names = Names::default();
    names.learn(1, &tables, &[7, 3], &policy);
    names
}

#[test]
fn numbers_become_names() {
    let mut names = plant();
    names.set_interfaces(BTreeMap::from([(4, "eth1".into())]));
    names.set_gateway(BTreeSet::from([IpAddr::from([10, 20, 1, 1])]));
    assert_eq!(names.device(1, 7).as_deref(), Some("hmi-1"));
    assert_eq!(names.device(1, 3).as_deref(), Some("press-plc"));
    assert_eq!(names.device(1, 0), None);
    assert_eq!(names.device_of_mac(1, 0x001d_9c00_0002).as_deref(), Some("hmi-1"));
    assert_eq!(names.device_of_mac(1, 0x001d_9c00_0009), None);
    assert_eq!(names.interface(4), "eth1");
    assert_eq!(names.interface(5), "if#5");
    assert_eq!(names.peer(1, IpAddr::from([10, 20, 1, 1])).as_deref(), Some("gateway"));
}

#[test]
fn most_specific_network_gives_the_name() {
    let names = plant();
    assert_eq!(names.peer(1, IpAddr::from([10, 9, 7, 200])).as_deref(), Some("printers"));
    assert_eq!(names.peer(1, IpAddr::from([10, 9, 8, 1])).as_deref(), Some("office"));
    assert_eq!(names.peer(1, IpAddr::from([192, 0, 2, 1])), None);
}

#[test]
fn what_a_network_excepts_is_not_called_by_it() {
    let text = "version = 1\n[network.guests]\ncidr = \"10.9.7.64/26\"\nexcept = \"10.9.7.80/28\"\n\
                [network.office]\ncidr = \"10.9.0.0/16\"\n[network.printers]\ncidr = \"10.9.7.0/24\"\nexcept = \"10.9.7.64/27\"\n\
                [network.site]\ncidr = [\"10.8.0.0/16\"]\nexcept = [\"10.8.3.0/24\"]\n\
                [network.yard]\ncidr = [\"10.8.0.0/16\"]\n";
    let (policy, tables) = compiled(text);
    let mut names = Names::default();
    names.learn(1, &tables, &[], &policy);
    for (address, name) in [
        ([10, 9, 7, 66], Some("guests")),
        ([10, 9, 7, 81], Some("office")),
        ([10, 9, 7, 100], Some("guests")),
        ([10, 9, 7, 1], Some("printers")),
        ([10, 8, 2, 1], Some("site")),
        ([10, 8, 3, 1], Some("yard")),
        ([10, 7, 0, 1], None),
    ] {
        assert_eq!(names.peer(1, IpAddr::from(address)).as_deref(), name, "{address:?}");
    }
    let (policy, tables) =
        compiled("version = 1\n[network.office]\ncidr = \"10.20.2.0/24\"\nexcept = \"10.20.2.64/27\"\n");
    names.learn(2, &tables, &[], &policy);
    assert_eq!(names.peer(2, IpAddr::from([10, 20, 2, 66])), None, "in no network of the policy");
}

#[test]
fn device_that_left_the_policy_keeps_its_name() {
    let mut names = plant();
    let (policy, tables) = compiled("version = 1\n[device.hmi-1]\nip = [\"10.20.1.12\"]\n");
    names.learn(2, &tables, &[7], &policy);
    assert_eq!(names.device(1, 3).as_deref(), Some("press-plc"));
    assert_eq!(names.device(2, 3).as_deref(), Some("press-plc"));
    assert_eq!(names.device(9, 7).as_deref(), Some("hmi-1"));
    assert_eq!(names.device(2, 99).as_deref(), Some("device#99"));
    assert_eq!(names.revision(2), Some(tables.revision.to_string().as_str()));
}

#[test]
fn old_generations_are_forgotten() {
    let mut names = Names::default();
    let (policy, tables) = compiled(PLANT);
    for generation in 1..=20 {
        names.learn(generation, &tables, &[7, 3], &policy);
    }
    assert_eq!(names.known.len(), GENERATIONS);
    // The newest that knows the number answers.
    assert_eq!(names.device(4, 7).as_deref(), Some("hmi-1"));
}

#[test]
fn revision_outlives_the_names_of_its_generation() {
    let mut names = Names::default();
    let (policy, tables) = compiled(PLANT);
    let last = u32::try_from(REVISIONS).expect("a small number") + 1;
    for generation in 1..=last {
        names.learn(generation, &tables, &[7, 3], &policy);
    }
    assert_eq!(names.revision(1), None);
    assert_eq!(names.revision(2), Some(tables.revision.to_string().as_str()));
}

#[test]
fn generation_learned_twice_is_remembered_once() {
    let mut names = plant();
    let (policy, tables) = compiled(PLANT);
    names.learn(1, &tables, &[8, 3], &policy);
    assert_eq!(names.known.len(), 1);
    assert_eq!(names.device(1, 8).as_deref(), Some("hmi-1"));
}

#[test]
fn revision_of_an_earlier_agent_comes_from_the_kernel() {
    let mut names = plant();
    let revision = [0xab, 0xcd, 0xef, 1, 2, 3, 4, 5];
    names.learn_head(&Head { generation: 41, shapes: 0, revision });
    assert_eq!(names.revision(41), Some("abcdef010203"));
    // Its names are those of the present policy.
    assert_eq!(names.peer(41, IpAddr::from([10, 9, 8, 1])).as_deref(), Some("office"));
    assert_eq!(names.device(41, 7).as_deref(), Some("hmi-1"));
    // A generation whose tables are known is not overwritten, and 0 is no generation.
    names.learn_head(&Head { generation: 1, shapes: 0, revision });
    assert_ne!(names.revision(1), Some("abcdef010203"));
    names.learn_head(&Head::default());
    assert_eq!(names.revision(0), None);
}
