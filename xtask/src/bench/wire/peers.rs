//! What else filters on a Linux gateway. In: a lane. Out: a ruleset of nftables, or xdp-filter with its addresses, in force in its
//! gateway, or why not.

use std::{env, ffi::OsStr, fmt::Write, os::unix::ffi::OsStrExt, process::Command};

use anyhow::Result;
use bulkhead_tests::lab::{
    link,
    traffic::{self, DEVICES, FLOWS},
    wire::{self, Path, RawSender},
};

use super::lane::{Ground, SINK};

/// Elements of a set.
const SET: u32 = 16_384;
/// Beyond any run: nothing is forgotten between two windows of a lane.
const REMEMBERED: &str = "3600";

/// A filter that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A set of addresses, protocol and port at the ingress of the interface.
    NetdevSet { allows: bool },
    /// So many rules of which none matches, one after the other, at the ingress of the interface.
    NetdevLinear(u32),
    /// Connection tracking, then the set, where packets are forwarded: of flows that nobody answers, each packet meets both.
    InetTracked { allows: bool },
    /// The same of flows that were answered: connection tracking alone lets them pass.
    InetEstablished,
    /// The set, where a bridge forwards.
    BridgeSet,
    /// xdp-filter, with the address of each device.
    XdpFilter,
}

impl Peer {
    fn program(self) -> &'static str {
        match self {
            Self::NetdevSet { allows: _ }
            | Self::NetdevLinear(_)
            | Self::InetTracked { allows: _ }
            | Self::InetEstablished
            | Self::BridgeSet => "nft",
            Self::XdpFilter => "xdp-filter",
        }
    }

    /// The command that is needed and not there.
    pub(super) fn missing(self) -> Option<&'static str> {
        let program = self.program();
        let path = env::var_os("PATH").unwrap_or_default();
        let there = env::split_paths(&path)
            .any(|folder| folder.join(OsStr::from_bytes(program.as_bytes())).is_file());
        (!there).then_some(program)
    }

    /// Puts it in force.
    pub(super) fn install(self, ground: &Ground) -> Result<()> {
        let netdev =
            || format!("netdev x {{\nHEADtype filter hook ingress device {} priority 0;", ground.inward);
        match self {
            Self::NetdevSet { allows } => nft(ground, &table(&netdev(), &set(allows), MATCH)),
            Self::NetdevLinear(rules) => nft(ground, &table(&netdev(), "", &linear(rules))),
            Self::InetTracked { allows: _ } | Self::InetEstablished => {
                let allows = self != Self::InetTracked { allows: false };
                let chain = "inet x {\nHEADtype filter hook forward priority 0;";
                nft(ground, &table(chain, &set(allows), &format!("ct state established accept\n{MATCH}")))?;
                for key in ["udp_timeout", "udp_timeout_stream"] {
                    link::set(
                        &ground.gateway.namespace,
                        &format!("net/netfilter/nf_conntrack_{key}"),
                        REMEMBERED,
                    )?;
                }
                Ok(())
            }
            Self::BridgeSet => {
                let chain = "bridge x {\nHEADtype filter hook forward priority 0;";
                nft(ground, &table(chain, &set(true), MATCH))
            }
            Self::XdpFilter => xdp_filter(ground),
        }
    }

    /// Whether a flow is only established when it was answered.
    pub(super) fn wants_answers(self) -> bool {
        self == Self::InetEstablished
    }
}

const MATCH: &str = "ip saddr . ip daddr . meta l4proto . th dport @s accept";

/// `head` is the table's family and name, and what its chain begins with behind `HEAD`.
fn table(head: &str, set: &str, rules: &str) -> String {
    let (table, chain) = head.split_once("HEAD").unwrap_or((head, ""));
    format!("table {table}{set}\nchain c {{\n{chain}\n{rules}\ndrop\n}}\n}}\n")
}

/// The flows, if they are allowed, and other elements up to the size of the set.
fn set(allows: bool) -> String {
    let flows = (0..FLOWS).filter(|_| allows).map(|flow| {
        let (src, dst) = traffic::flow(flow);
        format!("{} . {} . udp . {}", src.ip(), dst.ip(), dst.port())
    });
    let others = (0..SET).map(|number| {
        let [_, _, high, low] = number.to_be_bytes();
        format!("172.16.{high}.{low} . 192.168.{high}.{low} . udp . {}", 1000 + number % 16)
    });
    let elements: Vec<String> = flows.chain(others).take(SET as usize).collect();
    format!(
        "set s {{\ntypeof ip saddr . ip daddr . meta l4proto . th dport\nelements = {{ {} }}\n}}",
        elements.join(", ")
    )
}

fn linear(rules: u32) -> String {
    let mut text = String::new();
    for number in 0..rules {
        let [_, _, high, low] = number.to_be_bytes();
        writeln!(text, "ip saddr 172.16.{high}.{low} ip daddr 192.168.{high}.{low} udp dport 1000 accept")
            .expect("a string takes any text");
    }
    text
}

fn nft(ground: &Ground, rules: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]);
    ground.command(command, rules)
}

/// Denies all but the addresses of the devices.
fn xdp_filter(ground: &Ground) -> Result<()> {
    let mut load = Command::new("xdp-filter");
    // Without the dispatcher in front it is one program, as it is at its fastest.
    load.env("LIBXDP_SKIP_DISPATCHER", "1");
    load.args(["load", "--mode", "native", "--policy", "deny", "--features", "ipv4", &ground.inward]);
    ground.command(load, "")?;
    let mut add = Command::new("sh");
    add.args(["-c", "while read -r address; do xdp-filter ip --mode src \"$address\" || exit 1; done"]);
    let addresses: String = (0..DEVICES).map(|device| format!("{}\n", traffic::device(device).1)).collect();
    ground.command(add, &addresses)
}

/// Lets the sink answer each flow once, so that connection tracking calls it established.
pub(super) fn answer(ground: &Ground) -> Result<()> {
    let sender = RawSender::new(&ground.sink, SINK)?;
    let (src_mac, dst_mac) = ground.answer_path();
    for flow in 0..FLOWS {
        let (src, dst) = traffic::flow(flow);
        let path = Path { src_mac, dst_mac, src: dst, dst: src, ttl: 64 };
        sender.send(&wire::udp(path, b"answer"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_has_its_size_and_the_flows_only_if_they_are_allowed() {
        for allows in [true, false] {
            let set = set(allows);
            assert_eq!(set.matches(" . udp . ").count(), SET as usize);
            assert_eq!(set.matches("10.20.").count(), if allows { usize::from(FLOWS) } else { 0 });
        }
    }

    #[test]
    fn table_ends_with_drop_whatever_is_before_it() {
        let table = table("inet x {\nHEADtype filter hook forward priority 0;", "", &linear(2));
        assert_eq!(table.matches("accept").count(), 2);
        assert!(
            table.starts_with("table inet x {\n\nchain c {\ntype filter hook forward priority 0;\n"),
            "{table}"
        );
        assert!(table.ends_with("accept\n\ndrop\n}\n}\n"), "{table}");
    }
}
