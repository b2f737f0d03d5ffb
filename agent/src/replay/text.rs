//! A report for a person: the answer in the first line, then what breaks, device by device, each with what helps; then the rest.

use std::fmt::Write as _;

use super::report::{Break, DeviceBreaks, Other, Report, RuleUse, Totals};
use crate::{
    compile::RuleRef,
    diagnostic::{Listed, counted, escape},
};

/// Devices, and conversations of each, that are shown; JSON has more.
const DEVICES: usize = 20;
const OF_EACH: usize = 10;
/// Entries of the other lists.
const SHOWN: usize = 10;

/// Text that grows line by line.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref().trim_end());
        self.0.push('\n');
    }

    fn title(&mut self, title: impl AsRef<str>) {
        self.line("");
        self.line(title);
    }

    fn more(&mut self, indent: &str, rest: usize) {
        if rest > 0 {
            self.line(format!("{indent}+ {rest} more"));
        }
    }
}

impl Report {
    /// The report as text, the answer first.
    pub fn text(&self) -> String {
        let mut page = Page::default();
        page.line(self.answer());
        for note in &self.notes {
            page.line(format!("note: {}", escape(note)));
        }
        self.losses(&mut page);
        list(&mut page, "allowed only under a name that the device must have learned", &self.by_name);
        list(&mut page, "not judged, as nobody knows whose the link-local address is", &self.unknown);
        list(&mut page, "attempts that nobody answered, and that would be denied", &self.attempts);
        self.others(&mut page);
        self.rules(&mut page);
        page.line("");
        self.looked_at(&mut page);
        page.0
    }

    /// In one line.
    fn answer(&self) -> String {
        let totals = &self.totals;
        let kinds = format!("{} of conversation", counted(totals.kinds, "kind"));
        let (dropped, reported) = (self.dropped.total(), self.reported.total());
        if self.is_nothing() {
            return "NOTHING TO JUDGE: there is no conversation in it".to_owned();
        }
        let besides = self.besides();
        if dropped + reported == 0 && totals.refused > 0 {
            return format!("NOT ALL WAS JUDGED: of {kinds} none that is used would be denied{besides}");
        }
        if dropped + reported == 0 {
            return format!("NOTHING BREAKS: {kinds} seen, none that is used would be denied{besides}");
        }
        let worst = self.devices.list.first().and_then(|one| one.criticality.as_deref());
        let worst = worst.map(|word| format!("; the most critical is {word}")).unwrap_or_default();
        let devices = self.devices.list.iter().filter(|one| one.device.is_some()).count() + self.devices.more;
        let devices = counted(devices, "device");
        let fate = match (dropped, reported) {
            (dropped, 0) => format!("{dropped} of {kinds} would be dropped"),
            (0, reported) => {
                format!("{reported} of {kinds} would be denied, and passed and reported in monitor mode")
            }
            (dropped, reported) => {
                format!("{dropped} of {kinds} would be dropped, and {reported} reported in monitor mode")
            }
        };
        format!("BREAKS: {fate}, of {devices}{worst}{besides}")
    }

    /// What the answer does not hold for.
    fn besides(&self) -> String {
        let Totals { by_name, unknown, refused, .. } = self.totals;
        let mut text = String::new();
        let mut say = |number: u64, what: &str, why: &str| {
            if number > 0 {
                let _ = write!(text, "; {} {why}", counted(count(number), what));
            }
        };
        say(by_name, "kind", "allowed only under a name that the device must have learned");
        say(unknown, "kind", "not judged, as nobody knows whose the link-local address is");
        say(refused, "conversation", "not judged for want of room");
        text
    }

    /// What each device would lose.
    fn losses(&self, page: &mut Page) {
        let all: Vec<&Break> = self.dropped.list.iter().chain(&self.reported.list).collect();
        let more = self.devices.total().saturating_sub(DEVICES);
        for DeviceBreaks { device, criticality, mode, dropped, reported, flows: _ } in
            self.devices.list.iter().take(DEVICES)
        {
            let lost = counted(count(dropped + reported), "kind");
            match (device, criticality, mode) {
                (Some(device), Some(criticality), Some(mode)) => {
                    page.title(format!("{} ({criticality}, {mode}): {lost} of conversation", escape(device)));
                }
                _ => page.title(format!("between ends of which none is a device: {lost} of conversation")),
            }
            let own: Vec<&&Break> = all.iter().filter(|one| one.device == *device).collect();
            for one in own.iter().take(OF_EACH) {
                broken(page, one);
            }
            page.more("  ", count(dropped + reported).saturating_sub(own.len().min(OF_EACH)));
        }
        if more > 0 {
            page.title(format!("+ {more} more devices"));
        }
    }

    fn others(&self, page: &mut Page) {
        if self.others.total() == 0 {
            return;
        }
        page.title("denied packets that are no conversation:");
        for other in self.others.list.iter().take(SHOWN) {
            let Other { device, reason, explanation, packets, dropped, source, destination, help, .. } =
                other;
            let device = device.as_ref().map(|name| format!(" of {}", escape(name))).unwrap_or_default();
            let dropped = if *dropped > 0 { format!(", {dropped} dropped") } else { String::new() };
            let packets = counted(count(*packets), "packet");
            page.line(format!("  {reason}{device}: {packets}{dropped}; the first {source} -> {destination}"));
            page.line(format!("    {explanation}"));
            if let Some(help) = help {
                page.line(format!("    help: {}", escape(help)));
            }
        }
        page.more("  ", self.others.total().saturating_sub(SHOWN));
    }

    fn rules(&self, page: &mut Page) {
        let (used, unused) = (&self.rules.used, &self.rules.unused);
        if unused.total() > 0 {
            page.title(format!("{} allowed nothing of it:", counted(unused.total(), "rule")));
            for rule in unused.list.iter().take(SHOWN) {
                page.line(format!("  {}", placed(rule)));
            }
            page.more("  ", unused.total().saturating_sub(SHOWN));
        }
        if used.total() > 0 {
            page.title(format!("{} allowed something, the busiest first:", counted(used.total(), "rule")));
            for RuleUse { rule, packets, last } in used.list.iter().take(SHOWN) {
                let packets = counted(count(*packets), "packet");
                page.line(format!("  {}: {packets}, the last {last}", placed(rule)));
            }
            page.more("  ", used.total().saturating_sub(SHOWN));
        }
    }

    fn looked_at(&self, page: &mut Page) {
        let totals = &self.totals;
        let mut line = String::from("looked at:");
        if totals.frames > 0 {
            let _ = write!(line, " {},", counted(count(totals.frames), "frame"));
        }
        if totals.rows > 0 {
            let _ = write!(line, " {},", counted(count(totals.rows), "row"));
        }
        let _ = write!(line, " {}", counted(count(totals.flows), "conversation"));
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            let _ = write!(line, ", from {from} to {to}");
        }
        let _ = write!(line, "; revision {}", self.revision);
        page.line(line);
        let mut aside = Vec::new();
        let mut say = |number: u64, what: &str, why: &str| {
            if number > 0 {
                aside.push(format!("{}{why}", counted(count(number), what)));
            }
        };
        say(totals.unmanaged, "kind", " between ends of which none is a device");
        say(
            totals.late_packets,
            "packet",
            " of allowed conversations came when these were over, or before they were seen to begin",
        );
        say(totals.cut, "frame", " not judged, as too little of it was recorded");
        say(totals.outbound, "frame", " not judged, as the interface sent it");
        if !aside.is_empty() {
            page.line(format!("besides: {}", aside.join("; ")));
        }
    }
}

/// A list that is not sorted by device.
fn list(page: &mut Page, title: &str, listed: &Listed<Break>) {
    if listed.total() == 0 {
        return;
    }
    page.title(format!("{title}: {}", listed.total()));
    for one in listed.list.iter().take(SHOWN) {
        page.line(format!("  {}", sentence(one)));
    }
    page.more("  ", listed.total().saturating_sub(SHOWN));
}

/// Like `hmi (10.20.2.20) -> plc (10.20.1.10) modbus: 3 times, 120 packets, first ..., last ...`.
fn sentence(one: &Break) -> String {
    let Break { from, from_address, to, to_address, service, selector, flows, packets, first, last, .. } =
        one;
    let end = |name: &Option<String>, address: &str| match name {
        Some(name) => format!("{} ({address})", escape(name)),
        None => address.to_owned(),
    };
    let over =
        if service == selector { service.clone() } else { format!("{} ({selector})", escape(service)) };
    let times = match *flows {
        0 => "once, begun before".to_owned(),
        1 => "once".to_owned(),
        more => format!("{more} times"),
    };
    let packets = counted(count(*packets), "packet");
    let when = if first == last { format!("at {first}") } else { format!("{first} to {last}") };
    format!("{} -> {} {over}: {times}, {packets}, {when}", end(from, from_address), end(to, to_address))
}

fn broken(page: &mut Page, one: &Break) {
    let Break { dropped, reason, explanation, nearest, missing, help, .. } = one;
    let fate = if *dropped { "DROPPED" } else { "reported" };
    page.line(format!("  {fate}  {}", sentence(one)));
    page.line(format!("    {reason}: {explanation}"));
    if let Some(rule) = nearest.first() {
        page.line(format!("    nearest: {}", placed(rule)));
    }
    if let Some(help) = help {
        page.line(format!("    help: {}", escape(help)));
    }
    if let Some(missing) = missing {
        page.line("    this would allow it:");
        for line in missing.lines() {
            page.line(if line.is_empty() { String::new() } else { format!("      {}", escape(line)) });
        }
    }
}

fn placed(RuleRef { text, holder, place, comment: _ }: &RuleRef) -> String {
    escape(&format!("{place}: {text} ({holder})"))
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
