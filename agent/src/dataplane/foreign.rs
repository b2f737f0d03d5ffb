//! What else in this network namespace treats packets that pass the gateway, and does not see those that leave directly: IPsec policies,
//! the chains of a firewall, rules that choose routes by marks, and traffic control.
//!
//! In: nothing. Out: whether there is any, as the kernel says over netlink(7). A kernel without one of them has none.

use std::fs;

use aya::programs::{SchedClassifier, tc::TcAttachType};
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM};

use super::{
    DataplaneError, kernel_version,
    netlink::{NLM_F_DUMP, NLM_F_REQUEST, ask, attributes, if_known, value},
};

/// Chains that are named.
const NAMED: usize = 8;

/// Why nothing may leave directly: it would go where, or as what, the kernel would not send it, or pass by chains of a firewall. Those
/// would see some packets of each conversation all the same, and what keeps state drops them. What cannot be told is an obstacle.
#[must_use]
pub fn obstacles() -> Vec<String> {
    let untold = |what: &str, error: DataplaneError| Some(format!("whether {what} cannot be told: {error}"));
    let policies = match ipsec_policies() {
        Ok(0) => None,
        Ok(_) => Some("the kernel has IPsec policies (`ip xfrm policy`)".to_owned()),
        Err(error) => untold("the kernel has IPsec policies", error),
    };
    let default = match ipsec_blocks() {
        Ok(false) => None,
        Ok(true) => Some("IPsec blocks what has no policy (`ip xfrm policy getdefault`)".to_owned()),
        Err(error) => untold("IPsec blocks what has no policy", error),
    };
    let rules = match unlike_rules(kernel_version().1) {
        Ok(None) => None,
        Ok(Some(why)) => Some(why.to_owned()),
        Err(error) => untold("rules choose routes by the mark of a packet", error),
    };
    let chains = match firewall() {
        Ok(chains) => {
            named(&chains).map(|names| format!("a firewall has chains that forwarded packets meet: {names}"))
        }
        Err(error) => untold("a firewall has chains that forwarded packets meet", error),
    };
    [policies, default, rules, chains].into_iter().flatten().collect()
}

/// The first names, and how many more there are.
fn named(chains: &[String]) -> Option<String> {
    let names: Vec<&str> = chains.iter().take(NAMED).map(String::as_str).collect();
    let more = match chains.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("{}{more}", names.join(", ")))
}

/// How many policies the kernel has that encrypt, or check, what passes (linux/xfrm.h, `XFRM_MSG_GETSPDINFO`): of outgoing and of forwarded
/// packets.
fn ipsec_policies() -> Result<u32, DataplaneError> {
    const GETSPDINFO: u16 = 0x25;
    const SPD_INFO: u16 = 1;
    let mut policies = 0;
    // Flags, which nobody reads.
    let asked = ask(NETLINK_XFRM, GETSPDINFO, NLM_F_REQUEST, &[0; 4], |payload| {
        if let Some(info) = value(payload.get(4..).unwrap_or_default(), SPD_INFO) {
            // Of incoming, outgoing and forwarded packets.
            let counts =
                info.chunks_exact(4).map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
            policies = counts.skip(1).take(2).sum();
        }
    });
    // Built without IPsec.
    if_known(asked, &[libc::EPROTONOSUPPORT])?;
    Ok(policies)
}

/// Whether forwarded packets for which there is no policy are dropped (linux/xfrm.h, `XFRM_MSG_GETDEFAULT`, Linux 5.15).
fn ipsec_blocks() -> Result<bool, DataplaneError> {
    const GETDEFAULT: u16 = 0x28;
    const ACCEPT: u8 = 2;
    let mut blocks = false;
    // `struct xfrm_userpolicy_default`: of incoming, forwarded and outgoing packets; filled up to four bytes.
    let asked = ask(NETLINK_XFRM, GETDEFAULT, NLM_F_REQUEST, &[0; 4], |payload| {
        blocks = payload.get(1..3).is_none_or(|ways| ways.iter().any(|way| *way != ACCEPT));
    });
    // Built without IPsec, or too old to have one that can be changed.
    if_known(asked, &[libc::EPROTONOSUPPORT, libc::EINVAL])?;
    Ok(blocks)
}

/// What makes a rule choose another route for the kernel's own way than the kernel tells.
fn unlike_rules(version: (u32, u32)) -> Result<Option<&'static str>, DataplaneError> {
    const GETRULE: u16 = 34;
    let mut found = None;
    let asked = ask(NETLINK_ROUTE, GETRULE, NLM_F_REQUEST | NLM_F_DUMP, &[0; RULE], |payload| {
        found = found.or_else(|| unlike(payload, version));
    });
    // Built without rules.
    if_known(asked, &[libc::EOPNOTSUPP])?;
    Ok(found)
}

/// Bytes of `struct fib_rule_hdr` (linux/fib_rules.h).
const RULE: usize = 12;

/// The same of one rule: it looks at the mark, which only the kernel's own way has; or, before Linux 5.18, at all of IPv6's traffic class,
/// of which the kernel is asked without the two bits that a router may set.
fn unlike(rule: &[u8], version: (u32, u32)) -> Option<&'static str> {
    const FWMARK: u16 = 10;
    const FWMASK: u16 = 16;
    let (header, rest) = rule.split_first_chunk::<RULE>()?;
    let [family, _, _, service, ..] = *header;
    if attributes(rest).any(|(kind, _)| kind == FWMARK || kind == FWMASK) {
        return Some("rules choose routes by the mark of a packet (`ip rule`)");
    }
    let is_of_class = i32::from(family) == libc::AF_INET6 && service != 0;
    (is_of_class && version < (5, 18)).then_some(
        "rules choose routes of IPv6 by the type of service (`ip -6 rule`), to which Linux before 5.18 counts congestion (ECN)",
    )
}

/// What shapes or filters frames on an interface (tc(8)), and does not see those that leave directly: kinds of queueing disciplines that
/// somebody has set, as `tbf` and `clsact`, and `tcx` for programs that need none (Linux 6.6). What the kernel sets by itself has no handle.
///
/// # Errors
/// When the kernel does not answer.
pub fn shaping(interface: &str, index: u32) -> Result<Vec<String>, DataplaneError> {
    const GETQDISC: u16 = 38;
    const KIND: u16 = 1;
    // `struct tcmsg`: index and handle behind the family.
    const MESSAGE: usize = 20;
    let mut found = Vec::new();
    let asked = ask(NETLINK_ROUTE, GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, &[0; MESSAGE], |payload| {
        let Some((header, rest)) = payload.split_first_chunk::<MESSAGE>() else { return };
        let number = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
        if number(4) == index && number(8) != 0 {
            found.extend(word(rest, KIND));
        }
    });
    // Built without traffic control.
    if_known(asked, &[libc::EOPNOTSUPP])?;
    let has_programs = [TcAttachType::Ingress, TcAttachType::Egress]
        .into_iter()
        // Before Linux 6.6 there is no such question.
        .any(|side| SchedClassifier::query_tcx(interface, side).is_ok_and(|(_, all)| !all.is_empty()));
    found.extend(has_programs.then(|| "tcx".to_owned()));
    Ok(found)
}

/// Whether the kernel forwards IPv6 at all (`net.ipv6.conf.all.forwarding`): the switches of single interfaces are not enough for it, and
/// are all that `bpf_fib_lookup` looks at.
#[must_use]
pub fn routes_v6() -> bool {
    is_on("net/ipv6/conf/all/forwarding")
}

/// Whether a switch of the kernel is on, by its path as in sysctl(8). Where there is no such file, as without IPv6, it is not.
#[must_use]
pub fn is_on(setting: &str) -> bool {
    fs::read_to_string(format!("/proc/sys/{setting}")).is_ok_and(|value| value.trim() != "0")
}

/// The chains and flow tables that forwarded packets meet: those of nftables, which `iptables-nft` makes too, as `inet filter forward`; and tables
/// of the older iptables, as `iptables filter`.
fn firewall() -> Result<Vec<String>, DataplaneError> {
    const GETCHAIN: u16 = 10 << 8 | 4;
    const GETFLOWTABLE: u16 = 10 << 8 | 23;
    const UNKNOWN: [i32; 4] = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOENT];
    let mut found = Vec::new();
    // `struct nfgenmsg`: every family.
    let asked = ask(NETLINK_NETFILTER, GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4], |payload| {
        found.extend(payload.split_first_chunk::<4>().and_then(|([family, ..], rest)| chain(*family, rest)));
    });
    // Built without nftables.
    if_known(asked, &UNKNOWN)?;
    let asked = ask(NETLINK_NETFILTER, GETFLOWTABLE, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4], |payload| {
        found.extend(
            payload.split_first_chunk::<4>().and_then(|([family, ..], rest)| flowtable(*family, rest)),
        );
    });
    if_known(asked, &UNKNOWN)?;
    for (command, file) in [("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")] {
        // Without the file there are none.
        let tables = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        found.extend(tables.lines().map(|table| format!("{command} {table}")));
    }
    Ok(found)
}

/// The value of an attribute, which is a word.
fn word(payload: &[u8], kind: u16) -> Option<String> {
    Some(String::from_utf8_lossy(value(payload, kind)?).trim_end_matches('\0').to_owned())
}

/// The attribute that has the table's name, of whatever is in it (linux/netfilter/nf_tables.h).
const TABLE: u16 = 1;

/// A flow table by its family, table and name: what is in it passes by the chains.
fn flowtable(family: u8, payload: &[u8]) -> Option<String> {
    const NAME: u16 = 2;
    let family = match family {
        1 => "inet",
        2 => "ip",
        10 => "ip6",
        _ => return None,
    };
    Some(format!("{family} {} {}", word(payload, TABLE)?, word(payload, NAME)?))
}

/// A chain by its family, table and name, if forwarded packets meet it.
fn chain(family: u8, payload: &[u8]) -> Option<String> {
    const NAME: u16 = 3;
    const HOOK: u16 = 4;
    const HOOK_NUMBER: u16 = 1;
    // Before routing, forward, and after it (`NF_INET_*`), and where a frame comes in; a device's own hooks are both on the way.
    let (family, hooks): (_, &[u32]) = match family {
        1 => ("inet", &[0, 2, 4, 5]),
        2 => ("ip", &[0, 2, 4]),
        5 => ("netdev", &[0, 1]),
        10 => ("ip6", &[0, 2, 4]),
        _ => return None,
    };
    let hook = value(value(payload, HOOK)?, HOOK_NUMBER)?;
    let number = u32::from_be_bytes(*hook.first_chunk::<4>()?);
    let name = format!("{family} {} {}", word(payload, TABLE)?, word(payload, NAME)?);
    hooks.contains(&number).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::netlink::tests::attribute;

    #[test]
    fn what_forwarded_packets_meet_is_named_by_family_and_table() {
        let flows = [attribute(1, b"own\0"), attribute(2, b"fast\0")].concat();
        assert_eq!(flowtable(1, &flows).as_deref(), Some("inet own fast"));
        assert_eq!(flowtable(7, &flows), None, "a bridge is not forwarded through");
        let at = |hook: u32| {
            let hook = attribute(4, &attribute(1, &hook.to_be_bytes()));
            [attribute(1, b"own\0"), attribute(3, b"way\0"), hook].concat()
        };
        let met = |family, hooks: &[u32]| -> Vec<u32> {
            hooks.iter().copied().filter(|hook| chain(family, &at(*hook)).is_some()).collect()
        };
        let all = [0, 1, 2, 3, 4, 5];
        assert_eq!(met(1, &all), [0, 2, 4, 5]);
        assert_eq!([met(2, &all), met(10, &all)], [[0, 2, 4], [0, 2, 4]]);
        assert_eq!(met(5, &all), [0, 1]);
        assert_eq!(met(7, &all), [0; 0]);
        assert_eq!(chain(1, &at(2)).as_deref(), Some("inet own way"));
        assert_eq!(chain(1, &flows), None, "a chain that no packet comes to by itself");
    }

    #[test]
    fn rule_that_chooses_otherwise_for_the_kernel_is_known() {
        let rule = |family: i32, service, attribute: &[u8]| {
            let header = [family.try_into().expect("a family"), 0, 0, service, 254, 0, 0, 1, 0, 0, 0, 0];
            [&header[..], attribute].concat()
        };
        let (old, new) = ((5, 17), (5, 18));
        let [mark, priority] = [10, 6].map(|kind| attribute(kind, &[1, 0, 0, 0]));
        for family in [libc::AF_INET, libc::AF_INET6] {
            for version in [old, new] {
                assert_eq!(unlike(&rule(family, 0, &priority), version), None);
                let why = unlike(&rule(family, 0, &mark), version);
                assert!(why.is_some_and(|why| why.contains("the mark")), "{why:?}");
            }
            assert_eq!(unlike(&rule(family, 0x10, &[]), new), None);
        }
        assert_eq!(unlike(&rule(libc::AF_INET, 0x10, &[]), old), None);
        let why = unlike(&rule(libc::AF_INET6, 0x10, &[]), old);
        assert!(why.is_some_and(|why| why.contains("5.18")), "{why:?}");
    }
}
