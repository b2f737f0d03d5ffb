//! What scanners and flooders try on a PLC, and how one knows that it worked.
//!
//! In: a lab. Out: what the tool said.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::{process::Command, time::Duration};

use bulkhead_tests::lab::{Lab, stacks::run, topology::FORGED_TTL};

/// nmap waits for a thousand answers that do not come.
const ATTACKED_WITHIN: Duration = Duration::from_secs(60);

/// How an attack is known to have got through.
#[derive(Clone, Copy)]
pub(crate) enum Success {
    /// The tool says so, with these words.
    Said(&'static str),
    /// The answers go to somebody else, or there are none: its frames reach the PLC.
    Arrived,
}

pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// The program and its words; `PLC`, `HMI,ME`, `SWEEP` and `TTL` stand for what differs between labs.
    pub(crate) words: &'static str,
    pub(crate) success: Success,
    /// Every reason its frames may be denied for; each must appear in the log.
    pub(crate) reasons: &'static [&'static str],
    /// One more where the gateway routes: frames to addresses that nobody has get as far as that.
    pub(crate) when_routed: Option<&'static str>,
    /// Whether it tries so much that it is told as one scan.
    pub(crate) is_scan: bool,
}

/// Raw frames carry the TTL by which the sniffer knows them; what goes through the attacker's own stack has another.
pub(crate) const ATTACKS: [Attack; 10] = [
    Attack {
        name: "connect scan",
        words: "nmap -n -Pn --max-retries 1 -sT -p 102,502,2404,4840,20000,44818 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "SYN scan of the lower ports",
        words: "nmap -n -Pn --max-retries 1 --min-rate 500 -sS --ttl TTL -p 1-1024 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: true,
    },
    Attack {
        name: "SYN scan in fragments of 8 bytes",
        words: "nmap -n -Pn --max-retries 1 -sS -f --ttl TTL -p 502 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["fragment-orphan", "fragment-tiny"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "xmas scan",
        words: "nmap -n -Pn --max-retries 1 -sX --ttl TTL -p 502,503 PLC",
        success: Success::Said("503/tcp closed"),
        reasons: &["tcp-flags"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        // Each probe is also sent with the HMI's address, as a decoy.
        name: "SYN scan with the HMI's address",
        words: "nmap -n -Pn --max-retries 1 -sS -D HMI,ME --ttl TTL -p 502 PLC",
        success: Success::Said("502/tcp open"),
        reasons: &["source-mac-mismatch", "unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "NSE script that asks the PLC who it is",
        words: "nmap -n -Pn --max-retries 1 -sT -p 502 --script modbus-discover PLC",
        success: Success::Said("modbus-discover:"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        // By IP: on one's own segment nmap would ask by ARP, which every plant needs.
        name: "ping sweep",
        words: "nmap -n -sn --max-retries 1 --send-ip --disable-arp-ping -PE -PP -PS443 -PA80 --ttl TTL SWEEP",
        success: Success::Said("1 host up"),
        reasons: &["unknown-peer"],
        when_routed: Some("unmanaged"),
        is_scan: false,
    },
    Attack {
        name: "SYN flood",
        words: "hping3 -q -c 500 -i u500 -S -p 502 -t TTL PLC",
        success: Success::Said("500 packets received"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "UDP to a port of BACnet",
        words: "hping3 -q -c 20 -i u2000 -2 -p 47808 -d 64 -t TTL PLC",
        success: Success::Arrived,
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
    Attack {
        name: "big pings",
        words: "hping3 -q -c 5 -i u5000 -1 -d 1400 -t TTL PLC",
        success: Success::Said("5 packets received"),
        reasons: &["unknown-peer"],
        when_routed: None,
        is_scan: false,
    },
];

impl Attack {
    /// Runs it to its end; what the tool said, blanks folded.
    pub(crate) fn run(&self, lab: &Lab) -> String {
        let (plc, hmi) = (lab.plc().ip, lab.host("hmi").ip);
        let words: Vec<String> = self
            .words
            .split(' ')
            .map(|word| match word {
                "PLC" => plc.to_string(),
                "HMI,ME" => format!("{hmi},ME"),
                "SWEEP" => format!("{plc}/30"),
                "TTL" => FORGED_TTL.to_string(),
                word => word.to_owned(),
            })
            .collect();
        let (program, words) = words.split_first().expect("an attack has a program");
        let mut command = Command::new(program);
        command.args(words);
        let (_, said) = run(lab.attacker(), command, ATTACKED_WITHIN).expect("it ends");
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
