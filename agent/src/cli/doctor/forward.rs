//! `bulkhead doctor` about direct forwarding: what keeps packets from going directly.

use std::fs;

use super::{Finding, ok, problem, warning};
use crate::{
    config::{Config, Forward},
    dataplane::foreign,
};

const SUBJECT: &str = "direct forwarding";

/// Nothing where no interface forwards directly.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let direct = config.interfaces.iter().filter(|interface| interface.forward == Forward::Direct);
    let names: Vec<&str> = direct.map(|interface| interface.name.as_str()).collect();
    match names[..] {
        [] => return Vec::new(),
        [alone] => {
            let seen = format!(
                "only `{alone}` forwards directly, and a way leads from one such interface to another"
            );
            let fix = "write `forward = \"direct\"` for the other one too, or remove it";
            return vec![warning(SUBJECT, &seen, fix)];
        }
        [_, _, ..] => {}
    }
    let mut findings: Vec<Finding> = names.iter().filter_map(|name| forwarding(name)).collect();
    let fix = "remove it, if the policy of the devices says what it does, or write `forward = \"kernel\"`";
    let obstacles = foreign::obstacles();
    findings.extend(
        obstacles.iter().map(|why| problem(SUBJECT, &format!("nothing leaves directly: {why}"), fix)),
    );
    if findings.is_empty() {
        findings.push(ok(SUBJECT, &format!("between {}", names.join(", "))));
    }
    findings
}

/// What an interface does not forward the kernel will not tell a way for.
fn forwarding(name: &str) -> Option<Finding> {
    let setting = format!("net/ipv4/conf/{name}/forwarding");
    // An interface that is not there has a finding of its own.
    let is_off = fs::read_to_string(format!("/proc/sys/{setting}")).is_ok_and(|text| text.trim() == "0");
    is_off.then(|| {
        let seen = format!("IPv4 forwarding is off on `{name}`, so nothing that comes there is sent on");
        warning(SUBJECT, &seen, &format!("sysctl -w {setting}=1"))
    })
}
