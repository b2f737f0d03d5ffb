//! The schema of the records against what is shown of them: every record in the documentation fits, by the judgement of
//! somebody else's validator, and one with a wrong or missing field does not.

use std::{fs, path::Path};

use bulkhead_agent::record::{Record, schema};
use jsonschema::Validator;
use serde_json::{Value, json};

fn validator() -> Validator {
    let schema = schema();
    jsonschema::draft202012::meta::validate(&schema).expect("it is a schema of draft 2020-12");
    jsonschema::draft202012::new(&schema).expect("its references are usable")
}

/// The records that the documentation shows, one of each kind.
fn shown() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/violations.md");
    let text = fs::read_to_string(path).expect("part of the checkout");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
}

#[test]
fn records_of_the_documentation_fit_the_schema() {
    let validator = validator();
    let shown = shown();
    assert_eq!(shown.len(), 5);
    for record in shown {
        let wrong: Vec<String> = validator.iter_errors(&record).map(|error| error.to_string()).collect();
        assert_eq!(wrong, [""; 0], "{record}");
        serde_json::from_value::<Record>(record).expect("the agent reads what it writes");
    }
}

#[test]
fn scan_and_its_absence_fit_the_schema() {
    let validator = validator();
    let mut violation = shown().remove(0);
    assert!(violation["scan"].is_null() && validator.is_valid(&violation));
    violation["scan"] = json!({ "hosts": 254, "ports": 1, "devices": 3, "at_least": false });
    assert!(validator.is_valid(&violation));
    violation["scan"] = json!({ "hosts": 254 });
    assert!(!validator.is_valid(&violation), "half a scan");
}

#[test]
fn record_without_one_of_its_fields_does_not_fit_the_schema() {
    let validator = validator();
    for record in shown() {
        let names: Vec<String> = record.as_object().expect("an object").keys().cloned().collect();
        for name in names {
            let mut less = record.clone();
            less.as_object_mut().expect("an object").remove(&name);
            assert!(!validator.is_valid(&less), "without `{name}`: {less}");
            let mut wrong = record.clone();
            wrong[&name] = json!([[]]);
            assert!(!validator.is_valid(&wrong), "a wrong `{name}`");
        }
        // A later agent may write more.
        let mut more = record.clone();
        more["later"] = json!(1);
        assert!(validator.is_valid(&more), "{more}");
    }
}
