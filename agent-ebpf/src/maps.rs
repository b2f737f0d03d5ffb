//! Every map; [`crate::tables`] asks them.
//!
//! Sizes written here are placeholders: the agent sets them at load time from its limits, and creates
//! the inner tables of each slot in the size the policy needs.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
    macros::btf_map,
};
use bulkhead_common::{
    address::Address,
    cache::{self, Entry4, Entry6, WAYS},
    decide::{Decision, Ends, Judgement},
    flat,
    forward::{self, Hop, Neighbour, fate},
    layout::{
        Budget, EndRow, Event, Flow, FlowKey, FragmentKey, FragmentRow, Head, InterfaceCounters, Lease,
        MAX_FRAGMENTED, MAX_INTERFACES, MAX_SCHEDULES, MAX_SEGMENTS, MAX_TRUSTED, NamedKey, NamedRow,
        Repeats, RuleKey, RuleRow, SAMPLE_RING_BYTES, SLOTS, Sample, SegmentKey, SegmentRow, ServiceKey,
        Settings, Sweep, Traffic, TrustedKey, ViolationKey, tally,
    },
    parse::Packet,
    reason::CODES,
};

use crate::{cache::Sight, sweep::Emptied, tables::Context};

// The value of an inner map is no bare struct: Linux 5.15 to 6.1 take a map made from a type for another kind than one
// made without, as user space makes them, where the type is a struct (bpf_map_meta_equal).
pub type Macs = HashMap<u64, [EndRow; 1], 1>;
pub type Addresses = HashMap<Address, [EndRow; 1], 1>;
pub type Networks = LpmTrie<[u8; 16], u32, 1>;
pub type Flat = Array<flat::Page, { flat::PAGES as usize }>;
pub type Services = LpmTrie<ServiceKey, u32, 1>;
pub type RuleRows = HashMap<RuleKey, [RuleRow; 1], 1>;
pub type NamedRows = HashMap<NamedKey, [NamedRow; 1], 1>;

#[btf_map]
pub static ACTIVE: Array<u64, 1> = Array::new();
#[btf_map]
pub static HEADS: Array<Head, { SLOTS as usize }> = Array::new();
#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();
#[btf_map]
pub static MACS: ArrayOfMaps<Macs, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static ADDRESSES: ArrayOfMaps<Addresses, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static NETWORKS: ArrayOfMaps<Networks, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static FLAT: ArrayOfMaps<Flat, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static SERVICES: ArrayOfMaps<Services, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static RULES: ArrayOfMaps<RuleRows, { SLOTS as usize }> = ArrayOfMaps::new();
#[btf_map]
pub static NAMED: ArrayOfMaps<NamedRows, { SLOTS as usize }> = ArrayOfMaps::new();
/// Until when each schedule is open, monotonic ns: those of slot 0, then those of slot 1.
#[btf_map]
pub static SCHEDULES: Array<u64, { (SLOTS * MAX_SCHEDULES) as usize }> = Array::new();

#[btf_map]
pub static SEGMENTS: HashMap<SegmentKey, SegmentRow, { MAX_SEGMENTS as usize }> = HashMap::new();
#[btf_map]
pub static TRUSTED: HashMap<TrustedKey, u32, { MAX_TRUSTED as usize }> = HashMap::new();
/// Twice what may be configured: new entries go in before old ones go out. And one that keeps IPv4 out of `::/0`.
#[btf_map]
pub static MGMT_PEERS: LpmTrie<[u8; 16], u32, 130> = LpmTrie::new();
#[btf_map]
pub static MGMT_PORTS: LpmTrie<ServiceKey, u32, 512> = LpmTrie::new();

#[btf_map]
pub static FLOWS: LruHashMap<FlowKey, Flow, 1024> = LruHashMap::new();
#[btf_map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentRow, { MAX_FRAGMENTED as usize }> = LruHashMap::new();
/// New flows of each device, by stable id; 0 is for those between no devices.
#[btf_map]
pub static BUDGETS: Array<Budget, 1024> = Array::new();
#[btf_map]
pub static LEASES: HashMap<Address, Lease, 1024> = HashMap::new();

#[btf_map]
pub static DEVICE_COUNTS: PerCpuArray<[u64; CODES as usize], 1024> = PerCpuArray::new();
#[btf_map]
pub static RULE_COUNTS: PerCpuArray<Traffic, 1024> = PerCpuArray::new();
#[btf_map]
pub static PORT_COUNTS: PerCpuArray<InterfaceCounters, { MAX_INTERFACES as usize }> = PerCpuArray::new();
#[btf_map]
pub static TALLY: PerCpuArray<u64, { tally::LEN as usize }> = PerCpuArray::new();

/// Counts the tables of repeats, the lowest bit says which of the two is being filled: the agent drains the other one. Behind it, one
/// more than the last one that was full.
#[btf_map]
pub static EPOCH: Array<u32, 2> = Array::new();
#[btf_map]
pub static REPEATS_0: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
#[btf_map]
pub static REPEATS_1: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
/// Violations for which there was no room to tell them apart, by what they have in common; by turns as the repeats.
#[btf_map]
pub static OTHERS_0: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
#[btf_map]
pub static OTHERS_1: PerCpuHashMap<ViolationKey, Repeats, 1024> = PerCpuHashMap::new();
#[btf_map]
pub static EVENTS: RingBuf<Event, 4096> = RingBuf::new();
#[btf_map]
pub static SAMPLES: RingBuf<Sample, { SAMPLE_RING_BYTES as usize }> = RingBuf::new();

/// The verdict cache: the sets of the first CPU, then those of the next. Its pages can be mapped, so that it begins at one: an
/// entry is a cache line.
#[btf_map]
pub static CACHE_V4: Array<[Entry4; WAYS], 4, MAPPABLE> = Array::new();
#[btf_map]
pub static CACHE_V6: Array<[Entry6; WAYS], 4, MAPPABLE> = Array::new();
/// Counts what happens to flows, in groups of them, and to leases.
#[btf_map]
pub static STAMPS: Array<u64, { cache::STAMPS as usize + 1 }> = Array::new();
/// To where what passes goes, by the index of the interface where it arrived, as in its segment's row.
#[btf_map]
pub static REDIRECTS: Array<u32, { cache::key::INTERFACES as usize }> = Array::new();
/// Whether there is anything for the sweep of each CPU.
#[btf_map]
pub static SWEEP: PerCpuArray<Sweep, 1> = PerCpuArray::new();
const MAPPABLE: usize = aya_ebpf::bindings::BPF_F_MMAPABLE as usize;

/// What became of packets that may leave directly.
#[btf_map]
pub static FORWARDS: PerCpuArray<u64, { fate::LEN as usize }> = PerCpuArray::new();
/// Counts what the agent hears of routes and neighbours. This and what is remembered of them is a program's own, and goes with it.
#[btf_map]
pub static ROUTES: Array<u64, 1> = Array::new();
/// The ways that packets take: the sets of the first CPU, then those of the next.
#[btf_map]
pub static HOPS: Array<[Hop; forward::WAYS], 1, MAPPABLE> = Array::new();
/// The tick at which the kernel last sent a neighbour something.
#[btf_map]
pub static NEIGHBOURS: LruHashMap<Neighbour, u32, { forward::MAX_NEIGHBOURS as usize }> = LruHashMap::new();

/// Adds one to an entry of the tally.
#[inline(always)]
pub fn add_to_tally(index: u32) {
    if let Some(count) = TALLY.get_ptr_mut(index) {
        // SAFETY: this CPU's own element; XDP is not preempted by XDP on one CPU. A test run may be, before Linux 6.6: there the
        // agent makes none but that of the sweep, which adds in one instruction.
        unsafe { *count += 1 };
    }
}

/// The names of the two ends whose permission is looked up: five of either.
#[btf_map]
pub static QUERY: PerCpuArray<[u32; 10], 1> = PerCpuArray::new();

/// Where a new flow is written before it is remembered.
#[btf_map]
pub static NEW_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

/// Where an entry of the verdict cache is looked at while it is emptied: room for a packet, and for the sweep.
#[btf_map]
static EMPTIED: PerCpuArray<[u64; EMPTIED_WORDS], 2> = PerCpuArray::new();
const EMPTIED_WORDS: usize = 40;
const _: () = assert!(size_of::<Emptied>() <= EMPTIED_WORDS * 8 && align_of::<Emptied>() <= 8);

/// This CPU's room for an entry that is emptied: 0 is that of packets, 1 that of the sweep.
#[inline(always)]
pub fn emptied<'a>(room: u32) -> Option<&'a mut Emptied> {
    let words = EMPTIED.get_ptr_mut(room)?;
    // SAFETY: size and alignment are asserted above, and every bit pattern is a value: it has integers only. `empty` writes it and
    // calls `credit`, which borrows it anew; it does not use its own borrow after that.
    Some(unsafe { &mut *words.cast::<Emptied>() })
}

/// Slot, edition and generation, read at once: they belong together, and no packet sees half a change.
#[inline(always)]
pub fn active() -> u64 {
    // SAFETY: the pointer is to the array's element 0.
    ACTIVE.get_ptr(0).map_or(0, |word| unsafe { word.read_volatile() })
}

/// Where a packet is kept while it is judged: the stack of a program is 512 bytes.
#[btf_map]
static SCRATCH: PerCpuArray<[u64; SCRATCH_WORDS], 1> = PerCpuArray::new();
const SCRATCH_WORDS: usize = 96;
const _: () = assert!(size_of::<Scratch>() <= SCRATCH_WORDS * 8 && align_of::<Scratch>() <= 8);

/// What one packet needs room for. Filled from the first field to the last; what a step reads was written by one before
/// it.
pub struct Scratch {
    pub sight: Sight,
    pub context: Context,
    pub packet: Packet,
    pub ends: Ends,
    pub judgement: Judgement,
    pub decision: Decision,
    pub key: ViolationKey,
    pub others: ViolationKey,
}

/// Lends this CPU's scratch to `f`, which must not lend it again.
#[inline(always)]
pub fn with_scratch<T>(f: impl FnOnce(&mut Scratch) -> T) -> Option<T> {
    scratch().map(f)
}

/// This CPU's scratch, for a step that borrows it once: the compiler need not inline what is no closure.
#[inline(always)]
pub fn scratch<'a>() -> Option<&'a mut Scratch> {
    let words = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: size and alignment are asserted above. This CPU runs one program at a time, and no two of these
    // borrows overlap: each step borrows for itself. No field is read before it was written for this packet; until then
    // its bytes are those of an earlier packet, or zero, and nobody looks at them.
    // JUSTIFICATION: a map value of raw words keeps Rust's enums out of the map's type information.
    Some(unsafe { &mut *words.cast::<Scratch>() })
}
