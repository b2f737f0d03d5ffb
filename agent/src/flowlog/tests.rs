//! Lines as sensors write them, and what anybody else may.

use proptest::prelude::*;

use super::*;

const HEADER: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n#open\t2026-11-23-10-00-00\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\n\
    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tstring\tcount\tcount\tcount\tcount\n";

fn flows(text: &str) -> (Vec<Flow>, Lines) {
    let mut flows = Vec::new();
    let lines = read(text.as_bytes(), |flow| flows.push(flow)).expect("it is a log");
    (flows, lines)
}

/// A flow in short.
fn said(flow: &Flow) -> String {
    let Flow { kind, seen } = flow;
    let service = format!("{}/{}", kind.service.protocol, kind.service.number);
    format!(
        "{} > {} {} at {}-{} packets {:?} bytes {:?} answered {} opened {}",
        kind.from,
        kind.to,
        service,
        seen.first,
        seen.last,
        seen.packets,
        seen.bytes,
        seen.answered,
        seen.opened
    )
}

#[test]
fn conn_log_is_read_by_names() {
    let text = HEADER.to_owned()
        + "1700000000.25\tC1\t10.0.0.8\t50000\t10.0.0.9\t502\ttcp\tmodbus\t3600.5\t100\t200\tSF\tShADadFf\t10\t600\t9\t700\n\
           1700000001.0\tC2\t10.0.0.66\t50001\t10.0.0.9\t80\ttcp\t-\t-\t-\t-\tS0\tS\t1\t60\t0\t0\n\
           1700000002.0\tC3\tfd00::8\t128\tfd00::9\t0\ticmp\t-\t1.0\t64\t64\tOTH\t-\t1\t104\t1\t104\n\
           1700000003.0\tC4\t10.0.0.8\t123\t10.0.0.5\t123\tudp\tntp\t0.1\t48\t48\tSF\t^dD\t1\t76\t1\t76\n\
           #close\t2026-11-23-11-00-00\n";
    let (flows, lines) = flows(&text);
    assert_eq!(
        flows.iter().map(said).collect::<Vec<_>>(),
        [
            "10.0.0.8 > 10.0.0.9 6/502 at 1700000000-1700003600 packets [10, 9] bytes [600, 700] answered 1 opened 1",
            "10.0.0.66 > 10.0.0.9 6/80 at 1700000001-1700000001 packets [1, 0] bytes [60, 0] answered 0 opened 1",
            "fd00::8 > fd00::9 58/32768 at 1700000002-1700000003 packets [1, 1] bytes [104, 104] answered 1 opened 0",
            "10.0.0.8 > 10.0.0.5 17/123 at 1700000003-1700000003 packets [1, 1] bytes [76, 76] answered 1 opened 0",
        ]
    );
    assert_eq!(lines, Lines { flows: 4, ..Lines::default() });
}

#[test]
fn columns_may_stand_elsewhere_and_others_come_with_newer_versions() {
    let text = "#separator ,\n#fields,proto,id.resp_p,id.resp_h,id.orig_h,ts,ip_proto,new_thing\n\
                unknown_transport,0,10.0.0.9,10.0.0.8,1700000000.0,47,x\n";
    let (flows, _) = flows(text);
    assert_eq!(flows[0].kind.service, Service { protocol: 47, number: 0 });
}

#[test]
fn the_same_in_json() {
    let dotted = r#"{"ts":1700000000.25,"id.orig_h":"10.0.0.8","id.orig_p":50000,"id.resp_h":"10.0.0.9","id.resp_p":502,"proto":"tcp","duration":2.5,"orig_pkts":3,"resp_pkts":2,"conn_state":"SF","tunnel_parents":[]}"#;
    let nested = r#"{"ts":"2023-11-14T22:13:20.250000Z","id":{"orig_h":"10.0.0.8","orig_p":50000,"resp_h":"10.0.0.9","resp_p":502},"proto":"tcp","duration":2.5,"orig_pkts":3,"resp_pkts":2,"conn_state":"SF"}"#;
    let (flows, lines) = flows(&format!("{dotted}\r\n\n{nested}\n{{\n"));
    assert_eq!(flows[0], flows[1]);
    assert_eq!(
        said(&flows[0]),
        "10.0.0.8 > 10.0.0.9 6/502 at 1700000000-1700000002 packets [3, 2] bytes [0, 0] answered 1 opened 1"
    );
    assert_eq!(lines.left_out, [("it is no JSON".to_owned(), (1, 4))].into());
}

#[test]
fn csv_names_its_fields_in_the_first_line() {
    let text = "\u{feff}Port,time,to,from,protocol,answered,owner\n\
                502,2023-11-14T22:13:20Z,10.0.0.9,10.0.0.8,TCP,yes,\"ot, team\"\n\
                8/0,1700000000,10.0.0.9,10.0.0.8,icmp,no,\n\
                502,1700000000,10.0.0.9\n";
    let (flows, lines) = flows(text);
    assert_eq!(
        flows.iter().map(said).collect::<Vec<_>>(),
        [
            "10.0.0.8 > 10.0.0.9 6/502 at 1700000000-1700000000 packets [0, 0] bytes [0, 0] answered 1 opened 1",
            "10.0.0.8 > 10.0.0.9 1/2048 at 1700000000-1700000000 packets [0, 0] bytes [0, 0] answered 0 opened 1",
        ]
    );
    assert_eq!(lines.left_out, [("it has not as many fields as the first line".to_owned(), (1, 4))].into());
}

#[test]
fn lines_that_cannot_be_read_are_counted_with_their_reason() {
    let line = |ts: &str, from: &str, to: &str, port: &str, proto: &str, duration: &str| {
        format!("{ts}\tC\t{from}\t1\t{to}\t{port}\t{proto}\t-\t{duration}\t-\t-\tSF\t-\t-\t-\t-\t-\n")
    };
    let good = line("1.0", "10.0.0.1", "10.0.0.2", "80", "tcp", "-");
    let text = HEADER.to_owned()
        + &good
        + &line("-", "10.0.0.1", "10.0.0.2", "80", "tcp", "-")
        + &line("1.0", "host", "10.0.0.2", "80", "tcp", "-")
        + &line("1.0", "10.0.0.1", "fd00::2", "80", "tcp", "-")
        + &line("1.0", "10.0.0.1", "10.0.0.2", "65536", "tcp", "-")
        + &line("1.0", "10.0.0.1", "10.0.0.2", "80", "quic", "-")
        + &line("1.0", "10.0.0.1", "10.0.0.2", "80", "tcp", "-5")
        + &line("1.0", "10.0.0.1", "10.0.0.2", "80", "tcp", "NaN")
        + &line("-5", "10.0.0.1", "10.0.0.2", "80", "tcp", "-")
        + &line("1.0", "10.0.0.1", "10.0.0.2", "256", "icmp", "-")
        + "cut\n";
    let (_, lines) = flows(&text);
    let told: Vec<String> = lines
        .left_out
        .iter()
        .map(|(why, (count, first))| format!("{why}: {count}, first in line {first}"))
        .collect();
    assert_eq!(lines.flows, 1);
    assert_eq!(
        told,
        [
            "`id.orig_h` is no IP address, as `10.20.1.11` is: 1, first in line 11",
            "`id.resp_p` is no port: 1, first in line 13",
            "`ts` is missing: 1, first in line 10",
            "it has fewer fields than `#fields` names: 1, first in line 19",
            "its ends have addresses of two families: 1, first in line 12",
            "the duration is no time: 2, first in line 15",
            "the protocol is not known: 1, first in line 14",
            "the time is none between 1970 and 2200: 1, first in line 17",
            "type or code of ICMP is no byte: 1, first in line 18",
        ]
    );
}

#[test]
fn log_that_was_cut_off_is_told() {
    let line = "1.0\tC\t10.0.0.1\t1\t10.0.0.2\t80\ttcp\t-\t-\t-\t-\tSF\t-\t1\t60\t1\t60\n";
    let (whole, lines) = flows(&format!("{HEADER}{line}{line}#close\t2026-11-23-11-00-00\n"));
    assert_eq!((whole.len(), lines.is_open), (2, false));
    // Wherever it is cut, a part of a line is no flow.
    for cut in 1..line.len() {
        let (kept, lines) = flows(&format!("{HEADER}{line}{}", &line[..cut]));
        let left: u64 = lines.left_out.values().map(|(count, _)| count).sum();
        assert_eq!((kept.as_slice(), left, lines.is_open), (&whole[..1], 1, true), "{cut}");
    }
}

#[test]
fn csv_says_what_is_right() {
    let (_, lines) = flows(
        "time,from,to,protocol,port\n2026-11-01 00:00:00,10.0.0.1,10.0.0.2,tcp,80\n1,hmi,10.0.0.2,tcp,80\n1,10.0.0.1,10.0.0.2,tcp,x\n",
    );
    let told: Vec<&str> = lines.left_out.keys().map(String::as_str).collect();
    let [from, port, time] = told[..] else { panic!("{told:?}") };
    assert!(
        from.contains("`10.20.1.11`") && port.contains("no port") && time.contains("T14:00:00Z"),
        "{told:?}"
    );
    let error = read("time;from;to;protocol;port\n".as_bytes(), |_| {}).expect_err("it is none");
    assert!(error.to_string().contains("separated by `;`"), "{error}");
}

#[test]
fn what_is_no_log_of_flows_is_said() {
    let error = |text: &str| read(text.as_bytes(), |_| {}).expect_err("it is none").to_string();
    assert!(error("").contains("no line that says what its fields are"));
    assert!(error("#path\tdns\n").contains("the log `dns`"));
    assert!(error("#fields\tts\tuid\n").contains("no `id.orig_h`"));
    assert!(error("#separator \\xzz\n").contains("`#separator`"));
    assert!(error("time,from,to,protocol\n").contains("does not name `port`"));
    assert!(error("\0\u{1}\n").contains("does not name `time`"));
    let long = format!("{HEADER}{}\n", "x".repeat(1 << 20));
    assert!(error(&long).contains("line 9 is longer"), "{}", error(&long));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbled_log_stops_nobody(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12), which in 0..3_usize) {
        let logs = [
            HEADER.to_owned() + "1700000000.25\tC1\t10.0.0.8\t50000\t10.0.0.9\t502\ttcp\tmodbus\t3600.5\t100\t200\tSF\tShADadFf\t10\t600\t9\t700\n",
            "{\"ts\":1.5,\"id.orig_h\":\"10.0.0.8\",\"id.resp_h\":\"10.0.0.9\",\"id.resp_p\":502,\"proto\":\"tcp\",\"duration\":2.5}\n".to_owned(),
            "time,from,to,protocol,port\n1700000000,10.0.0.8,10.0.0.9,tcp,502\n".to_owned(),
        ];
        let mut bytes = logs[which].clone().into_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut count = 0;
        let found = read(&bytes[..], |flow| {
            count += 1;
            assert!(flow.seen.first <= flow.seen.last && flow.seen.hours.count() > 0);
        });
        if let Ok(lines) = found {
            prop_assert_eq!(lines.flows, count);
        }
    }
}
