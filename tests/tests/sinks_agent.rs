//! A running gateway and a real rsyslog over TLS: the receiver ends and comes back, or is somebody else, and has every denied
//! packet in its file in the end.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use bulkhead_tests::{
    lab::{
        Agent, Lab, Topology, agent_binary,
        attack::kinds,
        lab_for,
        siem::{Books, Siem, record},
        wait::wait_for,
        wire::RawSender,
    },
    skip::Tier,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

mod receiver;
use receiver::{NAME, certificates, program};

const WITHIN: Duration = Duration::from_secs(60);
/// In the gateway's namespace nobody else has any.
const PORT: u16 = 6514;
const SOURCES: u8 = 50;
const PORTS: u16 = 12;
const BURST: u64 = SOURCES as u64 * PORTS as u64;

/// A receiver on the gateway itself, running or not.
struct Rsyslog<'l> {
    lab: &'l Lab,
    program: PathBuf,
    folder: TempDir,
    child: Option<Child>,
}

impl<'l> Rsyslog<'l> {
    fn new(lab: &'l Lab, program: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        certificates(folder.path());
        let rsyslog = Self { lab, program, folder, child: None };
        let config = format!(
            "global(workDirectory=\"{}\" maxMessageSize=\"16k\" parser.escapeControlCharactersOnReceive=\"off\" \
             defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" \
             defaultNetstreamDriverKeyFile=\"{}\")\nmodule(load=\"imtcp\")\n\
             template(name=\"whole\" type=\"string\" string=\"%rawmsg%\\n\")\n\
             ruleset(name=\"tls\") {{ action(type=\"omfile\" file=\"{}\" template=\"whole\") }}\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{PORT}\" ruleset=\"tls\" streamDriver.name=\"gtls\" \
             streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n",
            rsyslog.folder.path().display(),
            rsyslog.at("ca.pem"),
            rsyslog.at("server.pem"),
            rsyslog.at("server.key"),
            rsyslog.at("tls.log"),
        );
        fs::write(rsyslog.folder.path().join("rsyslog.conf"), config).expect("it can be written");
        rsyslog
    }

    fn at(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn start(&mut self) {
        let log = fs::File::create(self.folder.path().join("rsyslog.err")).expect("it can be made");
        let mut command = Command::new(&self.program);
        command.args(["-n", "-f", &self.at("rsyslog.conf"), "-i", &self.at("rsyslog.pid")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let gateway = &self.lab.gateway.namespace;
        let mut child = gateway.spawn_child(command).expect("rsyslogd starts");
        let listens = wait_for("rsyslog to listen", WITHIN, || {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("it ended: {status}");
            }
            Ok(gateway.run(|| TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))).ok())
        });
        self.child = Some(child);
        if let Err(error) = listens {
            panic!("{error:#}\n{}", fs::read_to_string(self.at("rsyslog.err")).unwrap_or_default());
        }
    }

    /// SIGTERM, and it has ended when this returns.
    fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it is there");
        wait_for("rsyslog to end", WITHIN, || Ok(child.try_wait()?)).expect("it ends");
    }

    /// The records in its file, complete lines only, as they came.
    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.at("tls.log")).unwrap_or_default();
        let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        complete.lines().map(|line| record(line).unwrap_or_else(|| panic!("not a record: {line}"))).collect()
    }

    fn sink(&self, name: &str) -> String {
        format!(
            "\n[sink.siem]\nto = \"syslog+tls://127.0.0.1:{PORT}\"\nca = \"{}\"\nserver_name = \"{name}\"\n",
            self.at("ca.pem")
        )
    }
}

impl Drop for Rsyslog<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn status(agent: &Agent<'_>) -> Value {
    let said = agent.cli(&["status", "--json"]).expect("it answers");
    serde_json::from_slice(&said.stdout).expect("it is JSON")
}

fn sink(agent: &Agent<'_>) -> Value {
    let status = status(agent);
    let sinks = status["sinks"].as_array().expect("a list");
    sinks.iter().find(|sink| sink["name"] == "siem").cloned().unwrap_or_else(|| panic!("{status:#}"))
}

fn burst(lab: &Lab) {
    let attacker = lab.attacker();
    let sender = RawSender::new(&attacker.namespace, attacker.interface).expect("a sender");
    kinds(lab, SOURCES, PORTS).iter().for_each(|frame| sender.send(frame).expect("sent"));
}

/// Waits until the file has what the kernel has counted, each record once.
fn settled(agent: &Agent<'_>, rsyslog: &Rsyslog<'_>, at_least: u64) -> Books {
    settled_of(agent, || rsyslog.records(), at_least)
}

fn settled_of(agent: &Agent<'_>, records: impl Fn() -> Vec<Value>, at_least: u64) -> Books {
    let settled = wait_for("every packet to be with the receiver", WITHIN, || {
        let counted = status(agent)["violations"]["violations"].as_u64().unwrap_or(0);
        let books = Books::of(&records())?;
        Ok((counted >= at_least && books.packets == counted).then_some(books))
    });
    settled.unwrap_or_else(|error| {
        panic!("{error}: {:?}\n{:#}\n{}", Books::of(&records()), status(agent), agent.log())
    })
}

/// Makes violations until the spool has dropped more than so many bytes, and says how many it has.
fn overflow(lab: &Lab, agent: &Agent<'_>, more_than: u64) -> u64 {
    wait_for("the spool to overflow", WITHIN, || {
        burst(lab);
        let dropped = sink(agent)["spool"]["dropped_bytes"].as_u64().unwrap_or(0);
        Ok((dropped > more_than).then_some(dropped))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", sink(agent)))
}

#[test]
fn rsyslog_that_ends_and_comes_back_has_every_packet() {
    let test = "rsyslog_that_ends_and_comes_back_has_every_packet";
    let Some(program) = program(test) else { return };
    let Some(lab) = lab_for(Tier::Sinks, test, Topology::Bridged, 1500) else { return };
    let mut rsyslog = Rsyslog::new(&lab, program);
    rsyslog.start();
    let mut agent = Agent::of(&lab, agent_binary().expect("a binary"), &lab.closed()).expect("an agent");
    agent.write_probing_config("1s", &rsyslog.sink(NAME)).expect("written");
    agent.start().expect("it starts");

    burst(&lab);
    let books = settled(&agent, &rsyslog, BURST);
    assert!(books.records > 100, "{books:?}");
    rsyslog.stop();
    burst(&lab);
    wait_for("the agent to notice", WITHIN, || {
        let sink = sink(&agent);
        let waits = sink["spool"]["waiting_packets"].as_u64().unwrap_or(0);
        Ok((sink["failing"] == true && waits >= BURST).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", sink(&agent)));
    rsyslog.start();
    burst(&lab);
    let books = settled(&agent, &rsyslog, 3 * BURST);
    assert_eq!(books.gaps.values().sum::<u64>(), 0, "nothing was lost: {books:?}");
    assert!(books.messages > books.records, "what was not surely read was told again: {books:?}");
    // It has not read enough to show it, so its connection has to hold for a while.
    wait_for("the receiver to count as there", WITHIN, || {
        Ok((sink(&agent)["failing"] == false).then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#}", sink(&agent)));
    assert_eq!(sink(&agent)["refused"], 0);

    // Whoever takes leave has told everything.
    agent.stop().expect("it stops");
    agent.start().expect("it starts");
    settled(&agent, &rsyslog, 3 * BURST);
    agent.stop().expect("it stops");
}

#[test]
fn receiver_of_another_name_gets_nothing_and_the_spool_keeps_it() {
    let test = "receiver_of_another_name_gets_nothing_and_the_spool_keeps_it";
    let Some(program) = program(test) else { return };
    let Some(lab) = lab_for(Tier::Sinks, test, Topology::Bridged, 1500) else { return };
    let mut rsyslog = Rsyslog::new(&lab, program);
    rsyslog.start();
    let mut agent = Agent::of(&lab, agent_binary().expect("a binary"), &lab.closed()).expect("an agent");
    agent.write_config(&rsyslog.sink("other.example")).expect("written");
    agent.start().expect("it starts");

    burst(&lab);
    let refused = wait_for("the spool to keep everything", WITHIN, || {
        let sink = sink(&agent);
        let waits = sink["spool"]["waiting_packets"].as_u64().unwrap_or(0);
        Ok((sink["failing"] == true && waits >= BURST).then_some(sink))
    });
    let refused = refused.unwrap_or_else(|error| panic!("{error}: {:#}", sink(&agent)));
    assert!(refused["last_error"].to_string().contains("not valid for name"), "{refused:#}");
    assert_eq!((&refused["spool"]["connected"], &refused["spool"]["sent"]), (&false.into(), &0.into()));
    let said = agent.cli(&["status"]).expect("it answers");
    let page = String::from_utf8_lossy(&said.stdout).into_owned();
    assert_eq!(said.status.code(), Some(1), "{page}");
    assert!(page.contains("sink `siem`") && page.contains("not valid for name"), "{page}");
    assert_eq!(rsyslog.records(), Vec::<Value>::new());

    agent.stop().expect("it stops");
    agent.write_config(&rsyslog.sink(NAME)).expect("written");
    agent.start().expect("it starts");
    let books = settled(&agent, &rsyslog, BURST);
    assert_eq!(books.gaps.values().sum::<u64>(), 0, "nothing was lost: {books:?}");
    let ids = |records: Vec<Value>| -> BTreeSet<String> {
        records.iter().map(|record| format!("{}-{}", record["boot"], record["seq"])).collect()
    };
    assert_eq!(ids(rsyslog.records()), ids(agent.records().expect("a log")), "as in the file, of both runs");
    agent.stop().expect("it stops");
}

#[test]
fn hole_that_grows_before_it_was_surely_read_is_counted_once() {
    let test = "hole_that_grows_before_it_was_surely_read_is_counted_once";
    let Some(lab) = lab_for(Tier::Sinks, test, Topology::Bridged, 1500) else { return };
    let mut siem = Siem::new(5514);
    let mut agent = Agent::of(&lab, agent_binary().expect("a binary"), &lab.closed()).expect("an agent");
    let sink = format!("\n[sink.siem]\nto = \"{}\"\nspool_bytes = 1048576\n", siem.url());
    agent.write_probing_config("1h", &sink).expect("written");
    agent.start().expect("it starts");

    let holes = |siem: &Siem| -> Vec<Value> {
        let all = siem.records().expect("they are records");
        all.into_iter().filter(|record| record["cause"] == "spool").collect()
    };
    let dropped = overflow(&lab, &agent, 0);
    // It reads the hole, and dies with the rest unread.
    siem.slow_down(Duration::from_millis(200));
    siem.start(&lab.gateway.namespace).expect("it listens");
    wait_for("the hole", WITHIN, || Ok((!holes(&siem).is_empty()).then_some(()))).expect("it is told");
    siem.stop().expect("it stops");
    overflow(&lab, &agent, dropped);
    siem.slow_down(Duration::ZERO);
    siem.start(&lab.gateway.namespace).expect("it listens again");

    let books = settled_of(&agent, || siem.records().expect("they are records"), BURST);
    let counts: Vec<u64> = holes(&siem).iter().filter_map(|hole| hole["count"].as_u64()).collect();
    let [first, .., last] = counts[..] else { panic!("it is told twice: {counts:?}") };
    assert!(first < last && last <= books.gaps["spool"], "{counts:?}, {books:?}");
    assert!(counts.iter().sum::<u64>() > books.gaps["spool"], "{counts:?}, {books:?}");
    agent.stop().expect("it stops");
}
