//! Open Cybersecurity Schema Framework: class Network Activity (4001) with the profile `security_control`. What the class
//! has no attribute for is in `unmapped`, under the names of the native record.

use serde_json::{Value, json};

use super::{
    VENDOR, VERSION,
    ecs::without_nulls,
    words::{ip_version, millis, number, sentence, severity_of},
};
use crate::record::{Action, Alarm, End, Gap, Heartbeat, Record, Severity, Sighting, Violation};

/// Version of the schema, a released one.
pub(super) const OCSF: &str = "1.6.0";

const CATEGORY: u32 = 4;
const CLASS: u32 = 4001;

/// What happened, as numbers of the schema.
struct Kind {
    activity: u32,
    /// The name of an activity that the schema does not know.
    other: Option<&'static str>,
    action: u32,
    disposition: u32,
}

/// One line, with or without a sentence for people.
pub(super) fn encode(record: &Record, with_sentence: bool) -> String {
    let (mut out, kind) = match record {
        Record::Violation(one) => violation(one),
        Record::Gap(one) => gap(one),
        Record::Heartbeat(one) => heartbeat(one),
        Record::Alarm(one) => alarm(one),
        Record::Inventory(one) => sighting(one),
    };
    let Kind { activity, other, action, disposition } = kind;
    let severity = severity_of(record);
    let id = record.id();
    out["activity_id"] = json!(activity);
    out["activity_name"] = json!(other);
    out["category_uid"] = json!(CATEGORY);
    out["class_uid"] = json!(CLASS);
    out["type_uid"] = json!(CLASS * 100 + activity);
    out["severity_id"] = json!(grade(severity));
    out["action_id"] = json!(action);
    out["disposition_id"] = json!(disposition);
    out["is_alert"] = json!(severity >= Severity::High);
    out["message"] = json!(with_sentence.then(|| sentence(record)));
    out["count"] = json!(record.count());
    out["metadata"] = json!({
        "version": OCSF,
        "product": { "name": VENDOR, "vendor_name": VENDOR, "version": VERSION },
        "profiles": ["security_control"],
        "uid": record.event_id(),
        "sequence": id.seq,
        "event_code": event_code(record),
    });
    without_nulls(out).to_string()
}

fn event_code(record: &Record) -> &str {
    match record {
        Record::Violation(one) => &one.reason,
        Record::Gap(_) => "gap",
        Record::Heartbeat(_) => "heartbeat",
        Record::Alarm(one) => one.alarm.name(),
        Record::Inventory(one) => one.change.name(),
    }
}

fn violation(one: &Violation) -> (Value, Kind) {
    let (source, destination) = (end(&one.source), end(&one.destination));
    // Where the ends are left out, the device is what is known, and else where the packets came in.
    let known = !(source.is_null() && destination.is_null());
    let instead = || match &one.device {
        Some(device) => json!({ "name": device }),
        None => json!({ "interface_name": one.interface }),
    };
    let kind = match one.action {
        // Refuse, Denied, Dropped.
        Action::Dropped => Kind { activity: 5, other: None, action: 2, disposition: 6 },
        // Traffic, Observed, Detected.
        Action::Passed => Kind { activity: 6, other: None, action: 3, disposition: 15 },
    };
    let value = json!({
        "time": millis(&one.time),
        "start_time": millis(&one.first),
        "end_time": millis(&one.time),
        "src_endpoint": source,
        "dst_endpoint": if known { destination } else { instead() },
        "connection_info": {
            // Unknown: a gateway has no inside that the schema could mean.
            "direction_id": 0,
            "protocol_name": one.protocol,
            "protocol_num": number(&one.protocol),
            "protocol_ver_id": ip_version(one),
        },
        "traffic": { "packets": one.count, "bytes": one.bytes },
        "policy": one.revision.as_ref().map(|revision| json!({ "uid": revision, "name": "bulkhead" })),
        "status_detail": one.explanation,
        "unmapped": {
            "kind": "violation", "v": one.v, "gateway": one.gateway, "boot": one.boot, "seq": one.seq,
            "device": one.device, "criticality": one.criticality, "mode": one.mode.name(), "verdict": "deny",
            "reason": one.reason, "icmp": one.icmp, "vlan": one.vlan, "inner_vlan": one.inner_vlan,
            "interface": one.interface, "answer": one.answer, "others": one.others, "scan": one.scan, "packet": one.packet,
        },
    });
    (value, kind)
}

fn gap(one: &Gap) -> (Value, Kind) {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("gap");
    let value = json!({
        "time": millis(&one.time),
        "src_endpoint": { "name": one.gateway },
        "status_detail": one.explanation,
        "traffic": { "packets": one.count },
        "unmapped": own,
    });
    // They were denied; whether they were dropped is not known.
    (value, Kind { activity: 99, other: Some("Gap"), action: 0, disposition: 0 })
}

fn heartbeat(one: &Heartbeat) -> (Value, Kind) {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("heartbeat");
    let value = json!({
        "time": millis(&one.time),
        "src_endpoint": { "name": one.gateway },
        "unmapped": own,
    });
    // Observed, Logged.
    (value, Kind { activity: 99, other: Some("Heartbeat"), action: 3, disposition: 17 })
}

fn alarm(one: &Alarm) -> (Value, Kind) {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("alarm");
    let (source, destination) = (end(&one.source), end(&one.destination));
    let value = json!({
        "time": millis(&one.time),
        "src_endpoint": if source.is_null() { json!({ "name": one.gateway }) } else { source },
        "dst_endpoint": destination,
        "connection_info": {
            "direction_id": 0,
            "protocol_name": one.protocol,
            "protocol_num": number(&one.protocol),
        },
        "policy": one.revision.as_ref().map(|revision| json!({ "uid": revision, "name": "bulkhead" })),
        "status_detail": one.explanation,
        "unmapped": own,
    });
    // Modified, Corrected.
    (value, Kind { activity: 99, other: Some("Alarm"), action: 4, disposition: 11 })
}

fn sighting(one: &Sighting) -> (Value, Kind) {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("inventory");
    let source = end(&one.source);
    let value = json!({
        "time": millis(&one.time),
        "src_endpoint": if source.is_null() { json!({ "name": one.gateway }) } else { source },
        "status_detail": one.explanation,
        "unmapped": own,
    });
    // Observed, Detected.
    (value, Kind { activity: 99, other: Some("Inventory"), action: 3, disposition: 15 })
}

/// An endpoint; null when nothing is known that makes one.
fn end(end: &End) -> Value {
    if end.name.is_none() && end.ip.is_none() {
        // A hardware address alone is no endpoint of the schema; it is a name of sorts.
        return end.mac.as_ref().map_or(Value::Null, |mac| json!({ "name": mac, "mac": mac }));
    }
    json!({ "name": end.name, "ip": end.ip, "port": end.port, "mac": end.mac })
}

fn grade(severity: Severity) -> u32 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}
