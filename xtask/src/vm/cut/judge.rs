//! What may be found after a cut: what was acknowledged last, or what was under way at that moment, and nothing else.
//!
//! In: what the gateway said before each change, after it, and after the boot. Out: sentences of what is wrong.

use serde_json::Value;

/// What of a gateway has to survive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    number: u64,
    /// What its policy carries in each of its files.
    mark: u64,
    mode: String,
    pending: bool,
}

/// A change that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    what: String,
    /// The number of the revision; none for a new one.
    number: Option<u64>,
    mark: u64,
    mode: String,
    pending: bool,
}

/// Everything that the gateway has promised.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    acknowledged: Option<State>,
    under_way: Option<Change>,
    /// Entries of the audit trail at the last acknowledgement.
    entries: u64,
}

/// What became of what was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fared {
    /// Nothing was.
    Between,
    /// It did not happen.
    Undone,
    /// It happened, and nobody had heard of it.
    Done,
}

impl Ledger {
    /// A change is tried.
    pub(super) fn tries(&mut self, said: &Value) -> Result<(), String> {
        let after = &said["after"];
        self.under_way = Some(Change {
            what: said["what"].as_str().unwrap_or_default().to_owned(),
            number: after["number"].as_u64(),
            mark: after["mark"].as_u64().ok_or_else(|| format!("a change to no mark: {said}"))?,
            mode: after["mode"].as_str().unwrap_or_default().to_owned(),
            pending: after["pending"] == true,
        });
        Ok(())
    }

    /// The change is acknowledged.
    pub(super) fn acknowledges(&mut self, said: &Value) -> Result<(), String> {
        let state = state(said)?;
        let change = self.under_way.take().ok_or("nothing was under way")?;
        if !change.leads_to(&state, self.acknowledged.as_ref()) {
            return Err(format!("`{}` was to lead to {change:?} and led to {state:?}", change.what));
        }
        self.promise(state, said["entries"].as_u64());
        Ok(())
    }

    /// The gateway is back.
    pub(super) fn finds(&mut self, said: &Value) -> Result<Fared, Vec<String>> {
        let mut wrong = well(said);
        let entries = said["chain"]["last"].as_u64().unwrap_or(0);
        if entries < self.entries {
            wrong.push(format!("the trail ends with {entries}, {} was acknowledged", self.entries));
        }
        let state = state(said).map_err(|error| {
            wrong.push(error);
            std::mem::take(&mut wrong)
        })?;
        let change = self.under_way.take();
        let fared = match (&self.acknowledged, &change) {
            // Nothing was ever acknowledged: the configured files.
            (None, _) if state.mark == 0 && !state.pending => Fared::Between,
            (Some(last), None) if state == *last => Fared::Between,
            (Some(last), Some(_)) if state == *last => Fared::Undone,
            (last, Some(change)) if change.leads_to(&state, last.as_ref()) => Fared::Done,
            (last, change) => {
                wrong.push(format!("found {state:?}; acknowledged was {last:?}, under way {change:?}"));
                Fared::Undone
            }
        };
        self.promise(state, said["entries"].as_u64());
        if wrong.is_empty() { Ok(fared) } else { Err(wrong) }
    }

    fn promise(&mut self, state: State, entries: Option<u64>) {
        self.entries = entries.unwrap_or(self.entries);
        self.acknowledged = Some(state);
    }
}

impl Change {
    fn leads_to(&self, state: &State, before: Option<&State>) -> bool {
        let State { number, mark, mode, pending } = state;
        let numbered = match self.number {
            Some(wanted) => *number == wanted,
            None => before.is_none_or(|before| *number > before.number),
        };
        numbered && (mark, mode, pending) == (&self.mark, &self.mode, &self.pending)
    }
}

/// Sentences of what is wrong whatever was promised.
pub(super) fn well(said: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if said["chain_code"] != 0 {
        wrong.push(format!("the audit trail is not whole: {}", said["chain"]));
    }
    if said["revision"] != said["wanted"] {
        wrong.push(format!("revision {} is in force, its files make {}", said["revision"], said["wanted"]));
    }
    if said["broken"] != Value::Array(Vec::new()) {
        wrong.push(format!("the state folder is damaged: {}", said["broken"]));
    }
    let warnings = said["warnings"].as_array().into_iter().flatten();
    for warning in warnings.filter_map(Value::as_str).filter(|text| !text.starts_with("UNCONFIRMED")) {
        wrong.push(format!("the agent warns: {warning}"));
    }
    if said["packets"] != serde_json::json!({ "allowed": 2, "denied": 1 }) {
        wrong.push(format!("of two packets that it permits and one that it does not: {}", said["packets"]));
    }
    wrong
}

fn state(said: &Value) -> Result<State, String> {
    let marks: Vec<u64> = said["marks"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let [mark, other] = marks[..] else { return Err(format!("not two files with a mark: {said}")) };
    if mark != other {
        return Err(format!("files of two revisions are in force: marks {mark} and {other}"));
    }
    let number = said["number"].as_u64().ok_or_else(|| format!("no number: {said}"))?;
    let mode = said["mode"].as_str().unwrap_or_default().to_owned();
    Ok(State { number, mark, mode, pending: !said["pending"].is_null() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(number: u64, mark: u64, pending: Value) -> Value {
        json!({
            "number": number, "marks": [mark, mark], "mode": "enforce", "pending": pending, "entries": 9,
            "revision": "a", "wanted": "a", "broken": [], "warnings": [], "chain_code": 0, "chain": { "last": 9 },
            "packets": { "allowed": 2, "denied": 1 },
        })
    }

    fn change(number: Option<u64>, mark: u64, pending: bool) -> Value {
        let after = json!({ "number": number, "mark": mark, "mode": "enforce", "pending": pending });
        json!({ "what": "apply", "after": after })
    }

    /// A ledger in which revision 4 with mark 7 is acknowledged, and a new one with mark 8 under way.
    fn ledger(pending: bool) -> Ledger {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.finds(&found(1, 0, Value::Null)), Ok(Fared::Between));
        ledger.tries(&change(None, 7, false)).expect("a change");
        ledger.acknowledges(&found(4, 7, Value::Null)).expect("as tried");
        ledger.tries(&change(None, 8, pending)).expect("a change");
        ledger
    }

    #[test]
    fn what_was_acknowledged_or_was_under_way_may_be_found() {
        assert_eq!(ledger(false).finds(&found(4, 7, Value::Null)), Ok(Fared::Undone));
        assert_eq!(ledger(false).finds(&found(6, 8, Value::Null)), Ok(Fared::Done));
        assert_eq!(ledger(true).finds(&found(6, 8, json!({ "number": 6 }))), Ok(Fared::Done));
    }

    #[test]
    fn anything_else_is_wrong() {
        // An older one, a new one under an old number, and an unconfirmed one that nothing would undo.
        assert!(ledger(false).finds(&found(1, 0, Value::Null)).is_err());
        assert!(ledger(false).finds(&found(4, 8, Value::Null)).is_err());
        assert!(ledger(true).finds(&found(6, 8, Value::Null)).is_err());
        for (key, value) in [
            ("marks", json!([7, 8])),
            ("wanted", json!("b")),
            ("broken", json!(["revisions/3.json"])),
            ("warnings", json!(["the policy in force is not kept"])),
            ("chain_code", json!(1)),
            ("chain", json!({ "last": 8 })),
            ("packets", json!({ "allowed": 1, "denied": 2 })),
        ] {
            let mut found = found(4, 7, Value::Null);
            found[key] = value;
            let wrong = ledger(false).finds(&found).expect_err(key);
            assert_eq!(wrong.len(), 1, "{key}: {wrong:?}");
        }
    }
}
