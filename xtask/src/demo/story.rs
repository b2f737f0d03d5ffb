//! The story, chapter by chapter: what is done, what it shows, what must hold.
//!
//! In: a stage on which everything but the agent plays. Out: lines for a person, and claims for the report.

use std::{slice, time::Duration};

use anyhow::{Context, Result};
use bulkhead_tests::lab::{Topology, modbus::Write, wait::wait_for};
use serde_json::Value;

use super::{
    attack::{self, Learned, REGISTER, Step},
    evidence::{packets, total},
    files,
    report::{Report, Row},
    stage::{Fate, Mark, Since, Stage},
};

const SOON: Duration = Duration::from_secs(15);

/// Tells it. An error is a story broken off.
pub(super) fn tell(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    plant(stage, report)?;
    monitor(stage, report)?;
    enforce(stage, report)?;
    killed(stage, report)?;
    reload(stage, report)?;
    why(stage, report)?;
    accounts(stage, report)
}

fn plant(stage: &Stage<'_>, report: &Report) -> Result<()> {
    let lab = stage.lab;
    let (kind, how) = match lab.topology {
        Topology::Routed => ("A routed plant", "between two networks"),
        Topology::Bridged => ("A bridged plant", "inside one network"),
        Topology::Inline => ("A plant with a pair of NICs between", "inside one network"),
    };
    report.chapter(&format!("1. {kind}, no agent yet"));
    println!("   hmi, historian, attacker --- [gateway] --- plc     the gateway forwards {how}");
    for host in lab.hosts().filter(|host| host.name != "engineering") {
        println!("   {:<9} {:<11} {}", host.name, host.ip, host.mac);
    }
    let polls = stage.hmi.wait_for_more(25, SOON)?;
    println!("   the HMI reads the PLC every 20 ms over one Modbus/TCP session: {} polls", polls.ok);
    println!("   the historian reads it every 100 ms");
    Ok(())
}

fn monitor(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("2. The agent starts and watches: every device in monitor");
    for line in files::policy(stage.lab, "monitor").lines() {
        println!("{}", format!("   | {line}").trim_end());
    }
    let mark = stage.mark()?;
    stage.agent.start()?;
    let polls = stage.hmi.wait_for_more(25, SOON)?;
    let (failed, reconnects) = (polls.failed, polls.reconnects);
    println!(
        "   bulkhead run: attached; the session in progress is adopted, {failed} polls lost, {reconnects} reconnects"
    );
    let learned = strike(stage, Fate::Passed, 666)?;
    let since = settle(stage, report, &mark, Fate::Passed, "monitor")?;
    told(&learned);
    let register = stage.plc.register(usize::from(REGISTER));
    println!("   register {REGISTER} of the PLC is now {}: monitor stops nothing, it tells", shown(register));
    report.claim(
        register == Some(666) && learned.write == Write::Written,
        "in monitor the write arrives",
        || format!("{:?}, register {}", learned.write, shown(register)),
    );
    report.claim(since.reached == since.sent, "in monitor every frame reaches the PLC", || {
        format!("{:?} of {:?}", since.reached, since.sent)
    });
    Ok(())
}

fn enforce(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("3. Enforce: `mode = \"enforce\"` in the policy, then `bulkhead apply`");
    let mark = stage.mark()?;
    stage.agent.write_policy(&files::policy(stage.lab, "enforce"))?;
    let (text, code) = stage.cli(&["apply"])?;
    println!("{text}");
    report.claim(code == Some(0), "`apply` of the enforcing policy works", || format!("exit code {code:?}"));
    let learned = strike(stage, Fate::Dropped, 667)?;
    settle(stage, report, &mark, Fate::Dropped, "enforce")?;
    told(&learned);
    nowhere(stage, report, &learned, "enforce");
    Ok(())
}

fn killed(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("4. SIGKILL: the agent is gone, its program in the kernel is not");
    let mark = stage.mark()?;
    let pid = stage.agent.pid().context("the agent is running")?;
    stage.agent.kill9()?;
    println!("   kill -9 {pid}; the same attack, with nobody watching");
    let learned = strike(stage, Fate::Dropped, 668)?;
    let polls = stage.hmi.wait_for_more(25, SOON)?;
    let reached = total(&stage.watch.reached()?);
    println!("   {} HMI polls so far, {} lost; the agent starts again", polls.ok, polls.failed);
    stage.agent.start()?;
    settle(stage, report, &mark, Fate::Dropped, "agent killed, restarted")?;
    told(&learned);
    println!("   the kernel kept count for the new agent");
    nowhere(stage, report, &learned, "agent killed");
    let after = total(&stage.watch.reached()?);
    report.claim(reached == after, "the restart lets nothing through", || {
        format!("{} frames", after - reached)
    });
    Ok(())
}

fn reload(stage: &mut Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("5. Policy reload under traffic: a rule more, then a typo");
    let mark = stage.mark()?;
    let before = stage.revision()?;
    let good = files::with_time(&files::policy(stage.lab, "enforce"));
    stage.agent.write_policy(&good)?;
    stage.agent.hup()?;
    let revision = wait_for("the new revision", SOON, || {
        let now = stage.revision()?;
        Ok((now != before).then_some(now))
    })?;
    println!("   SIGHUP: revision {before} -> {revision}");
    stage.agent.write_policy(&files::broken(&good))?;
    let (text, code) = stage.cli(&["apply"])?;
    println!("   bulkhead apply (exit code {}):\n{text}", code.unwrap_or(-1));
    let now = stage.revision()?;
    println!("   in force: revision {now}");
    report.claim(code == Some(1) && now == revision, "a broken policy changes nothing", || {
        format!("exit code {code:?}, revision {now} instead of {revision}")
    });
    stage.agent.write_policy(&good)?;
    let learned = strike(stage, Fate::Dropped, 669)?;
    settle(stage, report, &mark, Fate::Dropped, "reload, broken file")?;
    told(&learned);
    nowhere(stage, report, &learned, "reload");
    let (text, code) = stage.cli(&["apply"])?;
    report.claim(code == Some(0), "the mended policy is accepted", || text);
    Ok(())
}

fn why(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("6. Why?");
    let attacker = stage.lab.attacker().ip.to_string();
    for (from, expected, word) in [("hmi", 0, "ALLOWED"), (attacker.as_str(), 1, "DENIED")] {
        println!("   $ bulkhead why {from} plc modbus");
        let (text, code) = stage.cli(&["why", from, "plc", "modbus"])?;
        println!("{text}\n");
        let held = code == Some(expected) && text.trim_start().starts_with(word);
        report.claim(held, &format!("`why {from} plc modbus` says {word}"), || text);
    }
    Ok(())
}

/// Attacks once. The PLC's register would become `value`.
fn strike(stage: &Stage<'_>, fate: Fate, value: u16) -> Result<Learned> {
    attack::play(stage.lab, &stage.watch, fate.tricks(), value)
}

/// Waits for the log, prints a line a step, and claims what every phase must keep.
fn settle(
    stage: &Stage<'_>,
    report: &mut Report,
    mark: &Mark,
    fate: Fate,
    phase: &'static str,
) -> Result<Since> {
    let since = stage.settle(mark, fate.action())?;
    for step in since.steps() {
        let of = |frames: &attack::Frames| frames.get(&step).copied().unwrap_or(0);
        let (sent, reached, recorded) = (of(&since.sent), of(&since.reached), of(&since.recorded.right));
        let word = match fate {
            Fate::Passed => "would-drop",
            Fate::Dropped => "dropped",
        };
        let told = step.expected().map_or_else(String::new, |expected| {
            format!("{word}, {} (device {})", expected.reason, expected.device)
        });
        println!(
            "   {:<24} {sent:>3} sent, {reached:>3} reached the PLC, {recorded:>3} in the log: {told}",
            step.name()
        );
    }
    report.claim(since.recorded.right == since.sent, &format!("{phase}: the log counts every frame"), || {
        let links = stage.lab.dropped_by_links();
        format!("{:?} of {:?}; dropped by links: {links:?}", since.recorded.right, since.sent)
    });
    let wrong = &since.recorded.wrong;
    report.claim(wrong.is_empty(), &format!("{phase}: reasons, devices and actions are right"), || {
        let says = wrong.iter().map(|(says, count)| format!("{count} of {says}"));
        says.collect::<Vec<_>>().join("; ")
    });
    report.claim(!since.sent.contains_key(&Step::Other), &format!("{phase}: only known frames"), || {
        format!("{:?}", since.sent)
    });
    match fate {
        Fate::Passed => {}
        Fate::Dropped => {
            report.claim(since.reached.is_empty(), &format!("{phase}: nothing reaches the PLC"), || {
                format!("{:?}", since.reached)
            });
        }
    }
    report.claim(since.polls_lost == 0, &format!("{phase}: no HMI poll is lost"), || {
        format!("{} lost, {:?}", since.polls_lost, stage.hmi.polls().last_error)
    });
    report.row(Row {
        phase,
        polls_ok: since.polls_ok,
        polls_lost: since.polls_lost,
        sent: total(&since.sent),
        reached: total(&since.reached),
        recorded: total(&since.recorded.right),
    });
    Ok(since)
}

/// What the attacker got out of it.
fn told(learned: &Learned) {
    let Learned { ports, answered, open, write } = learned;
    let write = match write {
        Write::Written => "the PLC took the write".to_owned(),
        Write::Refused(error) => format!("the write was refused ({error})"),
        Write::Unanswered => "the write got no answer".to_owned(),
    };
    let open = if open.is_empty() { "none".to_owned() } else { format!("{open:?}") };
    println!("   the attacker learns: {answered} of {ports} ports answer, open: {open}; {write}");
}

/// The attacker got nothing, and the PLC kept what it had.
fn nowhere(stage: &Stage<'_>, report: &mut Report, learned: &Learned, phase: &str) {
    let register = stage.plc.register(usize::from(REGISTER));
    let held = learned.answered == 0 && learned.write == Write::Unanswered && register == Some(666);
    report.claim(held, &format!("{phase}: the attacker gets no answer and changes no register"), || {
        format!("{} answers, {:?}, register {}", learned.answered, learned.write, shown(register))
    });
}

fn shown(register: Option<u16>) -> String {
    register.map_or("missing".to_owned(), |value| value.to_string())
}

/// The accounting law, and the sessions as a whole.
fn accounts(stage: &Stage<'_>, report: &mut Report) -> Result<()> {
    report.chapter("7. The books");
    for (name, poller) in [("HMI", &stage.hmi), ("historian", &stage.historian)] {
        let polls = poller.polls();
        println!(
            "   {name:<9} {} polls, {} lost, {} reconnects, longest gap {} ms",
            polls.ok,
            polls.failed,
            polls.reconnects,
            polls.longest_gap.as_millis()
        );
        let held = (polls.failed, polls.reconnects) == (0, 0);
        report.claim(held, &format!("{name}: no poll lost, no reconnect"), || format!("{polls:?}"));
    }
    // What the PLC answered in monitor mode was denied too and may be told a summary later.
    let status = wait_for("everything to be told", SOON, || {
        let status = stage.status()?;
        Ok((status["violations"]["pending"] == 0).then_some(status))
    })?;
    let interfaces = status["interfaces"].as_array().map_or(slice::from_ref(&Value::Null), Vec::as_slice);
    for interface in interfaces {
        let number = |key: &str| interface[key].as_u64().context("an interface without counters");
        let (seen, passed, dropped) = (number("seen")?, number("passed")?, number("dropped")?);
        let name = interface["name"].as_str().unwrap_or("?");
        println!("   {name:<9} {seen} seen = {passed} passed + {dropped} dropped");
        report.claim(seen == passed + dropped, &format!("{name}: seen = passed + dropped"), || {
            format!("{seen}, {passed}, {dropped}")
        });
    }
    let number = |key: &str| status["violations"][key].as_u64().context("a status without counters");
    let [violations, delivered, aggregated, lost, refused] = [
        number("violations")?,
        number("delivered")?,
        number("aggregated")?,
        number("lost")?,
        number("refused")?,
    ];
    let records = stage.agent.violations()?;
    let logged = packets(&records);
    println!("   violations {violations} = {delivered} delivered + {aggregated} aggregated + {lost} lost");
    println!("   log        {} records, {logged} packets, {refused} refused", records.len());
    report.claim(
        violations == delivered + aggregated + lost && (lost, refused) == (0, 0),
        "violations = delivered + aggregated + lost, lost 0",
        || status["violations"].to_string(),
    );
    report.claim(logged == violations, "the log has every violation", || format!("{logged} of {violations}"));
    Ok(())
}
