//! What the agent's configuration may say: every table and key with its meaning and default, for the parser, the JSON
//! Schema and the reference.
//!
//! In: nothing. Out: [`ROOT`] and the tables below it. Tests prove that the parser reads every key, has these defaults
//! and keeps to these ranges.

use super::parse::{ATTACH, FORWARD, FRAGMENTS, MIDSTREAM, ROLES, SIDES, UNMANAGED};
use crate::{
    language::{Format, Key, Kind, Table, integer, many, one, table, word, words},
    policy::{
        MAX_DEVICES, MAX_RULES,
        language::formats::{CIDR, NAME, PORT},
    },
};

mod segments;
mod sinks;

use segments::SWITCHES;
pub(super) use segments::{INFRASTRUCTURE, SEGMENT};
pub(super) use sinks::SINK;

/// A path from the root on.
static PATH: Format =
    Format { name: "path", doc: "an absolute path", pattern: "^/[^\\u0000]*$", words: &[], number: None };

/// A time with units.
static DURATION: Format = Format {
    name: "time",
    doc: "a time, as in `10s`, `5m` or `1h30m`",
    pattern: "^([0-9]+[dhms])+$",
    words: &[],
    number: None,
};

/// Who may sign.
static SIGNER: Format = Format {
    name: "key",
    doc: "a public key of `minisign`, 56 letters and digits that begin with `RW`, or the absolute path of its `.pub` file",
    pattern: "^(RW[A-Za-z0-9+/]{54}|/[^\\u0000]*)$",
    words: &[],
    number: None,
};

/// A group of this host.
static UNIX_GROUP: Format = Format {
    name: "group",
    doc: "a group of this host",
    pattern: "^[^\\u0000:]+$",
    words: &[],
    number: None,
};

/// An interface of this host.
pub(super) static INTERFACE_NAME: Format = Format {
    name: "interface",
    doc: "the name of an interface, as `ip link` shows it",
    pattern: "^[^/:\\s]{1,15}$",
    words: &[],
    number: None,
};

/// Where something listens.
static LISTENER: Format = Format {
    name: "listener",
    doc: "an address of this gateway and a port, as in `127.0.0.1:9479` or `[::1]:9479`, or `off`",
    pattern: "^(off|[0-9.]+:[0-9]+|\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]:[0-9]+)$",
    words: &["off"],
    number: None,
};

/// Where datagrams are received.
static ENDPOINT: Format = Format {
    name: "endpoint",
    doc: "an address of this gateway and a port, as in `10.0.0.254:2055` or `[fd00::1]:4739`",
    pattern: "^([0-9.]+:[0-9]+|\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]:[0-9]+)$",
    words: &[],
    number: None,
};

/// Who exports flows.
static EXPORTER: Format = Format {
    name: "exporter",
    doc: "the IP address that its datagrams come from, as in `10.0.0.1` or `fd00::1`",
    pattern: "^(([0-9]{1,3}\\.){3}[0-9]{1,3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$",
    words: &[],
    number: None,
};

/// What it is the language of.
pub const TITLE: &str = "Configuration of the Bulkhead agent";

table! {
    /// How the agent runs: `/etc/bulkhead/bulkhead.toml`, or another file with `--config`. Only interfaces are required.
    pub static ROOT = Table::of("The configuration")
        .later(&["version", "learn"])
        .example(r#"
[interface.eth0]
role = "uplink"

[interface.eth1]
role = "device-side"
"#);
    /// The gateway's name in records; left out, the name of the host.
    "name": one(&NAME).example(r#""line-3""#);
    /// A policy file, or a folder whose `*.toml` files are one policy.
    "policy": one(&PATH).default(r#""/etc/bulkhead/policy.d""#);
    /// Folder for what must survive a restart.
    "state": one(&PATH).default(r#""/var/lib/bulkhead""#);
    /// Folder on a BPF file system for pinned maps and links.
    "pins": one(&PATH).default(r#""/sys/fs/bpf/bulkhead""#);
    /// The control socket, mode 0660.
    "socket": one(&PATH).default(r#""/run/bulkhead/api.sock""#);
    /// Who may use the control socket besides root; left out, the agent's own group.
    "socket_group": one(&UNIX_GROUP).example(r#""bulkhead""#);
    /// The interfaces on which packets are judged.
    "interface": Key::of(Kind::Named(&INTERFACE, &INTERFACE_NAME)).required();
    /// VLANs of an interface that are judged otherwise than the rest of it.
    "segment": Key::of(Kind::Named(&SEGMENT, &NAME));
    /// Traffic to the gateway itself that no policy can close.
    "management": Key::of(Kind::Table(&MANAGEMENT));
    /// What is let through beside the policy, on every segment that says nothing else.
    "infrastructure": Key::of(Kind::Table(&INFRASTRUCTURE));
    /// How long conversations are remembered.
    "flows": Key::of(Kind::Table(&FLOWS));
    /// How long addresses are known that devices learned by name.
    "names": Key::of(Kind::Table(&NAMES));
    /// Where violation records go.
    "sink": Key::of(Kind::Named(&SINK, &NAME));
    /// How violations become records.
    "violations": Key::of(Kind::Table(&VIOLATIONS));
    /// What monitoring systems are told; see `docs/metrics.md`.
    "metrics": Key::of(Kind::Table(&METRICS));
    /// How much of the audit trail is kept.
    "audit": Key::of(Kind::Table(&AUDIT));
    /// Whether the kernel still holds what the agent put there.
    "drift": Key::of(Kind::Table(&DRIFT));
    /// What is remembered of who talks to whom; see `docs/history.md`.
    "history": Key::of(Kind::Table(&HISTORY));
    /// How devices are heard that say who they are; see `docs/inventory.md`.
    "inventory": Key::of(Kind::Table(&INVENTORY));
    /// What follows a change of policy or mode; see `docs/rollout.md`.
    "rollout": Key::of(Kind::Table(&ROLLOUT));
    /// Sizes of tables and buffers.
    "limits": Key::of(Kind::Table(&LIMITS));
    /// Who may sign policy sets, and whether somebody must; see `docs/signed-policy.md`.
    "signing": Key::of(Kind::Table(&SIGNING));
}

table! {
    /// A NIC of the gateway, and the segment it is by itself.
    pub(super) static INTERFACE = Table::of("[interface.NAME]")
        .with(&[&SWITCHES])
        .example(r#"
[interface.eth1]
role = "device-side"

[interface.eth2]
role = "pair"
peer = "eth3"
side = "device"

[interface.eth3]
role = "pair"
peer = "eth2"
"#);
    /// What is behind it: devices of the policy, the rest of the world, or one side of an inline pair.
    "role": word(ROLE_WORDS).default(r#""uplink""#);
    /// Where packets are judged: in the driver, or (slower, for any driver) behind it.
    "attach": word(ATTACH_WORDS).default(r#""native""#);
    /// Who sends on what a routed gateway lets through here: the kernel, or the program itself where the way leads out of another such
    /// interface and is plain. Firewall rules, NAT and shaping of the gateway's own do not see what is sent `direct`; see
    /// `docs/configuration.md`.
    "forward": word(FORWARD_WORDS).default(r#""kernel""#);
    /// The other side of a pair; each names the other.
    "peer": one(&INTERFACE_NAME).example(r#""eth2""#);
    /// Where the devices of a pair are; saying it on one side is enough.
    "side": word(SIDE_WORDS).example(r#""device""#);
    /// Whether a side of a pair that has lost its carrier takes the other one down; left out, it does.
    "mirror_link": Key::of(Kind::Boolean).example("false");
    /// Whether the agent may switch offloads off that hide VLAN tags or join packets (rxvlan, LRO).
    "fix_offloads": Key::of(Kind::Boolean).default("false");
}

table! {
    /// The management pin: who may reach the gateway itself, whatever the policy says.
    pub(super) static MANAGEMENT = Table::of("[management]").later(&["icmp"]);
    /// From where.
    "from": many(&CIDR).default(r#"["0.0.0.0/0", "::/0"]"#);
    /// TCP ports of the gateway.
    "tcp": many(&PORT).default("[22]");
    /// UDP ports of the gateway.
    "udp": many(&PORT).default("[]");
}

table! {
    /// How conversations are remembered.
    pub(super) static FLOWS = Table::of("[flows]");
    /// After the first attach and after each boot, for so long sessions that are older than the agent are adopted when a
    /// rule allows either direction; `0s` is never.
    "adopt_for": one(&DURATION).default(r#""10m""#);
    /// What TCP packets without a known flow meet afterwards: `forward` passes them when a rule allows their own direction,
    /// `strict` never.
    "midstream": word(MIDSTREAM_WORDS).default(r#""forward""#);
    /// A silent TCP flow is forgotten after this.
    "tcp_idle": one(&DURATION).default(r#""5d""#);
    /// A TCP flow that is not established yet is forgotten after this.
    "tcp_opening": one(&DURATION).default(r#""1m""#);
    /// A silent UDP flow is forgotten after this.
    "udp_idle": one(&DURATION).default(r#""3m""#);
    /// A silent ICMP exchange is forgotten after this.
    "icmp_idle": one(&DURATION).default(r#""30s""#);
    /// Flows a device may begin in a second; 0 is any number.
    "new_per_second": integer(0, 1_000_000).default("1000");
}

table! {
    /// Peers that rules name by DNS name: what becomes of the addresses that devices learn from their resolvers.
    pub(super) static NAMES = Table::of("[names]");
    /// An address is known at least for so long after its last answer, however short the resolver says it is valid, and for as
    /// long as the device has a connection with it. Longer times suit devices that ask once and never again.
    "keep": one(&DURATION).default(r#""5m""#);
    /// Whether a name may lead to a private address (RFC 1918, RFC 6598, RFC 4193, the link). Devices and the gateway are
    /// never reached by name; with `false` nobody else inside is.
    "private": Key::of(Kind::Boolean).default("true");
}

table! {
    /// How violations become records; where these go, the tables `[sink.NAME]` say.
    pub(super) static VIOLATIONS = Table::of("[violations]");
    /// How often repeats of a violation become one record.
    "summary": one(&DURATION).default(r#""10s""#);
    /// How often the agent sends itself packets that nothing allows, to see that they are counted, and passed or dropped as
    /// they should be, and tells every sink that it is there; `0s` is never.
    "heartbeat": one(&DURATION).default(r#""5m""#);
}

table! {
    /// Metrics for Prometheus and those who read what it reads: `http://ADDRESS:PORT/metrics`.
    pub(super) static METRICS = Table::of("[metrics]");
    /// Where they can be read. Whoever can connect to it reads them, without a password: another address than the loopback's is
    /// a choice. `off` is nowhere.
    "listen": one(&LISTENER).default(r#""127.0.0.1:9479""#);
}

table! {
    /// How much of the audit trail is kept: `audit.log` in the state folder, and older files beside it.
    pub(super) static AUDIT = Table::of("[audit]");
    /// A file is not added to beyond this, bytes.
    "file_bytes": integer(64 << 10, 1 << 30).default("1048576");
    /// Files, the one that is written included; the oldest goes when there is one more. Two at least: the next entry follows
    /// the last of the file before.
    "files": integer(2, 1000).default("8");
}

table! {
    /// The agent compares maps, pins and programs in the kernel with what it put there, and tells what differs in `status` and
    /// the log. `bulkhead drift` does so at once.
    pub(super) static DRIFT = Table::of("[drift]");
    /// How often; `0s` is never.
    "every": one(&DURATION).default(r#""5m""#);
    /// Whether what differs is written anew.
    "repair": Key::of(Kind::Boolean).default("false");
}

/// A file of SQLite.
static DATABASE: Format = Format {
    name: "database",
    doc: "an absolute path that ends in `.db`",
    pattern: "^/[^\\u0000]*\\.db$",
    words: &[],
    number: None,
};

table! {
    /// What is remembered of who talks to whom, over what, and when: allowed or denied, added up by kind of conversation and day.
    pub(super) static HISTORY = Table::of("[history]");
    /// Whether anything is.
    "enabled": Key::of(Kind::Boolean).default("true");
    /// The file; left out, `history.db` in the state folder. A second one beside it, with `-wal` behind its name, takes a few MiB.
    "file": one(&DATABASE).example(r#""/srv/history.db""#);
    /// Its size, bytes. The oldest days go when it is larger, and no day takes more than an eighth of it.
    "file_bytes": integer(1 << 20, 4_294_967_295).default("268435456");
    /// How many days are kept; those on which nothing was seen do not count.
    "days": integer(1, 3660).default("400");
    /// How often what was added up in memory is written; on a gateway with very many kinds of conversations up to ten times as long. A
    /// power cut loses so much; a card of flash memory is worn less the longer it is.
    "flush": one(&DURATION).default(r#""1m""#);
    /// What exporters elsewhere tell of; left out, nobody is heard.
    "collector": Key::of(Kind::Table(&COLLECTOR));
}

table! {
    /// What devices say of themselves on the wire is heard on every interface, and kept in the state folder. Nothing is sent.
    pub(super) static INVENTORY = Table::of("[inventory]");
    /// Whether anything is.
    "enabled": Key::of(Kind::Boolean).default("true");
    /// Frames of one interface that are read in a second; those beyond it are counted. The kernel hands over only frames that tell something.
    "frames_per_second": integer(10, 100_000).default("500");
}

table! {
    /// Where routers and switches send NetFlow 5, NetFlow 9 or IPFIX, for what does not pass this gateway; see `docs/history.md`.
    pub(super) static COLLECTOR = Table::of("[history.collector]").example(r#"
[history.collector]
listen = "10.0.0.254:2055"
from   = ["10.0.0.1"]
"#);
    /// An address of this gateway, and the UDP port.
    "listen": one(&ENDPOINT).required().example(r#""10.0.0.254:2055""#);
    /// Exporters that are heard, by the address that their datagrams come from. Those of anybody else are counted and dropped.
    "from": many(&EXPORTER).required().example(r#"["10.0.0.1"]"#);
}

table! {
    /// What follows a change of policy, and one of a device's mode to `enforce`; how devices come to be enforced stage by stage.
    pub(super) static ROLLOUT = Table::of("[rollout]");
    /// For how long the devices that a change touches are watched: one of which legitimate traffic suffers goes back by itself to what
    /// it had before. At most `7d`; `0s` is not at all. `bulkhead apply --watch` says it for one change.
    "watch": one(&DURATION).default(r#""0s""#);
    /// For how long a device is a canary: `bulkhead rollout advance` enforces and watches it so long before it may be kept enforced. From
    /// `1s` to `7d`; longer than what it does most seldom takes.
    "canary": one(&DURATION).default(r#""1h""#);
    /// As many devices of one class may be canaries at a time. Devices without a class count as one class.
    "canaries": integer(1, 100_000).default("1");
}

table! {
    /// Sizes of tables and buffers, in entries unless said otherwise. They are fixed while the maps exist: change them with
    /// `bulkhead detach`.
    pub(super) static LIMITS = Table::of("[limits]");
    /// Devices of the policy.
    "devices": integer(1, MAX_DEVICES as i64).default("4096");
    /// Rules of the policy.
    "rules": integer(1, MAX_RULES as i64).default("65536");
    /// Compiled rows of the policy.
    "rows": integer(1024, 1 << 24).default("1048576");
    /// Live conversations.
    "flows": integer(1024, 1 << 24).default("131072");
    /// Verdicts that each processor remembers for the packets that follow, of IPv4; half as many of IPv6. What is not
    /// remembered is decided anew. A power of two; of another number the next one below it. Each takes 64 bytes for each processor (IPv6 128), and
    /// all of them 64 MiB at most: 524288 over all processors, so that with more than eight there are fewer than by default for each. Where interfaces
    /// forward directly, half as many ways of packets are remembered besides, for 128 bytes each. The number of ways may
    /// change with any start, that of verdicts is fixed while the maps exist.
    "verdicts": integer(1024, 1 << 20).default("65536");
    /// Distinct violations held between two drains; further ones are counted for their device and reason.
    "violations": integer(64, 1 << 20).default("8192");
    /// Bytes of the event ring: a power of two, at least a page. An event takes 208, so that the default holds 1260 new
    /// violations until the agent reads them; further ones are counted all the same, and told without their first bytes. Half of it
    /// is for the first violation of each device and reason.
    "ring_bytes": integer(4096, 64 << 20).default("262144");
    /// Addresses that all devices together may have learned by DNS name; 256 of them at most are one device's. It may change
    /// at any time.
    "names": integer(16, 1 << 16).default("4096");
    /// Revisions of the policy that can be brought back. It may change at any time.
    "revisions": integer(2, 1000).default("32");
}

table! {
    /// Signed policy: the agent takes only sets whose `MANIFEST` is signed with one of these keys.
    pub(super) static SIGNING = Table::of("[signing]");
    /// Up to 16 public keys of `minisign`, written here or named by the path of their `.pub` file; each may sign alone.
    "keys": many(&SIGNER).example(r#"["/etc/bulkhead/plant.pub"]"#);
    /// Whether a set without a signature is refused; left out, it is as soon as there is a key.
    "required": Key::of(Kind::Boolean).example("true");
}

const ROLE_WORDS: &[&str] = &words(&ROLES);
const SIDE_WORDS: &[&str] = &words(&SIDES);
const ATTACH_WORDS: &[&str] = &words(&ATTACH);
const FORWARD_WORDS: &[&str] = &words(&FORWARD);
const MIDSTREAM_WORDS: &[&str] = &words(&MIDSTREAM);
const UNMANAGED_WORDS: &[&str] = &words(&UNMANAGED);
const FRAGMENT_WORDS: &[&str] = &words(&FRAGMENTS);
