//! `bulkhead doctor` about direct forwarding: what on this gateway would not see the packets, and what keeps them from going directly.

use std::fs;

use super::{Finding, ok, problem, warning};
use crate::{
    config::{Config, Forward},
    dataplane::{DataplaneError, foreign},
};

const SUBJECT: &str = "direct forwarding";
/// Chains that are named.
const NAMED: usize = 8;

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
    findings.extend(chains(foreign::firewall()));
    findings.extend(ipsec(foreign::ipsec_policies()));
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

/// Chains of a firewall that these packets do not meet.
fn chains(found: Result<Vec<String>, DataplaneError>) -> Option<Finding> {
    let fix =
        "nft list ruleset, iptables-save; move what matters into the policy, or write `forward = \"kernel\"`";
    match found {
        Ok(chains) if chains.is_empty() => None,
        Ok(chains) => {
            let more = match chains.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let named = chains[..chains.len().min(NAMED)].join(", ");
            let seen =
                format!("packets that leave directly pass by these chains of the firewall: {named}{more}");
            Some(warning(SUBJECT, &seen, fix))
        }
        Err(error) => {
            let seen =
                format!("whether there is a firewall that packets would pass by cannot be told: {error}");
            Some(warning(SUBJECT, &seen, fix))
        }
    }
}

/// Policies that would encrypt what passes.
fn ipsec(found: Result<u32, DataplaneError>) -> Option<Finding> {
    let fix = "write `forward = \"kernel\"`";
    match found {
        Ok(0) => None,
        Ok(policies) => {
            let seen = format!(
                "the kernel has {policies} IPsec policies, which packets that leave directly would pass by"
            );
            Some(problem(SUBJECT, &seen, fix))
        }
        Err(error) => {
            Some(warning(SUBJECT, &format!("whether there are IPsec policies cannot be told: {error}"), fix))
        }
    }
}
