//! The benchmark runs from end to end. How fast anything is, is no test's business.

use std::process::Command;

use bulkhead_tests::lab::agent_binary;
use serde_json::Value;

#[test]
fn smallest_benchmark_measures_every_size_it_was_asked_for() {
    let agent = agent_binary().expect("an agent");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["bench", "compile", "--json", "--devices", "10,12", "--rounds", "1", "--binary"])
        .arg(agent);
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let found: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let sizes = found["sizes"].as_array().expect("a list");
    assert_eq!(sizes.iter().map(|size| size["devices"].as_u64()).collect::<Vec<_>>(), [Some(10), Some(12)]);
    for size in sizes {
        assert_eq!(size["stopped"], Value::Null, "{said}");
        let measured = ["check", "check-memory"].map(|what| size["found"][what]["median"].as_f64());
        assert!(measured.iter().all(|median| median.is_some_and(|median| median > 0.0)), "{size}");
    }
}
