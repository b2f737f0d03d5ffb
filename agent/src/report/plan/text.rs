//! A plan for a person: what hurts comes first, and the last line says it all.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Became, Capacity, Conversations, DefinitionChange, Denials, DeviceChange, Drops, IdentityChange, Listed,
    ModeChange, Plan, Reach, RuleChanges, RuleSaid, Stopped, Uncounted,
};
use crate::diagnostic::counted;

/// Entries shown of each list; JSON has more.
const SHOWN: usize = 25;
/// From then on a table is told of as nearly full, percent.
const NEARLY_FULL: u32 = 80;

/// Text that grows line by line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref().trim_end());
        self.0.push('\n');
    }

    fn title(&mut self, title: impl AsRef<str>) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(title);
    }

    /// The first entries of a list, and how many there are besides.
    fn list<T>(&mut self, listed: &Listed<T>, mut entry: impl FnMut(&mut Self, &T)) {
        listed.list.iter().take(SHOWN).for_each(|one| entry(self, one));
        let rest = listed.total().saturating_sub(SHOWN);
        if rest > 0 {
            self.line(format!("  ... and {rest} more"));
        }
    }
}

impl Plan {
    /// The plan as text, the most important first, with a summary in the last line.
    pub fn text(&self) -> String {
        let mut page = Page::default();
        for note in &self.notes {
            page.line(format!("note: {note}"));
        }
        if self.changes {
            self.conversations(&mut page);
            self.identities(&mut page);
            self.denials(&mut page);
            self.modes(&mut page);
            self.reached(&mut page, true);
            rules(&mut page, &self.rules);
            self.devices(&mut page);
            self.definitions(&mut page);
            self.reached(&mut page, false);
            self.capacity(&mut page);
            page.line("");
        }
        page.line(self.summary());
        page.0
    }

    fn conversations(&self, page: &mut Page) {
        let Some(Conversations { live, recent, stop, report }) = &self.conversations else {
            page.title("CONVERSATIONS: not looked at, no agent was asked");
            return;
        };
        if stop.total() > 0 {
            page.title(format!("WOULD STOP: {}", counted(stop.total(), "conversation that is allowed now")));
            page.list(stop, stopped);
        }
        if report.total() > 0 {
            let what = counted(report.total(), "conversation that is allowed now");
            page.title(format!("WOULD BE REPORTED, NOT DROPPED (monitor mode): {what}"));
            page.list(report, stopped);
        }
        let none = match (stop.total() + report.total(), self.identities.total()) {
            (0, 0) => "; none that is allowed now would be denied",
            (0, _) => "; none that is allowed now would be denied, if the new identities below are true",
            _ => "",
        };
        page.title(format!("looked at: {}, {recent} recent{none}", counted(*live, "live flow")));
    }

    fn identities(&self, page: &mut Page) {
        if self.identities.total() == 0 {
            return;
        }
        let devices = counted(self.identities.total(), "device");
        page.title(format!(
            "IDENTITY CHANGES: {devices}, of which everything could stop if what is new is wrong"
        ));
        page.list(&self.identities, |page, one| {
            let IdentityChange { device, criticality, properties, flows } = one;
            let flows =
                if *flows > 0 { format!("; {}", counted(*flows, "known flow")) } else { String::new() };
            page.line(format!("  {criticality}  {device}: {}{flows}", became(properties)));
        });
    }

    fn denials(&self, page: &mut Page) {
        let Some(Denials { enforcing, looked_at, drop, unknown, remembered_seconds, lost }) = &self.denials
        else {
            return;
        };
        if drop.total() > 0 {
            let kinds = counted(drop.total(), "kind");
            page.title(format!(
                "WOULD BE DROPPED FROM NOW ON: {kinds} of packets that are denied today, and pass"
            ));
            page.list(drop, dropped);
        }
        if unknown.total() > 0 {
            let devices = counted(unknown.total(), "device");
            page.title(format!(
                "MAY BE DROPPED FROM NOW ON: {devices} of whose denied packets only the count is known"
            ));
            page.list(unknown, |page, Uncounted { device, packets }| {
                let counts: Vec<String> =
                    packets.iter().map(|(word, count)| format!("{count} {word}")).collect();
                page.line(format!("  {device}: {}", counts.join(", ")));
            });
        }
        if enforcing.total() > 0 || drop.total() > 0 {
            let lost = if *lost > 0 {
                format!("; {} told to nobody", counted(*lost, "packet"))
            } else {
                String::new()
            };
            page.title(format!(
                "looked at: {} of denied packets that passed; the agent remembers the last {}{lost}",
                counted(*looked_at, "kind"),
                ago(*remembered_seconds)
            ));
        }
    }

    fn modes(&self, page: &mut Page) {
        if self.modes.total() == 0 {
            return;
        }
        page.title(format!("MODES: {}", counted(self.modes.total(), "device")));
        page.list(&self.modes, |page, change| {
            let ModeChange { device, criticality, before, after, leaves_enforcement } = change;
            let word = |mode: &Option<String>| mode.clone().unwrap_or_else(|| "removed".to_owned());
            let (mark, loud) = if *leaves_enforcement {
                ("!", "   NO LONGER ENFORCED: what is denied would pass")
            } else {
                (" ", "")
            };
            page.line(format!("{mark} {device} ({criticality}): {} -> {}{loud}", word(before), word(after)));
        });
    }

    fn reached(&self, page: &mut Page, gained: bool) {
        let reach = &self.reachability;
        let (title, listed) =
            if gained { ("CAN NOW REACH", &reach.gained) } else { ("CAN NO LONGER REACH", &reach.lost) };
        if listed.total() > 0 {
            let hops = counted(reach.hops, "hop");
            page.title(format!("{title} (within {hops}, by the rules): {}", listed.total()));
            page.list(listed, |page, one| page.line(format!("  {}", reached(one))));
        }
        if !gained && !reach.complete {
            page.title(
                "The policies differ in too much for every pair to be looked at: there may be more than is told above",
            );
        }
    }

    fn devices(&self, page: &mut Page) {
        if self.devices.total() == 0 {
            return;
        }
        page.title(format!("DEVICES: {}", counted(self.devices.total(), "device")));
        page.list(&self.devices, |page, one| {
            let DeviceChange { device, change, properties } = one;
            let side = match change.as_str() {
                "added" => Some(("+", 1)),
                "removed" => Some(("-", 0)),
                _ => None,
            };
            match side {
                Some((mark, side)) => {
                    let said = properties
                        .iter()
                        .filter_map(|(word, both)| both[side].as_ref().map(|said| format!("{word} {said}")));
                    page.line(format!("{mark} {device}: {}", said.collect::<Vec<_>>().join("; ")));
                }
                None => page.line(format!("~ {device}: {}", became(properties))),
            }
        });
    }

    fn definitions(&self, page: &mut Page) {
        if self.definitions.total() == 0 {
            return;
        }
        page.title(format!("NETWORKS, SERVICES AND GROUPS: {}", self.definitions.total()));
        page.list(&self.definitions, |page, one| {
            let DefinitionChange { kind, name, before, after, concerns } = one;
            let said = match (before, after) {
                (Some(before), Some(after)) => format!("~ {kind} {name}: {before} -> {after}"),
                (Some(before), None) => format!("- {kind} {name}: {before}"),
                (None, Some(after)) => format!("+ {kind} {name}: {after}"),
                (None, None) => format!("  {kind} {name}"),
            };
            page.line(said);
            if concerns.total() > 0 {
                let more =
                    if concerns.more > 0 { format!(" and {} more", concerns.more) } else { String::new() };
                page.line(format!("    named by {}{more}", concerns.list.join(", ")));
            }
        });
    }

    fn capacity(&self, page: &mut Page) {
        let differs = |one: &&Capacity| one.before != one.after || one.percent_after >= NEARLY_FULL;
        let told: Vec<&Capacity> = self.capacity.iter().filter(differs).collect();
        if told.is_empty() && self.rows_changed == 0 {
            return;
        }
        page.title(format!(
            "CAPACITY: {} of the kernel's tables would be written",
            counted(self.rows_changed, "row")
        ));
        for Capacity { what, before, after, limit, percent_before: _, percent_after } in told {
            let full = if *percent_after >= NEARLY_FULL { "   NEARLY FULL" } else { "" };
            let (was, is) = (percent(*before, *limit), percent(*after, *limit));
            page.line(format!("  {what}: {before} -> {after} of {limit} ({was} -> {is}){full}"));
        }
    }

    fn summary(&self) -> String {
        let Self { before, after, breaks, identities, drops, released, devices, rules, .. } = self;
        if !self.changes {
            return format!("nothing changes: revision {before}");
        }
        let RuleChanges { added, removed, changed, reworded } = rules;
        let mut said = Vec::new();
        if let Some(Conversations { report, .. }) = &self.conversations {
            let enforcing = self.denials.as_ref().is_some_and(|denials| denials.enforcing.total() > 0);
            match breaks {
                0 if *drops > 0 || identities.total() > 0 => {}
                0 if enforcing => said.push("nothing that is remembered would stop".to_owned()),
                0 => said.push("nothing would stop".to_owned()),
                _ => said.push(format!("{} WOULD STOP", counted(*breaks, "conversation"))),
            }
            if identities.total() > 0 {
                let devices = counted(identities.total(), "device");
                said.push(format!("{devices} CUT OFF IF THE NEW IDENTITY IS WRONG"));
            }
            if let Some(Denials { drop, unknown, .. }) = &self.denials {
                if drop.total() > 0 {
                    let kinds = counted(drop.total(), "kind");
                    said.push(format!("{kinds} of denied packets WOULD BE DROPPED FROM NOW ON"));
                }
                if unknown.total() > 0 {
                    let devices = counted(unknown.total(), "device");
                    said.push(format!("{devices} with denied packets that only counters know"));
                }
            }
            if report.total() > 0 {
                said.push(format!("{} would be reported", report.total()));
            }
        }
        if *released > 0 {
            said.push(format!("{} NO LONGER ENFORCED", counted(*released, "device")));
        }
        let counts = [
            (added.total(), "added"),
            (removed.total(), "removed"),
            (changed.total(), "changed"),
            (reworded.total(), "reworded"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
        if !counts.is_empty() {
            said.push(format!("rules: {}", counts.join(", ")));
        }
        let reach = &self.reachability;
        if reach.gained.total() + reach.lost.total() > 0 {
            said.push(format!("reach: {} gained, {} lost", reach.gained.total(), reach.lost.total()));
        }
        let counts = ["added", "removed", "changed"].map(|word| {
            let count = devices.list.iter().filter(|device| device.change == word).count();
            (count > 0).then(|| format!("{count} {word}"))
        });
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        if devices.more > 0 {
            said.push(counted(devices.total(), "device"));
        } else if !counts.is_empty() {
            said.push(format!("devices: {}", counts.join(", ")));
        }
        let revisions = if before == after {
            format!("revision {before} stays")
        } else {
            format!("revision {before} -> {after}")
        };
        said.push(revisions);
        said.join("; ")
    }
}

/// What becomes different about a device.
fn became(properties: &BTreeMap<String, [Option<String>; 2]>) -> String {
    let said = properties.iter().map(|(word, both)| {
        let [before, after] = both.each_ref().map(|said| said.as_deref().unwrap_or("none"));
        format!("{word} {before} -> {after}")
    });
    said.collect::<Vec<_>>().join("; ")
}

fn end(name: &Option<String>, address: &str) -> String {
    match name {
        Some(name) => format!("{name} ({address})"),
        None => address.to_owned(),
    }
}

fn dropped(page: &mut Page, one: &Drops) {
    let Drops {
        from,
        from_address,
        to,
        to_address,
        service,
        packets,
        idle_seconds,
        first_seconds,
        criticality,
        reason,
        explanation,
    } = one;
    let worth = criticality.as_ref().map(|word| format!("{word}  ")).unwrap_or_default();
    page.line(format!("  {worth}{} -> {} {service}", end(from, from_address), end(to, to_address)));
    let packets = counted(*packets, "packet");
    page.line(format!(
        "      {packets} in {}, last seen {} ago",
        ago(first_seconds.saturating_sub(*idle_seconds)),
        ago(*idle_seconds)
    ));
    page.line(format!("      then dropped, {reason}: {explanation}"));
}

fn stopped(page: &mut Page, one: &Stopped) {
    let Stopped {
        from,
        from_ip,
        to,
        to_ip,
        service,
        flows,
        live,
        idle_seconds,
        criticality,
        dropped: _,
        reason,
        explanation,
        rule,
        place,
    } = one;
    let times = if *flows > 1 { format!(", {flows} flows") } else { String::new() };
    let state = if *live { "live" } else { "ended" };
    let worth = criticality.as_ref().map(|word| format!("{word}  ")).unwrap_or_default();
    page.line(format!("  {worth}{} -> {} {service}", end(from, from_ip), end(to, to_ip)));
    page.line(format!("      {state}{times}, last seen {} ago", ago(*idle_seconds)));
    if let (Some(rule), Some(place)) = (rule, place) {
        page.line(format!("      now allowed by {place}: {rule}"));
    }
    page.line(format!("      then denied, {reason}: {explanation}"));
}

fn reached(one: &Reach) -> String {
    let Reach { from, to, criticality, hops, by, services, place } = one;
    let names = |listed: &Listed<String>| {
        let more = if listed.more > 0 { format!(" and {} more", listed.more) } else { String::new() };
        format!("{}{more}", listed.list.join(", "))
    };
    let mut line = String::new();
    if let Some(criticality) = criticality {
        let _ = write!(line, "{criticality}  ");
    }
    let _ = write!(line, "{} -> {}", names(from), names(to));
    if let Some(services) = services {
        let _ = write!(line, " over {services}");
    }
    if *hops > 1 {
        let _ = write!(line, " within {hops} hops, by {}", by.join(", then "));
    }
    if let Some(place) = place {
        let _ = write!(line, "  ({place})");
    }
    line
}

fn rules(page: &mut Page, rules: &RuleChanges) {
    let RuleChanges { added, removed, changed, reworded } = rules;
    let total = added.total() + removed.total() + changed.total() + reworded.total();
    if total == 0 {
        return;
    }
    page.title(format!("RULES: {}", counted(total, "rule")));
    page.list(removed, |page, rule| page.line(format!("- {}", said(rule))));
    page.list(changed, |page, rule| {
        page.line(format!("~ {}", said(&rule.after)));
        differences(page, rule, false);
    });
    page.list(added, |page, rule| page.line(format!("+ {}", said(rule))));
    page.list(reworded, |page, rule| {
        page.line(format!("  {}: the same in other words", said(&rule.after)));
        differences(page, rule, true);
    });
}

fn said(rule: &RuleSaid) -> String {
    let devices = match (rule.holder.starts_with("class "), rule.devices) {
        (true, devices) => format!(" ({})", counted(devices, "device")),
        (false, _) => String::new(),
    };
    let schedule = rule.schedule.as_ref().map(|schedule| format!(", {schedule}")).unwrap_or_default();
    format!("{}{devices}: {}{schedule}  ({})", rule.holder, rule.text(), rule.place)
}

/// What is different, a line each; of the wording only when it is all that is.
fn differences(page: &mut Page, rule: &Became, wording: bool) {
    let Became { before, after } = rule;
    let lists = [
        ("from", &before.initiators, &after.initiators),
        ("to", &before.responders, &after.responders),
        ("service", &before.services, &after.services),
    ];
    for (word, before, after) in lists {
        if before != after {
            page.line(format!("    {word} was {}", before.join(", ")));
        }
    }
    let source = [Some(before.source.clone()), Some(after.source.clone())];
    let words = [
        ("schedule", [before.schedule.clone(), after.schedule.clone()], false),
        ("comment", [before.comment.clone(), after.comment.clone()], true),
        ("owner", [before.owner.clone(), after.owner.clone()], true),
        ("ticket", [before.ticket.clone(), after.ticket.clone()], true),
        ("source", source, true),
    ];
    for (word, [before, after], _) in words.into_iter().filter(|(_, _, words)| !words || wording) {
        if before != after {
            let none = || if word == "schedule" { "always".to_owned() } else { "none".to_owned() };
            let [before, after] = [before, after].map(|said| said.unwrap_or_else(none));
            page.line(format!("    {word} {before} -> {after}"));
        }
    }
}

/// How full something is; what is there is more than nothing.
fn percent(count: usize, limit: u32) -> String {
    match (count as u64).saturating_mul(100) / u64::from(limit).max(1) {
        0 if count > 0 => "<1 %".to_owned(),
        percent => format!("{percent} %"),
    }
}

/// A time as coarse as it matters.
fn ago(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
