//! What remembered verdicts have counted comes into the exact counters: of one entry when it is looked at again or makes room, of all
//! of a CPU when the agent asks.
//!
//! The sweep, which the agent runs, can be interrupted by a packet (before Linux 6.6). So it takes an entry before it empties it, and
//! adds to counters in one instruction.

use bulkhead_common::{
    cache::{Entry4, Entry6, PACKETS, Remembered, SILENT, TAKEN, flag, key::Told},
    flow,
    layout::{InterfaceCounters, Repeats, Sweep, Traffic, ViolationKey, is_answered, tally},
    reason::CODES,
    wire::{ethertype, mac, tcp},
};

use crate::{
    atomic,
    cache::{CACHE_SETS_V4, CACHE_SETS_V6, TICK, in_ticks, index, loaded, ticks},
    emit,
    maps::{self, CACHE_V4, CACHE_V6, DEVICE_COUNTS, FLOWS, PORT_COUNTS, RULE_COUNTS, SWEEP, TALLY},
    tables,
    ways::WAYS,
};

/// What is told of an entry that is emptied.
pub struct Emptied {
    told: Told,
    known: Remembered,
    key: ViolationKey,
    others: ViolationKey,
}

/// Which room for an entry that is emptied is the sweep's, which a packet may interrupt; that of packets is 0.
const OF_SWEEP: u32 = 1;

/// Adds what an entry has counted to the exact counters. An entry that the sweep looks at and that still holds stays, unless it met no packet
/// of late or its flow was forgotten. The place is its set, its way from bit 32 on, its family from bit 40 on, and whose room it takes from bit 48 on.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn empty(place: u64) -> u32 {
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
        let is_over = is_over(&emptied.known);
        let is_gone = credit(family as u32 | room << 8) == FLOW_IS_GONE;
        let stays = room == OF_SWEEP && !is_over && !is_gone;
        (*known).counts = 0;
        atomic::put(edition, if stays { before } else { 0 });
    }
    1
}

/// Whether an entry need not be kept: it holds no longer, or nobody asks for it any more.
#[inline(always)]
fn is_over(known: &Remembered) -> bool {
    let now = ticks();
    !known.holds_at(now) || known.is_silent(now, in_ticks(SILENT))
}

/// Takes an entry, in one store: a packet that interrupts the sweep finds it before, or not at all. `None` when there is none.
#[inline(always)]
fn take(edition: *mut u32) -> Option<u32> {
    // SAFETY: the word of an element of a map. A packet that comes between the two may put another entry there: then that one is
    // taken.
    unsafe {
        let before = edition.read_volatile();
        if before == 0 || before == TAKEN {
            return None;
        }
        atomic::put(edition, TAKEN);
        Some(before)
    }
}

/// What [`credit`] says when the table of flows had to forget the entry's.
const FLOW_IS_GONE: u32 = 2;

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
            add(&raw mut (*counters).remembered, packets);
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
            let Some(flow) = FLOWS.get_ptr_mut(&flow) else { return FLOW_IS_GONE };
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
        return 1;
    }
    if let Some(violations) = TALLY.get_ptr_mut(tally::VIOLATIONS) {
        add(violations, packets);
    }
    let family = of & 0xff;
    let opens = told.control & (tcp::SYN | tcp::ACK) == tcp::SYN;
    let answer = !opens && is_answered(told.source_port, told.destination_port);
    // The generation in force when it was remembered: the last one with this lower half.
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
        source_mac: mac::octets(told.source_mac),
        destination_mac: mac::octets(told.destination_mac),
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
    let more = Repeats { packets, bytes, first: last, last };
    if known.flags & flag::BROAD != 0 {
        emit::many(others, &more);
    } else {
        emit::again(key, others, &more);
    }
    1
}

/// Adds in one instruction: what a packet adds on this CPU meanwhile is not lost.
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

/// Adds what the sets of this CPU from `begin` on have counted to the exact counters.
#[inline(always)]
pub fn sweep(begin: u32) {
    let Some(sweep) = SWEEP.get_ptr_mut(0) else { return };
    let (v4, v6) = (loaded!(CACHE_SETS_V4), loaded!(CACHE_SETS_V6));
    if begin == 0 {
        // SAFETY: this CPU's own element, here and below. No reference: packets write the first field.
        unsafe {
            (*sweep).begun = (&raw const (*sweep).made).read_volatile();
            (*sweep).stays = 0;
        }
    }
    let (mut n, mut stays) = (0, 0);
    while n < Sweep::STRIDE {
        stays |= sweep_sets(begin.wrapping_add(n));
        n += 1;
    }
    let is_last = begin.wrapping_add(Sweep::STRIDE) >= v4.max(v6);
    // SAFETY: as above.
    unsafe {
        (*sweep).stays |= stays;
        // What was made since it began is for the next one.
        if is_last && (*sweep).stays == 0 {
            (*sweep).gone = (*sweep).begun;
        }
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
        let (known, edition) = if family == 4 {
            let Some(entries) = CACHE_V4.get_ptr(set) else { return false };
            // SAFETY: this CPU's own set; what it says is looked at again once the entry is taken.
            let Entry4 { key, known } = unsafe { &(*entries)[way] };
            (known, key[3] >> 32)
        } else {
            let Some(entries) = CACHE_V6.get_ptr(set) else { return false };
            // SAFETY: as above.
            let Entry6 { key, known, pad: _ } = unsafe { &(*entries)[way] };
            (known, key[6] >> 32)
        };
        let is_over = is_over(known);
        if edition != 0 && (known.counts != 0 || is_over) {
            empty(u64::from(set) | (way as u64) << 32 | family << 40 | u64::from(OF_SWEEP) << 48);
        }
        stay |= edition != 0 && !is_over;
        way += 1;
    }
    stay
}
