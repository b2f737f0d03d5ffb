//! Interfaces that forward directly.

use super::*;

#[test]
fn direct_forwarding_is_for_interfaces_in_whose_drivers_packets_are_judged() {
    let interface = |text: &str| format!("[interface.eth1]\n{text}\n");
    let other = "[interface.eth0]\nforward = \"direct\"\n";
    let direct = read(&(interface("forward = \"direct\"") + other));
    assert!(direct.forwards_directly() && !read(UPLINK).forwards_directly());
    assert_eq!((direct.alone(), read(UPLINK).alone()), (None, None));
    let generic = interface("forward = \"direct\"\nattach = \"generic\"") + other;
    let behind = "`eth1` runs the program behind the driver, where packets cannot leave directly";
    one(&generic, "BH0619", behind, "`attach = \"native\"`");
    let side = "[interface.eth2]\nrole = \"pair\"\npeer = \"eth1\"\nside = \"device\"\n";
    let pair = interface("role = \"pair\"\npeer = \"eth2\"\nforward = \"direct\"") + side;
    // That there is no other one is not said of one that may not.
    for pair in [pair.clone(), pair + other] {
        one(
            &pair,
            "BH0619",
            "`eth1` is a side of a pair, which sends everything to the other one",
            "remove it",
        );
    }
    let word = interface("forward = \"directly\"");
    one(&word, "BH0603", "unknown value of `forward` `directly`", "did you mean `direct`?");
    let alone = "only `eth1` forwards directly, and a way leads from one such interface to another";
    let lonely = interface("forward = \"direct\"") + UPLINK;
    one(&lonely, "BH0620", alone, "for the other one too, or remove it");
    let (config, ..) = parse_config("bulkhead.toml", &lonely);
    assert_eq!(config.expect("a warning").alone(), Some("eth1"));
    // What is the default may be said anywhere.
    assert!(!read(&interface("forward = \"kernel\"\nattach = \"generic\"")).forwards_directly());
}
