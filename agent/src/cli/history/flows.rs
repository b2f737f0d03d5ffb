//! `bulkhead history flows`: the kinds of conversations that are kept.

use std::{cmp::Reverse, collections::BinaryHeap, net::IpAddr, num::NonZeroUsize};

use anyhow::bail;
use serde::Serialize;

use super::{
    super::{Exit, Output, flows::volume, print_json, progress, table},
    helped, moment,
    summary::{self, Whole},
};
use crate::{
    compile::network_of,
    config::{Config, duration},
    diagnostic::closest,
    files::read_policy,
    history::Reader,
    model::{Device, Mac, Policy, spelled},
    policy::{called, resolve_texts},
    traffic::{Day, End, Hours, Kind, Seen},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Only those with this device of the configured policy
    #[arg(long, value_name = "NAME", conflicts_with = "address")]
    device: Option<String>,
    /// Only those with this IP or hardware address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Only what was seen since this day (`2026-11-23`), or in so much time (`7d`), in whole days of UTC
    #[arg(long, value_name = "DAY|TIME")]
    since: Option<String>,
    /// How many at most: those that were seen last
    #[arg(long, short = 'n', default_value = "1000", value_name = "N")]
    last: NonZeroUsize,
    #[command(flatten)]
    output: Output,
}

/// A kind of conversation.
#[derive(Serialize)]
struct Told {
    from: Ended,
    to: Ended,
    service: String,
    selector: String,
    protocol: u8,
    number: u16,
    /// None where no agent watched: nobody judged it.
    verdict: Option<&'static str>,
    flows: u64,
    opened: u64,
    answered: u64,
    packets_from: u64,
    packets_to: u64,
    bytes_from: u64,
    bytes_to: u64,
    denied: u64,
    dropped: u64,
    first: String,
    last: String,
    days: u32,
    hours: Vec<u8>,
    pause_seconds: u32,
}

#[derive(Serialize)]
struct Ended {
    name: Option<String>,
    ip: Option<IpAddr>,
    mac: Option<String>,
}

pub(super) fn run(reader: &Reader, config: Option<&Config>, args: &Args) -> anyhow::Result<Exit> {
    let policy = config.and_then(known);
    let wanted = Wanted::of(args, policy.as_ref())?;
    let since = args.since.as_deref().map(since).transpose()?;
    // Those seen last, in as much memory as are asked for.
    let mut kept: BinaryHeap<(Reverse<i64>, Kind, Box<Line>)> = BinaryHeap::new();
    let mut more: u64 = 0;
    let read = || {
        summary::each(reader, since, |whole| {
            if !wanted.holds(&whole.kind) {
                return;
            }
            kept.push((Reverse(whole.seen.last), whole.kind, Box::new(Line(*whole))));
            if kept.len() > args.last.get() {
                kept.pop();
                more += 1;
            }
        })
    };
    progress::shown("reading the history", read).map_err(helped)?;
    let mut lines: Vec<Whole> = kept.into_iter().map(|(.., line)| line.0).collect();
    lines.sort_unstable_by_key(|line| line.kind);
    let nobody = Policy::default();
    let policy = policy.as_ref().unwrap_or(&nobody);
    if args.output.json {
        print_json(&lines.iter().map(|line| told(line, policy)).collect::<Vec<_>>())?;
    } else {
        show(&lines, policy);
    }
    if more > 0 {
        say!("{more} more are left out: `--last N` shows more, a device, an address or `--since` fewer");
    }
    Ok(Exit::Fine)
}

/// A kind on its way through a heap that orders by what stands before it.
struct Line(Whole);

impl PartialEq for Line {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Line {}

impl PartialOrd for Line {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Line {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// The configured policy, for names; without it addresses must do.
fn known(config: &Config) -> Option<Policy> {
    let files = match read_policy(&config.policy) {
        Ok(files) => files,
        Err(error) => {
            say!("addresses have no names: {error}");
            return None;
        }
    };
    let policy = resolve_texts(&files).policy;
    if policy.is_none() {
        say!("addresses have no names: the policy in `{}` has errors", config.policy.display());
    }
    policy
}

/// Which ends are asked for.
enum Wanted<'p> {
    All,
    Device(&'p Device),
    Ip(IpAddr),
    Mac(Mac),
}

impl<'p> Wanted<'p> {
    fn of(args: &Args, policy: Option<&'p Policy>) -> anyhow::Result<Self> {
        if let Some(name) = &args.device {
            let Some(policy) = policy else {
                bail!(
                    "the configured policy cannot be read, so `--device` means nobody\nhint: `--address` names an end without it"
                )
            };
            let names = policy.devices.iter().map(|device| device.name.as_str());
            return match policy.device(name) {
                Some((_, device)) => Ok(Self::Device(device)),
                None => {
                    let hint = closest(name, names).map(|name| format!("\nhelp: did you mean `{name}`?"));
                    bail!("`{name}` is no device of the configured policy{}", hint.unwrap_or_default())
                }
            };
        }
        let Some(address) = &args.address else { return Ok(Self::All) };
        if let Ok(ip) = address.parse() {
            return Ok(Self::Ip(ip));
        }
        match address.parse() {
            Ok(mac) => Ok(Self::Mac(mac)),
            Err(_) => bail!("`{address}` is no IP address and no hardware address"),
        }
    }

    fn holds(&self, kind: &Kind) -> bool {
        [kind.from, kind.to].iter().any(|end| match self {
            Self::All => true,
            Self::Device(device) => is_of(device, end),
            Self::Ip(ip) => end.address == Some(*ip),
            Self::Mac(mac) => end.mac == Some(*mac),
        })
    }
}

fn is_of(device: &Device, end: &End) -> bool {
    end.address.is_some_and(|address| device.addresses.contains(&address))
        || end.mac.is_some_and(|mac| device.macs.contains(&mac))
}

/// The first day that is asked for.
fn since(text: &str) -> anyhow::Result<Day> {
    if let Ok(day) = text.parse::<jiff::civil::Date>() {
        let begin = day.to_zoned(jiff::tz::TimeZone::UTC)?.timestamp();
        return Ok(Day::of(begin.as_second()));
    }
    if let Some(ago) = duration::parse(text) {
        let ago = i64::try_from(ago.as_secs()).unwrap_or(i64::MAX);
        return Ok(Day::of(jiff::Timestamp::now().as_second().saturating_sub(ago)));
    }
    bail!(
        "`{text}` is no day and no time\nhint: write a day as in `2026-11-23`, or a time as in `7d` or `36h`"
    )
}

fn name(policy: &Policy, end: &End) -> Option<String> {
    let device = policy.devices.iter().find(|device| is_of(device, end));
    device.map(|device| device.name.clone()).or_else(|| network_of(policy, end.address?))
}

/// What the policies of their time said.
fn verdict(seen: &Seen) -> &'static str {
    let all = seen.packets[0].saturating_add(seen.packets[1]);
    match (seen.denied, seen.dropped) {
        (0, _) => "allowed",
        (denied, dropped) if dropped >= denied && denied >= all => "dropped",
        (_, dropped) if dropped > 0 => "partly dropped",
        (denied, _) if denied >= all => "would be dropped",
        (..) => "partly denied",
    }
}

fn told(line: &Whole, policy: &Policy) -> Told {
    let Whole { kind: Kind { from, to, service }, seen, days, pause, is_judged } = *line;
    let end = |end: End| Ended {
        name: name(policy, &end),
        ip: end.address,
        mac: end.mac.map(|mac| mac.to_string()),
    };
    Told {
        from: end(from),
        to: end(to),
        service: called(policy, service.selector()),
        selector: spelled(service.selector()),
        protocol: service.protocol,
        number: service.number,
        verdict: is_judged.then(|| verdict(&seen)),
        flows: seen.flows,
        opened: seen.opened,
        answered: seen.answered,
        packets_from: seen.packets[0],
        packets_to: seen.packets[1],
        bytes_from: seen.bytes[0],
        bytes_to: seen.bytes[1],
        denied: seen.denied,
        dropped: seen.dropped,
        first: moment(seen.first),
        last: moment(seen.last),
        days,
        hours: line.hours().each().collect(),
        pause_seconds: pause,
    }
}

fn show(lines: &[Whole], policy: &Policy) {
    if lines.is_empty() {
        say!("nothing of this kind was seen");
        return;
    }
    let header = [
        "FROM", "TO", "SERVICE", "VERDICT", "FLOWS", "ANSWERED", "SENT", "RECEIVED", "FIRST", "LAST", "DAYS",
        "HOURS",
    ];
    let mut rows = table::table(&header);
    for line in lines {
        let Whole { kind, seen, days, is_judged, .. } = line;
        let end = |end: &End| match name(policy, end) {
            Some(name) => format!("{name} ({end})"),
            None => end.to_string(),
        };
        rows.add_row([
            end(&kind.from),
            end(&kind.to),
            called(policy, kind.service.selector()),
            if *is_judged { verdict(seen) } else { "-" }.to_owned(),
            seen.flows.to_string(),
            seen.answered.to_string(),
            volume(seen.bytes[0]),
            volume(seen.bytes[1]),
            moment(seen.first),
            moment(seen.last),
            days.to_string(),
            hours(line.hours()),
        ]);
    }
    table::print(&rows);
}

/// Like `0-5,7,22-23`.
fn hours(hours: Hours) -> String {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for hour in hours.each() {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == hour => *last = hour,
            _ => runs.push((hour, hour)),
        }
    }
    let runs = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    runs.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_told_as_runs() {
        assert_eq!(hours(Hours::ALL), "0-23");
        assert_eq!(hours(Hours::from_bits(0b1010_0111)), "0-2,5,7");
        assert_eq!(hours(Hours::default()), "");
    }

    #[test]
    fn verdict_says_what_became_of_the_packets() {
        let seen = |packets, denied, dropped| verdict(&Seen { packets, denied, dropped, ..Seen::at(0) });
        assert_eq!(seen([3, 2], 0, 0), "allowed");
        assert_eq!(seen([3, 2], 5, 5), "dropped");
        assert_eq!(seen([3, 2], 5, 0), "would be dropped");
        assert_eq!(seen([3, 2], 2, 0), "partly denied");
        assert_eq!(seen([3, 2], 4, 1), "partly dropped");
    }

    #[test]
    fn beginning_is_a_day_or_a_time_ago() {
        assert_eq!(since("2026-11-23").expect("a day"), Day(20_780));
        let today = Day::of(jiff::Timestamp::now().as_second());
        let week = since("7d").expect("a time");
        assert!((today.0 - 8..=today.0 - 6).contains(&week.0));
        assert!(since("yesterday").is_err());
    }
}
