//! QRadar Log Event Extended Format, version 2.0: a header of bars and attributes divided by tabs.
//!
//! The format knows no escapes. Its header here holds fixed words only; a value ends at a tab, which none has, and may have
//! anything else, since a key ends at the first equals sign.

use std::fmt::Display;

use super::{
    VENDOR, VERSION,
    cef::{modes, scanned},
    words::{cause, happened, of_ten, sentence, severity_of},
};
use crate::record::{Alarm, End, Gap, Heartbeat, Record, Sighting, Violation};

/// One line.
pub(super) fn encode(record: &Record) -> String {
    let event = match record {
        Record::Violation(one) => one.reason.as_str(),
        Record::Gap(_) => "gap",
        Record::Heartbeat(_) => "heartbeat",
        Record::Alarm(one) => one.alarm.name(),
        Record::Inventory(one) => one.change.name(),
    };
    let mut pairs = Pairs(Vec::new());
    let time = match record {
        Record::Violation(one) => &one.time,
        Record::Gap(one) => &one.time,
        Record::Heartbeat(one) => &one.time,
        Record::Alarm(one) => &one.time,
        Record::Inventory(one) => &one.time,
    };
    // Java reads what follows the point as milliseconds, so there are three digits.
    pairs.put("devTime", format!("{}Z", time.get(..23).unwrap_or_default()));
    pairs.put("devTimeFormat", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX");
    pairs.put("sev", of_ten(severity_of(record)));
    let id = record.id();
    pairs.put("boot", &id.boot);
    pairs.put("seq", id.seq);
    pairs.put("count", record.count());
    match record {
        Record::Violation(one) => violation(one, &mut pairs),
        Record::Gap(one) => gap(one, &mut pairs),
        Record::Heartbeat(one) => heartbeat(one, &mut pairs),
        Record::Alarm(one) => alarm(one, &mut pairs),
        Record::Inventory(one) => sighting(one, &mut pairs),
    }
    pairs.put("message", sentence(record));
    format!("LEEF:2.0|{VENDOR}|{VENDOR}|{VERSION}|{event}|x09|{}", pairs.0.join("\t"))
}

/// The attributes.
struct Pairs(Vec<String>);

impl Pairs {
    fn put(&mut self, key: &str, text: impl Display) {
        self.0.push(format!("{key}={text}"));
    }

    fn maybe(&mut self, key: &str, text: Option<impl Display>) {
        text.into_iter().for_each(|text| self.put(key, text));
    }

    fn end(&mut self, end: &End, [ip, port, mac, name]: [&str; 4]) {
        self.maybe(ip, end.ip);
        self.maybe(port, end.port);
        self.maybe(mac, end.mac.as_ref());
        self.maybe(name, end.name.as_ref());
    }
}

fn violation(one: &Violation, pairs: &mut Pairs) {
    pairs.put("cat", "violation");
    pairs.put("gateway", &one.gateway);
    pairs.end(&one.source, ["src", "srcPort", "srcMAC", "srcName"]);
    pairs.end(&one.destination, ["dst", "dstPort", "dstMAC", "dstName"]);
    pairs.put("proto", &one.protocol);
    pairs.put("srcPackets", one.count);
    pairs.put("srcBytes", one.bytes);
    pairs.put("action", happened(one.action));
    pairs.put("reason", &one.explanation);
    pairs.put("first", &one.first);
    pairs.put("last", &one.time);
    pairs.put("mode", one.mode.name());
    pairs.maybe("device", one.device.as_ref());
    pairs.maybe("criticality", one.criticality.as_ref());
    pairs.maybe("policy", one.revision.as_ref());
    pairs.put("interface", &one.interface);
    pairs.maybe("vlan", one.vlan);
    pairs.maybe("innerVlan", one.inner_vlan);
    pairs.maybe("icmpType", one.icmp.map(|icmp| icmp.r#type));
    pairs.maybe("icmpCode", one.icmp.map(|icmp| icmp.code));
    pairs.maybe("scan", one.scan.as_ref().map(scanned));
    pairs.put("answer", one.answer);
    pairs.put("others", one.others);
    pairs.maybe("packet", one.packet.as_ref());
}

fn gap(one: &Gap, pairs: &mut Pairs) {
    pairs.put("cat", "gap");
    pairs.put("gateway", &one.gateway);
    pairs.put("cause", cause(one.cause));
    pairs.put("reason", &one.explanation);
    pairs.maybe("firstRecord", one.first.as_ref());
    pairs.maybe("lastRecord", one.last.as_ref());
}

fn heartbeat(one: &Heartbeat, pairs: &mut Pairs) {
    pairs.put("cat", "heartbeat");
    pairs.put("gateway", &one.gateway);
    pairs.maybe("policy", one.revision.as_ref());
    pairs.put("modes", modes(one));
    pairs.put("violations", one.violations);
    pairs.maybe("warnings", (!one.warnings.is_empty()).then(|| one.warnings.join("; ")));
}

fn alarm(one: &Alarm, pairs: &mut Pairs) {
    pairs.put("cat", "alarm");
    pairs.put("gateway", &one.gateway);
    pairs.end(&one.source, ["src", "srcPort", "srcMAC", "srcName"]);
    pairs.end(&one.destination, ["dst", "dstPort", "dstMAC", "dstName"]);
    pairs.put("proto", &one.protocol);
    pairs.put("trigger", one.trigger.name());
    pairs.put("reason", &one.explanation);
    pairs.maybe("device", one.device.as_ref());
    pairs.maybe("criticality", one.criticality.as_ref());
    pairs.maybe("policy", one.revision.as_ref());
}

fn sighting(one: &Sighting, pairs: &mut Pairs) {
    pairs.put("cat", "inventory");
    pairs.put("gateway", &one.gateway);
    pairs.end(&one.source, ["src", "srcPort", "srcMAC", "srcName"]);
    pairs.put("reason", &one.explanation);
    pairs.maybe("device", one.device.as_ref());
    pairs.maybe("interface", one.interface.as_ref());
    pairs.maybe("fact", one.fact.as_ref());
    pairs.maybe("before", one.before.as_ref());
    pairs.maybe("now", one.now.as_ref());
    pairs.maybe("evidence", one.evidence.as_ref());
    pairs.put("more", one.more);
}
