//! Elastic Common Schema. What the schema has no field for is below `bulkhead`, under the names of the native record.

use serde_json::{Map, Value, json};

use super::{
    VENDOR, VERSION,
    words::{happened, ip_version, number, sentence, severity, severity_of},
};
use crate::record::{Action, Alarm, End, Gap, Heartbeat, Record, Severity, Sighting, Violation};

/// Version of the schema.
pub(super) const ECS: &str = "8.11.0";

/// One line, with or without a sentence for people.
pub(super) fn encode(record: &Record, with_sentence: bool) -> String {
    let mut out = match record {
        Record::Violation(one) => violation(one),
        Record::Gap(one) => gap(one),
        Record::Heartbeat(one) => heartbeat(one),
        Record::Alarm(one) => alarm(one),
        Record::Inventory(one) => sighting(one),
    };
    let grade = severity_of(record);
    let id = record.id();
    let event = &mut out["event"];
    event["id"] = json!(record.event_id());
    event["sequence"] = json!(id.seq);
    event["severity"] = json!(score(grade));
    event["module"] = json!("bulkhead");
    out["ecs"] = json!({ "version": ECS });
    out["log"] = json!({ "level": severity(grade) });
    out["message"] = json!(with_sentence.then(|| sentence(record)));
    without_nulls(out).to_string()
}

fn violation(one: &Violation) -> Value {
    let Violation { source, destination, vlan, inner_vlan, .. } = one;
    let (kind, outcome) = match one.action {
        Action::Dropped => ("denied", "success"),
        // Nothing was blocked: the conversation went on.
        Action::Passed => ("allowed", "unknown"),
    };
    json!({
        "@timestamp": one.time,
        "event": {
            "kind": "event", "category": ["network"], "type": ["connection", kind], "action": happened(one.action),
            "outcome": outcome, "dataset": "bulkhead.violation", "reason": one.explanation, "code": one.reason,
            "start": one.first,
        },
        "observer": observer(&one.gateway, Some(&one.interface), *vlan),
        "source": end(source),
        "destination": end(destination),
        "network": {
            "transport": number(&one.protocol).map(|_| transport(&one.protocol)),
            "iana_number": number(&one.protocol).map(|number| number.to_string()),
            "type": ip_version(one).map(|version| format!("ipv{version}")),
            "protocol": number(&one.protocol).is_none().then_some(one.protocol.as_str()),
            "vlan": vlan.map(|id| json!({ "id": id.to_string() })),
            "inner": inner_vlan.map(|id| json!({ "vlan": { "id": id.to_string() } })),
            "packets": one.count,
            "bytes": one.bytes,
        },
        "bulkhead": {
            "kind": "violation", "v": one.v, "gateway": one.gateway, "boot": one.boot, "seq": one.seq, "count": one.count,
            "revision": one.revision, "device": one.device, "criticality": one.criticality,
            "mode": one.mode.name(), "verdict": "deny", "source": source.name, "destination": destination.name,
            "icmp": one.icmp, "answer": one.answer, "others": one.others, "scan": one.scan, "packet": one.packet,
        },
    })
}

fn gap(one: &Gap) -> Value {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("gap");
    remove(&mut own, &["time", "explanation"]);
    json!({
        "@timestamp": one.time,
        "event": {
            "kind": "event", "category": ["network"], "type": ["denied"], "action": "gap", "outcome": "unknown",
            "dataset": "bulkhead.gap", "reason": one.explanation,
        },
        "observer": observer(&one.gateway, None, None),
        "network": { "packets": one.count },
        "bulkhead": own,
    })
}

fn heartbeat(one: &Heartbeat) -> Value {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("heartbeat");
    remove(&mut own, &["time"]);
    json!({
        "@timestamp": one.time,
        "event": {
            "kind": "state", "category": ["network"], "type": ["info"], "action": "heartbeat", "outcome": "success",
            "dataset": "bulkhead.heartbeat",
        },
        "observer": observer(&one.gateway, None, None),
        "bulkhead": own,
    })
}

fn alarm(one: &Alarm) -> Value {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("alarm");
    remove(&mut own, &["time", "explanation"]);
    json!({
        "@timestamp": one.time,
        "event": {
            "kind": "alert", "category": ["configuration"], "type": ["change"], "action": one.alarm.name(),
            "outcome": "success", "dataset": "bulkhead.alarm", "reason": one.explanation,
        },
        "observer": observer(&one.gateway, None, None),
        "source": end(&one.source),
        "destination": end(&one.destination),
        "network": {
            "transport": number(&one.protocol).map(|_| transport(&one.protocol)),
            "iana_number": number(&one.protocol).map(|number| number.to_string()),
        },
        "bulkhead": own,
    })
}

fn sighting(one: &Sighting) -> Value {
    let mut own = serde_json::to_value(one).unwrap_or_default();
    own["kind"] = json!("inventory");
    remove(&mut own, &["time", "explanation"]);
    json!({
        "@timestamp": one.time,
        "event": {
            "kind": "event", "category": ["host"], "type": ["change"], "action": one.change.name(),
            "outcome": "unknown", "dataset": "bulkhead.inventory", "reason": one.explanation,
        },
        "observer": observer(&one.gateway, None, None),
        "source": end(&one.source),
        "bulkhead": own,
    })
}

fn remove(value: &mut Value, names: &[&str]) {
    if let Value::Object(fields) = value {
        fields.retain(|name, _| !names.contains(&name.as_str()));
    }
}

fn observer(gateway: &str, interface: Option<&str>, vlan: Option<u16>) -> Value {
    let ingress = interface.map(|name| {
        json!({ "interface": { "name": name }, "vlan": vlan.map(|id| json!({ "id": id.to_string() })) })
    });
    json!({
        "vendor": VENDOR, "product": VENDOR, "type": "firewall", "name": gateway, "version": VERSION, "ingress": ingress,
    })
}

fn end(end: &End) -> Value {
    // Without an address a reader has the name to go by.
    let address = end.name.as_ref().filter(|_| end.ip.is_none());
    json!({ "address": address, "ip": end.ip, "port": end.port, "mac": end.mac.as_deref().map(mac) })
}

/// RFC 7042: `00-1D-9C-00-00-01`.
fn mac(mac: &str) -> String {
    mac.to_uppercase().replace(':', "-")
}

/// The schema's keyword for a transport.
fn transport(protocol: &str) -> &str {
    if protocol == "icmpv6" { "ipv6-icmp" } else { protocol }
}

/// The risk score that Elastic gives the same word.
fn score(severity: Severity) -> u8 {
    match severity {
        Severity::Info => 1,
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}

/// Without fields that are `null` and objects that are empty then: an absent field is left out.
pub(super) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| (name, without_nulls(value)))
                .filter(|(_, value)| {
                    !value.is_null() && value.as_object().is_none_or(|inner| !inner.is_empty())
                })
                .collect::<Map<String, Value>>(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value,
    }
}
