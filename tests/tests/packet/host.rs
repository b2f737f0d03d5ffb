//! A row on the host: the compiled tables, asked by the same `decide`.

use bulkhead_agent::compile::{Host, Placed, Tables};
use bulkhead_common::{decide::decide, parse::parse};

use super::{
    Setup, calendar,
    expect::told,
    named,
    rows::{Learned, Row, Step},
    setup::TIMES,
    tables, text,
};

/// Runs a row; `Err` says which step went otherwise.
pub fn run(row: &Row) -> Result<(), String> {
    // Every policy the row applies, first, so that hosts can borrow them.
    let names: Vec<&str> = std::iter::once(row.policy)
        .chain(row.steps.iter().filter_map(|step| match step {
            Step::Policy(name) => Some(name.as_str()),
            Step::Set(_) | Step::Wait(_) | Step::Clock(_) | Step::Learn(_) | Step::Frame { .. } => None,
        }))
        .collect();
    let compiled: Vec<Tables> = names.iter().map(|name| tables(&[(name, &text(name))])).collect();
    let mut at = 0;
    let mut setup = Setup::default();
    let mut now = 1_000_000_000;
    let mut generation = 1;
    let mut clock = calendar();
    // What was learned, and when.
    let mut learned: Vec<(&Learned, u64)> = Vec::new();
    let mut host = Host::new(&compiled[at], setup.placed(&TIMES));
    host.set_now(now);
    host.reschedule(compiled[at].deadlines(clock, now));
    for step in &row.steps {
        match step {
            Step::Wait(time) => {
                now += time;
                host.set_now(now);
            }
            Step::Set(_) | Step::Policy(_) | Step::Learn(_) | Step::Clock(_) => {
                match step {
                    Step::Clock(time) => clock = *time,
                    Step::Set(other) => setup = other.clone(),
                    Step::Learn(new) => learned.push((new, now)),
                    Step::Policy(_) | Step::Wait(_) | Step::Frame { .. } => {
                        at += 1;
                        generation += 1;
                    }
                }
                let memory = host.memory();
                let deadlines = compiled[at].deadlines(clock, now);
                let named = named::rows(&compiled[at], &deadlines, learned.iter().copied());
                let placed = Placed { named, ..setup.placed(&TIMES) };
                host = Host::new(&compiled[at], placed);
                host.adopt(memory, generation);
                host.set_now(now);
                host.reschedule(deadlines);
            }
            Step::Frame { text, bytes, expected } => {
                let tables = &compiled[at];
                let decision = decide(&parse(bytes.as_slice()), &host);
                let found = told(
                    &decision,
                    |id| tables.device(id).map(|d| d.name.clone()),
                    |id| tables.rule(id).map(|r| format!("{}:{}", r.location.path, r.location.line)),
                );
                if found != *expected {
                    return Err(format!("host, `{text}`:\n  expected {expected:?}\n  found    {found:?}"));
                }
            }
        }
    }
    Ok(())
}
