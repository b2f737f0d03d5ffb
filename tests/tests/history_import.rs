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
    let ran = run("", &["simulate", "--policy", policy, "--history", "--file", history, "--json"]);
    assert_eq!(ran.code, 0, "nothing that was answered would break: {}{}", ran.out, ran.err);
    let report: Value = serde_json::from_str(&ran.out).expect("it is JSON");
    assert_eq!((&report["totals"]["flows"], &report["totals"]["attempts"]), (&4.into(), &1.into()));
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
    }
}
