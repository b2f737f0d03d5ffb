//! Tables in, enforced maps out: the only room that knows aya, and the only one with `unsafe`.
//!
//! [`Dataplane::open`] makes or adopts what is pinned, [`Dataplane::apply`] changes the policy between
//! two packets, [`Dataplane::attach`] puts the program on a NIC. Dropping a `Dataplane` changes nothing:
//! pinned links and maps go on enforcing until [`detach`].

use std::{collections::BTreeMap, path::Path, sync::Arc};

use aya::{
    Ebpf,
    maps::{
        Array, ArrayOfMaps, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, PerCpuHashMap, RingBuf,
    },
};
use bulkhead_common::{
    address::Address,
    flat,
    layout::{
        Budget, EndRow, Flow, FlowKey, FragmentKey, FragmentRow, Head, InterfaceCounters, Lease, NamedKey,
        NamedRow, Repeats, RuleKey, RuleRow, SLOTS, SegmentKey, SegmentRow, ServiceKey, Settings, Sweep,
        Traffic, TrustedKey, ViolationKey,
    },
    reason::CODES,
};

use crate::compile::Tables;
use slot::Slot;

mod apply;
mod attach;
mod cache;
mod counters;
mod drift;
mod egress;
mod entry;
mod error;
mod events;
mod flows;
pub mod foreign;
mod forward;
mod ids;
mod kernel;
mod leases;
mod links;
mod listen;
mod live;
mod load;
mod lock;
mod memory;
mod names;
mod neighbours;
mod netlink;
mod offloads;
mod overhear;
mod packet_socket;
mod pins;
mod port;
mod preflight;
pub mod probe;
mod settings;
mod slot;
mod sweepers;
mod tcp;
mod test_run;
#[cfg(feature = "trace")]
mod trace;
mod verifier;
mod watch;

pub use attach::{AttachMode, Attached};
pub use cache::{CacheSizes, VERDICTS_OF_ONE};
pub use counters::{CounterReader, DeviceCounts, Tally, TallyReader};
pub use drift::Drift;
pub use egress::unsent;
pub use entry::{Entry, LINEAR_MTU};
pub use error::DataplaneError;
pub use events::{EventReader, SampleReader};
pub use flows::FlowReader;
pub use forward::Forwarded;
pub use ids::StableIds;
pub use kernel::{hurry, kernel_version, monotonic_ns, rcu_grace};
pub use leases::LeaseReader;
pub use listen::{Ear, SNAP, Told};
pub use live::Live;
pub use lock::PinsLock;
pub use memory::FIXED;
pub use offloads::{Offloads, Queues, offloads, queues, switch_off};
pub use overhear::Overheard;
pub use pins::{Pins, Sizes};
pub use port::{set_promiscuous, set_up};
pub use preflight::{Obstacle, obstacles};
pub use settings::Runtime;
pub use slot::{Moment, Written};
pub use tcp::{TcpPeer, tcp_peer};
pub use test_run::XdpAction;
pub use watch::{LinkNews, LinkWatch};

/// The object built from `agent-ebpf`, see `cargo xtask build-ebpf`.
#[cfg(not(feature = "trace"))]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/bulkhead.bpf.o");
/// The object of `cargo xtask build-ebpf --trace`, which logs each denial.
#[cfg(feature = "trace")]
pub static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/bulkhead-trace.bpf.o");

type Macs = HashMap<MapData, u64, EndRow>;
type Addresses = HashMap<MapData, Address, EndRow>;
type Networks = LpmTrie<MapData, [u8; 16], u32>;
type Flat = Array<MapData, flat::Page>;
type Services = LpmTrie<MapData, ServiceKey, u32>;
type RuleRows = HashMap<MapData, RuleKey, RuleRow>;
type NamedRows = HashMap<MapData, NamedKey, NamedRow>;

/// What was applied last: the tables, the ids the kernel knows them by, and the generation.
pub struct Applied {
    /// The tables as compiled.
    pub tables: Arc<Tables>,
    /// Their ids in the kernel.
    pub ids: StableIds,
    /// Counts applied policies over the life of the pins.
    pub generation: u32,
    /// How much of the kernel's tables had to be written for it.
    pub written: Written,
    /// What it took to bring the tables into a slot and that slot into force.
    pub flip: std::time::Duration,
}

/// The data path: program, maps and what they enforce.
pub struct Dataplane {
    pins: Pins,
    sizes: Sizes,
    ebpf: Ebpf,
    ids: ids::Ids,
    active: Array<MapData, u64>,
    heads: Array<MapData, Head>,
    settings: Array<MapData, Settings>,
    macs: ArrayOfMaps<MapData, Macs>,
    addresses: ArrayOfMaps<MapData, Addresses>,
    networks: ArrayOfMaps<MapData, Networks>,
    flat: ArrayOfMaps<MapData, Flat>,
    services: ArrayOfMaps<MapData, Services>,
    rules: ArrayOfMaps<MapData, RuleRows>,
    named: ArrayOfMaps<MapData, NamedRows>,
    forwards: PerCpuArray<MapData, u64>,
    routes: Array<MapData, u64>,
    redirects: Array<MapData, u32>,
    schedules: Array<MapData, u64>,
    segments: HashMap<MapData, SegmentKey, SegmentRow>,
    trusted: HashMap<MapData, TrustedKey, u32>,
    management_peers: LpmTrie<MapData, [u8; 16], u32>,
    management_ports: LpmTrie<MapData, ServiceKey, u32>,
    flows: HashMap<MapData, FlowKey, Flow>,
    fragments: HashMap<MapData, FragmentKey, FragmentRow>,
    budgets: Array<MapData, Budget>,
    leases: HashMap<MapData, Address, Lease>,
    device_counts: PerCpuArray<MapData, [u64; CODES as usize]>,
    rule_counts: PerCpuArray<MapData, Traffic>,
    port_counts: PerCpuArray<MapData, InterfaceCounters>,
    tally: PerCpuArray<MapData, u64>,
    sweep: PerCpuArray<MapData, Sweep>,
    sweepers: sweepers::Sweepers,
    epoch: Array<MapData, u32>,
    repeats: [PerCpuHashMap<MapData, ViolationKey, Repeats>; 2],
    others: [PerCpuHashMap<MapData, ViolationKey, Repeats>; 2],
    /// What this process has made of the slots.
    slots: [Option<Slot>; SLOTS as usize],
    /// The slot that packets look at, once this process has applied a policy.
    in_force: Option<usize>,
    /// Rows that a slot has room for besides those that it is made for, for addresses learned by name.
    spare_named: usize,
    /// What was written of the deadlines of each slot's schedules.
    deadlines: [BTreeMap<u32, u64>; SLOTS as usize],
    applied: Option<Applied>,
    /// What was put into the maps that outlive revisions.
    placed: drift::Placed,
    /// The kernel's id of each map, as it was when it was opened.
    map_ids: BTreeMap<&'static str, u32>,
    /// That of each table of a slot, in the order of [`drift::TABLES`], as this process has put them there.
    inner_maps: [Option<[u32; drift::TABLES.len()]>; SLOTS as usize],
}

impl Dataplane {
    /// The sizes in force, which may differ from the configured ones while old pins exist.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Where everything is pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// What was applied last by this process.
    pub fn applied(&self) -> Option<&Applied> {
        self.applied.as_ref()
    }

    /// A handle of its own to a map: whoever has it needs not the data path.
    fn another_handle(&self, map: &'static str) -> Result<Map, DataplaneError> {
        let data = MapData::from_pin(self.pins.map(map)).map_err(reopen(map))?;
        Map::from_map_data(data).map_err(reopen(map))
    }
}

/// The only way enforcement ends: removes links, then maps. Returns the interfaces that were enforcing.
///
/// # Errors
/// When a pin cannot be read or removed.
pub fn detach(root: &Path) -> Result<Vec<String>, DataplaneError> {
    let pins = Pins::below(root);
    let links = pins.links()?;
    // What cannot be read ends a moment later.
    let _ = forward::withdraw(&pins);
    for name in &links {
        // What cannot be detached here ends with its pin, a moment later.
        let _ = kernel::detach_link(&pins.link(name));
    }
    pins.remove()?;
    Ok(links)
}

/// Ends enforcement on one interface; everything else stays. Nothing is forwarded directly until an agent runs again: a driver
/// whose interface has no program may lose what is redirected to it.
///
/// # Errors
/// When packets cannot be handed to the kernel before, or when the pin cannot be removed.
pub fn detach_interface(root: &Path, name: &str) -> Result<(), DataplaneError> {
    let pins = Pins::below(root);
    forward::withdraw(&pins)?;
    let path = pins.link(name);
    // As in `detach`.
    let _ = kernel::detach_link(&path);
    std::fs::remove_file(&path).map_err(|source| DataplaneError::Pins {
        act: "remove the link",
        path,
        source,
    })
}

fn reopen(map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { act: "open the pinned", map, source }
}

fn read(map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { act: "read", map, source }
}

fn write(map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { act: "write", map, source }
}
