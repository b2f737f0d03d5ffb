//! Whether the limits suit the machine and what it carries, as `doctor` sees it.
//!
//! In: the configuration, and what a running agent counts. Out: one line about the memory that the limits take, and a finding for each
//! number that another one would serve better, with that number and the reason.

use std::fs;

use super::{Finding, ok, warning};
use crate::{
    config::{Config, Limits},
    control::{Body, Request, Status, client},
    daemon,
    dataplane::{CacheSizes, FIXED, Sizes, VERDICTS_OF_ONE},
};

/// Room for conversations over those that live: the table forgets one of those that were silent for long, not the one that was silent
/// for longest, and new ones come beside those that are over and not forgotten yet.
const ROOM: u64 = 2;
/// Percent of the packets that remembered verdicts should answer where there is room for them.
const MOST_PACKETS: u64 = 90;
/// Packets from which on a share of them says something.
const ENOUGH_PACKETS: u64 = 100_000;
/// What the kernel's memory may be taken of by tables: a quarter.
const PART_OF_MEMORY: u64 = 4;
/// The largest value of `limits.flows`.
const MOST_FLOWS: u64 = 1 << 24;
/// The least and the largest value of `limits.verdicts`.
const VERDICTS: [u64; 2] = [1024, 1 << 20];

/// What is known.
struct Facts<'a> {
    limits: &'a Limits,
    /// What the configuration asks for.
    sizes: Sizes,
    /// Bytes of this machine's memory, where it says.
    memory: Option<u64>,
    /// Processors that share the packets of the interface that has the fewest.
    sharing: u64,
    /// None while no agent runs.
    load: Option<Load>,
}

/// What a running agent carries.
struct Load {
    /// Conversations that are not over.
    live: u64,
    /// Those that the kernel has room for.
    flows: u64,
    /// Those that made room for others, and those that found none.
    evicted: u64,
    refused: u64,
    /// Verdicts that each processor has room for.
    verdicts: u64,
    /// Packets, and how many of them remembered verdicts answered.
    seen: u64,
    remembered: u64,
}

/// Findings about `[limits]`.
pub(super) fn sizes(config: &Config, status: Option<&Status>, sharing: u32) -> Vec<Finding> {
    let mut facts = Facts {
        limits: &config.limits,
        sizes: daemon::sizes(config),
        memory: machine(),
        sharing: sharing.max(1).into(),
        load: None,
    };
    let Some(status) = status else { return judged(&facts) };
    match client::ask(&config.socket, &Request::Flows { of: None, last: 0 }) {
        Ok(Body::Flows(flows)) => {
            facts.load = Some(Load {
                live: flows.live as u64,
                flows: status.flows_limit.into(),
                evicted: status.flows_evicted,
                refused: status.flows_refused,
                verdicts: status.verdicts_limit.into(),
                seen: status.seen(),
                remembered: status.remembered(),
            });
            judged(&facts)
        }
        other => {
            let why = other.map_or_else(|error| error.to_string(), |_| "an unexpected answer".to_owned());
            let seen = format!("the conversations could not be counted: {why}");
            let mut findings = judged(&facts);
            findings.push(warning("limits.flows", &seen, "bulkhead doctor, once more"));
            findings
        }
    }
}

/// Bytes of memory of this machine (proc_meminfo(5)).
fn machine() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn judged(facts: &Facts<'_>) -> Vec<Finding> {
    let load = facts.load.as_ref();
    let advice = [
        rounded(facts.limits),
        load.and_then(|load| flows(load, facts.limits)),
        load.and_then(|load| verdicts(load, facts)),
    ];
    let mut findings = vec![memory(facts)];
    findings.extend(advice.into_iter().flatten());
    match (&mut findings[..], load) {
        ([one], Some(load)) => {
            one.seen += &differing(load, facts).unwrap_or_default();
            one.seen += &match load.seen {
                0 => "; no traffic was seen yet".to_owned(),
                _ => format!(
                    "; what runs suits {} live conversations of {}, and {} of packets were answered by remembered verdicts",
                    load.live,
                    load.flows,
                    percent(load)
                ),
            };
        }
        ([one, ..], Some(load)) => one.seen += &differing(load, facts).unwrap_or_default(),
        ([one, ..], None) => one.seen += "; whether they suit what is carried shows while an agent runs",
        ([], _) => {}
    }
    findings
}

/// What the agent runs with, where that is not what is configured.
fn differing(load: &Load, facts: &Facts<'_>) -> Option<String> {
    let verdicts = u64::from(CacheSizes::holding(facts.limits.verdicts).verdicts());
    let differ = (load.flows, load.verdicts) != (facts.limits.flows.into(), verdicts);
    differ.then(|| {
        format!(
            " as configured; the running agent has room for {} conversations and {} verdicts on each processor until the maps are made anew",
            load.flows, load.verdicts
        )
    })
}

/// What the tables take, and of what.
fn memory(facts: &Facts<'_>) -> Finding {
    let parts = facts.sizes.memory();
    let total: u64 = parts.values().sum();
    let mut largest: Vec<(&str, u64)> =
        parts.into_iter().filter(|(limit, bytes)| *limit != FIXED && mib(*bytes) > 0).collect();
    largest.sort_by_key(|(limit, bytes)| (u64::MAX - bytes, *limit));
    let told: Vec<String> = largest.iter().map(|(limit, bytes)| format!("{limit} {}", mib(*bytes))).collect();
    let seen =
        format!("{} MiB of kernel memory ({}) besides the policy's own tables", mib(total), told.join(", "));
    let (Some(there), Some((limit, most))) = (facts.memory, largest.first()) else {
        return ok("limits", &seen);
    };
    let allowed = there / PART_OF_MEMORY;
    if total <= allowed {
        return ok("limits", &seen);
    }
    let now = configured(facts.limits, limit);
    // Halved at least. What is too much even then is said of the next one.
    let rest = allowed.saturating_sub(total - most).min(most / 2);
    let fits = u128::from(now) * u128::from(rest) / u128::from(*most);
    let fits = power_of_two_below(u64::try_from(fits).unwrap_or(now)).max(1);
    let seen = format!("{seen}, more than a quarter of the {} MiB of this machine", mib(there));
    warning("limits", &seen, &set(limit, fits))
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

fn power_of_two_below(number: u64) -> u64 {
    number.checked_ilog2().map_or(0, |log| 1 << log)
}

/// A limit as it is configured, by its key.
fn configured(limits: &Limits, key: &str) -> u64 {
    let Limits { devices, rules, rows: _, flows, verdicts, violations, ring_bytes, names: _, revisions: _ } =
        limits;
    let all = [
        ("devices", devices),
        ("rules", rules),
        ("flows", flows),
        ("verdicts", verdicts),
        ("violations", violations),
        ("ring_bytes", ring_bytes),
    ];
    all.into_iter().find(|(name, _)| *name == key).map_or(0, |(_, value)| u64::from(*value))
}

fn set(key: &str, number: u64) -> String {
    format!("set `limits.{key} = {number}`; it holds from the first start after `bulkhead detach`")
}

/// [`set`], or that it is set already and waits.
fn raise(limits: &Limits, key: &str, number: u64) -> String {
    let now = configured(limits, key);
    if now < number {
        return set(key, number);
    }
    format!("`limits.{key}` is {now} already: it holds from the first start after `bulkhead detach`")
}

/// A number of verdicts that is not what a processor gets.
fn rounded(limits: &Limits) -> Option<Finding> {
    let asked = limits.verdicts;
    let given = CacheSizes::holding(asked).verdicts();
    if given == asked {
        return None;
    }
    let below = power_of_two_below(asked.into());
    let seen = if u64::from(given) == below {
        format!("{asked} is no power of two: each processor gets room for {given}")
    } else {
        format!("{asked} for each processor would take more than 64 MiB in all: each gets room for {given}")
    };
    Some(warning("limits.verdicts", &seen, &format!("set `limits.verdicts = {given}`")))
}

/// Whether conversations that live are forgotten.
fn flows(load: &Load, limits: &Limits) -> Option<Finding> {
    let Load { live, flows, evicted, refused, .. } = *load;
    if refused == 0 && (live * ROOM <= flows || flows >= MOST_FLOWS) {
        return None;
    }
    // Where the table is nearly full of live ones, how many more there would be is not known.
    let is_full = live * 8 >= flows * 7;
    let wanted = live.max(flows / ROOM + 1) * ROOM * if is_full { 2 } else { 1 };
    let wanted = wanted.next_power_of_two().min(MOST_FLOWS);
    let seen = format!(
        "{live} conversations live, with room for {flows}; {evicted} made room for others so far, {refused} found none. One that is forgotten while it lives is judged by its rule again, and its first packet must come from who began it"
    );
    let at_least = if is_full { "; the table is full, so look again then" } else { "" };
    Some(warning("limits.flows", &seen, &format!("{}{at_least}", raise(limits, "flows", wanted))))
}

/// Whether verdicts are forgotten that would be needed again.
fn verdicts(load: &Load, facts: &Facts<'_>) -> Option<Finding> {
    let Load { live, verdicts, seen, remembered, .. } = *load;
    let needed = (live * u64::from(VERDICTS_OF_ONE)).div_ceil(facts.sharing);
    let most = CacheSizes::holding(u32::MAX).verdicts();
    let wanted = needed.next_power_of_two().clamp(VERDICTS[0], VERDICTS[1].min(most.into()));
    let is_good = seen < ENOUGH_PACKETS || remembered * 100 >= seen * MOST_PACKETS;
    if is_good || verdicts >= needed || wanted <= verdicts {
        return None;
    }
    let share = percent(load);
    let seen = format!(
        "each processor has room for {verdicts}, and {live} live conversations take some {needed} of {}; {share} of packets were answered by remembered verdicts, and one that is decided costs some twenty times as much",
        match facts.sharing {
            1 => "the one that gets all their packets".to_owned(),
            several => format!("each of the {several} that share their packets"),
        }
    );
    Some(warning("limits.verdicts", &seen, &raise(facts.limits, "verdicts", wanted)))
}

/// The share of packets that remembered verdicts answered; there were some.
fn percent(load: &Load) -> String {
    format!("{} %", load.remembered * 100 / load.seen.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::doctor::State, config::parse_config};

    const GIB: u64 = 1 << 30;

    /// What is said of a configuration, on a machine with so much memory.
    fn said(limits: &str, memory: u64, sharing: u64, load: Option<Load>) -> Vec<String> {
        let text = format!("[interface.eth0]\n[limits]\n{limits}\n");
        let (config, _, diagnostics) = parse_config("bulkhead.toml", &text);
        let config = config.unwrap_or_else(|| panic!("{diagnostics:?}"));
        let sizes = daemon::sizes(&config);
        let facts = Facts { limits: &config.limits, sizes, memory: Some(memory), sharing, load };
        let one = |Finding { subject, state, seen, fix }| {
            assert_eq!(state == State::Ok, fix.is_none(), "{subject}: {seen}");
            format!("{subject}: {seen} ({})", fix.unwrap_or_default())
        };
        judged(&facts).into_iter().map(one).collect()
    }

    /// An agent with the default limits and so many live conversations, of which remembered verdicts answer such a share of packets.
    fn load(live: u64, percent: u64) -> Load {
        let seen = 10 * ENOUGH_PACKETS;
        let remembered = seen / 100 * percent;
        Load { live, flows: 131_072, evicted: 7, refused: 0, verdicts: 65_536, seen, remembered }
    }

    fn assert_said(told: &[String], subject: &str, words: &[&str]) {
        let of: Vec<&String> = told.iter().filter(|one| one.starts_with(&format!("{subject}: "))).collect();
        let [one] = of[..] else { panic!("{subject} in {told:#?}") };
        for word in words {
            assert!(one.contains(word), "no `{word}` in {one}");
        }
    }

    #[test]
    fn what_suits_is_one_line_with_its_memory() {
        let told = said("", 64 * GIB, 1, Some(load(1000, 98)));
        assert_eq!(told.len(), 1, "{told:#?}");
        let suits = "what runs suits 1000 live conversations of 131072, and 98 % of packets were answered";
        assert_said(&told, "limits", &[" MiB of kernel memory (", "flows ", "verdicts ", suits]);
        assert!(!told[0].contains("as configured"), "{told:#?}");
        let told = said("", 64 * GIB, 1, None);
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_said(&told, "limits", &["shows while an agent runs ()"]);
        let told = said("", 64 * GIB, 1, Some(Load { seen: 0, remembered: 0, ..load(0, 0) }));
        assert_said(&told, "limits", &["tables; no traffic was seen yet ()"]);
    }

    #[test]
    fn what_is_configured_is_told_from_what_runs() {
        let runs = "as configured; the running agent has room for 131072 conversations and 65536 verdicts";
        for limits in ["flows = 65536", "verdicts = 32768"] {
            let told = said(limits, 64 * GIB, 1, Some(load(10, 98)));
            assert_said(&told, "limits", &[runs, "what runs suits 10 live conversations of 131072"]);
            // Whatever else is said of it.
            let told = said(limits, 64 * GIB, 8, Some(load(131_000, 98)));
            assert_said(&told, "limits", &[runs]);
        }
    }

    #[test]
    fn table_of_flows_is_twice_the_live_ones() {
        assert_eq!(said("", 64 * GIB, 8, Some(load(65_536, 98))).len(), 1);
        let told = said("", 64 * GIB, 8, Some(load(65_537, 98)));
        let fix = "(set `limits.flows = 262144`; it holds from the first start after `bulkhead detach`)";
        assert_said(&told, "limits.flows", &["65537 conversations live, with room for 131072; 7 made", fix]);
        assert_eq!(told.len(), 2, "{told:#?}");
        // A full table does not tell how many more there would be.
        let told = said("", 64 * GIB, 8, Some(load(131_000, 98)));
        assert_said(&told, "limits.flows", &["`limits.flows = 524288`", "look again"]);
        // What was refused for another reason than want of room is told too.
        let told = said("", 64 * GIB, 8, Some(Load { refused: 3, ..load(10, 98) }));
        assert_said(&told, "limits.flows", &["3 found none", "`limits.flows = 262144`"]);
        // The configuration is ahead of the maps.
        let told = said("flows = 1000000", 64 * GIB, 8, Some(load(65_537, 98)));
        assert_said(&told, "limits.flows", &["is 1000000 already"]);
        let largest = Load { flows: MOST_FLOWS, ..load(MOST_FLOWS, 98) };
        assert_eq!(said("", 64 * GIB, 1 << 20, Some(largest)).len(), 1);
    }

    #[test]
    fn verdicts_are_advised_where_they_are_missed() {
        let told = said("", 64 * GIB, 1, Some(load(20_000, 60)));
        let words = [
            "room for 65536, and 20000 live conversations take some 80000 of the one",
            "60 % of packets",
            "`limits.verdicts = 131072`",
        ];
        assert_said(&told, "limits.verdicts", &words);
        assert_eq!(told.len(), 2, "{told:#?}");
        for (why, sharing, load) in [
            ("two processors share them", 2, load(20_000, 60)),
            ("most are remembered", 1, load(20_000, 90)),
            ("new conversations are never remembered", 1, load(16_384, 10)),
            ("little was seen", 1, Load { seen: 100, remembered: 1, ..load(20_000, 0) }),
        ] {
            assert_eq!(said("", 64 * GIB, sharing, Some(load)).len(), 1, "{why}");
        }
        let most = u64::from(CacheSizes::holding(u32::MAX).verdicts());
        let full = Load { verdicts: most, ..load(65_536, 10) };
        assert_eq!(said("", 64 * GIB, 1, Some(full)).len(), 1, "there is no more room to be had");
    }

    #[test]
    fn number_of_verdicts_is_what_a_processor_gets() {
        let told = said("verdicts = 50000", 64 * GIB, 1, None);
        let words = ["50000 is no power of two", "32768", "(set `limits.verdicts = 32768`)"];
        assert_said(&told, "limits.verdicts", &words);
        let most = CacheSizes::holding(u32::MAX).verdicts();
        assert_eq!(said(&format!("verdicts = {most}"), 64 * GIB, 1, None).len(), 1);
        let told = said("verdicts = 1048576", 64 * GIB, 1, None);
        let fix = format!("set `limits.verdicts = {most}`");
        assert_said(&told, "limits.verdicts", &["more than 64 MiB in all", &fix]);
    }

    #[test]
    fn limits_that_take_more_than_a_quarter_of_the_memory_are_told() {
        let told = said("flows = 16777216", 4 * GIB, 1, None);
        assert_said(
            &told,
            "limits",
            &["(flows 2", "a quarter of the 4096 MiB", "set `limits.flows = 4194304`"],
        );
        assert_eq!(said("flows = 4194304", 4 * GIB, 1, None)[0].matches("quarter").count(), 0);
    }
}
