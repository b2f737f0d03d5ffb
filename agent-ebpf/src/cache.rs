//! The verdict cache in the kernel: before a packet is parsed it is looked for among those that were decided of late.
//!
//! Nothing is locked: an entry belongs to one CPU. On it packets follow each other; only the sweep, which the agent runs, can
//! be interrupted by a packet (before Linux 6.6). So the sweep takes an entry before it empties it, and adds to counters in
//! one instruction.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_redirect},
};
use bulkhead_common::{
    cache::{
        self, Entry4, Entry6, Holds, PACKETS, Remembered, TAKEN, WAYS, flag,
        key::{self, Carries, Frame, Seeds, Told},
    },
    decide::{Action, Verdict},
    flow,
    layout::{InterfaceCounters, Repeats, Sweep, Traffic, ViolationKey, is_answered, tally},
    lookup::NOWHERE,
    reason::CODES,
    wire::{ethertype, tcp},
};

use crate::{
    atomic, emit,
    maps::{
        self, CACHE_V4, CACHE_V6, DEVICE_COUNTS, FLOWS, PORT_COUNTS, REDIRECTS, RULE_COUNTS, STAMPS, SWEEP,
        Scratch, TALLY,
    },
    packet::Packet,
    tables::{self, Tables},
};

// Set when the object is loaded; the verifier knows their values.
/// Sets of each family that a CPU has: a power of two, or 0.
#[unsafe(no_mangle)]
static CACHE_SETS_V4: u32 = 0;
#[unsafe(no_mangle)]
static CACHE_SETS_V6: u32 = 0;
/// Secrets of the hash.
#[unsafe(no_mangle)]
static CACHE_SEED_0: u64 = 0;
#[unsafe(no_mangle)]
static CACHE_SEED_1: u64 = 0;
/// Nanoseconds of a tick of the kernel's clock.
#[unsafe(no_mangle)]
static TICK: u32 = 0;

macro_rules! loaded {
    ($name:ident) => {
        // SAFETY: reads a static; the compiler must not know its value.
        unsafe { (&raw const $name).read_volatile() }
    };
}

#[inline(always)]
fn seeds() -> Seeds {
    [loaded!(CACHE_SEED_0), loaded!(CACHE_SEED_1)]
}

#[inline(always)]
fn ticks() -> u32 {
    // SAFETY: the helper reads a counter.
    unsafe { bpf_jiffies64() as u32 }
}

/// What was seen of a packet that is not in the cache, for whoever decides and remembers it.
#[derive(Clone, Copy)]
pub struct Sight {
    /// What was in force when it came.
    pub active: u64,
    /// Its key, with the edition.
    pub words: [u64; 8],
    /// Index of its set.
    pub set: u32,
    /// The stamps of its flow and of all leases, before it was decided.
    pub stamps: [u32; 2],
    /// 4 or 6; 0 when it has no key.
    pub family: u32,
    /// 1 when it is a denied packet of a kind that was denied before.
    pub repeated: u32,
}

/// The action for a packet that is in the cache, counted; [`MISSED`] for any other. Then the scratch says what was seen of it.
#[inline(always)]
pub fn look(packet: &Packet, interface: u64, active: u64) -> u32 {
    if interface < u64::from(key::INTERFACES) {
        match key::carries(packet) {
            Carries::V4 => return of_v4(key::v4(packet, interface), packet, interface, active),
            Carries::V6 => return of_v6(key::v6(packet, interface), packet, interface, active),
            Carries::TaggedV4 => return of_v4(key::tagged_v4(packet, interface), packet, interface, active),
            Carries::TaggedV6 => return of_v6(key::tagged_v6(packet, interface), packet, interface, active),
            Carries::Other => {}
        }
    }
    unseen(active)
}

/// No action: the packet goes the whole way.
pub const MISSED: u32 = u32::MAX;

/// A packet without a key.
#[inline(always)]
fn unseen(active: u64) -> u32 {
    maps::with_scratch(|scratch| {
        (scratch.sight.active, scratch.sight.family) = (active, 0);
    });
    MISSED
}

#[inline(always)]
fn of_v4(key: Option<[u64; 4]>, packet: &Packet, interface: u64, active: u64) -> u32 {
    let Some(mut words) = key else { return unseen(active) };
    let place = key::place(&seeds(), words[2], words[3], words[1] >> 32);
    words[3] |= active << 32;
    let set = index(place.set, loaded!(CACHE_SETS_V4));
    if let Some(entries) = CACHE_V4.get_ptr_mut(set) {
        // SAFETY: this CPU's own set.
        let entries = unsafe { &mut *entries };
        for entry in entries {
            let [a, b, c, d] = entry.key;
            if c == words[2] && d == words[3] && b == words[1] && a == words[0] {
                let now = ticks();
                if holds(&entry.known, place.flow, now) {
                    return count(&mut entry.known, packet, interface, now);
                }
                break;
            }
        }
    } else {
        return unseen(active);
    }
    let [a, b, c, d] = words;
    missed([a, b, c, d, 0, 0, 0, 0], active, set, place.flow, 4)
}

#[inline(always)]
fn of_v6(key: Option<[u64; 8]>, packet: &Packet, interface: u64, active: u64) -> u32 {
    let Some(mut words) = key else { return unseen(active) };
    let seeds = seeds();
    let source = key::digest(&seeds, words[2], words[3]);
    let destination = key::digest(&seeds, words[4], words[5]);
    let place = key::place(&seeds, source | destination << 32, words[6], words[1] >> 32);
    words[6] |= active << 32;
    let set = index(place.set, loaded!(CACHE_SETS_V6));
    if let Some(entries) = CACHE_V6.get_ptr_mut(set) {
        // SAFETY: this CPU's own set.
        let entries = unsafe { &mut *entries };
        for entry in entries {
            if entry.key[6] == words[6]
                && entry.key[3] == words[3]
                && entry.key[5] == words[5]
                && entry.key[2] == words[2]
                && entry.key[4] == words[4]
                && entry.key[1] == words[1]
                && entry.key[0] == words[0]
            {
                let now = ticks();
                if holds(&entry.known, place.flow, now) {
                    return count(&mut entry.known, packet, interface, now);
                }
                break;
            }
        }
    } else {
        return unseen(active);
    }
    missed(words, active, set, place.flow, 6)
}

/// The index of a set among those of all CPUs; none of them where a CPU has none.
#[inline(always)]
fn index(place: u32, sets: u32) -> u32 {
    // SAFETY: the helper reads a number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if sets == 0 { u32::MAX } else { cpu * sets + (place & (sets - 1)) }
}

#[inline(always)]
fn holds(known: &Remembered, flow: u32, now: u32) -> bool {
    let mut stamp = 0;
    if known.flags & flag::FLOW != 0 {
        stamp = stamp_of(flow);
    }
    if known.flags & flag::LEASED != 0 {
        stamp += stamp_of(cache::LEASES);
    }
    known.holds_at(now) && stamp as u16 == known.stamp
}

#[inline(always)]
fn stamp_of(index: u32) -> u32 {
    // SAFETY: the pointer is to an element of the array.
    STAMPS.get_ptr(index).map_or(0, |stamp| unsafe { stamp.read_volatile() }) as u32
}

#[inline(always)]
fn count(known: &mut Remembered, packet: &Packet, interface: u64, now: u32) -> u32 {
    known.counts += 1 << PACKETS | packet.length();
    known.last = now as u16;
    if known.flags & (flag::DROPPED | flag::REDIRECTED) == 0 {
        return xdp_action::XDP_PASS;
    }
    if known.flags & flag::DROPPED != 0 {
        return xdp_action::XDP_DROP;
    }
    match REDIRECTS.get(interface as u32) {
        // SAFETY: the helper notes where the frame goes; what cannot be sent there is dropped by the kernel.
        Some(redirect) if *redirect != 0 => unsafe { bpf_redirect(*redirect, 0) as u32 },
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn missed(words: [u64; 8], active: u64, set: u32, flow: u32, family: u32) -> u32 {
    let stamps = [stamp_of(flow), stamp_of(cache::LEASES)];
    maps::with_scratch(|scratch| {
        scratch.sight = Sight { active, words, set, stamps, family, repeated: 0 };
    });
    MISSED
}

/// Empties what is left in the cache of the packet in the scratch, so that its flow is as alive as it is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn refresh() -> u32 {
    let Some(Scratch { sight, .. }) = maps::scratch() else { return 0 };
    let Sight { words, set, family, .. } = sight;
    let mut way = 0;
    while way < WAYS as u32 {
        let same = match *family {
            4 => CACHE_V4.get_ptr_mut(*set).is_some_and(|entries| {
                // SAFETY: this CPU's own set.
                let [a, b, c, d] = unsafe { (*entries)[way as usize & (WAYS - 1)].key };
                a == words[0] && b == words[1] && c == words[2] && d as u32 == words[3] as u32
            }),
            6 => CACHE_V6.get_ptr_mut(*set).is_some_and(|entries| {
                // SAFETY: as above.
                let key = unsafe { &(*entries)[way as usize & (WAYS - 1)].key };
                key[0] == words[0]
                    && key[1] == words[1]
                    && key[2] == words[2]
                    && key[3] == words[3]
                    && key[4] == words[4]
                    && key[5] == words[5]
                    && key[6] as u32 == words[6] as u32
            }),
            _ => false,
        };
        if same {
            return empty(u64::from(*set) | u64::from(way) << 32 | u64::from(*family) << 40);
        }
        way += 1;
    }
    0
}

/// What is told of an entry that is emptied.
pub struct Emptied {
    told: Told,
    known: Remembered,
    key: ViolationKey,
    others: ViolationKey,
}

/// Which room for an entry that is emptied is the sweep's, which a packet may interrupt; that of packets is 0.
const OF_SWEEP: u32 = 1;

/// Adds what an entry has counted to the exact counters. An entry that the sweep looks at and that still holds stays. The
/// place is its set, its way from bit 32 on, its family from bit 40 on, and whose room it takes from bit 48 on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn empty(place: u64) -> u32 {
    let (set, way, family) = (place as u32, (place >> 32) as usize & (WAYS - 1), place >> 40 & 0xff);
    let room = (place >> 48) as u32 & 1;
    let Some(emptied) = maps::emptied(room) else { return 0 };
    let (edition, before, known) = if family == 4 {
        let Some(entries) = CACHE_V4.get_ptr_mut(set) else { return 0 };
        // SAFETY: this CPU's own entry.
        let entry = unsafe { &raw mut (*entries)[way] };
        // SAFETY: as above.
        let edition = unsafe { (&raw mut (*entry).key[3]).cast::<u32>().add(1) };
        let Some(before) = take(edition) else { return 0 };
        // SAFETY: as above; read after it was taken.
        emptied.told = Told::of_v4(unsafe { &(*entry).key });
        (edition, before, unsafe { &raw mut (*entry).known })
    } else {
        let Some(entries) = CACHE_V6.get_ptr_mut(set) else { return 0 };
        // SAFETY: as above.
        let entry = unsafe { &raw mut (*entries)[way] };
        // SAFETY: as above.
        let edition = unsafe { (&raw mut (*entry).key[6]).cast::<u32>().add(1) };
        let Some(before) = take(edition) else { return 0 };
        // SAFETY: as above.
        emptied.told = Told::of_v6(unsafe { &(*entry).key });
        (edition, before, unsafe { &raw mut (*entry).known })
    };
    // SAFETY: an element of a map, taken.
    unsafe {
        emptied.known = *known;
        let stays = room == OF_SWEEP && emptied.known.holds_at(ticks());
        credit(family as u32 | room << 8);
        (*known).counts = 0;
        atomic::put(edition, if stays { before } else { 0 });
    }
    1
}

/// Takes an entry, in one store: a packet that interrupts the sweep finds it before, or not at all. `None` when there is none.
#[inline(always)]
fn take(edition: *mut u32) -> Option<u32> {
    // SAFETY: the word of an element of a map. A packet that comes between the two may put another entry there, of this
    // edition: then that one is taken.
    unsafe {
        let before = edition.read_volatile();
        if before == 0 || before == TAKEN {
            return None;
        }
        atomic::put(edition, TAKEN);
        Some(before)
    }
}

/// Adds the packets of an emptied entry to every counter that they would have been in. `of` is its family, and whose room it
/// is in from bit 8 on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn credit(of: u32) -> u32 {
    let Some(Emptied { told, known, key, others }) = maps::emptied(of >> 8 & 1) else { return 0 };
    let (packets, bytes) = (known.counts >> PACKETS, known.counts & ((1 << PACKETS) - 1));
    if packets == 0 {
        return 0;
    }
    let denied = known.flags & flag::DENIED != 0;
    let dropped = known.flags & flag::DROPPED != 0;
    // Ticks since its last packet, as time.
    let now = tables::now();
    let last = now - u64::from(ticks().wrapping_sub(known.last_tick())) * u64::from(loaded!(TICK));
    if let Some(counters) = PORT_COUNTS.get_ptr_mut(tables::interface(told.interface).counter) {
        let counters: *mut InterfaceCounters = counters;
        // SAFETY: fields of an element of a map, here and below.
        unsafe {
            add_traffic(&raw mut (*counters).seen, packets, bytes);
            if dropped {
                add_traffic(&raw mut (*counters).dropped, packets, bytes);
            } else {
                add_traffic(&raw mut (*counters).passed, packets, bytes);
                if denied {
                    add_traffic(&raw mut (*counters).would_drop, packets, bytes);
                }
            }
        }
    }
    if let Some(counts) = DEVICE_COUNTS.get_ptr_mut(known.device) {
        let code = usize::from(known.code) & (CODES as usize - 1);
        // SAFETY: as above, and `code` is below its length.
        add(unsafe { &raw mut (*counts)[code] }, packets);
    }
    if !denied {
        if known.rule != 0
            && let Some(traffic) = RULE_COUNTS.get_ptr_mut(known.rule)
        {
            add_traffic(traffic, packets, bytes);
        }
        if known.flags & flag::FLOW != 0 {
            let (flow, side) = flow::key(
                told.source,
                told.destination,
                told.source_port,
                told.destination_port,
                told.protocol(),
                0,
            );
            if let Some(flow) = FLOWS.get_ptr_mut(&flow) {
                let side = usize::from(side & 1);
                // SAFETY: as above.
                unsafe {
                    add(&raw mut (*flow).packets[side], packets);
                    add(&raw mut (*flow).bytes[side], bytes);
                    if (*flow).seen < last {
                        (*flow).seen = last;
                    }
                }
            }
        }
        return 1;
    }
    if let Some(violations) = TALLY.get_ptr_mut(tally::VIOLATIONS) {
        add(violations, packets);
    }
    let family = of & 0xff;
    let opens = told.control & (tcp::SYN | tcp::ACK) == tcp::SYN;
    let answer = !opens && is_answered(told.source_port, told.destination_port);
    // The generation in force when it was remembered: no more than half of all numbers ago.
    let word = maps::active();
    let generation = (word >> 32) as u32;
    let generation = generation.wrapping_sub(u32::from((generation as u16).wrapping_sub(known.generation)));
    *key = ViolationKey {
        device: known.device,
        source_device: known.rule,
        destination_device: known.destination,
        source: told.source,
        destination: told.destination,
        ifindex: told.interface,
        source_mac: bulkhead_common::wire::mac::octets(told.source_mac),
        destination_mac: bulkhead_common::wire::mac::octets(told.destination_mac),
        vlan: told.vlan,
        inner_vlan: 0,
        ethertype: if family == 4 { ethertype::IPV4 } else { ethertype::IPV6 },
        port: if answer { told.source_port } else { told.destination_port },
        protocol: told.protocol(),
        reason: known.code,
        dropped: u8::from(dropped),
        mode: known.flags >> flag::MODE,
        generation,
        answer: u8::from(answer),
        others: 0,
        pad: [0; 2],
    };
    *others = key.without_ends();
    emit::again(key, others, &Repeats { packets, bytes, first: last, last });
    1
}

/// Adds in one instruction: what a packet adds meanwhile is not lost, on this CPU nor, of a flow, on another.
#[inline(always)]
fn add(counter: *mut u64, more: u64) {
    // SAFETY: callers pass counters in maps, which are aligned and live as long as the program.
    unsafe { atomic::add(counter, more) };
}

#[inline(always)]
fn add_traffic(traffic: *mut Traffic, packets: u64, bytes: u64) {
    // SAFETY: fields of an element of a map.
    unsafe {
        add(&raw mut (*traffic).packets, packets);
        add(&raw mut (*traffic).bytes, bytes);
    }
}

/// Remembers the verdict of the packet in the scratch, if it holds for others and has a key; and makes those be judged anew
/// that it changes something for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep() -> u32 {
    let Some(Scratch { sight, context, packet, judgement, decision, .. }) = maps::scratch() else { return 0 };
    let Some(tables) = Tables::of(context) else { return 0 };
    let allowed = matches!(decision.verdict, Verdict::Allow(_));
    if allowed && cache::changes_a_flow(packet) {
        stamp(key::flow(&seeds(), packet));
    }
    if sight.family == 0 || (!allowed && sight.repeated == 0) || context.interface.redirect == NOWHERE {
        return 0;
    }
    let Some(Holds { life, mut flags }) = cache::holds(packet, judgement, decision, &tables) else {
        return 0;
    };
    let now = ticks();
    let life = (life / u64::from(loaded!(TICK).max(1))) as u32;
    if life == 0 {
        return 0;
    }
    if matches!(decision.action, Action::Drop) {
        flags |= flag::DROPPED;
    }
    if context.interface.redirect != 0 {
        flags |= flag::REDIRECTED;
    }
    let mut stamp = 0;
    if flags & flag::FLOW != 0 {
        stamp = sight.stamps[0];
    }
    if flags & flag::LEASED != 0 {
        stamp += sight.stamps[1];
    }
    let (code, rule, destination) = match decision.verdict {
        Verdict::Allow(grant) => (grant.code(), decision.rule, 0),
        Verdict::Deny(reason) => (reason.code(), decision.source, decision.destination),
    };
    let known = Remembered {
        counts: 0,
        until: now.wrapping_add(life),
        last: now as u16,
        stamp: stamp as u16,
        device: decision.device,
        rule,
        destination,
        generation: tables.generation() as u16,
        code,
        flags,
    };
    let Some(way) = room(sight, now, allowed) else { return 0 };
    empty(u64::from(sight.set) | (way as u64) << 32 | u64::from(sight.family) << 40);
    if let Some(sweep) = SWEEP.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; the sweep never writes this field.
        unsafe { (*sweep).made = (*sweep).made.wrapping_add(1) };
    }
    let [a, b, c, d, ..] = sight.words;
    if sight.family == 4 {
        let Some(entries) = CACHE_V4.get_ptr_mut(sight.set) else { return 0 };
        // SAFETY: this CPU's own entry.
        unsafe { (*entries)[way & (WAYS - 1)] = Entry4 { key: [a, b, c, d], known } };
    } else {
        let Some(entries) = CACHE_V6.get_ptr_mut(sight.set) else { return 0 };
        // SAFETY: as above.
        unsafe { (*entries)[way & (WAYS - 1)] = Entry6 { key: sight.words, known, pad: [0; 4] } };
    }
    1
}

/// The way of a set where another entry may go: a free one, one that holds no longer, one of a denial, or, for what is
/// allowed, any. So nothing that is denied takes the place of what is allowed. An entry that the sweep has taken is none.
#[inline(always)]
fn room(sight: &Sight, now: u32, allowed: bool) -> Option<usize> {
    let edition = sight.active as u32;
    let mut denied = None;
    let mut any = None;
    let mut way = 0;
    while way < WAYS {
        let (word, until, flags) = if sight.family == 4 {
            let entries = CACHE_V4.get_ptr(sight.set)?;
            // SAFETY: this CPU's own set.
            let Entry4 { key, known } = unsafe { &(*entries)[way] };
            (key[3], known.until, known.flags)
        } else {
            let entries = CACHE_V6.get_ptr(sight.set)?;
            // SAFETY: as above.
            let Entry6 { key, known, pad: _ } = unsafe { &(*entries)[way] };
            (key[6], known.until, known.flags)
        };
        let of = (word >> 32) as u32;
        if of != TAKEN {
            if of != edition || !cache::holds_at(until, now) {
                return Some(way);
            }
            if flags & flag::DENIED != 0 {
                denied = Some(way);
            }
            // Another one each time.
            if any.is_none() || (now as usize ^ sight.words[2] as usize) & (WAYS - 1) == way {
                any = Some(way);
            }
        }
        way += 1;
    }
    if denied.is_some() || !allowed { denied } else { any }
}

/// Makes whoever remembers a verdict with this stamp judge anew.
#[inline(always)]
fn stamp(index: u32) {
    if let Some(stamp) = STAMPS.get_ptr_mut(index) {
        // SAFETY: an element of a map, aligned.
        unsafe { atomic::add(stamp, 1) };
    }
}

/// An address goes to somebody else.
#[inline(always)]
pub fn stamp_leases() {
    stamp(cache::LEASES);
}

/// Adds what the sets of this CPU from `begin` on have counted to the exact counters.
#[inline(always)]
pub fn sweep(begin: u32) {
    let Some(sweep) = SWEEP.get_ptr_mut(0) else { return };
    // SAFETY: this CPU's own element; of the first field, which packets write, only the value is taken.
    let sweep = unsafe { &mut *sweep };
    let (v4, v6) = (loaded!(CACHE_SETS_V4), loaded!(CACHE_SETS_V6));
    if begin == 0 {
        (sweep.begun, sweep.stays) = (sweep.made, 0);
    }
    let (mut n, mut stays) = (0, 0);
    while n < Sweep::STRIDE {
        stays |= sweep_sets(begin.wrapping_add(n));
        n += 1;
    }
    sweep.stays |= stays;
    // What was made since it began is for the next one.
    if begin.wrapping_add(Sweep::STRIDE) >= v4.max(v6) && sweep.stays == 0 {
        sweep.gone = sweep.begun;
    }
}

/// Sweeps the sets of both families with this number: 1 when an entry stays there. A global function: the verifier follows the loop
/// that calls it, and not what it does each time.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sweep_sets(number: u32) -> u32 {
    let (v4, v6) = (loaded!(CACHE_SETS_V4), loaded!(CACHE_SETS_V6));
    let mut stays = false;
    if number < v4 {
        stays |= sweep_set(index(number, v4), 4);
    }
    if number < v6 {
        stays |= sweep_set(index(number, v6), 6);
    }
    u32::from(stays)
}

/// Whether an entry stays in a set.
#[inline(always)]
fn sweep_set(set: u32, family: u64) -> bool {
    let (mut way, mut stay) = (0, false);
    while way < WAYS {
        let (counts, edition, until) = if family == 4 {
            let Some(entries) = CACHE_V4.get_ptr(set) else { return false };
            // SAFETY: this CPU's own set; what it says is looked at again once the entry is taken.
            let Entry4 { key, known } = unsafe { &(*entries)[way] };
            (known.counts, key[3] >> 32, known.until)
        } else {
            let Some(entries) = CACHE_V6.get_ptr(set) else { return false };
            // SAFETY: as above.
            let Entry6 { key, known, pad: _ } = unsafe { &(*entries)[way] };
            (known.counts, key[6] >> 32, known.until)
        };
        let is_over = !cache::holds_at(until, ticks());
        if edition != 0 && (counts != 0 || is_over) {
            empty(u64::from(set) | (way as u64) << 32 | family << 40 | u64::from(OF_SWEEP) << 48);
        }
        stay |= edition != 0 && !is_over;
        way += 1;
    }
    stay
}
