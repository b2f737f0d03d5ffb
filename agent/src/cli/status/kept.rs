//! What the page says of what the agent keeps beside its policy: the history, who was heard, what exporters told, the shadow.

use crate::{
    control::{CollectorStatus, HistoryStatus, InventoryStatus, ShadowBrief},
    diagnostic::{counted, escape},
};

/// What the proposed policy would do otherwise.
pub(super) fn shadow_line(shadow: &ShadowBrief) -> String {
    let ShadowBrief { since, from, would_break, would_open, refused: _, not_judged: _, problem } = shadow;
    match problem {
        Some(problem) => format!("{}, NOT JUDGED: {}", escape(from), escape(problem)),
        None => format!(
            "{} since {since}: {} of conversation would break, {would_open} would open (`bulkhead shadow`)",
            escape(from),
            counted(*would_break, "kind")
        ),
    }
}

/// How the history fares.
pub(super) fn remembered(history: &HistoryStatus) -> String {
    let HistoryStatus {
        file, bytes, bytes_limit, rows, since, refused, gone_rows, set_aside, problem, ..
    } = history;
    let since = since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
    let mut text = format!(
        "{rows} rows{since} in `{file}`, {bytes} of {bytes_limit} bytes; {refused} refused, {gone_rows} rows made room"
    );
    if *set_aside > 0 {
        let files = usize::try_from(*set_aside).unwrap_or(usize::MAX);
        text += &format!(", {} set aside", counted(files, "damaged file"));
    }
    if problem.is_some() {
        text += "; NOT WRITTEN";
    }
    text
}

/// Who is heard.
pub(super) fn heard(inventory: &InventoryStatus) -> String {
    let InventoryStatus {
        known,
        unknown,
        listens,
        deaf,
        frames,
        refused,
        forgotten,
        over_budget,
        dropped,
        untold,
        problem,
    } = inventory;
    let on = if listens.is_empty() { "nothing".to_owned() } else { listens.join(", ") };
    let mut text =
        format!("{known} devices of the policy and {unknown} others heard on {on}, {frames} frames");
    for (count, what) in [
        (*refused, "refused for want of room"),
        (*forgotten, "forgotten to make room"),
        (*over_budget, "frames over the budget"),
        (*dropped, "frames dropped by the kernel"),
        (*untold, "changes only counted"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if !deaf.is_empty() {
        text += &format!("; nothing is heard on inline pairs ({})", deaf.join(", "));
    }
    text + if problem.is_some() { "; IN TROUBLE" } else { "" }
}

/// What exporters elsewhere told of.
pub(super) fn collected(collector: &CollectorStatus) -> String {
    let CollectorStatus { listen, exporters, flows, seen_here, full, problem, .. } = collector;
    let datagrams: u64 = exporters.values().sum();
    let heard = exporters.values().filter(|datagrams| **datagrams > 0).count();
    let mut text = format!(
        "{} of {} heard on {listen}, {datagrams} datagrams; {flows} conversations, {seen_here} of them seen here as well",
        heard,
        counted(exporters.len(), "exporter")
    );
    for (count, what) in lost(collector).into_iter().chain([(*full, "conversations without room")]) {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    if problem.is_some() {
        text += "; NOT LISTENING";
    }
    text
}

/// What of an exporter's words was lost or not taken.
pub(in crate::cli) fn lost(collector: &CollectorStatus) -> [(u64, &'static str); 7] {
    [
        (collector.dropped, "datagrams dropped by the kernel"),
        (collector.missing, "records or datagrams that never came"),
        (collector.without_template, "sets of records without a template"),
        (collector.damaged, "unreadable datagrams"),
        (collector.damaged_sets, "unreadable sets of records"),
        (collector.forgotten, "exporters forgotten to make room"),
        (collector.refused, "datagrams of others refused"),
    ]
}
