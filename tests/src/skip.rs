//! Skipping a test so that nobody mistakes it for a pass.
//!
//! A test that cannot run here calls [`skip`] and returns. `cargo xtask test` hands over a file to write the reason to
//! and takes the test off the passed ones. Where a tier is required, as in CI, a skip is a failure.

use std::{env, fmt, fs::OpenOptions, io::Write};

/// Kinds of test that need more of the machine than a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Runs frames through the loaded program: root and BPF.
    Packet,
    /// Attaches to interfaces in network namespaces: root, BPF and namespaces.
    Netns,
    /// Needs kernel modules and interfaces that only the machines of `cargo xtask test --vm` are sure to have.
    Vm,
    /// As netns, with other people's protocol stacks and scanners, which `cargo xtask stacks` names and installs.
    Stacks,
    /// Signs policy sets with the `minisign` tool.
    Signing,
    /// Checks metrics and alert rules with `promtool` of Prometheus.
    Metrics,
    /// Sends records to a receiver of somebody else's: rsyslog with its TLS driver.
    Sinks,
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Packet => "packet",
            Self::Netns => "netns",
            Self::Vm => "vm",
            Self::Stacks => "stacks",
            Self::Signing => "signing",
            Self::Metrics => "metrics",
            Self::Sinks => "sinks",
        })
    }
}

/// File that skips are appended to, one `name<TAB>reason` a line.
const SKIP_LOG: &str = "BULKHEAD_SKIP_LOG";
/// Comma-separated tiers that must run.
const REQUIRE: &str = "BULKHEAD_REQUIRE";

/// Records that `test` did not run and why; the caller returns right after.
///
/// # Panics
/// When `tier` is named in `BULKHEAD_REQUIRE`, and when the skip cannot be recorded: a lost skip would count as a pass.
pub fn skip(tier: Tier, test: &str, reason: &str) {
    let required = env::var(REQUIRE).unwrap_or_default();
    assert!(!is_required(&required, tier), "`{test}` must run (`{REQUIRE}={required}`) but cannot: {reason}");
    let line = line(test, reason);
    match env::var_os(SKIP_LOG) {
        Some(path) => OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            // One write, so that lines of tests running at once do not mix.
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .unwrap_or_else(|error| panic!("failed to record a skip in `{}`: {error}", path.display())),
        None => eprint!("skipped {line}"),
    }
}

fn is_required(required: &str, tier: Tier) -> bool {
    let tier = tier.to_string();
    required.split(',').any(|name| name.trim() == tier)
}

fn line(test: &str, reason: &str) -> String {
    // A reason may be an error of several lines; the log has one line for each test.
    format!("{test}\t{}\n", reason.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_tier_is_required() {
        assert!(is_required("packet,netns", Tier::Netns));
        assert!(is_required(" packet , netns", Tier::Packet));
        assert!(!is_required("packet", Tier::Netns));
        assert!(!is_required("", Tier::Packet));
    }

    #[test]
    fn reason_of_several_lines_stays_one_line() {
        assert_eq!(line("host_is_kernel", "no BPF:\n  EPERM"), "host_is_kernel\tno BPF: EPERM\n");
    }
}
