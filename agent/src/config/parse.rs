//! Text -> Config. In: one file. Out: the configuration, or every problem with its place and help.

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    Audit, Config, Drift, FlowCollector, Flows, History, Infrastructure, Inventory, Limits, Management,
    Metrics, Midstream, Names, Rollout, Violations, duration,
    language::{
        AUDIT, COLLECTOR, DRIFT, FLOWS, HISTORY, INVENTORY, LIMITS, MANAGEMENT, METRICS, NAMES, ROLLOUT,
        ROOT, VIOLATIONS,
    },
};
use crate::{
    diagnostic::{At, Collector, Diagnostic, FileId, Sources, has_errors, quote},
    policy::{
        MAX_DEVICES, MAX_FILE_BYTES, MAX_RULES,
        cascade::{CONFIG_ROOT, Cascade},
        reader::{Leaf, Reader},
        values::{TCP, UDP, fold},
    },
};

mod interfaces;
mod segments;
mod signing;
mod sinks;

pub(super) use interfaces::{ATTACH, FORWARD, ROLES, SIDES};
pub(super) use segments::{FRAGMENTS, UNMANAGED};
pub(super) use sinks::{FACILITIES, FRAMINGS};

pub(super) const MIDSTREAM: [(&str, Midstream); 2] =
    [("forward", Midstream::Forward), ("strict", Midstream::Strict)];

/// Instead of an address: nothing listens.
const OFF: &str = "off";

/// What the history's file ends in.
const HISTORY_ENDING: &str = "db";

/// `sun_path` has 108 bytes, the last one zero (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Reads the agent's configuration. `None` exactly when a diagnostic is an error.
pub fn parse_config(path: &str, text: &str) -> (Option<Config>, Vec<Diagnostic>, Sources) {
    if text.len() > MAX_FILE_BYTES {
        let sources = Sources::new([(path, "")]);
        let place = sources.locate(At { file: FileId(0), start: 0, end: 0 });
        let found = Diagnostic::error("BH0003", format!("the file has {} bytes", text.len())).at(place, "");
        return (None, vec![found.help(format!("at most {MAX_FILE_BYTES} bytes are read"))], sources);
    }
    let sources = Sources::new([(path, text)]);
    let mut out = Collector::new(&sources);
    let mut reader = Reader { file: FileId(0), out: &mut out };
    let (document, clean) = reader.document(text);
    let mut cascade = Cascade::default();
    if !clean {
        cascade.note(FileId(0), &sources, reader.out.since(0));
    }
    let config = config(&mut reader, document.get_ref(), Path::new(path));
    out.retain(|found| cascade.keeps(found));
    let found = out.finish();
    ((!has_errors(&found)).then_some(config), found, sources)
}

fn config(reader: &mut Reader<'_, '_>, root: &DeTable<'_>, file: &Path) -> Config {
    reader.keys(root, &ROOT, CONFIG_ROOT);
    let name = reader.string(root, "name").filter(|name| reader.name(name, "gateway"));
    let group = reader.string(root, "socket_group").filter(|group| {
        let usable = !group.value.is_empty() && !group.value.contains(['\0', ':']);
        if !usable {
            let help = "write the name of a group of this host, or leave `socket_group` out";
            reader.refuse::<()>("BH0609", group, format!("{} is not a group", quote(&group.value)), help);
        }
        usable
    });
    let infrastructure = match reader.table(root, "infrastructure") {
        Some((_, table)) => {
            segments::infrastructure(reader, table, "`[infrastructure]`", Infrastructure::default())
        }
        None => Infrastructure::default(),
    };
    let (interfaces, own_segments) = interfaces::interfaces(reader, root, infrastructure);
    let policy = path(reader, root, "policy", "/etc/bulkhead/policy.d");
    let state = path(reader, root, "state", "/var/lib/bulkhead");
    let pins = path(reader, root, "pins", "/sys/fs/bpf/bulkhead");
    let socket = socket(reader, root);
    let history = history(reader, root, &state);
    let remembered = history.as_ref().map(|history| history.file.as_path());
    let own = sinks::Own {
        config: file,
        policy: &policy,
        state: &state,
        pins: &pins,
        socket: &socket,
        history: remembered,
    };
    let sinks = sinks::sinks(reader, root, &own);
    Config {
        name: name.map(|leaf| leaf.value),
        policy,
        state,
        pins,
        socket,
        socket_group: group.map(|leaf| leaf.value),
        segments: segments::segments(reader, root, &interfaces, own_segments),
        interfaces,
        management: reader.table(root, "management").map(|(_, t)| management(reader, t)).unwrap_or_default(),
        infrastructure,
        flows: reader.table(root, "flows").map(|(_, t)| flows(reader, t)).unwrap_or_default(),
        names: reader.table(root, "names").map(|(_, t)| names(reader, t)).unwrap_or_default(),
        violations: reader.table(root, "violations").map(|(_, t)| violations(reader, t)).unwrap_or_default(),
        sinks,
        metrics: reader.table(root, "metrics").map(|(_, t)| metrics(reader, t)).unwrap_or_default(),
        audit: reader.table(root, "audit").map(|(_, t)| audit(reader, t)).unwrap_or_default(),
        drift: reader.table(root, "drift").map(|(_, t)| drift(reader, t)).unwrap_or_default(),
        history,
        inventory: inventory(reader, root),
        rollout: reader.table(root, "rollout").map(|(_, t)| rollout(reader, t)).unwrap_or_default(),
        limits: reader.table(root, "limits").map(|(_, t)| limits(reader, t)).unwrap_or_default(),
        signing: reader.table(root, "signing").map(|(_, t)| signing::signing(reader, t)).unwrap_or_default(),
    }
}

fn management(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Management {
    reader.keys(table, &MANAGEMENT, "`[management]`");
    let default = Management::default();
    let from = reader.strings(table, "from");
    let empty = from.as_ref().is_some_and(|list| list.value.is_empty());
    let mut nets: Vec<IpNet> = match &from {
        Some(list) => list.value.iter().filter_map(|leaf| reader.cidr(leaf)).map(|leaf| leaf.value).collect(),
        None => default.from,
    };
    nets.sort();
    nets.dedup();
    let mut services = Vec::new();
    let mut given = false;
    let mut nothing = None;
    for (key, protocol) in [("tcp", TCP), ("udp", UDP)] {
        let ports = reader.numbers(table, key);
        // Leaving `tcp` out means its default, whatever `udp` says.
        given |= key == "tcp" && table.contains_key(key);
        nothing = nothing.or(ports.as_ref().filter(|list| list.value.is_empty()).map(|list| list.at));
        services.extend(
            ports.iter().flat_map(|list| &list.value).filter_map(|leaf| reader.ports(leaf, protocol)),
        );
    }
    if !given {
        services.extend(default.services);
    }
    let nobody = from.filter(|_| empty).map(|list| list.at);
    if let Some(at) = nobody.or(nothing.filter(|_| services.is_empty())) {
        let location = reader.out.locate(at);
        let found = Diagnostic::warning("BH0610", "the management pin admits nobody");
        let help =
            "a policy can now close the way to this gateway: name the administrators' prefixes and ports";
        reader.out.push(found.at(location, "").help(help));
    }
    Management { from: nets, services: fold(services) }
}

fn flows(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Flows {
    reader.keys(table, &FLOWS, "`[flows]`");
    let default = Flows::default();
    Flows {
        adopt_for: time(reader, table, "adopt_for", 0..=DAY, default.adopt_for),
        midstream: word(reader, table, "midstream", &MIDSTREAM),
        tcp_idle: time(reader, table, "tcp_idle", MINUTE..=365 * DAY, default.tcp_idle),
        tcp_opening: time(reader, table, "tcp_opening", 1..=60 * MINUTE, default.tcp_opening),
        new_per_second: size(reader, table, "new_per_second", 0..=1_000_000, default.new_per_second),
        udp_idle: time(reader, table, "udp_idle", 1..=DAY, default.udp_idle),
        icmp_idle: time(reader, table, "icmp_idle", 1..=60 * MINUTE, default.icmp_idle),
    }
}

fn names(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Names {
    reader.keys(table, &NAMES, "`[names]`");
    let default = Names::default();
    Names {
        keep: time(reader, table, "keep", 2..=30 * DAY, default.keep),
        private: reader.boolean(table, "private").map_or(default.private, |flag| flag.value),
    }
}

fn violations(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Violations {
    // What it said is a sink now: a file that is still wanted must not silently stop to be written.
    if let Some((key, value)) = table.get_key_value("file") {
        let to = match value.get_ref().as_str() {
            Some("-") => "stdout".to_owned(),
            Some(path) => format!("file:{path}"),
            None => "file:/path".to_owned(),
        };
        let found = Diagnostic::error("BH0616", "`file` is no longer a key of `[violations]`");
        let help = format!("write a sink instead: `[sink.log]` with `to = {to:?}`");
        let location = reader.locate(key.span());
        reader.out.push(found.at(location, "").help(help));
        let mut rest = table.clone();
        rest.remove("file");
        return violations(reader, &rest);
    }
    reader.keys(table, &VIOLATIONS, "`[violations]`");
    let default = Violations::default();
    Violations {
        summary: time(reader, table, "summary", 1..=60 * MINUTE, default.summary),
        heartbeat: time(reader, table, "heartbeat", 0..=DAY, default.heartbeat),
    }
}

fn metrics(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Metrics {
    reader.keys(table, &METRICS, "`[metrics]`");
    let default = Metrics::default();
    let Some(leaf) = reader.string(table, "listen") else { return default };
    if leaf.value == OFF {
        return Metrics { listen: None };
    }
    let found = leaf.value.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
    let Some(address) = found else {
        let message = format!("{} is no address to listen on", quote(&leaf.value));
        let help =
            "write an address of this gateway and a port, as in `127.0.0.1:9479` or `[::1]:9479`, or `off`";
        return reader.refuse("BH0617", &leaf, message, help).unwrap_or(default);
    };
    Metrics { listen: Some(address) }
}

fn audit(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Audit {
    reader.keys(table, &AUDIT, "`[audit]`");
    let default = Audit::default();
    Audit {
        file_bytes: size(reader, table, "file_bytes", 64 << 10..=1 << 30, default.file_bytes),
        files: size(reader, table, "files", 2..=1000, default.files),
    }
}

fn drift(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Drift {
    reader.keys(table, &DRIFT, "`[drift]`");
    let default = Drift::default();
    Drift {
        every: time(reader, table, "every", 0..=DAY, default.every),
        repair: reader.boolean(table, "repair").map_or(default.repair, |leaf| leaf.value),
    }
}

fn rollout(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Rollout {
    reader.keys(table, &ROLLOUT, "`[rollout]`");
    let default = Rollout::default();
    Rollout {
        watch: time(reader, table, "watch", 0..=7 * DAY, default.watch),
        canary: time(reader, table, "canary", 1..=7 * DAY, default.canary),
        canaries: size(reader, table, "canaries", 1..=100_000, default.canaries),
    }
}

fn inventory(reader: &mut Reader<'_, '_>, root: &DeTable<'_>) -> Option<Inventory> {
    let default = Inventory::default();
    let Some((_, table)) = reader.table(root, "inventory") else { return Some(default) };
    reader.keys(table, &INVENTORY, "`[inventory]`");
    let enabled = reader.boolean(table, "enabled").is_none_or(|leaf| leaf.value);
    let frames_per_second = size(reader, table, "frames_per_second", 10..=100_000, default.frames_per_second);
    enabled.then_some(Inventory { frames_per_second })
}

fn history(reader: &mut Reader<'_, '_>, root: &DeTable<'_>, state: &Path) -> Option<History> {
    let default = History::below(state);
    let Some((_, table)) = reader.table(root, "history") else { return Some(default) };
    reader.keys(table, &HISTORY, "`[history]`");
    let enabled = reader.boolean(table, "enabled").is_none_or(|leaf| leaf.value);
    let file = reader.string(table, "file").and_then(|leaf| {
        let file = absolute(reader, &leaf)?;
        // What is no history is taken for a damaged one and gets another name: no other file may be meant.
        if file.extension().is_some_and(|ending| ending == HISTORY_ENDING) {
            return Some(file);
        }
        let message = format!("{} is no name of a history", quote(&leaf.value));
        reader.refuse("BH0621", &leaf, message, "write a name that ends in `.db`")
    });
    let history = History {
        file: file.unwrap_or(default.file),
        file_bytes: size(reader, table, "file_bytes", 1 << 20..=u32::MAX, default.file_bytes),
        days: size(reader, table, "days", 1..=3660, default.days),
        flush: time(reader, table, "flush", 1..=60 * MINUTE, default.flush),
        collector: reader.table(table, "collector").and_then(|(at, table)| collector(reader, at, table)),
    };
    enabled.then_some(history)
}

fn collector(reader: &mut Reader<'_, '_>, at: At, table: &DeTable<'_>) -> Option<FlowCollector> {
    reader.keys(table, &COLLECTOR, "`[history.collector]`");
    let listen = reader.string(table, "listen").and_then(|leaf| {
        let found = leaf.value.parse::<SocketAddr>().ok().filter(|address| address.port() > 0);
        let message = format!("{} is no address to listen on", quote(&leaf.value));
        let help = "write an address of this gateway and a port, as in `10.0.0.254:2055` or `[fd00::1]:4739`";
        found.or_else(|| reader.refuse("BH0622", &leaf, message, help))
    });
    let list = reader.strings(table, "from").map(|list| list.value).unwrap_or_default();
    let mut from: Vec<IpAddr> = Vec::new();
    for leaf in &list {
        let message = format!("{} is no address of an exporter", quote(&leaf.value));
        let help = "write the address that its datagrams come from, as in `10.0.0.1`";
        let address = leaf.value.parse::<IpAddr>().ok().filter(|address| !address.is_unspecified());
        let address = address.or_else(|| reader.refuse("BH0622", leaf, message, help));
        // As senders are compared: `::ffff:10.0.0.1` is 10.0.0.1.
        from.extend(address.map(|address| address.to_canonical()));
    }
    from.sort_unstable();
    from.dedup();
    if !table.contains_key("listen") || list.is_empty() {
        let location = reader.out.locate(at);
        let found = Diagnostic::error("BH0622", "the collector hears nobody");
        let help =
            "say where it listens and to whom: `listen = \"10.0.0.254:2055\"`, `from = [\"10.0.0.1\"]`";
        reader.out.push(found.at(location, "").help(help));
    }
    Some(FlowCollector { listen: listen?, from })
}

fn limits(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Limits {
    reader.keys(table, &LIMITS, "`[limits]`");
    let default = Limits::default();
    let bound = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let ring = size(reader, table, "ring_bytes", 4096..=64 << 20, default.ring_bytes);
    if let Some(leaf) = reader.integer(table, "ring_bytes").filter(|_| !ring.is_power_of_two()) {
        let location = reader.out.locate(leaf.at);
        let found = Diagnostic::error("BH0607", format!("`ring_bytes` of {ring} is not a power of two"));
        let help = format!("write `{}` or `{}`", ring.next_power_of_two() / 2, ring.next_power_of_two());
        reader.out.push(found.at(location, "").help(help));
    }
    Limits {
        devices: size(reader, table, "devices", 1..=bound(MAX_DEVICES), default.devices),
        rules: size(reader, table, "rules", 1..=bound(MAX_RULES), default.rules),
        rows: size(reader, table, "rows", 1024..=1 << 24, default.rows),
        flows: size(reader, table, "flows", 1024..=1 << 24, default.flows),
        verdicts: size(reader, table, "verdicts", 1024..=1 << 20, default.verdicts),
        violations: size(reader, table, "violations", 64..=1 << 20, default.violations),
        ring_bytes: ring,
        names: size(reader, table, "names", 16..=1 << 16, default.names),
        revisions: size(reader, table, "revisions", 2..=1000, default.revisions),
    }
}

fn word<T: Copy + Default>(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    key: &str,
    words: &[(&'static str, T)],
) -> T {
    word_or(reader, table, key, words, T::default())
}

/// One word of a fixed set; `default` when it is absent or was reported.
fn word_or<T: Copy>(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    key: &str,
    words: &[(&'static str, T)],
    default: T,
) -> T {
    let leaf = reader.string(table, key);
    leaf.and_then(|leaf| reader.word("BH0603", &leaf, &format!("value of `{key}`"), words)).unwrap_or(default)
}

/// A time in seconds within a range; the default when it is absent or was reported.
fn time(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    key: &str,
    range: RangeInclusive<u64>,
    default: Duration,
) -> Duration {
    let Some(leaf) = reader.string(table, key) else { return default };
    let Some(found) = duration::parse(&leaf.value) else {
        let message = format!("{} is not a time", quote(&leaf.value));
        let help = "write numbers with units `d`, `h`, `m` or `s`, as in `10m` or `1h30m`";
        return reader.refuse("BH0604", &leaf, message, help).unwrap_or(default);
    };
    if range.contains(&found.as_secs()) {
        return found;
    }
    let show = |seconds: u64| duration::show(Duration::from_secs(seconds));
    let message = format!("`{key}` cannot be {}", quote(&leaf.value));
    let help = format!("write a time from `{}` to `{}`", show(*range.start()), show(*range.end()));
    reader.refuse("BH0605", &leaf, message, &help).unwrap_or(default)
}

/// A whole number within a range; the default when it is absent or was reported.
fn size(
    reader: &mut Reader<'_, '_>,
    table: &DeTable<'_>,
    key: &str,
    range: RangeInclusive<u32>,
    default: u32,
) -> u32 {
    let Some(leaf) = reader.integer(table, key) else { return default };
    if let Some(found) = u32::try_from(leaf.value).ok().filter(|n| range.contains(n)) {
        return found;
    }
    let location = reader.out.locate(leaf.at);
    let found = Diagnostic::error("BH0606", format!("`{key}` is out of range"));
    let help = format!("write a number from `{}` to `{}`", range.start(), range.end());
    reader.out.push(found.at(location, "").help(help));
    default
}

fn path(reader: &mut Reader<'_, '_>, root: &DeTable<'_>, key: &str, default: &str) -> PathBuf {
    let leaf = reader.string(root, key);
    leaf.and_then(|leaf| absolute(reader, &leaf)).unwrap_or_else(|| default.into())
}

fn socket(reader: &mut Reader<'_, '_>, root: &DeTable<'_>) -> PathBuf {
    let default = "/run/bulkhead/api.sock";
    if let Some(leaf) = reader.string(root, "socket").filter(|leaf| leaf.value.len() > MAX_SOCKET_PATH) {
        let message = format!("the path of the socket has {} bytes", leaf.value.len());
        let help = format!("the kernel takes at most {MAX_SOCKET_PATH} (unix(7))");
        reader.refuse::<()>("BH0608", &leaf, message, &help);
        return default.into();
    }
    path(reader, root, "socket", default)
}

/// The daemon's working directory is nobody's business, so paths are absolute.
fn absolute(reader: &mut Reader<'_, '_>, leaf: &Leaf<String>) -> Option<PathBuf> {
    if leaf.value.starts_with('/') && !leaf.value.contains('\0') {
        return Some(PathBuf::from(&leaf.value));
    }
    let message = format!("{} is not an absolute path", quote(&leaf.value));
    reader.refuse("BH0608", leaf, message, "write the path from the root on, starting with `/`")
}
