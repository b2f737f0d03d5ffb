//! Names and texts that no format has to fear.
//!
//! In: a record with whatever its makers found. Out: the same record in which times are times, words are words, hardware
//! addresses are that or absent, texts have no control characters, and nothing is longer than the level says.

use jiff::Timestamp;

use crate::{
    model::Mac,
    record::{Alarm, End, Gap, Heartbeat, Record, Sighting, Violation},
};

/// How long texts may be, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sink) struct Level {
    /// A name.
    name: usize,
    /// A sentence.
    text: usize,
    /// A sample frame, hexadecimal digits; a longer one is left out, since half a frame misleads.
    packet: usize,
    /// Warnings of a heartbeat.
    warnings: usize,
    /// Whether a sentence repeats for people what the fields say.
    pub(super) sentence: bool,
}

/// From what is usually sent to the least that still says everything needed.
pub(super) const LEVELS: [Level; 5] = [
    Level { name: 255, text: 512, packet: 1024, warnings: 8, sentence: true },
    Level { name: 255, text: 512, packet: 0, warnings: 4, sentence: true },
    Level { name: 64, text: 128, packet: 0, warnings: 2, sentence: true },
    Level { name: 24, text: 48, packet: 0, warnings: 1, sentence: true },
    Level { name: 12, text: 12, packet: 0, warnings: 0, sentence: false },
];

impl Level {
    /// The most that is ever sent.
    pub(in crate::sink) const FULL: Self = LEVELS[0];
}

/// No word of ours is longer: a revision has 12 letters, an agent run 16, a reason fewer than 32.
const WORD: usize = 32;

/// The end of 2099.
const LATEST: Timestamp = Timestamp::constant(4_102_444_799, 999_999_000);

/// The record, harmless and bounded.
pub(in crate::sink) fn tame(record: &Record, level: Level) -> Record {
    match record {
        Record::Violation(one) => Record::Violation(Box::new(violation(one, level))),
        Record::Gap(one) => Record::Gap(gap(one, level)),
        Record::Heartbeat(one) => Record::Heartbeat(heartbeat(one, level)),
        Record::Alarm(one) => Record::Alarm(Box::new(alarm(one, level))),
        Record::Inventory(one) => Record::Inventory(Box::new(sighting(one, level))),
    }
}

fn violation(one: &Violation, level: Level) -> Violation {
    let Violation {
        v,
        time,
        first,
        gateway,
        boot,
        seq,
        severity,
        revision,
        device,
        criticality,
        mode,
        verdict,
        action,
        reason,
        explanation,
        source,
        destination,
        protocol,
        icmp,
        vlan,
        inner_vlan,
        interface,
        answer,
        others,
        scan,
        packet,
        count,
        bytes,
    } = one;
    Violation {
        v: *v,
        time: instant(time),
        first: instant(first),
        gateway: text(gateway, level.name),
        boot: word(boot),
        seq: *seq,
        severity: *severity,
        revision: revision.as_deref().map(word),
        device: device.as_ref().map(|name| text(name, level.name)),
        criticality: criticality.as_deref().map(word),
        mode: *mode,
        verdict: *verdict,
        action: *action,
        reason: word(reason),
        explanation: text(explanation, level.text),
        source: end(source, level),
        destination: end(destination, level),
        protocol: word(protocol),
        icmp: *icmp,
        vlan: *vlan,
        inner_vlan: *inner_vlan,
        interface: text(interface, level.name),
        answer: *answer,
        others: *others,
        scan: scan.clone(),
        packet: packet.as_ref().filter(|hex| is_hex(hex) && hex.len() <= level.packet).cloned(),
        count: *count,
        bytes: *bytes,
    }
}

fn end(one: &End, level: Level) -> End {
    let End { name, mac, ip, port } = one;
    End {
        name: name.as_ref().map(|name| text(name, level.name)),
        mac: mac.as_ref().and_then(|mac| mac.parse::<Mac>().ok()).map(|mac| mac.to_string()),
        ip: *ip,
        port: *port,
    }
}

fn gap(one: &Gap, level: Level) -> Gap {
    let Gap { v, time, gateway, boot, seq, cause, explanation, first, last, count } = one;
    Gap {
        v: *v,
        time: instant(time),
        gateway: text(gateway, level.name),
        boot: word(boot),
        seq: *seq,
        cause: *cause,
        explanation: text(explanation, level.text),
        first: first.as_deref().map(word_of_two),
        last: last.as_deref().map(word_of_two),
        count: *count,
    }
}

fn heartbeat(one: &Heartbeat, level: Level) -> Heartbeat {
    let Heartbeat { v, time, gateway, boot, seq, revision, modes, violations, warnings, count } = one;
    let mut shown: Vec<String> =
        warnings.iter().take(level.warnings).map(|warning| text(warning, level.text)).collect();
    let left = warnings.len() - shown.len();
    if left > 0 {
        shown.push(format!("{left} more; `bulkhead status` shows them"));
    }
    Heartbeat {
        v: *v,
        time: instant(time),
        gateway: text(gateway, level.name),
        boot: word(boot),
        seq: *seq,
        revision: revision.as_deref().map(word),
        modes: *modes,
        violations: *violations,
        warnings: shown,
        count: *count,
    }
}

fn alarm(one: &Alarm, level: Level) -> Alarm {
    let Alarm {
        v,
        time,
        gateway,
        boot,
        seq,
        severity,
        revision,
        alarm,
        device,
        criticality,
        trigger,
        source,
        destination,
        protocol,
        explanation,
        count,
    } = one;
    Alarm {
        v: *v,
        time: instant(time),
        gateway: text(gateway, level.name),
        boot: word(boot),
        seq: *seq,
        severity: *severity,
        revision: revision.as_deref().map(word),
        alarm: *alarm,
        device: device.as_ref().map(|name| text(name, level.name)),
        criticality: criticality.as_deref().map(word),
        trigger: *trigger,
        source: end(source, level),
        destination: end(destination, level),
        protocol: word(protocol),
        explanation: text(explanation, level.text),
        count: *count,
    }
}

fn sighting(one: &Sighting, level: Level) -> Sighting {
    let Sighting {
        v,
        time,
        gateway,
        boot,
        seq,
        severity,
        change,
        device,
        source,
        interface,
        fact,
        before,
        now,
        evidence,
        explanation,
        more,
        count,
    } = one;
    let name = |one: &Option<String>| one.as_ref().map(|one| text(one, level.name));
    Sighting {
        v: *v,
        time: instant(time),
        gateway: text(gateway, level.name),
        boot: word(boot),
        seq: *seq,
        severity: *severity,
        change: *change,
        device: name(device),
        source: end(source, level),
        interface: name(interface),
        fact: fact.as_deref().map(word),
        before: name(before),
        now: name(now),
        evidence: evidence.as_deref().map(word),
        explanation: text(explanation, level.text),
        more: *more,
        count: *count,
    }
}

/// A time as every record has it. What is none becomes the epoch: a receiver would refuse the record for it.
fn instant(time: &str) -> String {
    let read = time.parse::<Timestamp>().unwrap_or_default();
    // A year before 1970 or after 2099 is nobody's clock, and receivers take a message for none because of it.
    format!("{:.6}", read.clamp(Timestamp::UNIX_EPOCH, LATEST))
}

/// Letters, digits and the marks of our own words.
fn word(text: &str) -> String {
    text.chars().take(WORD).map(|c| if is_plain(c) { c } else { '_' }).collect()
}

/// A record's id: an agent run and a number.
fn word_of_two(text: &str) -> String {
    text.chars().take(2 * WORD).map(|c| if is_plain(c) { c } else { '_' }).collect()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/')
}

fn is_hex(text: &str) -> bool {
    text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// At most `most` bytes, without anything that ends a line or hides what follows; what was cut ends in `…`.
fn text(text: &str, most: usize) -> String {
    const MORE: char = '…';
    let mut out = String::new();
    for c in text.chars() {
        let shown = if is_harmful(c) { char::REPLACEMENT_CHARACTER } else { c };
        if out.len() + shown.len_utf8() > most {
            while out.len() + MORE.len_utf8() > most {
                out.pop();
            }
            out.push(MORE);
            break;
        }
        out.push(shown);
    }
    out
}

/// Controls, line and paragraph separators, marks that turn the direction of writing around, and what is no character.
fn is_harmful(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        || matches!(code, 0xfdd0..=0xfdef)
        || code & 0xfffe == 0xfffe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_a_character_and_keep_to_their_line() {
        assert_eq!(text("press", 5), "press");
        assert_eq!(text("presses", 5), "pr…");
        assert_eq!(text("äöüäöü", 7), "äö…");
        assert_eq!(
            text("a\nb\u{2028}c\0d\u{85}e\u{202e}f", 99),
            "a\u{fffd}b\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}f"
        );
        assert_eq!(word("no-rule\" x=|]"), "no-rule__x___");
        assert_eq!(instant("2026-03-02T10:00:07.25Z"), "2026-03-02T10:00:07.250000Z");
        assert_eq!(instant("yesterday\n"), "1970-01-01T00:00:00.000000Z");
        assert_eq!(instant("9999-12-30T22:00:00Z"), "2099-12-31T23:59:59.999999Z");
    }
}
