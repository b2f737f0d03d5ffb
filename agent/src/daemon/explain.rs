//! What a violation was, for whoever is asked to allow it: who, what, which rules come close, and the lines that would have
//! allowed it. Where no rule should, it says so instead; and of a gap or a heartbeat what such a record is.
//!
//! In: a record that is still remembered. The conversation it tells of is asked as `why` asks, of the policy of today: so
//! what is proposed is what is missing now.

use bulkhead_common::reason::Reason;

use super::agent::{Agent, user, world};
use crate::{
    compile::{Known, nearest},
    control::{Explained, Failure},
    model::{Criticality, Policy},
    record::{Action, Alarm, End, Gap, Heartbeat, Record, RecordId, Sighting, Violation},
    report::why::Answer,
};

mod meant;
use meant::{Conversation, Meant, meant};

impl Agent {
    /// Explains the record with this id.
    pub(super) fn explain(&self, id: &str) -> Result<Explained, Failure> {
        let id = id.trim();
        let wanted = id
            .split_once('-')
            .and_then(|(boot, seq)| Some((boot.to_ascii_lowercase(), seq.parse::<u64>().ok()?)));
        let (boot, seq) = wanted.ok_or_else(|| {
            user(format!(
                "`{id}` is no id of a record\nhint: `bulkhead violations` ends each line with one, such as `5f0c2b9a41d84c6e-42`"
            ))
        })?;
        let record =
            self.reporter.find(&boot, seq).ok_or_else(|| user(unknown(&boot, seq, self.reporter.run())))?;
        let id = RecordId { boot, seq }.to_string();
        let json = serde_json::to_value(record).map_err(world)?;
        let record = match record {
            Record::Violation(violation) => violation,
            Record::Gap(gap) => return Ok(without_ends(id, json, gap_told(gap))),
            Record::Heartbeat(heartbeat) => return Ok(without_ends(id, json, heartbeat_told(heartbeat))),
            Record::Alarm(alarm) => return Ok(without_ends(id, json, alarm_told(alarm))),
            Record::Inventory(one) => return Ok(without_ends(id, json, sighting_told(one))),
        };
        let applied = self.dataplane.applied().ok_or_else(|| world("no policy is applied yet"))?;
        let policy = &self.in_force.policy;
        let mut explained = Explained {
            id,
            record: json,
            told: told(record),
            today: None,
            nearest: Vec::new(),
            snippet: None,
            warnings: Vec::new(),
        };
        let conversation = match meant(record, policy) {
            Meant::Conversation(conversation) => conversation,
            // A rule allowed one of them, so it is that one. If none does any more, neither is to be opened on a guess.
            Meant::Either(both) => match both.into_iter().find(|one| self.is_allowed(one)) {
                Some(conversation) => conversation,
                None => {
                    explained.warnings.push(
                        "no rule of today allows a conversation between the two over its ports, and which end asked is not known: \
                         `bulkhead why FROM TO SERVICE` answers for the one that is meant"
                            .to_owned(),
                    );
                    return Ok(explained);
                }
            },
            Meant::Nothing(why) => {
                explained.warnings.push(why);
                return Ok(explained);
            }
        };
        let Conversation { from, to, service, ends, note } = conversation;
        explained.told.extend(note);
        explained.nearest = nearest(policy, &applied.tables, known(policy, ends[0]), known(policy, ends[1]));
        match self.why(&from, &to, &service) {
            Ok(answer) => {
                judge(&mut explained, record, policy, &answer);
                explained.today = Some(answer);
            }
            Err(failure) => explained.warnings.push(format!("no rule can name it: {}", failure.message)),
        }
        Ok(explained)
    }

    /// Whether the policy in force allows a conversation.
    fn is_allowed(&self, one: &Conversation<'_>) -> bool {
        self.why(&one.from, &one.to, &one.service).is_ok_and(|answer| answer.verdict == "allow")
    }
}

/// Why a record is not at hand. `run` is the agent run, and the last record of it.
fn unknown(boot: &str, seq: u64, (run, last): (&str, u64)) -> String {
    let elsewhere = format!(
        "its sinks have been given it, with `\"boot\":\"{boot}\"` and `\"seq\":{seq}`; `bulkhead why FROM TO SERVICE` answers for the \
         ends that it names"
    );
    if boot != run {
        return format!(
            "record `{boot}-{seq}` is not of this run of the agent, which is `{run}`\n\
             hint: if an earlier run told it, {elsewhere}"
        );
    }
    if (1..=last).contains(&seq) {
        return format!(
            "the agent does not remember record `{boot}-{seq}`: it keeps the last {} records since its start\nhint: {elsewhere}",
            super::report::RECENT
        );
    }
    let until = if last == 0 {
        "this run has told none yet".to_owned()
    } else {
        format!("those of this run are `{run}-1` to `{run}-{last}`")
    };
    format!(
        "there never was a record `{boot}-{seq}`: {until}\nhint: each line of `bulkhead violations` ends with an id"
    )
}

/// A record that is about no conversation.
fn without_ends(id: String, record: serde_json::Value, told: Vec<String>) -> Explained {
    Explained { id, record, told, today: None, nearest: Vec::new(), snippet: None, warnings: Vec::new() }
}

/// What is missing, and why.
fn gap_told(gap: &Gap) -> Vec<String> {
    let Gap { time, explanation, first, last, count, .. } = gap;
    let mut told = vec![
        format!("{} denied of which no other record tells, found at {time}", packets(*count)),
        explanation.clone(),
    ];
    if first.is_some() || last.is_some() {
        let end = |id: &Option<String>| id.clone().unwrap_or_else(|| "an end that is not known".to_owned());
        told.push(format!("it stands for the records from {} to {}", end(first), end(last)));
    }
    told
}

/// That nothing was denied.
fn heartbeat_told(heartbeat: &Heartbeat) -> Vec<String> {
    let Heartbeat { time, violations, warnings, count, .. } = heartbeat;
    let mut told = vec![
        format!("no denial, but a sign of life at {time}: {} denied until then", packets(*violations)),
        format!("{} of its own by which the agent tested itself", packets(*count)),
    ];
    told.extend(warnings.iter().map(|warning| format!("wrong then: {warning}")));
    told
}

/// What the agent undid.
fn alarm_told(one: &Alarm) -> Vec<String> {
    let Alarm { time, alarm, explanation, .. } = one;
    vec![format!("{} at {time}", alarm.text()), explanation.clone()]
}

fn sighting_told(one: &Sighting) -> Vec<String> {
    let Sighting { time, change, explanation, .. } = one;
    vec![format!("{} at {time}", change.text()), explanation.clone()]
}

fn packets(count: u64) -> String {
    if count == 1 { "1 packet".to_owned() } else { format!("{count} packets") }
}

fn known(policy: &Policy, end: &End) -> Known {
    Known {
        device: end.name.as_ref().and_then(|name| policy.device(name)).map(|(id, _)| id),
        ip: end.ip,
        gateway: end.name.as_deref() == Some("gateway"),
    }
}

/// What happened, a sentence each.
fn told(record: &Violation) -> Vec<String> {
    let Violation { source, destination, protocol, count, bytes, interface, .. } = record;
    let server = if record.answer { source } else { destination };
    let port = server.port.or(record.icmp.map(|icmp| icmp.r#type.into()));
    let over = port.map_or_else(|| protocol.clone(), |port| format!("{protocol}/{port}"));
    let over = if record.answer { format!("{over} (answers)") } else { over };
    let vlan = record.vlan.map(|vlan| format!(" vlan {vlan}")).unwrap_or_default();
    let who = if record.others {
        "from and to several, too many to tell apart".to_owned()
    } else {
        format!("from {} to {}", end(source), end(destination))
    };
    let packets = packets(*count);
    let when = if record.first == record.time {
        format!("at {}", record.time)
    } else {
        format!("from {} to {}", record.first, record.time)
    };
    let fate = match record.action {
        Action::Dropped => "dropped",
        Action::Passed => "passed and reported, as no enforcing device was involved",
    };
    let device = record.device.as_ref().map(|device| {
        let criticality = record.criticality.as_ref().map(|word| format!(", criticality {word}"));
        format!("counted for {device}{}", criticality.unwrap_or_default())
    });
    vec![
        format!("{packets} ({bytes} bytes) {who} over {over}, on {interface}{vlan}, {when}"),
        format!("{fate}; {}", device.unwrap_or_else(|| "no managed device was involved".to_owned())),
        format!("{}: {}", record.reason, record.explanation),
    ]
}

/// Like `hmi (10.20.2.20, 02:00:00:00:00:01)`.
fn end(end: &End) -> String {
    let End { name, mac, ip, port: _ } = end;
    let address: Vec<String> = ip.map(|ip| ip.to_string()).into_iter().chain(mac.clone()).collect();
    match (name, address.as_slice()) {
        (Some(name), []) => name.clone(),
        (Some(name), address) => format!("{name} ({})", address.join(", ")),
        (None, [ip, mac]) => format!("{ip} ({mac})"),
        (None, address) => address.join(", "),
    }
}

/// What today's answer means for the record.
fn judge(explained: &mut Explained, record: &Violation, policy: &Policy, answer: &Answer) {
    let warnings = &mut explained.warnings;
    if answer.verdict == "allow" {
        let rule = answer.rule.as_ref().map(|rule| format!(": {}: {}", rule.place, rule.text));
        let rule = rule.unwrap_or_default();
        warnings.push(if record.reason == Reason::NoFlow.name() {
            format!(
                "a rule allows the conversation{rule}. The packet belonged to none that is remembered: it was silent for longer \
                 than `[flows]` lets it be, had ended, or its beginning never passed this gateway"
            )
        } else {
            format!("the policy of today allows it{rule}")
        });
        return;
    }
    let Some(missing) = &answer.missing else {
        let help = answer.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        warnings
            .push(format!("a rule alone would not help: {}: {}{help}", answer.reason, answer.explanation));
        return;
    };
    explained.snippet = Some(missing.clone());
    if record.reason == Reason::UnknownPeer.name() {
        warnings.push(
            "one end is nobody that the policy knows: find out who it is before you allow it, and make it a device if it is one"
                .to_owned(),
        );
    }
    let named = |name: &Option<String>| {
        let device = name.as_ref().and_then(|name| policy.device(name)).map(|(_, device)| device);
        device.filter(|device| device.criticality == Criticality::Safety)
    };
    for device in [&record.source.name, &record.destination.name].into_iter().filter_map(named) {
        warnings.push(format!(
            "people may be hurt by what {} does: let whoever answers for it decide",
            device.name
        ));
    }
}

#[cfg(test)]
mod tests;
