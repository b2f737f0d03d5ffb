//! The agent is killed at random moments, also while it starts and while it changes the policy: nothing opens, nothing
//! allowed is lost, and every next agent takes over.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant, SystemTime},
};

use bulkhead_tests::{
    lab::{
        Agent, Barrage, EchoStream, Lab, Poller, Topology,
        attack::{Attacker, Origin, sniff_plc},
        lab_for,
        modbus::Plc,
        topology::{FORGED_TTL, Host, MODBUS},
        wait::wait_for,
        wire::{self, Path},
    },
    skip::Tier,
};
use serde_json::{Value, json};

const KILLS: u32 = 20;
const ECHO: u16 = 5000;
const SOON: Duration = Duration::from_secs(20);
/// Chooses the moments; the test prints the one it used.
const SEED: &str = "BULKHEAD_SEED";

fn policy(lab: &Lab, comment: &str) -> String {
    let device = |host: &Host| {
        let Host { name, mac, ip, .. } = host;
        format!("[device.{name}]\nmac = \"{mac}\"\nip = \"{ip}\"\nmode = \"enforce\"\n\n")
    };
    format!(
        "version = 1\n\n{}{}[[device.plc.allow]]\nfrom = [\"hmi\"]\nservice = [\"modbus\", \"echo\"]\n\
         comment = \"{comment}\"\n\n[service.echo]\nudp = \"{ECHO}\"\n",
        device(lab.plc()),
        device(lab.host("hmi")),
    )
}

/// A policy that differs in what it allows, and in nothing that the traffic of this test needs.
fn other_policy(lab: &Lab) -> String {
    let first = policy(lab, "with a historian");
    format!(
        "{first}\n[network.n-historian]\ncidr = \"{}/32\"\n\n[[device.plc.allow]]\nfrom = [\"n-historian\"]\nservice = [\"s7\"]\n",
        lab.host("historian").ip
    )
}

/// What must not reach the PLC: in the attacker's own name, in the HMI's, and from the HMI to a port that is not its own.
fn forbidden(lab: &Lab) -> Vec<(&Host, Vec<u8>)> {
    let (attacker, hmi) = (lab.attacker(), lab.host("hmi"));
    let path = |sender: &Host, claimed: &Host, port: u16| Path {
        src_mac: sender.mac,
        dst_mac: lab.next_hop(),
        src: std::net::SocketAddrV4::new(claimed.ip, 21_000),
        dst: std::net::SocketAddrV4::new(lab.plc().ip, port),
        ttl: FORGED_TTL,
    };
    vec![
        (attacker, wire::tcp_syn(path(attacker, attacker, MODBUS), 1)),
        (attacker, wire::udp(path(attacker, attacker, ECHO), b"kill")),
        (attacker, wire::tcp_syn(path(attacker, hmi, MODBUS), 2)),
        (attacker, wire::tcp_data(path(attacker, hmi, MODBUS), 3, 4, b"write")),
        (attacker, wire::udp(path(attacker, hmi, ECHO), b"kill")),
        (hmi, wire::tcp_syn(path(hmi, hmi, 23), 5)),
        (hmi, wire::udp(path(hmi, hmi, ECHO + 1), b"kill")),
    ]
}

/// SplitMix64: good enough to choose moments, and the same ones again for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// A moment within a time.
    fn within(&mut self, time: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(time.as_micros()).expect("a short time").max(1)))
    }
}

/// When the agent is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Starting,
    Applying,
    Running,
}

fn twenty_kills_under_traffic(test: &str, topology: Topology) {
    let Some(lab) = lab_for(Tier::Netns, test, topology, 1500) else { return };
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
        u64::from(now.subsec_nanos())
    });
    println!("{SEED}={seed}");
    let mut random = Random(seed);
    let texts = [policy(&lab, "as it is"), other_policy(&lab)];
    let plc = Plc::start(lab.plc(), MODBUS).expect("a PLC");
    // The session is older than the agent: it is adopted.
    let poller =
        Poller::start(lab.host("hmi"), lab.modbus(), Duration::from_millis(2)).expect("a first poll");
    let mut agent = Agent::new(&lab, &texts[0]).expect("an agent");
    let before = Instant::now();
    agent.start().expect("it starts");
    let starting = before.elapsed();
    let before = Instant::now();
    apply(&agent, &texts[1]);
    let applying = before.elapsed();
    let echo =
        EchoStream::start(lab.host("hmi"), lab.plc(), ECHO, Duration::from_millis(1)).expect("an echo");
    let sniffer = sniff_plc(&lab).expect("a sniffer");
    let barrage = Barrage::start(forbidden(&lab), Duration::from_millis(1)).expect("a barrage");
    let attacker = Attacker::new(&lab).expect("an attacker");

    let mut killed: BTreeMap<Moment, u32> = BTreeMap::new();
    let mut torn = 0;
    for kill in 0..KILLS {
        let text = &texts[usize::try_from(kill % 2).expect("0 or 1")];
        let moment = match random.below(3) {
            0 => Moment::Starting,
            1 => Moment::Applying,
            _ => Moment::Running,
        };
        *killed.entry(moment).or_default() += 1;
        match moment {
            Moment::Starting => {
                agent.kill9().expect("it runs");
                agent.write_policy(text).expect("written");
                agent.spawn().expect("it starts");
                thread::sleep(random.within(starting));
            }
            Moment::Applying => {
                let wait = random.within(applying * 2);
                thread::scope(|scope| {
                    let asked = scope.spawn(|| agent.ask(&request(text)).is_err());
                    thread::sleep(wait);
                    agent.signal(nix::sys::signal::Signal::SIGKILL).expect("it runs");
                    torn += u32::from(asked.join().expect("it does not panic"));
                });
            }
            Moment::Running => thread::sleep(random.within(Duration::from_millis(700))),
        }
        agent.kill9().expect("it has not been waited for");
        // Nobody is there now but the kernel.
        barrage.wait_for_rounds(10, SOON).expect("it goes on");
        poller.wait_for_more(10, SOON).expect("polls go on");
        agent.start().expect("the next one takes over");
    }
    let scan = attacker.scan(&[MODBUS, 503, 80], Duration::from_millis(200)).expect("a scan");
    let sent = barrage.stop().expect("sent");
    poller.wait_for_more(20, SOON).expect("polls go on");
    let (polls, echoes) = (poller.stop(), echo.stop());
    println!(
        "killed while {killed:?}, {torn} changes cut short; start {} ms, change {} ms; {sent} forbidden frames, {} polls, longest gap {} ms, {} echoes",
        starting.as_millis(),
        applying.as_millis(),
        polls.ok,
        polls.longest_gap.as_millis(),
        echoes.answered
    );
    assert_eq!((polls.failed, polls.reconnects), (0, 0), "{polls:?}");
    assert_eq!(echoes.lost, 0, "{echoes:?}");
    assert_eq!(plc.asked_by(lab.host("hmi").ip).connections, 1, "one session through it all");
    assert!(scan.answers.is_empty(), "{scan:?}");
    let counts = sniffer.stop().expect("counts");
    let stranger = |origin: Origin| counts.get(&origin).copied().unwrap_or(0);
    assert_eq!(
        (stranger(Origin::Forged), stranger(Origin::AttackerStack)),
        (0, 0),
        "forbidden frames reached the PLC: {counts:?}"
    );

    // Counters are the kernel's: not one of the agents that died took any with it.
    let total = sent + scan.sent;
    let counted = wait_for("every forbidden frame to be counted", SOON, || {
        let status = agent.ask(&json!({ "verb": "status" }))?;
        let counts = status["ok"]["status"]["violations"].clone();
        Ok((counts["violations"].as_u64() >= Some(total)).then_some(counts))
    });
    let counted = counted.expect("they are counted");
    let of = |key: &str| counted[key].as_u64().expect("a count");
    assert_eq!(of("violations"), total, "{counted}");
    assert_eq!(of("violations"), of("delivered") + of("aggregated") + of("lost"), "{counted}");
    let status = agent.ask(&json!({ "verb": "status" })).expect("an answer");
    assert_eq!(status["ok"]["status"]["warnings"], json!([]), "{status}");
    assert_eq!(agent.stop().expect("it stops").code(), Some(0));
}

fn request(text: &str) -> Value {
    json!({ "verb": "apply", "files": [{ "path": "pushed.toml", "text": text }] })
}

fn apply(agent: &Agent<'_>, text: &str) {
    let answer = agent.ask(&request(text)).expect("an answer");
    assert!(answer["ok"]["applied"]["revision"].is_string(), "{answer}");
}

#[test]
fn killing_the_agent_twenty_times_opens_nothing_and_loses_no_poll_when_routed() {
    let test = "killing_the_agent_twenty_times_opens_nothing_and_loses_no_poll_when_routed";
    twenty_kills_under_traffic(test, Topology::Routed);
}

#[test]
fn killing_the_agent_twenty_times_opens_nothing_and_loses_no_poll_when_bridged() {
    let test = "killing_the_agent_twenty_times_opens_nothing_and_loses_no_poll_when_bridged";
    twenty_kills_under_traffic(test, Topology::Bridged);
}
