//! What is learned, and how it reads.

use super::*;

const TEXT: &str = r#"version = 1

[device.hmi]
ip = "10.1.0.1"

# The press.
[device.plc]
ip = "10.1.0.2"

[network.office]
cidr = "10.2.0.0/24"
"#;

#[test]
fn rows_become_rules_that_admit_them() {
    let plant = plant(TEXT);
    let mut rows = week(tcp("10.1.0.1", "10.1.0.2", 502), 20);
    rows.extend(week(tcp("10.2.0.7", "10.1.0.1", 443), 20));
    rows.extend(week(udp("10.1.0.2", "10.2.0.5", 161), 20));
    let made = plant.learn(&rows);
    assert!(made.proof.holds(), "{:?}\n{}", made.proof, made.merged[0].after);
    assert_eq!(made.proposal.price(), 0);
    insta::assert_snapshot!(made.merged[0].after);
}
