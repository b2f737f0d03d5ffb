//! A way from a source through a gateway to a sink, for one scenario alone. In: how the gateway forwards, and what it filters with. Out:
//! it stands, nothing moves on it, and a window can be measured at any time.
//!
//! ```text
//!  source  gen0 --- inN  gateway  outN --- sink0  sink
//! ```

use std::{
    io::Write,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use anyhow::{Context, Result, bail, ensure};
use bulkhead_tests::lab::{
    Agent, Gateway, Mac, Namespace, Room,
    agent::CONFIG,
    link::{self, End},
    napi::{self, Napi},
    program::Program,
    traffic::{self, Traffic},
    xdp::{self, Attached},
};

use super::{
    bulkhead,
    scenario::{Filter, Way},
};

/// The name of the interface at the source's end, and at the sink's.
pub(super) const GEN: &str = "gen0";
pub(super) const SINK: &str = "sink0";
const BRIDGE: &str = "br0";

/// Where frames go, in every lane: one program can send for all of them.
const NEXT_HOP: Mac = Mac([2, 0xb, 10, 20, 0, 0xff]);
const GEN_MAC: Mac = Mac([2, 0xb, 10, 20, 0, 2]);
const IN_MAC: Mac = Mac([2, 0xb, 10, 20, 0, 1]);
const OUT_MAC: Mac = Mac([2, 0xb, 10, 40, 0, 1]);
const SINK_MAC: Mac = Mac([2, 0xb, 10, 40, 0, 2]);

/// The links' own addresses: the routers beside the gateway are the last ones.
const IN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const BEFORE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const OUT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BEHIND: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// What is sent is taken at once, by the gateway and by the sink: before everything else that their processors have to do.
const PRIORITY: i32 = 1;

/// The machines and their cables, without a filter.
pub(super) struct Ground {
    pub(super) source: Namespace,
    pub(super) gateway: Gateway,
    pub(super) sink: Namespace,
    _sink_room: Room,
    sink_mac: Mac,
    /// The gateway's interfaces.
    pub(super) inward: String,
    pub(super) outward: String,
}

/// A lane that is ready.
pub(super) struct Lane<'a> {
    pub(super) ground: &'a Ground,
    pub(super) napi: Napi,
    _sink_napi: Napi,
    _attached: Vec<Attached>,
    /// The agent, if that is what filters.
    pub(super) agent: Option<Agent<'a>>,
}

impl Ground {
    /// Three machines in a row; the number makes the names of the gateway's interfaces different from those of other lanes.
    pub(super) fn new(number: usize, way: Way) -> Result<Self> {
        let source = Namespace::new("source")?;
        let (namespace, room) = Namespace::with_room("gateway")?;
        let (sink, sink_room) = Namespace::with_room("sink")?;
        let (inward, outward) = (format!("in{number}"), format!("out{number}"));
        let (in_mac, sink_mac) = match way {
            Way::Routed | Way::Direct => (NEXT_HOP, SINK_MAC),
            Way::Redirected | Way::Bridged => (IN_MAC, NEXT_HOP),
        };
        let end = |namespace, interface, mac| End { namespace, interface, mac, mtu: 1500 };
        link::veth(&end(&source, GEN, GEN_MAC), &end(&namespace, &inward, in_mac))?;
        link::veth(&end(&namespace, &outward, OUT_MAC), &end(&sink, SINK, sink_mac))?;
        // A veth receives through NAPI only with this, or with an XDP program.
        link::generic_receive_on(&namespace, &inward)?;
        link::generic_receive_on(&sink, SINK)?;
        let gateway =
            Gateway { namespace, room, cell_mac: in_mac, plant_mac: OUT_MAC, cell_ip: IN, plant_ip: OUT };
        let ground = Self { source, gateway, sink, _sink_room: sink_room, sink_mac, inward, outward };
        ground.forward(way)?;
        Ok(ground)
    }

    fn forward(&self, way: Way) -> Result<()> {
        let Self { source: _, gateway, sink: _, _sink_room: _, sink_mac, inward, outward } = self;
        let namespace = &gateway.namespace;
        match way {
            Way::Redirected => Ok(()),
            Way::Routed | Way::Direct => {
                link::address(namespace, inward, IN, 24)?;
                link::address(namespace, outward, OUT, 24)?;
                link::permanent_neighbour(namespace, inward, BEFORE, GEN_MAC)?;
                link::permanent_neighbour(namespace, outward, BEHIND, *sink_mac)?;
                link::route(namespace, traffic::CELL.0, traffic::CELL.1, BEFORE)?;
                link::route(namespace, traffic::SERVERS.0, traffic::SERVERS.1, BEHIND)?;
                link::set(namespace, "net/ipv4/ip_forward", "1")
            }
            Way::Bridged => {
                link::bridge(namespace, BRIDGE, IN_MAC)?;
                link::enslave(namespace, inward, BRIDGE)?;
                link::enslave(namespace, outward, BRIDGE)?;
                link::permanent_port(namespace, outward, *sink_mac)
            }
        }
    }

    /// From whom to whom an answer of the sink goes.
    pub(super) fn answer_path(&self) -> (Mac, Mac) {
        (self.sink_mac, OUT_MAC)
    }

    /// Runs a command in the gateway to its end, with this on its standard input.
    pub(super) fn command(&self, mut command: Command, input: &str) -> Result<()> {
        let what = format!("`{}`", command.get_program().display());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.gateway.namespace.spawn_child(command);
        let mut child = child.with_context(|| format!("failed to run {what}"))?;
        let mut stdin = child.stdin.take().context("a child without standard input")?;
        let wrote = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{what} failed: {}", said.trim());
        wrote.with_context(|| format!("failed to write to {what}"))
    }
}

impl<'a> Lane<'a> {
    /// Puts the filter in place, and the threads of the interfaces on their processors.
    pub(super) fn new(
        ground: &'a Ground,
        way: Way,
        filter: &Filter,
        shared: &Shared,
        binary: &Path,
    ) -> Result<Self> {
        let namespace = &ground.gateway.namespace;
        let Shared { traffic, sink, source, gateway } = shared;
        let mut attached = vec![xdp::attach(sink, &ground.sink, SINK)?];
        let mut agent = None;
        let at_inward = |program: Program| xdp::attach(&program, namespace, &ground.inward);
        match filter {
            Filter::Nothing => {}
            Filter::DropAll => attached.push(at_inward(Program::empty()?)?),
            Filter::DropRead => attached.push(at_inward(xdp::drop_read()?)?),
            Filter::Redirect | Filter::RedirectRead => {
                let out = link::index(namespace, &ground.outward)?;
                let program = if *filter == Filter::Redirect { xdp::redirect } else { xdp::redirect_read };
                attached.push(at_inward(program(out)?)?);
            }
            Filter::Bulkhead(policy) => {
                ground.gateway.room.write(CONFIG, &bulkhead::config(ground, way))?;
                let started = Agent::on(&ground.gateway, binary.to_owned());
                started.write_policy(&bulkhead::policy(*policy))?;
                agent.insert(started).start()?;
            }
            Filter::Peer(peer) => peer.install(ground)?,
        }
        let napi = Napi::threaded(namespace, &ground.inward)?;
        napi.pin(*gateway, PRIORITY)?;
        // Not on the gateway's: the scheduler would charge the one for what the other has done since it was woken.
        let sink_napi = Napi::threaded(&ground.sink, SINK)?;
        sink_napi.pin(*source, PRIORITY)?;
        ensure!(
            traffic.sends_from(&ground.source, GEN)?,
            "`{GEN}` has another index than that of the first source"
        );
        Ok(Self { ground, napi, _sink_napi: sink_napi, _attached: attached, agent })
    }
}

/// What all lanes have in common. The kernel calls up to 48 XDP programs of the whole machine without a detour (its dispatcher), so
/// that there is one of each kind.
pub(super) struct Shared {
    pub(super) traffic: Arc<Traffic>,
    sink: Program,
    /// The source's processor, which is everybody's but the gateway's.
    pub(super) source: usize,
    /// The gateway's.
    gateway: usize,
}

impl Shared {
    /// The first two processors are the source's and the gateway's.
    pub(super) fn new(first: &Ground) -> Result<Self> {
        let all = napi::processors()?;
        let [source, gateway, ..] = all[..] else {
            bail!("packets on the wire are measured with two processors, and there is one")
        };
        Ok(Self {
            traffic: Arc::new(Traffic::new(link::index(&first.source, GEN)?, NEXT_HOP, source)?),
            sink: xdp::drop_below(traffic::FORBIDDEN)?,
            source,
            gateway,
        })
    }
}
