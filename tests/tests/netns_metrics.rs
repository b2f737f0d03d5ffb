//! The metrics endpoint of a running gateway: what it tells is what `status` tells, in both formats, and an address that it cannot
//! have stops nothing.

mod gateway;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab,
        modbus::{Plc, Write as Written, write_once},
        topology::{DEVICE_SIDE, MODBUS, UPLINK},
        wait::wait_for,
    },
    skip::{Tier, skip},
};
use gateway::{SOON, policy, require_lab, status};
use serde_json::{Value, json};

const AT: &str = "[metrics]\nlisten = \"127.0.0.1:9479\"\n";
const PORT: u16 = 9479;
const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2\r\n";
/// Packets that nothing allows.
const DENIED: u64 = 20;

fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT).into()
}

/// What the endpoint answers: status line, headers and body.
fn ask(lab: &Lab, request: &str, headers: &str) -> io::Result<(String, String)> {
    lab.gateway.namespace.run(|| {
        let mut stream = TcpStream::connect_timeout(&here(), SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "{request} HTTP/1.1\r\nHost: gateway\r\n{headers}\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        Ok((head.to_ascii_lowercase(), body.to_owned()))
    })
}

/// The page once it can be read.
fn page(lab: &Lab, headers: &str) -> (String, String) {
    wait_for("metrics", SOON, || Ok(ask(lab, "GET /metrics", headers).ok())).expect("they can be read")
}

/// Samples by name and labels.
fn samples(page: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (name, number) = line.rsplit_once(' ').expect("a number behind a name");
        (name.strip_prefix("bulkhead_").expect("our prefix").to_owned(), number.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

/// What the page has under a name, exactly.
fn number(page: &BTreeMap<String, f64>, name: &str) -> f64 {
    *page.get(name).unwrap_or_else(|| panic!("`{name}` is missing in {page:#?}"))
}

/// What `status --json` has under a name.
fn said(status: &Value, pointer: &str) -> f64 {
    let found = status.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("`{pointer}` is missing in {status:#}"))
}

/// What promtool says of a page; `None` when it is not there.
fn promtool(test: &str, page: &str) -> Option<(bool, String)> {
    let (input, output) = (Stdio::piped(), Stdio::piped());
    let ran = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(input)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = ran else {
        skip(Tier::Metrics, test, "`promtool` is not installed: apt-get install prometheus");
        return None;
    };
    child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
    let done = child.wait_with_output().expect("it ends");
    Some((done.status.success(), String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned()))
}

#[test]
fn metrics_say_what_status_says() {
    let test = "metrics_say_what_status_says";
    let Some(lab) = require_lab(test) else { return };
    let _plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    // A receiver that is not there: nobody listens on the port.
    let more = format!("{AT}[sink.siem]\nto = \"syslog+tcp://127.0.0.1:9\"\n");
    agent.write_config(&more).expect("written");
    agent.start().expect("it starts");
    let write = write_once(lab.host("hmi"), lab.modbus(), 50, 7, SOON).expect("a try");
    assert_eq!(write, Written::Written);
    let plc = lab.plc().ip;
    lab.host("attacker").namespace.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for _ in 0..DENIED {
            socket.send_to(b"x", (plc, 9)).expect("the way there is known");
        }
    });
    wait_for("everything to be told, and the sink's failure", SOON, || {
        let status = status(&agent);
        let sinks = status["sinks"].as_array().cloned().unwrap_or_default();
        let failed = sinks.iter().any(|sink| sink["name"] == "siem" && sink["failing"] == true);
        let all = &status["violations"]["violations"];
        let told = *all == status["violations"]["told"] && all.as_u64() >= Some(DENIED);
        Ok((failed && told).then_some(()))
    })
    .expect("nobody is there");
    // Neighbours that look for each other may send something in between.
    let (head, text, status) = wait_for("a quiet moment", SOON, || {
        let before = status(&agent);
        let (head, text) = page(&lab, "");
        let after = status(&agent);
        let quiet = ["violations", "interfaces", "flows"].iter().all(|of| before[of] == after[of]);
        Ok(quiet.then_some((head, text, after)))
    })
    .expect("they have little to say");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let found = samples(&text);
    for (name, pointer) in [
        ("violations_total", "/violations/violations"),
        ("violation_stage_total{stage=\"delivered\"}", "/violations/delivered"),
        ("violation_stage_total{stage=\"aggregated\"}", "/violations/aggregated"),
        ("violation_stage_total{stage=\"lost\"}", "/violations/lost"),
        ("violation_stage_total{stage=\"taken\"}", "/violations/taken"),
        ("violation_stage_total{stage=\"told\"}", "/violations/told"),
        ("violations_pending", "/violations/pending"),
        ("devices{mode=\"enforce\"}", "/modes/enforce"),
        ("devices{mode=\"monitor\"}", "/modes/monitor"),
        ("revision_number", "/number"),
        ("table_entries{table=\"flows\"}", "/flows"),
        ("table_limit{table=\"flows\"}", "/flows_limit"),
        ("table_entries{table=\"leases\"}", "/leases"),
        ("flows_evicted_total", "/flows_evicted"),
        ("refused_total{what=\"flows\"}", "/flows_refused"),
        ("refused_total{what=\"samples\"}", "/samples_lost"),
    ] {
        assert_eq!((name, number(&found, name)), (name, said(&status, pointer)));
    }
    assert_eq!(number(&found, "warnings"), status["warnings"].as_array().expect("a list").len() as f64);
    let revision = format!("revision_info{{revision={}}}", status["revision"]);
    assert_eq!(number(&found, &revision), 1.0);
    assert_eq!(
        number(&found, "device_packets_total{device=\"plc\",verdict=\"deny\",reason=\"unknown-peer\"}"),
        DENIED as f64
    );
    assert!(number(&found, "device_denied_packets_total{device=\"plc\"}") >= DENIED as f64);
    assert!(number(&found, "violations_total") >= DENIED as f64);
    // Both are when the first policy came in force, which was after the agent began.
    let (made, confirmed) =
        (number(&found, "revision_time_seconds"), number(&found, "confirmed_time_seconds"));
    assert!(made == confirmed && made >= number(&found, "start_time_seconds"), "{made} {confirmed}");
    for (interface, of) in [DEVICE_SIDE, UPLINK].iter().zip([0, 1]) {
        let told = &status["interfaces"][of];
        assert_eq!(told["name"], *interface);
        let attached =
            format!("interface_attached{{interface=\"{interface}\",attached={}}}", told["attached"]);
        assert_eq!(number(&found, &attached), 1.0);
        for outcome in ["passed", "dropped", "would_drop"] {
            let name = format!("interface_packets_total{{interface=\"{interface}\",outcome=\"{outcome}\"}}");
            assert_eq!((&*name, number(&found, &name)), (&*name, said(told, &format!("/{outcome}"))));
        }
        let remembered = format!("interface_remembered_packets_total{{interface=\"{interface}\"}}");
        assert_eq!(number(&found, &remembered), said(told, "/remembered"));
    }
    let (hits, bytes): (Vec<_>, Vec<_>) = (
        found.iter().filter(|(name, _)| name.starts_with("rule_packets_total{")).collect(),
        found.iter().filter(|(name, _)| name.starts_with("rule_bytes_total{")).collect(),
    );
    let [(rule, packets)] = hits.as_slice() else { panic!("{hits:?}") };
    assert!(**packets > 0.0 && bytes.len() == 1, "{hits:?} {bytes:?}");
    let listed = agent.cli_json(&["rules", "--json"]).expect("the rules");
    let listed = listed.pointer("/rules/0").or(listed.pointer("/0")).expect("a rule");
    let name = format!("rule_packets_total{{holder={},rule={}}}", listed["holder"], listed["rule"]);
    assert_eq!(**rule, name);
    let sink = |name: &str| {
        status["sinks"].as_array().expect("a list").iter().find(|sink| sink["name"] == name).cloned()
    };
    let (log, siem) = (sink("log").expect("a sink"), sink("siem").expect("a sink"));
    assert_eq!(number(&found, "sink_records_total{sink=\"log\",outcome=\"taken\"}"), said(&log, "/written"));
    assert_eq!(
        (number(&found, "sink_up{sink=\"log\"}"), number(&found, "sink_up{sink=\"siem\"}")),
        (1.0, 0.0)
    );
    assert_eq!(number(&found, "sink_waiting_packets{sink=\"siem\"}"), said(&siem, "/spool/waiting_packets"));
    assert_eq!(number(&found, "sink_waiting_bytes{sink=\"siem\"}"), said(&siem, "/spool/waiting_bytes"));
    assert!(number(&found, "sink_failures_total{sink=\"siem\"}") > 0.0);
    // The rule moves down in its file, and keeps its series.
    agent
        .write_policy(&policy(&lab).replacen("version = 1\n", "version = 1\n\n# a line more\n", 1))
        .expect("written");
    agent.cli_json(&["apply", "--json"]).expect("applied");
    assert_eq!(samples(&page(&lab, "").1).get(&name), Some(*packets));
    if let Some((fine, promtool)) = promtool(test, &text) {
        assert!(fine && promtool.trim().is_empty(), "{promtool}\n{text}");
    }
}

#[test]
fn whoever_asks_gets_the_format_that_he_reads_and_nothing_else() {
    let test = "whoever_asks_gets_the_format_that_he_reads_and_nothing_else";
    let Some(lab) = require_lab(test) else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config(AT).expect("written");
    agent.start().expect("it starts");
    let (head, text) = page(&lab, OPEN_METRICS);
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE bulkhead_violations counter\n"), "{text}");
    let (head, text) = page(&lab, "Accept: text/html\r\n");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(!text.contains("EOF") && text.contains("# TYPE bulkhead_violations_total counter\n"), "{text}");
    for (request, answer) in [
        ("GET /", "http/1.1 404 "),
        ("GET /metrics/x", "http/1.1 404 "),
        ("POST /metrics", "http/1.1 405 "),
        ("HEAD /metrics", "http/1.1 200 "),
        ("GET /metrics?name=x", "http/1.1 200 "),
    ] {
        let (head, _) = ask(&lab, request, "").expect("an answer");
        assert!(head.starts_with(answer), "{request}: {head}");
    }
    let (head, _) =
        ask(&lab, "GET /metrics", &format!("X: {}\r\n", "x".repeat(64 << 10))).unwrap_or_default();
    assert!(head.is_empty() || head.starts_with("http/1.1 431 "), "{head}");
    // Who says nothing takes places, and neither for good nor from the agent itself.
    let silent: Vec<TcpStream> = lab
        .gateway
        .namespace
        .run(|| (0..8).map(|_| TcpStream::connect(here()).expect("a connection")).collect());
    assert_eq!(status(&agent)["warnings"], json!([]));
    let (head, _) = lab.gateway.namespace.run(|| {
        let mut stream = TcpStream::connect(here()).expect("a place in the queue");
        stream.set_read_timeout(Some(3 * SOON)).expect("a time");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: gateway\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    });
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    drop(silent);
}

#[test]
fn a_change_counts_as_confirmed_when_it_is() {
    let Some(lab) = require_lab("a_change_counts_as_confirmed_when_it_is") else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config(AT).expect("written");
    agent.start().expect("it starts");
    let times = || {
        let found = samples(&page(&lab, "").1);
        ["change_pending", "revision_time_seconds", "confirmed_time_seconds"].map(|name| number(&found, name))
    };
    let [pending, made, confirmed] = times();
    assert!(pending == 0.0 && made == confirmed && made > 0.0, "{pending} {made} {confirmed}");
    let change = |agent: &Agent<'_>, mode: &str| {
        let from = "mode = \"enforce\"";
        agent.write_policy(&policy(&lab).replace(from, &format!("mode = \"{mode}\""))).expect("written");
    };
    change(&agent, "monitor");
    agent.cli_json(&["apply", "--confirm-within", "10m", "--json"]).expect("applied");
    let waits = times();
    assert!(waits[0] == 1.0 && waits[1] > made && waits[2] == confirmed, "{waits:?}");
    let code = agent.cli(&["confirm"]).expect("it runs").status;
    assert!(code.success(), "{code}");
    let kept = times();
    assert!(kept[0] == 0.0 && kept[1] == waits[1] && kept[2] > waits[1], "{kept:?}");
    // What an agent knew the next one knows.
    agent.stop().expect("it ends");
    agent.start().expect("it starts");
    assert_eq!(times(), kept);
    change(&agent, "enforce");
    agent.cli_json(&["apply", "--json"]).expect("applied");
    let applied = times();
    assert!(applied[1] > kept[1] && applied[1] == applied[2], "{applied:?}");
    let code = agent.cli(&["rollback"]).expect("it runs").status;
    assert!(code.success(), "{code}");
    let back = times();
    assert!(back[1] == kept[1] && back[2] > applied[2], "{back:?}");
}

#[test]
fn askers_at_once_all_get_the_page() {
    let Some(lab) = require_lab("askers_at_once_all_get_the_page") else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config(AT).expect("written");
    agent.start().expect("it starts");
    page(&lab, "");
    thread::scope(|scope| {
        let askers: Vec<_> =
            (0..32).map(|_| scope.spawn(|| ask(&lab, "GET /metrics", OPEN_METRICS))).collect();
        for asker in askers {
            let (head, text) = asker.join().expect("no panic").expect("an answer");
            assert!(head.starts_with("http/1.1 200 ") && text.ends_with("# EOF\n"), "{head}\n{text}");
        }
    });
}

#[test]
fn a_port_in_use_is_a_warning_until_it_is_free() {
    let Some(lab) = require_lab("a_port_in_use_is_a_warning_until_it_is_free") else { return };
    let squatter = lab.gateway.namespace.run(|| TcpListener::bind(here())).expect("the port is free");
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.write_config(AT).expect("written");
    agent.start().expect("it starts all the same");
    let warnings = || status(&agent)["warnings"].as_array().cloned().unwrap_or_default();
    let told = wait_for("the warning", SOON, || Ok(warnings().first().cloned())).expect("it is told");
    let told = told.as_str().expect("a text");
    assert!(told.starts_with("metrics cannot be read: failed to listen on `127.0.0.1:9479`: "), "{told}");
    assert_eq!(warnings().len(), 1);
    drop(squatter);
    wait_for("the end of the warning", SOON, || Ok(warnings().is_empty().then_some(())))
        .expect("it recovers");
    let (head, _) = page(&lab, "");
    assert!(head.starts_with("http/1.1 200 "), "{head}");
}

#[test]
fn switched_off_nothing_listens() {
    let Some(lab) = require_lab("switched_off_nothing_listens") else { return };
    let mut agent = Agent::new(&lab, &policy(&lab)).expect("an agent");
    agent.start().expect("it starts");
    let refused = ask(&lab, "GET /metrics", "").expect_err("nobody is there");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(status(&agent)["warnings"], json!([]));
}
