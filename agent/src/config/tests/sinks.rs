//! `[sink.NAME]` as people write it.

use super::{super::*, UPLINK, codes, one, read};
use crate::{language::Kind, record::Format};

/// The sinks of a configuration.
fn sinks(text: &str) -> Vec<Sink> {
    read(&format!("{UPLINK}{text}")).sinks
}

#[test]
fn sinks_are_read_with_their_defaults() {
    assert_eq!(sinks(""), [Sink::unnamed()]);
    assert_eq!(sinks("[sink]\n"), [Sink::unnamed()]);
    assert_eq!(Sink::unnamed().to(), "file:/var/log/bulkhead/violations.jsonl");
    let text = "[sink.b]\nto = \"syslog+tls://siem.example\"\nca = \"/ca.pem\"\ncertificate = \"/gw.pem\"\nkey = \"/gw.key\"\n\
                server_name = \"other.example\"\nfacility = \"auth\"\nspool_bytes = 268435456\nformat = \"leef\"\n\
                [sink.a]\nto = \"syslog+tcp://[2001:db8::1]:601\"\nframing = \"newline\"\n\
                [sink.c]\nto = \"syslog+udp://10.0.0.1\"\n\
                [sink.d]\nto = \"file:/srv/v.cef\"\nrotate_bytes = 65536\nkeep = 9\n\
                [sink.e]\nto = \"journald\"\n";
    let found = sinks(text);
    let to: Vec<String> = found.iter().map(Sink::to).collect();
    let expected = [
        "syslog+tcp://[2001:db8::1]:601",
        "syslog+tls://siem.example:6514",
        "syslog+udp://10.0.0.1:514",
        "file:/srv/v.cef",
        "journald",
    ];
    assert_eq!(to, expected);
    let syslog = |host: &str, port, transport| Syslog {
        host: host.into(),
        port,
        transport,
        facility: 16,
        spool_bytes: 128 << 20,
    };
    let tls = Transport::Tls {
        ca: Some("/ca.pem".into()),
        identity: Some(("/gw.pem".into(), "/gw.key".into())),
        server_name: Some("other.example".into()),
    };
    let expected = [
        Destination::Syslog(syslog("2001:db8::1", 601, Transport::Tcp(Framing::Newline))),
        Destination::Syslog(Syslog {
            facility: 4,
            spool_bytes: 256 << 20,
            ..syslog("siem.example", 6514, tls)
        }),
        Destination::Syslog(syslog("10.0.0.1", 514, Transport::Udp)),
        Destination::File { path: "/srv/v.cef".into(), rotate_bytes: 65_536, keep: 9 },
        Destination::Journald,
    ];
    assert_eq!(found.into_iter().map(|sink| sink.to).collect::<Vec<_>>(), expected);
    let tcp = sinks("[sink.a]\nto = \"syslog+tcp://siem\"\n");
    assert_eq!(tcp[0].to, Destination::Syslog(syslog("siem", 514, Transport::Tcp(Framing::OctetCounting))));
    assert_eq!(tcp[0].format, Format::Native);
}

#[test]
fn sink_that_could_not_write_is_refused_with_help() {
    let sink = |text: &str| format!("{UPLINK}[sink.siem]\n{text}\n");
    let wrong = |text: &str, message: &str, help: &str| one(&sink(text), "BH0615", message, help);
    wrong("", "sink `siem` says not where its records go", "add `to`: write `file:/path`, `stdout`");
    wrong("to = \"siem.example\"", "no sink can write to `siem.example`", "`syslog+tls://…`");
    wrong("to = \"syslog://siem\"", "no sink can write to `syslog://siem`", "`syslog+udp://HOST:PORT`");
    for host in ["", ":514", "a b", "user@siem", "2001:db8::1", "[10.0.0.1]", "-siem", "[2001:db8::1"] {
        let to = format!("syslog+tcp://{host}");
        wrong(&format!("to = \"{to}\""), &format!("`{to}` names no host"), "`[2001:db8::1]`");
    }
    for port in [":", ":0", ":65536", ":syslog"] {
        let to = format!("syslog+tls://siem{port}");
        wrong(
            &format!("to = \"{to}\""),
            &format!("`{to}` has no port that could be used"),
            "`1` to `65535`, or none for 6514",
        );
    }
    for (address, plain) in
        [("10.0.0.1:6514/path", "10.0.0.1:6514"), ("siem/", "siem"), ("siem:514?x", "siem:514")]
    {
        let to = format!("syslog+tls://{address}");
        let message = format!("`{to}` goes on behind the receiver");
        wrong(&format!("to = \"{to}\""), &message, &format!("no paths: write `syslog+tls://{plain}`"));
    }
    one(&sink("to = \"file:log\""), "BH0608", "`log` is not an absolute path", "starting with `/`");
    one(
        &sink("to = \"stdout\"\nformat = \"json\""),
        "BH0603",
        "unknown value of `format` `json`",
        "`native`",
    );
    one(
        &sink("to = \"stdout\"\nkeeps = 3"),
        "BH0101",
        "unknown key `keeps` in sink `siem`",
        "did you mean `keep`?",
    );
    let tls = "to = \"syslog+tls://siem\"";
    wrong(&format!("{tls}\ncertificate = \"/a\""), "`certificate` without `key`", "add `key`");
    wrong(&format!("{tls}\nkey = \"/a\""), "`key` without `certificate`", "add `certificate`");
    wrong(&format!("{tls}\nserver_name = \"a b\""), "`a b` cannot be the name in a certificate", "DNS name");
    wrong(
        &format!("{tls}\nframing = \"newline\""),
        "`framing` is for `syslog+tcp:` sinks, and sink `siem` goes to `syslog+tls://siem`",
        "TLS always counts octets",
    );
    wrong(
        "to = \"stdout\"\nkeep = 3",
        "`keep` is for `file:` sinks, and sink `siem` goes to `stdout`",
        "`to` and `format`",
    );
    wrong(
        "to = \"syslog+udp://siem\"\nca = \"/ca.pem\"",
        "`ca` is for `syslog+tls:` sinks, and sink `siem` goes to `syslog+udp://siem`",
        "`facility` and `spool_bytes`",
    );
    wrong(
        "to = \"file:/a\"\nspool_bytes = 1048576",
        "`spool_bytes` is for `syslog+…` sinks, and sink `siem` goes to `file:/a`",
        "`rotate_bytes` and `keep`",
    );
    let twice = format!("{UPLINK}[sink.a]\nto = \"file:/a\"\n[sink.b]\nto = \"file:/a\"\n");
    one(&twice, "BH0615", "sinks `a` and `b` both go to `file:/a`", "remove one of the two");
    // Spelt otherwise, it would be the same file.
    for path in ["/a//v", "/a/./v", "/a/../a/v", "/a/v/", "//a", "/", "/a/..", "/."] {
        let message = format!("`{path}` does not say plainly which file it is");
        wrong(&format!("to = \"file:{path}\""), &message, "without `//`, `.` and `..`");
    }
    let two = |log: &str, other: &str| {
        format!("{UPLINK}[sink.log]\nto = \"file:/v.jsonl\"\n{log}\n[sink.other]\nto = \"file:/{other}\"\n")
    };
    let message = "sinks `log` and `other` clash: `log` puts its older lines aside in `/v.jsonl.4`";
    one(&two("", "v.jsonl.4"), "BH0615", message, "send it elsewhere");
    let turned = format!("{UPLINK}[sink.a]\nto = \"file:/v.1\"\n[sink.b]\nto = \"file:/v\"\n");
    let message = "sinks `a` and `b` clash: `b` puts its older lines aside in `/v.1`";
    one(&turned, "BH0615", message, "send it elsewhere");
    for (log, other) in [("", "v.jsonl.5"), ("keep = 3", "v.jsonl.4"), ("", "v.jsonl.01"), ("", "v.jsonl.x")]
    {
        assert_eq!(codes(&two(log, other)), [""; 0], "{other}");
    }
    let many: String = (0..9).map(|n| format!("[sink.s{n}]\nto = \"file:/{n}\"\n")).collect();
    one(&format!("{UPLINK}{many}"), "BH0615", "9 sinks are too many", "at most 8");
    assert_eq!(codes(&format!("{UPLINK}[sink.\"a b\"]\nto = \"stdout\"\n")), ["BH0104"]);
    assert_eq!(codes(&format!("{UPLINK}[sink.a]\nto = \"stdout\"\nkeep = 0\n")), ["BH0615", "BH0606"]);
}

#[test]
fn file_of_earlier_versions_is_refused_with_the_sink_to_write() {
    let violations = |file: &str| format!("{UPLINK}[violations]\nfile = {file}\nsummary = \"5s\"\n");
    let message = "`file` is no longer a key of `[violations]`";
    one(&violations("\"/srv/v.jsonl\""), "BH0616", message, "`[sink.log]` with `to = \"file:/srv/v.jsonl\"`");
    one(&violations("\"-\""), "BH0616", message, "`to = \"stdout\"`");
}

#[test]
fn described_defaults_and_ranges_of_a_sink_are_those_of_the_agent() {
    let to = |key: &str| match key {
        "rotate_bytes" | "keep" => "file:/a",
        "framing" => "syslog+tcp://siem",
        _ => "syslog+udp://siem",
    };
    for key in language::SINK.keys() {
        let with = |value: &str| format!("[sink.a]\nto = \"{}\"\n{} = {value}\n", to(key.name), key.name);
        if let Some(default) = key.default {
            assert_eq!(sinks(&with(default)), sinks(&format!("[sink.a]\nto = \"{}\"\n", to(key.name))));
        }
        let Kind::Integer { low, high } = key.kind else { continue };
        for (value, fits) in [(low - 1, false), (low, true), (high, true), (high + 1, false)] {
            let found = codes(&format!("{UPLINK}{}", with(&value.to_string())));
            assert_eq!(!found.contains(&"BH0606"), fits, "{} = {value}", key.name);
        }
    }
}

#[test]
fn a_sink_that_would_write_the_products_own_files_is_refused() {
    let places = "policy = \"/etc/b/policy.d\"\nstate = \"/srv/state/\"\npins = \"/sys/fs/bpf/b\"\nsocket = \"/run/b/api.sock.2\"\n";
    let sink = |to: &str| format!("{places}{UPLINK}[sink.audit]\nto = \"file:{to}\"\n");
    for (to, file, place) in [
        ("/srv/state/audit.log", "/srv/state/audit.log", "in the state folder `/srv/state/`"),
        ("/srv/state/spool/siem/x", "/srv/state/spool/siem/x", "in the state folder `/srv/state/`"),
        ("/etc/b/policy.d/x.toml", "/etc/b/policy.d/x.toml", "in the policy `/etc/b/policy.d`"),
        ("/sys/fs/bpf/b/x", "/sys/fs/bpf/b/x", "in the folder of the pins `/sys/fs/bpf/b`"),
        ("/run/b/api.sock.2", "/run/b/api.sock.2", "where the control socket is, `/run/b/api.sock.2`"),
        ("/run/b/api.sock", "/run/b/api.sock.2", "where the control socket is, `/run/b/api.sock.2`"),
    ] {
        let message = format!("sink `audit` would write `{file}`, which is {place}");
        one(&sink(to), "BH0615", &message, "name a file elsewhere");
    }
    for to in ["/srv/state.log", "/run/b/api.sock.2.log", "/etc/b/policy.dx"] {
        assert_eq!(codes(&sink(to)), [""; 0], "{to}");
    }
    let itself = format!("{UPLINK}[sink.log]\nto = \"file:/etc/b/bulkhead.toml\"\n");
    let found = parse_config("/etc/b/bulkhead.toml", &itself).1;
    assert!(
        found[0].message.ends_with("which is where the configuration is, `/etc/b/bulkhead.toml`"),
        "{found:?}"
    );
}

#[test]
fn a_spool_with_less_room_than_what_is_in_doubt_is_warned_of() {
    let sink = |way: &str, bytes: u32| {
        format!("{UPLINK}[sink.siem]\nto = \"syslog+{way}://10.0.0.1\"\nspool_bytes = {bytes}\n")
    };
    let message = "the spool of sink `siem` has less room than what a healthy receiver leaves in doubt";
    for way in ["tcp", "tls"] {
        one(&sink(way, (80 << 20) - 1), "BH0618", message, "write `83886080` or more");
        assert_eq!(codes(&sink(way, 80 << 20)), [""; 0]);
    }
    assert_eq!(codes(&sink("udp", 1 << 20)), [""; 0], "nothing is in doubt for long");
}
