//! `bulkhead history import` as a person calls it: flows of other sensors become rows, are listed, and meet a policy.

use std::ffi::OsStr;

use serde_json::Value;

mod command;
use command::{Ran, bulkhead_with, file, folder};

fn run(input: &str, args: &[&str]) -> Ran {
    bulkhead_with(input, &args.iter().map(OsStr::new).collect::<Vec<_>>())
}

const CONN: &str = "#separator \\x09\n#unset_field\t-\n#path\tconn\n\
    #fields\tts\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tduration\tconn_state\torig_pkts\tresp_pkts\n\
    1700000000.0\t10.0.0.8\t50000\t10.0.0.9\t502\ttcp\t2.0\tSF\t10\t9\n\
    1700000060.0\t10.0.0.8\t50001\t10.0.0.9\t502\ttcp\t2.0\tSF\t10\t9\n\
    1700000070.0\t10.0.0.66\t50001\t10.0.0.9\t23\ttcp\t-\tS0\t1\t0\n";

const POLICY: &str = "version = 1\n[device.plc]\nip = \"10.0.0.9\"\nmode = \"enforce\"\n[device.hmi]\nip = \"10.0.0.8\"\n\
    [[device.plc.allow]]\nfrom = \"hmi\"\nservice = \"modbus\"\n";

#[test]
fn flows_of_other_sensors_become_rows_and_meet_a_policy() {
    let folder = folder("history-import");
    let log = file(&folder, "conn.log", CONN);
    let policy = file(&folder, "policy.toml", POLICY);
    let history = folder.join("other.db");
    let [log, policy, history] =
        [&log, &policy, &history].map(|path| path.to_str().expect("a path of this checkout"));
    let ran = run("", &["history", "import", "--file", history, log]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    assert_eq!(ran.out, format!("{log}: 3 flows in 2 rows of a kind and day\n"));
    // The same in CSV, over standard input, with a line that is none.
    let csv = "time,from,to,protocol,port,answered\n2023-11-14T22:15:00Z,10.0.0.8,10.0.0.9,tcp,502,yes\nx,10.0.0.8,10.0.0.9,tcp,502,yes\n";
    let ran = run(csv, &["history", "import", "--file", history, "--json", "-"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!((&told[0]["flows"], &told[0]["left_out"][0]["first"]), (&1.into(), &3.into()));

    let ran = run("", &["history", "flows", "--file", history, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("10.0.0.66"), "{}", ran.out);
    assert!(
        ran.out.contains("\"verdict\": null") && !ran.out.contains("allowed"),
        "nobody judged: {}",
        ran.out
    );
    let ran = run("", &["simulate", "--policy", policy, "--history", "--file", history, "--json"]);
    assert_eq!(ran.code, 0, "nothing that was answered would break: {}{}", ran.out, ran.err);
    let report: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!((&report["totals"]["flows"], &report["totals"]["attempts"]), (&4.into(), &1.into()));
}

#[test]
fn logs_meet_a_policy_as_they_are() {
    let folder = folder("simulate-log");
    let [log, policy] = [file(&folder, "conn.log", CONN), file(&folder, "policy.toml", POLICY)];
    let [log, policy] = [&log, &policy].map(|path| path.to_str().expect("a path of this checkout"));
    let simulate = |input: &str, log: &str, policy: &str| {
        let ran = run(input, &["simulate", "--policy", policy, "--json", "--log", log]);
        let report: Value = serde_json::from_str(&ran.out).expect("it is JSON");
        (ran.code, ran.err, report["totals"].clone())
    };
    let (code, err, totals) = simulate("", log, policy);
    assert_eq!((code, err), (0, format!("{log}: 3 flows in 2 rows of a kind and day\n")));
    assert_eq!((&totals["flows"], &totals["attempts"]), (&3.into(), &1.into()));
    // Another order of lines is the same traffic; a line that is none makes the answer one about a part.
    let mut lines: Vec<&str> = CONN.lines().collect();
    lines.swap(4, 5);
    let broken = format!("{}\nx\ty\n", lines.join("\n"));
    let (code, err, again) = simulate(&broken, "-", policy);
    assert_eq!((code, again), (2, totals), "{err}");
    assert!(err.contains("1 line left out, the first is line 8"), "{err}");
    // Who takes the rule away breaks the two conversations.
    let bare = file(&folder, "bare.toml", POLICY.split("[[").next().expect("its beginning"));
    let (code, err, totals) = simulate("", log, bare.to_str().expect("a path of this checkout"));
    assert_eq!((code, &totals["dropped"]), (1, &1.into()), "{err}");
}

#[test]
fn what_is_no_log_says_what_it_should_be() {
    let folder = folder("history-import-wrong");
    let history = folder.join("other.db");
    let history = history.to_str().expect("a path of this checkout");
    let dns = file(&folder, "dns.log", "#separator \\x09\n#path\tdns\n");
    let dns = dns.to_str().expect("a path of this checkout");
    for (log, said) in
        [(dns, "it is the log `dns`"), ("/nonexistent.log", "failed to open `/nonexistent.log`")]
    {
        let ran = run("", &["history", "import", "--file", history, log]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(said), "{}", ran.err);
        assert!(!std::path::Path::new(history).exists(), "no history is left behind that is of nothing");
    }
}

/// When everything of these files happened, s since 1970.
const THEN: u32 = 1_700_000_000;

fn pcap(frames: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut file =
        [0xa1b2_c3d4_u32.to_be_bytes(), [0, 2, 0, 4], [0; 4], [0; 4], [0, 0, 0xff, 0xff], [0, 0, 0, 1]]
            .concat();
    for (ms, frame) in frames {
        let length = u32::try_from(frame.len()).expect("short").to_be_bytes();
        let (seconds, micros) = (THEN + ms / 1000, ms % 1000 * 1000);
        file.extend([seconds.to_be_bytes(), micros.to_be_bytes(), length, length].concat());
        file.extend(frame);
    }
    file
}

const HMI: [u8; 4] = [10, 0, 0, 8];
const PLC: [u8; 4] = [10, 0, 0, 9];

fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = builder.ipv4(from.0, to.0, 64).udp(from.1, to.1);
    builder.write(&mut frame, payload).expect("it fits");
    frame
}

/// A poll in both directions, as version 5 tells of it: the answer first.
fn version_5() -> Vec<u8> {
    let uptime = 1_000_000_u32;
    let mut datagram = [0, 5, 0, 2].to_vec();
    datagram.extend([uptime, THEN, 0, 0, 0].map(u32::to_be_bytes).concat());
    for (from, to, ports, packets, first) in
        [(PLC, HMI, [502_u16, 40_000], 9_u32, uptime - 4_999), (HMI, PLC, [40_000, 502], 10, uptime - 5_000)]
    {
        datagram.extend([from, to, [0; 4], [0; 4]].concat());
        datagram.extend([packets, packets * 60, first, uptime - 1_000].map(u32::to_be_bytes).concat());
        datagram.extend(ports.map(u16::to_be_bytes).concat());
        datagram.extend([0, 0x1b, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    datagram
}

/// The same as a message of IPFIX with its template, of which `parts` says what is there: a set with the template, one with the records.
fn ipfix(parts: [bool; 2], sequence: u32) -> Vec<u8> {
    let fields: [[u8; 4]; 9] = [
        [0, 8, 0, 4],
        [0, 12, 0, 4],
        [0, 7, 0, 2],
        [0, 11, 0, 2],
        [0, 4, 0, 1],
        [0, 6, 0, 1],
        [0, 2, 0, 4],
        [0, 152, 0, 8],
        [0, 153, 0, 8],
    ];
    let template = [&[0, 2, 0, 44, 1, 0, 0, 9][..], &fields.concat()].concat();
    let sent = u64::from(THEN) * 1000;
    let record = |from: [u8; 4], to: [u8; 4], ports: [u16; 2], packets: u32, first: u64| {
        let ends = [&from[..], &to, &ports.map(u16::to_be_bytes).concat(), &[6, 0x1b]].concat();
        [&ends[..], &packets.to_be_bytes(), &first.to_be_bytes(), &(sent - 1_000).to_be_bytes()].concat()
    };
    let records =
        [record(PLC, HMI, [502, 40_000], 9, sent - 4_999), record(HMI, PLC, [40_000, 502], 10, sent - 5_000)];
    let data = [&[1, 0, 0, 72][..], &records.concat()].concat();
    assert_eq!((template.len(), data.len()), (44, 72));
    let sets: Vec<u8> =
        [template, data].into_iter().zip(parts).filter(|(_, is)| *is).flat_map(|(set, _)| set).collect();
    let length = u16::try_from(16 + sets.len()).expect("short");
    [&[0, 10][..], &length.to_be_bytes(), &[THEN, sequence, 7].map(u32::to_be_bytes).concat(), &sets].concat()
}

/// What a file becomes, and the list of it.
fn imported(name: &str, bytes: &[u8], args: &[&str]) -> (Ran, String) {
    let folder = folder(&format!("history-import-{name}"));
    let log = folder.join("flows");
    std::fs::write(&log, bytes).expect("written");
    let history = folder.join("other.db");
    let [log, history] = [&log, &history].map(|path| path.to_str().expect("a path of this checkout"));
    let ran = run("", &[&["history", "import", "--file", history, log][..], args].concat());
    let listed = run("", &["history", "flows", "--file", history]);
    (Ran { out: ran.out.replace(log, "FILE"), err: ran.err.replace(log, "FILE"), ..ran }, listed.out)
}

#[test]
fn exporters_are_read_from_captures_and_files() {
    let exporter = ([10, 9, 9, 1], 50_000);
    let gateway = ([10, 9, 9, 254], 2_055);
    let datagrams = |datagrams: &[Vec<u8>]| {
        let frames = datagrams.iter().zip(0..).map(|(datagram, ms)| (ms, udp(exporter, gateway, datagram)));
        pcap(&frames.collect::<Vec<_>>())
    };
    let later = [ipfix([false, true], 0), ipfix([true, false], 2)];
    for (name, file) in [
        ("netflow-5", datagrams(&[version_5()])),
        ("ipfix-datagrams", datagrams(&[ipfix([true, true], 0)])),
        ("template-later", datagrams(&later)),
        ("ipfix-file", ipfix([true, true], 0)),
        ("ipfix-file-later", later.concat()),
    ] {
        let (ran, listed) = imported(name, &file, &[]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{name}");
        assert_eq!(ran.out, "FILE: 1 flow in 1 row of a kind and day\n", "{name}");
        let rest = listed.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        let expected = ["10.0.0.8", "10.0.0.9", "modbus", "-", "1", "1"];
        assert_eq!(rest[..6], expected, "{name}: {listed}");
    }
    insta::assert_snapshot!("import_netflow", imported("netflow-5-list", &datagrams(&[version_5()]), &[]).1);
    // The same capture as what it is on the wire.
    let (ran, listed) = imported("as-frames", &datagrams(&[version_5()]), &["--format", "frames"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    // And what is none is not taken for one.
    let (none, _) = imported("as-netflow", &pcap(&[(0, vec![0; 60])]), &["--format", "netflow"]);
    assert_eq!(
        (none.code, none.out.as_str()),
        (1, "FILE: 0 flows in 0 rows of a kind and day\n"),
        "{}",
        none.err
    );
    let (zipped, _) = imported("gzip", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0], &[]);
    assert!(zipped.code == 2 && zipped.err.contains("gzip"), "{}", zipped.err);
    assert!(listed.contains("10.9.9.1") && listed.contains("netflow"), "{listed}");
}

#[test]
fn what_exporters_told_and_is_not_there_is_said() {
    let whole = ipfix([true, true], 0);
    let (ran, _) = imported("no-template", &ipfix([false, true], 0), &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("sets of records without their template"), "{}", ran.err);
    let (ran, _) = imported("missing", &[whole.clone(), ipfix([false, true], 7)].concat(), &["--json"]);
    let told: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!(
        (ran.code, &told[0]["exports"]["missing"], &told[0]["format"]),
        (1, &5.into(), &"ipfix".into())
    );
    let (ran, listed) = imported("cut", &[whole.clone(), whole[..20].to_vec()].concat(), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("it ends within a message at byte 132"), "{}", ran.err);
    assert!(listed.contains("modbus"), "what came before is kept: {listed}");
}

#[test]
fn recorded_frames_become_rows() {
    let query = |ms, client: u16| {
        let [there, back] = [(HMI, client), (PLC, 161)];
        [(ms, udp(there, back, b"get")), (ms + 20, udp(back, there, b"here you are"))]
    };
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
    let mut frames = [query(0, 40_000), query(60_000, 40_001)].concat();
    frames.push((70_000, arp));
    let (ran, listed) = imported("frames", &pcap(&frames), &[]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "FILE: 2 flows in 1 row of a kind and day\n"));
    assert_eq!(ran.err, "1 frame left out: it is ARP or neighbour discovery\n");
    insta::assert_snapshot!("import_frames", listed);
    let whole = pcap(&frames);
    let (ran, listed) = imported("frames-cut", &whole[..whole.len() - 3], &[]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.err.contains("it ends within") && listed.contains("snmp"), "{}{listed}", ran.err);
}
