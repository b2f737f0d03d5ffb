//! `[sink.NAME]`: where violation records go.

use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::{
    super::{
        language::SINK,
        sink::{Destination, Framing, KEEP, MAX_SINKS, ROTATE_BYTES, SPOOL_BYTES, Sink, Syslog, Transport},
    },
    absolute, size, word, word_or,
};
use crate::{
    diagnostic::{Diagnostic, quote},
    policy::reader::{Leaf, Reader, list},
    record::Format,
};

/// What a sink has wrong.
const CODE: &str = "BH0615";

pub(in crate::config) const FRAMINGS: [(&str, Framing); 2] =
    [("octet-counting", Framing::OctetCounting), ("newline", Framing::Newline)];

/// Facilities that a program of its own may use, with their numbers (RFC 5424 6.2.1).
pub(in crate::config) const FACILITIES: [(&str, u8); 12] = [
    ("user", 1),
    ("daemon", 3),
    ("auth", 4),
    ("authpriv", 10),
    ("local0", LOCAL0),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];
const LOCAL0: u8 = 16;

/// Under load up to 64 MiB and 256 KiB are sent and not surely read, with the usual buffers of Linux since 6.16.
const DOUBT: u32 = 80 << 20;

/// The ways to write `to`, for whoever wrote another.
const WAYS: &str = "write `file:/path`, `stdout`, `journald`, or `syslog+udp://HOST:PORT`, `syslog+tcp://…`, `syslog+tls://…`";

/// Keys that have a meaning for some destinations only: those that begin like this, and how people are told of them.
const OWN: [(&[&str], &str, &str); 4] = [
    (&["rotate_bytes", "keep"], "file:", "`file:` sinks"),
    (&["facility", "spool_bytes"], "syslog+", "`syslog+…` sinks"),
    (&["framing"], "syslog+tcp:", "`syslog+tcp:` sinks"),
    (&["ca", "certificate", "key", "server_name"], "syslog+tls:", "`syslog+tls:` sinks"),
];

/// Where the product's own files are: whatever else is written there spoils them.
pub(super) struct Own<'p> {
    /// The file that is read.
    pub(super) config: &'p Path,
    pub(super) policy: &'p Path,
    pub(super) state: &'p Path,
    pub(super) pins: &'p Path,
    pub(super) socket: &'p Path,
    pub(super) history: Option<&'p Path>,
}

impl Own<'_> {
    /// What a file would lie in or upon.
    fn holds(&self, file: &Path) -> Option<String> {
        let Self { config, policy, state, pins, socket, history } = self;
        let named = [
            ("in the state folder", state),
            ("in the policy", policy),
            ("in the folder of the pins", pins),
            ("where the configuration is,", config),
            ("where the control socket is,", socket),
        ];
        let history = history.as_ref().map(|history| ("where the history is,", history));
        let found = named.into_iter().chain(history).find(|(_, own)| file.starts_with(own));
        found.map(|(how, own)| format!("{how} {}", quote(&own.display().to_string())))
    }
}

/// The sinks, by name; one file where none is named.
pub(super) fn sinks(reader: &mut Reader<'_, '_>, root: &DeTable<'_>, own: &Own<'_>) -> Vec<Sink> {
    let tables = reader.named_tables(root, "sink");
    // An empty `[sink]` names none either: nobody switches all telling off by that.
    if tables.is_empty() {
        return vec![Sink::unnamed()];
    }
    if let Some((leaf, _)) = tables.get(MAX_SINKS) {
        let message = format!("{} sinks are too many", tables.len());
        let help = format!("at most {MAX_SINKS} can be served: let one receiver hand on to the others");
        reader.refuse::<()>(CODE, leaf, message, &help);
    }
    let mut found: Vec<Sink> = Vec::new();
    for (name, table) in tables.into_iter().take(MAX_SINKS) {
        let usable = reader.name(&name, "sink");
        let Some(sink) = sink(reader, &name, table, own).filter(|_| usable) else { continue };
        if let Some((other, how)) = found.iter().find_map(|other| Some((other, clash(other, &sink)?))) {
            let message = format!("sinks `{}` and {} {how}", other.name, quote(&name.value));
            reader.refuse::<()>(CODE, &name, message, "remove one of the two, or send it elsewhere");
        }
        found.push(sink);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// How two sinks would spoil what the other writes: two that rotate one file, or mix their lines on one stream.
fn clash(a: &Sink, b: &Sink) -> Option<String> {
    if a.to() == b.to() {
        return Some(format!("both go to `{}`", a.to()));
    }
    let aside = |of: &Sink, other: &Sink| {
        let (Destination::File { path, keep, .. }, Destination::File { path: taken, .. }) =
            (&of.to, &other.to)
        else {
            return None;
        };
        let behind = taken.to_str()?.strip_prefix(path.to_str()?)?.strip_prefix('.')?;
        let is_aside = (1..=*keep).any(|number| number.to_string() == behind);
        is_aside.then(|| format!("clash: `{}` puts its older lines aside in `{}`", of.name, taken.display()))
    };
    aside(a, b).or_else(|| aside(b, a))
}

/// The path of a file, in the one spelling that two sinks of the same file share.
fn plain(reader: &mut Reader<'_, '_>, to: &Leaf<String>, path: &str) -> Option<PathBuf> {
    let leaf = Leaf { value: path.to_owned(), at: to.at };
    let found = absolute(reader, &leaf)?;
    if path.split('/').skip(1).any(|part| matches!(part, "" | "." | "..")) {
        let message = format!("{} does not say plainly which file it is", quote(path));
        return reader.refuse(CODE, to, message, "write the path of a file without `//`, `.` and `..`");
    }
    Some(found)
}

fn sink(
    reader: &mut Reader<'_, '_>,
    name: &Leaf<String>,
    table: &DeTable<'_>,
    own: &Own<'_>,
) -> Option<Sink> {
    let what = format!("sink {}", quote(&name.value));
    reader.keys(table, &SINK, &what);
    let format = word(reader, table, "format", &Format::ALL);
    let rotate_bytes = size(reader, table, "rotate_bytes", 64 << 10..=1 << 30, ROTATE_BYTES);
    let keep = size(reader, table, "keep", 1..=100, KEEP);
    let facility = word_or(reader, table, "facility", &FACILITIES, LOCAL0);
    let spool_bytes = size(reader, table, "spool_bytes", 1 << 20..=1 << 30, SPOOL_BYTES);
    let framing = word(reader, table, "framing", &FRAMINGS);
    let small = reader.integer(table, "spool_bytes").filter(|_| spool_bytes < DOUBT);
    let tls = tls(reader, table);
    let Some(to) = reader.string(table, "to") else {
        if !table.contains_key("to") {
            let message = format!("{what} says not where its records go");
            reader.refuse::<()>(CODE, name, message, &format!("add `to`: {WAYS}"));
        }
        return None;
    };
    strangers(reader, table, &what, &to);
    let syslog =
        |host, port, transport| Destination::Syslog(Syslog { host, port, transport, facility, spool_bytes });
    let destination = match to.value.as_str() {
        "stdout" => Destination::Stdout,
        "journald" => Destination::Journald,
        other => {
            if let Some(path) = other.strip_prefix("file:") {
                Destination::File { path: plain(reader, &to, path)?, rotate_bytes, keep }
            } else if let Some(address) = other.strip_prefix("syslog+udp://") {
                let (host, port) = address_of(reader, &to, address, 514)?;
                syslog(host, port, Transport::Udp)
            } else if let Some(address) = other.strip_prefix("syslog+tcp://") {
                let (host, port) = address_of(reader, &to, address, 514)?;
                syslog(host, port, Transport::Tcp(framing))
            } else if let Some(address) = other.strip_prefix("syslog+tls://") {
                let (host, port) = address_of(reader, &to, address, 6514)?;
                syslog(host, port, tls)
            } else {
                return reader.refuse(CODE, &to, format!("no sink can write to {}", quote(other)), WAYS);
            }
        }
    };
    let is_stream = matches!(&destination, Destination::Syslog(syslog) if syslog.transport.is_stream());
    if let Some(leaf) = small.filter(|_| is_stream) {
        let location = reader.out.locate(leaf.at);
        let message =
            format!("the spool of {what} has less room than what a healthy receiver leaves in doubt");
        let help = format!("write `{DOUBT}` or more, or leave `spool_bytes` out for {SPOOL_BYTES}");
        reader.out.push(Diagnostic::warning("BH0618", message).at(location, "").help(help));
    }
    if let Destination::File { path, keep, .. } = &destination
        && let Some((place, file)) = written(path, *keep).find_map(|file| Some((own.holds(&file)?, file)))
    {
        let message = format!("{what} would write {}, which is {place}", quote(&file.display().to_string()));
        return reader.refuse(CODE, &to, message, "these files are the agent's own: name a file elsewhere");
    }
    Some(Sink { name: name.value.clone(), to: destination, format })
}

/// Every file that a file sink writes: itself, and what it puts aside.
fn written(path: &Path, keep: u32) -> impl Iterator<Item = PathBuf> {
    let aside = move |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    std::iter::once(path.to_owned()).chain((1..=keep).map(aside))
}

/// Keys that this destination has no use for: whoever wrote one expects something of it.
fn strangers(reader: &mut Reader<'_, '_>, table: &DeTable<'_>, what: &str, to: &Leaf<String>) {
    for (keys, prefix, whose) in OWN {
        if to.value.starts_with(prefix) {
            continue;
        }
        for key in keys {
            let Some((written, _)) = table.get_key_value(*key) else { continue };
            let location = reader.locate(written.span());
            let message = format!("`{key}` is for {whose}, and {what} goes to {}", quote(&to.value));
            let help = if *key == "framing" && to.value.starts_with("syslog+tls:") {
                "remove it: TLS always counts octets (RFC 5425 4.3)".to_owned()
            } else {
                format!("remove it, or say so in `to`: {}", list(&keys_of(&to.value)))
            };
            reader.out.push(Diagnostic::error(CODE, message).at(location, "").help(help));
        }
    }
}

/// The keys that a destination has a use for.
fn keys_of(to: &str) -> Vec<&'static str> {
    let own = OWN
        .iter()
        .filter(|(_, prefix, _)| to.starts_with(prefix))
        .flat_map(|(keys, ..)| keys.iter().copied());
    ["to", "format"].into_iter().chain(own).collect()
}

fn tls(reader: &mut Reader<'_, '_>, table: &DeTable<'_>) -> Transport {
    let mut file = |key: &str| -> (Option<Leaf<String>>, Option<PathBuf>) {
        let leaf = reader.string(table, key);
        let path = leaf.as_ref().and_then(|leaf| absolute(reader, leaf));
        (leaf, path)
    };
    let (_, ca) = file("ca");
    let ((certificate, chain), (key, secret)) = (file("certificate"), file("key"));
    let half = match (&certificate, &key) {
        (Some(leaf), None) => Some((leaf, "`certificate` without `key`", "key")),
        (None, Some(leaf)) => Some((leaf, "`key` without `certificate`", "certificate")),
        (Some(_), Some(_)) | (None, None) => None,
    };
    if let Some((leaf, message, missing)) = half {
        let help = format!("add `{missing}`: the gateway proves who it is with both, or with neither");
        reader.refuse::<()>(CODE, leaf, message.to_owned(), &help);
    }
    let name = reader.string(table, "server_name").filter(|leaf| {
        let usable = is_host(&leaf.value);
        if !usable {
            let message = format!("{} cannot be the name in a certificate", quote(&leaf.value));
            reader.refuse::<()>(CODE, leaf, message, "write the receiver's DNS name or IP address");
        }
        usable
    });
    Transport::Tls { ca, identity: chain.zip(secret), server_name: name.map(|leaf| leaf.value) }
}

/// `host`, `host:port`, `[address]:port`.
fn address_of(
    reader: &mut Reader<'_, '_>,
    to: &Leaf<String>,
    address: &str,
    default: u16,
) -> Option<(String, u16)> {
    if let Some((receiver, _)) = address.split_once(['/', '?', '#']) {
        let message = format!("{} goes on behind the receiver", quote(&to.value));
        let (way, _) = to.value.split_once("//").unwrap_or_default();
        let help = format!(
            "syslog knows hosts and ports, and no paths: write {}",
            quote(&format!("{way}//{receiver}"))
        );
        return reader.refuse(CODE, to, message, &help);
    }
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
        None => match address.split_once(':') {
            // An address of IPv6 without its brackets: which part is the port?
            Some((_, rest)) if rest.contains(':') => (address, Some("")),
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("")),
        },
    };
    let bracketed = address.starts_with('[');
    let is_address = host.parse::<std::net::Ipv6Addr>().is_ok();
    if host.is_empty() || !is_host(host) || bracketed != is_address {
        let message = format!("{} names no host", quote(&to.value));
        let help = "write a DNS name or an address behind `//`, as in `syslog+tls://siem.example.com:6514`; an IPv6 address in \
                    brackets: `[2001:db8::1]`";
        return reader.refuse(CODE, to, message, help);
    }
    let port = match port {
        Some("") if !address.ends_with(':') => Some(default),
        Some(port) => port.parse().ok().filter(|port| *port > 0),
        None => None,
    };
    let Some(port) = port else {
        let message = format!("{} has no port that could be used", quote(&to.value));
        return reader.refuse(
            CODE,
            to,
            message,
            &format!("write one from `1` to `65535`, or none for {default}"),
        );
    };
    Some((host.to_owned(), port))
}

/// Whether it is an address, or spelt like a DNS name.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}
