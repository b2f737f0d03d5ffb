//! What records mean, by their reason, ports and ends.

use super::{
    meant::{Meant, meant},
    *,
};
use crate::{
    model::Mode,
    policy::resolve_texts,
    record::{Cause, Modes, Scan, Severity, Verdict},
};

fn policy() -> Policy {
    let text = "version = 1\n[device.plc]\nip = \"10.20.1.11\"\n[device.hmi]\nip = \"10.20.2.20\"\n\
                [network.office]\ncidr = \"10.9.8.0/24\"\n[network.printer]\ncidr = \"10.9.8.7/32\"\n\
                [service.line]\ntcp = \"4840\"\n";
    let files = [crate::policy::SourceFile { path: "p.toml".to_owned(), text: text.to_owned() }];
    resolve_texts(&files).policy.expect("it is valid")
}

fn at(name: Option<&str>, ip: &str, port: u16) -> End {
    let ip = ip.parse().ok();
    End { name: name.map(str::to_owned), mac: Some("02:00:00:00:00:01".to_owned()), ip, port: Some(port) }
}

fn record(reason: Reason, source: End, destination: End) -> Violation {
    Violation {
        v: 1,
        time: "2026-03-02T10:00:07.250001Z".to_owned(),
        first: "2026-03-02T10:00:00.000000Z".to_owned(),
        gateway: "gw".to_owned(),
        boot: "5f0c2b9a41d84c6e".to_owned(),
        seq: 42,
        severity: Severity::Medium,
        revision: None,
        device: Some("plc".to_owned()),
        criticality: Some("medium".to_owned()),
        mode: Mode::Enforce,
        verdict: Verdict::Deny,
        action: Action::Dropped,
        reason: reason.name().to_owned(),
        explanation: reason.text().to_owned(),
        source,
        destination,
        protocol: "tcp".to_owned(),
        icmp: None,
        vlan: None,
        inner_vlan: None,
        interface: "eth1".to_owned(),
        others: false,
        answer: false,
        scan: None,
        packet: None,
        count: 3,
        bytes: 180,
    }
}

/// The question that a record raises: from, to, service; or what is said instead.
fn asked(record: &Violation) -> Result<[String; 3], String> {
    match meant(record, &policy()) {
        Meant::Conversation(Conversation { from, to, service, .. }) => Ok([from, to, service]),
        Meant::Either(both) => Err(format!("one of {both:?}")),
        Meant::Nothing(why) => Err(why),
    }
}

fn words(words: [&str; 3]) -> Result<[String; 3], String> {
    Ok(words.map(str::to_owned))
}

#[test]
fn a_record_is_asked_about_by_the_narrowest_names_there_are() {
    let plc = || at(Some("plc"), "10.20.1.11", 502);
    let from = |name, ip| record(Reason::NoRule, at(name, ip, 50_000), plc());
    assert_eq!(asked(&from(Some("hmi"), "10.20.2.20")), words(["hmi", "plc", "modbus"]));
    // A network's name stands for others as well.
    assert_eq!(asked(&from(Some("office"), "10.9.8.66")), words(["10.9.8.66", "plc", "modbus"]));
    assert_eq!(asked(&from(Some("printer"), "10.9.8.7")), words(["printer", "plc", "modbus"]));
    assert_eq!(asked(&from(None, "10.66.0.1")), words(["10.66.0.1", "plc", "modbus"]));
    let own =
        record(Reason::NoRule, at(Some("hmi"), "10.20.2.20", 50_000), at(Some("plc"), "10.20.1.11", 4840));
    assert_eq!(asked(&own), words(["hmi", "plc", "line"]));
    let unnamed =
        record(Reason::NoRule, at(Some("hmi"), "10.20.2.20", 50_000), at(Some("plc"), "10.20.1.11", 4841));
    assert_eq!(asked(&unnamed), words(["hmi", "plc", "tcp/4841"]));
}

#[test]
fn an_answer_is_about_the_conversation_that_it_answers() {
    let plc = |port| at(Some("plc"), "10.20.1.11", port);
    let hmi = |port| at(Some("hmi"), "10.20.2.20", port);
    let answer = |reason, from, to| Violation { answer: true, ..record(reason, from, to) };
    let known = answer(Reason::ServiceNotAllowed, plc(502), hmi(50_000));
    assert_eq!(asked(&known), words(["hmi", "plc", "modbus"]));
    // As in monitor mode: its service is nobody's, and of the client's port nobody may have told.
    let mut unnamed = answer(Reason::NoRule, plc(5000), hmi(51_514));
    unnamed.protocol = "udp".to_owned();
    assert_eq!(asked(&unnamed), words(["hmi", "plc", "udp/5000"]));
    assert!(told(&unnamed)[0].contains(" over udp/5000 (answers), "), "{:?}", told(&unnamed));
    unnamed.destination.port = None;
    assert_eq!(asked(&unnamed), words(["hmi", "plc", "udp/5000"]));
    let late = answer(Reason::NoFlow, plc(9999), hmi(50_000));
    assert_eq!(asked(&late), words(["hmi", "plc", "tcp/9999"]));
    // Only the record says what is an answer: a device may ask from a low port.
    assert_eq!(asked(&record(Reason::NoRule, plc(502), hmi(50_000))), words(["plc", "hmi", "tcp/50000"]));
    // Of an ICMP reply its type does.
    let icmp = Some(crate::record::Icmp { r#type: 0, code: 0 });
    let pong = Violation { protocol: "icmp".to_owned(), icmp, ..record(Reason::NoRule, plc(0), hmi(0)) };
    assert_eq!(asked(&pong), words(["hmi", "plc", "ping"]));
}

#[test]
fn between_two_ports_of_clients_the_other_way_is_named_as_well() {
    let high =
        record(Reason::NoRule, at(Some("plc"), "10.20.1.11", 40_000), at(Some("hmi"), "10.20.2.20", 50_000));
    let policy = policy();
    let Meant::Conversation(one) = meant(&high, &policy) else { panic!("it is one") };
    assert_eq!([one.from, one.to, one.service], ["plc", "hmi", "tcp/50000"]);
    assert!(
        one.note
            .is_some_and(|note| note.ends_with("if these packets are answers, ask for hmi -> plc tcp/40000"))
    );
}

#[test]
fn what_comes_late_belongs_to_either_of_two() {
    // A client goes on where `midstream` is strict, or a server answers from a port of clients.
    let late =
        record(Reason::NoFlow, at(Some("hmi"), "10.20.2.20", 50_000), at(Some("plc"), "10.20.1.11", 502));
    let policy = policy();
    let Meant::Either(both) = meant(&late, &policy) else { panic!("it is one of two") };
    let both = both.map(|Conversation { from, to, service, .. }| [from, to, service]);
    assert_eq!(both, [["hmi", "plc", "modbus"], ["plc", "hmi", "tcp/50000"]]);
}

#[test]
fn what_no_rule_should_allow_is_said_instead() {
    let of =
        |reason| record(reason, at(Some("hmi"), "10.20.2.20", 50_000), at(Some("plc"), "10.20.1.11", 502));
    for (reason, says) in [
        (Reason::SourceMacMismatch, "an identity that is not his own"),
        (Reason::AddressConflict, "an identity that is not his own"),
        (Reason::Quarantined, "`bulkhead release plc` ends"),
        (Reason::TcpFlags, "no correct host sends such packets"),
        (Reason::RogueDhcp, "`dhcp_servers`"),
        (Reason::FlowRate, "`new_per_second`"),
    ] {
        let why = asked(&of(reason)).expect_err("no rule");
        assert!(why.contains(says), "{}: {why}", reason.name());
    }
    let scan = Some(Scan { hosts: 1, ports: 900, devices: 1, at_least: false });
    let why = asked(&Violation { scan, ..of(Reason::ServiceNotAllowed) }).expect_err("no rule");
    assert!(why.starts_with("it is a scan"), "{why}");
    let why = asked(&Violation { others: true, ..of(Reason::NoRule) }).expect_err("no rule");
    assert!(why.contains("too different"), "{why}");
}

#[test]
fn what_is_not_tcp_is_named_as_well() {
    let of = |protocol: &str| Violation {
        protocol: protocol.to_owned(),
        icmp: Some(crate::record::Icmp { r#type: 8, code: 0 }),
        ..record(Reason::NoRule, at(Some("hmi"), "10.20.2.20", 161), at(Some("plc"), "10.20.1.11", 161))
    };
    let service = |protocol| asked(&of(protocol)).map(|[_, _, service]| service);
    assert_eq!(service("icmp").as_deref(), Ok("ping"));
    assert_eq!(service("ip/99").as_deref(), Ok("ip/99"));
    assert_eq!(service("0x9999").as_deref(), Ok("ethertype/0x9999"));
    assert!(service("802.3").is_err());
}

#[test]
fn a_gap_and_a_heartbeat_say_what_they_are() {
    let mut gap = Gap {
        v: 1,
        time: "2026-03-02T10:00:10.000000Z".to_owned(),
        gateway: "gw".to_owned(),
        boot: "5f0c2b9a41d84c6e".to_owned(),
        seq: 43,
        cause: Cause::Ring,
        explanation: Cause::Ring.text().to_owned(),
        first: None,
        last: None,
        count: 1204,
    };
    let denied = "1204 packets denied of which no other record tells, found at 2026-03-02T10:00:10.000000Z";
    assert_eq!(gap_told(&gap), [denied, "the kernel had no room to tell them"]);
    gap.last = Some("5f0c2b9a41d84c6e-19".to_owned());
    let range = "it stands for the records from an end that is not known to 5f0c2b9a41d84c6e-19";
    assert_eq!(gap_told(&gap)[2..], [range]);
    let heartbeat = Heartbeat {
        v: 1,
        time: gap.time,
        gateway: gap.gateway,
        boot: gap.boot,
        seq: 44,
        revision: None,
        modes: Modes::default(),
        violations: 88_123,
        warnings: vec!["`eth2` is missing".to_owned()],
        count: 1,
    };
    assert_eq!(
        heartbeat_told(&heartbeat),
        [
            "no denial, but a sign of life at 2026-03-02T10:00:10.000000Z: 88123 packets denied until then",
            "1 packet of its own by which the agent tested itself",
            "wrong then: `eth2` is missing",
        ]
    );
}

#[test]
fn a_record_that_is_not_at_hand_is_not_said_to_be_anywhere_unless_it_was_told() {
    let said = |boot, seq, last| unknown(boot, seq, ("5f0c2b9a41d84c6e", last));
    let forgotten = said("5f0c2b9a41d84c6e", 7, 5000);
    assert!(forgotten.contains("does not remember record `5f0c2b9a41d84c6e-7`"), "{forgotten}");
    assert!(
        forgotten.contains("hint: its sinks have been given it, with `\"boot\":\"5f0c2b9a41d84c6e\"`"),
        "{forgotten}"
    );
    for seq in [0, 5001] {
        let never = said("5f0c2b9a41d84c6e", seq, 5000);
        let range = format!(
            "there never was a record `5f0c2b9a41d84c6e-{seq}`: those of this run are `5f0c2b9a41d84c6e-1` to `5f0c2b9a41d84c6e-5000`"
        );
        assert!(never.starts_with(&range) && !never.contains("sinks"), "{never}");
    }
    assert!(said("5f0c2b9a41d84c6e", 1, 0).contains("this run has told none yet"));
    let other = said("deadbeefdeadbeef", 1, 5000);
    assert!(
        other.starts_with("record `deadbeefdeadbeef-1` is not of this run of the agent, which is `5f0c"),
        "{other}"
    );
    assert!(other.contains("hint: if an earlier run told it, its sinks"), "{other}");
}

#[test]
fn a_record_is_told_in_words() {
    let told =
        told(&record(Reason::NoRule, at(Some("hmi"), "10.20.2.20", 50_000), at(None, "10.20.1.11", 502)));
    assert_eq!(
        told,
        [
            "3 packets (180 bytes) from hmi (10.20.2.20, 02:00:00:00:00:01) to 10.20.1.11 (02:00:00:00:00:01) over tcp/502, on eth1, \
             from 2026-03-02T10:00:00.000000Z to 2026-03-02T10:00:07.250001Z",
            "dropped; counted for plc, criticality medium",
            "no-rule: both ends are known, and no rule lets the one talk to the other",
        ]
    );
}
