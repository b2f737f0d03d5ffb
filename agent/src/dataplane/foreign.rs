//! What else in this network namespace treats packets that pass the gateway, and does not see those that leave directly: IPsec policies,
//! the chains of a firewall, and rules that choose routes by marks.
//!
//! In: nothing. Out: whether there is any, as the kernel says over netlink(7). A kernel without one of them has none.

use std::{fs, io};

use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE, NETLINK_XFRM},
};

use super::DataplaneError;

/// Bytes of `struct nlmsghdr` (linux/netlink.h).
const HEADER: usize = 16;
pub(super) const NLM_F_REQUEST: u16 = 1;
const NLM_F_MULTI: u16 = 2;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Bits of an attribute's type that are not its number.
const NLA_FLAGS: u16 = 0xc000;

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
    let rules = match rules_with_marks() {
        Ok(0) => None,
        Ok(_) => Some("rules choose routes by the mark of a packet (`ip rule`)".to_owned()),
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
    match asked {
        Ok(()) => Ok(policies),
        // Built without IPsec.
        Err(error) if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => Ok(0),
        Err(error) => Err(DataplaneError::Netlink(error.to_string())),
    }
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
    match asked {
        Ok(()) => Ok(blocks),
        // Built without IPsec, or too old to have one that can be changed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPROTONOSUPPORT | libc::EINVAL)) => Ok(false),
        Err(error) => Err(DataplaneError::Netlink(error.to_string())),
    }
}

/// How many rules look at a packet's mark (linux/fib_rules.h), which only the kernel's own way has.
fn rules_with_marks() -> Result<u32, DataplaneError> {
    const GETRULE: u16 = 34;
    const FWMARK: u16 = 10;
    const FWMASK: u16 = 16;
    // `struct fib_rule_hdr`.
    const RULE: usize = 12;
    let mut rules = 0;
    let asked = ask(NETLINK_ROUTE, GETRULE, NLM_F_REQUEST | NLM_F_DUMP, &[0; RULE], |payload| {
        let mut all = attributes(payload.get(RULE..).unwrap_or_default());
        rules += u32::from(all.any(|(kind, _)| kind == FWMARK || kind == FWMASK));
    });
    match asked {
        Ok(()) => Ok(rules),
        // Built without rules.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(0),
        Err(error) => Err(DataplaneError::Netlink(error.to_string())),
    }
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
    match asked {
        Ok(()) => {}
        Err(error) if is_unknown(&error) => {}
        Err(error) => return Err(DataplaneError::Netlink(error.to_string())),
    }
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

/// Sends a question, and hands each answer over.
pub(super) fn ask(
    protocol: isize,
    kind: u16,
    flags: u16,
    payload: &[u8],
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    let length = u32::try_from(HEADER + payload.len()).expect("a question is short");
    let mut question = length.to_ne_bytes().to_vec();
    question.extend([kind, flags].map(u16::to_ne_bytes).concat());
    // Sequence number and sender, which the kernel fills in.
    question.extend([0; 8]);
    question.extend(payload);
    socket.send_to(&question, &SocketAddr::new(0, 0), 0)?;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while let Some(header) = rest.first_chunk::<HEADER>() {
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let kind = u16::from_ne_bytes([header[4], header[5]]);
            let flags = u16::from_ne_bytes([header[6], header[7]]);
            let payload = rest.get(HEADER..length).unwrap_or_default();
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = payload.first_chunk::<4>().map_or(0, |code| i32::from_ne_bytes(*code));
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => each(payload),
            }
            if flags & NLM_F_MULTI == 0 {
                return Ok(());
            }
            rest = rest.get(length.max(HEADER).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Attributes by their number (netlink(7), `struct nlattr`).
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let header = rest.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & !NLA_FLAGS;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Whether the kernel does not know what it was asked for: it is built without it.
fn is_unknown(error: &io::Error) -> bool {
    let unknown = [libc::EPROTONOSUPPORT, libc::EOPNOTSUPP, libc::EINVAL, libc::ENOENT];
    error.raw_os_error().is_some_and(|code| unknown.contains(&code))
}
