//! What else in this network namespace treats packets that pass the gateway, and does not see those that leave directly: IPsec policies,
//! the chains of a firewall, and rules that choose routes by marks.
//!
//! In: nothing. Out: whether there is any, as the kernel says over netlink(7). A kernel without one of them has none.

use std::fs;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM};

use super::{
    DataplaneError, kernel_version,
    netlink::{NLM_F_DUMP, NLM_F_REQUEST, ask, attributes, if_known},
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
        for (_, value) in
            attributes(payload.get(4..).unwrap_or_default()).filter(|(kind, _)| *kind == SPD_INFO)
        {
            // Of incoming, outgoing and forwarded packets.
            let counts =
                value.chunks_exact(4).map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
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

/// Whether the kernel forwards IPv6 at all (`net.ipv6.conf.all.forwarding`): the switches of single interfaces are not enough for it, and
/// are all that `bpf_fib_lookup` looks at.
#[must_use]
pub fn routes_v6() -> bool {
    // Without the file there is no IPv6.
    fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding").is_ok_and(|value| value.trim() != "0")
}

/// The chains that forwarded packets meet: those of nftables, which `iptables-nft` makes too, as `inet filter forward`; and tables of the
/// older iptables, as `iptables filter`.
fn firewall() -> Result<Vec<String>, DataplaneError> {
    const GETCHAIN: u16 = 10 << 8 | 4;
    let mut found = Vec::new();
    // `struct nfgenmsg`: every family.
    let asked = ask(NETLINK_NETFILTER, GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, &[0; 4], |payload| {
        found.extend(payload.split_first_chunk::<4>().and_then(|([family, ..], rest)| chain(*family, rest)));
    });
    // Built without nftables.
    if_known(asked, &[libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOENT])?;
    for (command, file) in [("iptables", "ip_tables_names"), ("ip6tables", "ip6_tables_names")] {
        // Without the file there are none.
        let tables = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        found.extend(tables.lines().map(|table| format!("{command} {table}")));
    }
    Ok(found)
}

/// A chain by its family, table and name, if forwarded packets meet it (linux/netfilter/nf_tables.h).
fn chain(family: u8, payload: &[u8]) -> Option<String> {
    const TABLE: u16 = 1;
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
    let value = |kind| attributes(payload).find(|(found, _)| *found == kind).map(|(_, value)| value);
    let hook = attributes(value(HOOK)?).find(|(kind, _)| *kind == HOOK_NUMBER)?.1;
    let number = u32::from_be_bytes(*hook.first_chunk::<4>()?);
    let word =
        |kind| value(kind).map(|bytes| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned());
    let name = format!("{family} {} {}", word(TABLE)?, word(NAME)?);
    hooks.contains(&number).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_that_chooses_otherwise_for_the_kernel_is_known() {
        let rule = |family: i32, service, attribute: &[u8]| {
            let header = [family.try_into().expect("a family"), 0, 0, service, 254, 0, 0, 1, 0, 0, 0, 0];
            [&header[..], attribute].concat()
        };
        let (old, new) = ((5, 17), (5, 18));
        let mark = [[8, 0, 10, 0], [1, 0, 0, 0]].concat();
        let priority = [[8, 0, 6, 0], [1, 0, 0, 0]].concat();
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
