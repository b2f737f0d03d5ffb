//! ArcSight Common Event Format, version 0 (revision 26 of its description): a header of bars and an extension of pairs.
//! Each half has escapes of its own.

use std::{fmt::Display, net::IpAddr};

use super::{
    VENDOR, VERSION,
    words::{cause, happened, millis, of_ten, sentence, severity_of},
};
use crate::record::{Alarm, End, Gap, Heartbeat, Record, Scan, Sighting, Violation};

/// One line.
pub(super) fn encode(record: &Record) -> String {
    let (signature, name) = match record {
        Record::Violation(one) => (one.reason.as_str(), one.explanation.as_str()),
        Record::Gap(one) => ("gap", one.explanation.as_str()),
        Record::Heartbeat(_) => ("heartbeat", "the agent is running"),
        Record::Alarm(one) => (one.alarm.name(), one.alarm.text()),
        Record::Inventory(one) => (one.change.name(), one.change.text()),
    };
    let severity = of_ten(severity_of(record));
    let head = [VENDOR, VENDOR, VERSION, signature, name].map(header).join("|");
    let mut pairs = Pairs(Vec::new());
    match record {
        Record::Violation(one) => violation(one, &mut pairs),
        Record::Gap(one) => gap(one, &mut pairs),
        Record::Heartbeat(one) => heartbeat(one, &mut pairs),
        Record::Alarm(one) => alarm(one, &mut pairs),
        Record::Inventory(one) => sighting(one, &mut pairs),
    }
    let id = record.id();
    pairs.put("cnt", record.count());
    pairs.put("externalId", record.event_id());
    pairs.labelled("cs5", "boot", Some(&id.boot));
    pairs.labelled("cn1", "seq", Some(id.seq));
    pairs.put("msg", sentence(record));
    format!("CEF:0|{head}|{severity}|{}", pairs.0.join(" "))
}

/// What stands between bars.
fn header(text: &str) -> String {
    text.replace('\\', r"\\").replace('|', r"\|")
}

/// What stands behind an equals sign.
fn value(text: &str) -> String {
    text.replace('\\', r"\\").replace('=', r"\=")
}

/// The extension.
struct Pairs(Vec<String>);

impl Pairs {
    fn put(&mut self, key: &str, text: impl Display) {
        self.0.push(format!("{key}={}", value(&text.to_string())));
    }

    fn maybe(&mut self, key: &str, text: Option<impl Display>) {
        text.into_iter().for_each(|text| self.put(key, text));
    }

    /// A field of the format that has no meaning of its own, with the meaning it has here.
    fn labelled(&mut self, key: &str, label: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.put(key, text);
            self.put(&format!("{key}Label"), label);
        }
    }

    fn end(&mut self, end: &End, [v4, v6, label, port, mac, name]: [&str; 6]) {
        match end.ip {
            Some(IpAddr::V4(ip)) => self.put(v4, ip),
            Some(IpAddr::V6(ip)) => self.labelled(v6, label, Some(ip)),
            None => {}
        }
        self.maybe(port, end.port);
        self.maybe(mac, end.mac.as_ref());
        self.maybe(name, end.name.as_ref());
    }
}

fn violation(one: &Violation, pairs: &mut Pairs) {
    pairs.put("cat", "violation");
    pairs.put("rt", millis(&one.time));
    pairs.put("start", millis(&one.first));
    pairs.put("end", millis(&one.time));
    pairs.put("act", happened(one.action));
    pairs.put("reason", &one.reason);
    pairs.put("dvchost", &one.gateway);
    pairs.put("deviceInboundInterface", &one.interface);
    pairs.put("proto", &one.protocol);
    pairs.end(&one.source, ["src", "c6a2", "Source IPv6 Address", "spt", "smac", "shost"]);
    pairs.end(&one.destination, ["dst", "c6a3", "Destination IPv6 Address", "dpt", "dmac", "dhost"]);
    pairs.put("in", one.bytes);
    pairs.labelled("cs1", "device", one.device.as_ref());
    pairs.labelled("cs2", "mode", Some(one.mode.name()));
    pairs.labelled("cs3", "form", form(one));
    pairs.labelled("cs4", "revision", one.revision.as_ref());
    pairs.labelled("cs6", "packet", one.packet.as_ref());
    pairs.labelled("cn2", "vlan", one.vlan);
    pairs.labelled("cn3", "innerVlan", one.inner_vlan);
    pairs.labelled("flexString1", "criticality", one.criticality.as_ref());
    pairs.labelled("flexString2", "scan", one.scan.as_ref().map(scanned));
    pairs.labelled("flexNumber1", "icmpType", one.icmp.map(|icmp| icmp.r#type));
    pairs.labelled("flexNumber2", "icmpCode", one.icmp.map(|icmp| icmp.code));
}

/// What packets look like, or stand for, that are not simply packets of the conversation between the two ends.
fn form(one: &Violation) -> Option<&'static str> {
    match (one.answer, one.others) {
        // Of many that were too different nobody knows more.
        (_, true) => Some("others"),
        (true, false) => Some("answer"),
        (false, false) => None,
    }
}

/// What a scan has tried, as a text.
pub(super) fn scanned(scan: &Scan) -> String {
    let Scan { hosts, ports, devices, at_least } = scan;
    let least = if *at_least { "at least " } else { "" };
    format!("{least}{hosts} hosts, {ports} ports, {devices} devices")
}

fn gap(one: &Gap, pairs: &mut Pairs) {
    pairs.put("cat", "gap");
    pairs.put("rt", millis(&one.time));
    pairs.put("dvchost", &one.gateway);
    pairs.put("reason", cause(one.cause));
    pairs.labelled("cs1", "first", one.first.as_ref());
    pairs.labelled("cs2", "last", one.last.as_ref());
}

fn heartbeat(one: &Heartbeat, pairs: &mut Pairs) {
    pairs.put("cat", "heartbeat");
    pairs.put("rt", millis(&one.time));
    pairs.put("dvchost", &one.gateway);
    pairs.labelled("cs4", "revision", one.revision.as_ref());
    pairs.labelled("cn2", "violations", Some(one.violations));
    pairs.labelled("cs1", "modes", Some(modes(one)));
    pairs.labelled("cs2", "warnings", (!one.warnings.is_empty()).then(|| one.warnings.join("; ")));
}

fn alarm(one: &Alarm, pairs: &mut Pairs) {
    pairs.put("cat", "alarm");
    pairs.put("rt", millis(&one.time));
    pairs.put("dvchost", &one.gateway);
    pairs.put("reason", one.trigger.name());
    pairs.put("proto", &one.protocol);
    pairs.end(&one.source, ["src", "c6a2", "Source IPv6 Address", "spt", "smac", "shost"]);
    pairs.end(&one.destination, ["dst", "c6a3", "Destination IPv6 Address", "dpt", "dmac", "dhost"]);
    pairs.labelled("cs1", "device", one.device.as_ref());
    pairs.labelled("cs4", "revision", one.revision.as_ref());
    pairs.labelled("flexString1", "criticality", one.criticality.as_ref());
}

fn sighting(one: &Sighting, pairs: &mut Pairs) {
    pairs.put("cat", "inventory");
    pairs.put("rt", millis(&one.time));
    pairs.put("dvchost", &one.gateway);
    pairs.put("reason", one.change.name());
    pairs.maybe("deviceInboundInterface", one.interface.as_ref());
    pairs.end(&one.source, ["src", "c6a2", "Source IPv6 Address", "spt", "smac", "shost"]);
    pairs.labelled("cs1", "device", one.device.as_ref());
    pairs.labelled("cs2", "before", one.before.as_ref());
    pairs.labelled("cs3", "now", one.now.as_ref());
    pairs.labelled("cs4", "fact", one.fact.as_ref());
    pairs.labelled("cs6", "evidence", one.evidence.as_ref());
    pairs.labelled("cn2", "more", Some(one.more));
}

/// Devices by mode, as a text.
pub(super) fn modes(one: &Heartbeat) -> String {
    let modes = one.modes;
    format!("{} enforce, {} monitor, {} quarantine", modes.enforce, modes.monitor, modes.quarantine)
}
