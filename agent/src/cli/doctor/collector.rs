//! Whether the exporters that should be heard are heard.

use super::{Finding, ok, warning};
use crate::{
    cli::status::lost,
    config::Config,
    control::{CollectorStatus, Status},
    diagnostic::counted,
};

/// What a running agent says of its collector. That it cannot listen is one of the agent's own warnings.
pub(super) fn findings(config: &Config, status: Option<&Status>) -> Vec<Finding> {
    let is_wanted = config.history.as_ref().is_some_and(|history| history.collector.is_some());
    let collector = status.and_then(|status| status.history.as_ref()?.collector.as_ref());
    collector.filter(|_| is_wanted).map(judged).unwrap_or_default()
}

fn judged(collector: &CollectorStatus) -> Vec<Finding> {
    let subject = "collector";
    if collector.problem.is_some() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let silent: Vec<&str> = collector
        .exporters
        .iter()
        .filter_map(|(exporter, datagrams)| (*datagrams == 0).then_some(exporter.as_str()))
        .collect();
    if !silent.is_empty() {
        let others = match &collector.refused_last {
            Some(other) => format!("; {other} sends, and is not named in `from`"),
            None => String::new(),
        };
        let seen = format!("nothing was heard of {} since the agent began{others}", silent.join(", "));
        let fix = format!(
            "let it send to {}; where it is a device of the policy, a rule from it to `gateway` must allow that: `bulkhead why` says",
            collector.listen
        );
        findings.push(warning(subject, &seen, &fix));
    }
    for (count, what) in lost(collector) {
        let fix = match what {
            "datagrams dropped by the kernel" => {
                "sysctl -w net.core.rmem_max=8388608, and begin the agent again"
            }
            "records or datagrams that never came" => "look for losses between the exporter and this gateway",
            "sets of records without a template" => "let the exporter send its templates every minute",
            "exporters forgotten to make room" => "let fewer sources or observation domains be exported",
            // Anybody can send nonsense, and `status` counts it.
            _ => continue,
        };
        if count > 0 {
            findings.push(warning(subject, &format!("{count} {what}"), fix));
        }
    }
    if findings.is_empty() {
        let exporters = counted(collector.exporters.len(), "exporter");
        findings.push(ok(subject, &format!("{exporters} heard on {}", collector.listen)));
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn silence_and_losses_are_told_with_what_mends_them() {
        let heard = CollectorStatus {
            listen: "10.0.0.254:2055".to_owned(),
            exporters: BTreeMap::from([("10.0.0.1".to_owned(), 7)]),
            ..CollectorStatus::default()
        };
        let said = |status: &CollectorStatus| {
            judged(status).into_iter().map(|finding| finding.seen).collect::<Vec<String>>()
        };
        assert_eq!(said(&heard), ["1 exporter heard on 10.0.0.254:2055"]);
        let silent = CollectorStatus {
            exporters: BTreeMap::from([("10.0.0.1".to_owned(), 0)]),
            refused: 3,
            refused_last: Some("10.0.0.2".to_owned()),
            ..heard.clone()
        };
        let expected =
            "nothing was heard of 10.0.0.1 since the agent began; 10.0.0.2 sends, and is not named in `from`";
        assert_eq!(said(&silent), [expected]);
        let lossy = CollectorStatus { dropped: 5, missing: 2, refused: 1, ..heard };
        assert_eq!(
            said(&lossy),
            ["5 datagrams dropped by the kernel", "2 records or datagrams that never came"]
        );
    }
}
