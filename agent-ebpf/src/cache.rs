//! The verdict cache in the kernel: before a packet is parsed it is looked for among those that were decided of late.
//!
//! Nothing is locked: an entry belongs to one CPU, on which packets follow each other. What they count is in [`crate::sweep`].

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_get_smp_processor_id, bpf_jiffies64, bpf_redirect},
};
use bulkhead_common::{
    address::Address,
    cache::{
        self, Entry4, Entry6, Holds, PACKETS, Remembered, TAKEN, broad, flag,
        key::{self, Carries, Frame, Place, Seeds},
    },
    decide::{Action, Verdict},
    layout::Active,
    lookup::{Endpoint, NOWHERE, Rules, is_direct, shape},
};

use crate::{
    atomic, emit,
    maps::{self, CACHE_V4, CACHE_V6, FLAT, HEADS, LEASES, REDIRECTS, STAMPS, SWEEP, Scratch},
    packet::Packet,
    sweep,
    tables::{self, Tables},
    ways::{self, WAYS},
};

// Set when the object is loaded; the verifier knows their values.
/// Sets of each family that a CPU has: a power of two, or 0.
#[unsafe(no_mangle)]
pub static CACHE_SETS_V4: u32 = 0;
#[unsafe(no_mangle)]
pub static CACHE_SETS_V6: u32 = 0;
/// Secrets of the hash.
#[unsafe(no_mangle)]
static CACHE_SEED_0: u64 = 0;
#[unsafe(no_mangle)]
static CACHE_SEED_1: u64 = 0;
/// Nanoseconds of a tick of the kernel's clock.
#[unsafe(no_mangle)]
pub static TICK: u32 = 0;

/// The value of one of them.
macro_rules! loaded {
    ($name:ident) => {
        // SAFETY: reads a static; the compiler must not know its value.
        unsafe { (&raw const $name).read_volatile() }
    };
}
pub(crate) use loaded;

/// Nanoseconds in ticks of the kernel's clock.
#[inline(always)]
pub fn in_ticks(time: u64) -> u32 {
    (time / u64::from(loaded!(TICK).max(1))) as u32
}

#[inline(always)]
pub fn seeds() -> Seeds {
    [loaded!(CACHE_SEED_0), loaded!(CACHE_SEED_1)]
}

/// The kernel's clock, the lower half.
#[inline(always)]
pub fn ticks() -> u32 {
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
    /// The place that says which way of it is looked at first.
    pub place: u32,
    /// The stamps of its flow and of all leases, before it was decided.
    pub stamps: [u32; 2],
    /// 4 or 6; 0 when it has no key.
    pub family: u32,
    /// How a denied packet was told of: one of [`Counted`].
    pub counted: u32,
    /// The table of repeats that was full, of one that was counted with others.
    pub table: u32,
}

/// Where a denied packet was counted.
pub struct Counted;

impl Counted {
    /// By itself, or not at all.
    pub const ALONE: u32 = 0;
    /// With others of its kind.
    pub const AGAIN: u32 = 1;
    /// With those that are too many to tell apart, or as lost.
    pub const WITH_OTHERS: u32 = 2;
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
/// No action: the packet passes, and may leave directly. Every action is below it.
pub const FORWARDED: u32 = u32::MAX - 1;

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
        for n in 0..WAYS {
            // SAFETY: this CPU's own set.
            let entry = unsafe { &mut *ways::of(entries, ways::first(place.set) + n) };
            if is_key(&entry.key, &words, [2, 3, 1, 0]) {
                let now = ticks();
                if holds(&entry.known, stamp_by(words[1], place.flow), now) {
                    return count(&mut entry.known, packet.length(), interface, now);
                }
                break;
            }
        }
    } else {
        return unseen(active);
    }
    if let Some(action) = with_others(&words, packet.length(), interface, active) {
        return action;
    }
    let [a, b, c, d] = words;
    missed([a, b, c, d, 0, 0, 0, 0], active, set, place, 4)
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
        for n in 0..WAYS {
            // SAFETY: this CPU's own set.
            let entry = unsafe { &mut *ways::of(entries, ways::first(place.set) + n) };
            if is_key(&entry.key, &words, [6, 3, 5, 2, 4, 1, 0]) {
                let now = ticks();
                if holds(&entry.known, stamp_by(words[1], place.flow), now) {
                    return count(&mut entry.known, packet.length(), interface, now);
                }
                break;
            }
        }
    } else {
        return unseen(active);
    }
    missed(words, active, set, place, 6)
}

/// Whether an entry's key has these words, compared in this order: what differs between most packets comes first, so that the processor
/// foresees how it ends.
#[inline(always)]
fn is_key<const N: usize, const M: usize>(key: &[u64; N], words: &[u64; N], order: [usize; M]) -> bool {
    // SAFETY: words of an array.
    order.into_iter().all(|at| unsafe { (&raw const key[at]).read_volatile() } == words[at])
}

/// The index of a set among those of all CPUs; none of them where a CPU has none.
#[inline(always)]
pub fn index(place: u32, sets: u32) -> u32 {
    // SAFETY: the helper reads a number.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if sets == 0 { u32::MAX } else { cpu * sets + (place & (sets - 1)) }
}

#[inline(always)]
fn holds(known: &Remembered, flow: Option<u32>, now: u32) -> bool {
    let mut stamp = 0;
    if let Some(flow) = flow
        && known.flags & flag::FLOW != 0
    {
        stamp = stamp_of(flow);
    }
    if known.flags & flag::LEASED != 0 {
        stamp += stamp_of(cache::LEASES);
    }
    known.holds_at(now) && stamp as u16 == known.stamp
}

/// The stamp of a flow that has a state, by the second word of its key.
#[inline(always)]
fn stamp_by(word: u64, flow: u32) -> Option<u32> {
    if key::has_state(word) { Some(flow) } else { None }
}

#[inline(always)]
fn stamp_of(index: u32) -> u32 {
    // SAFETY: the pointer is to an element of the array.
    STAMPS.get_ptr(index).map_or(0, |stamp| unsafe { stamp.read_volatile() }) as u32
}

#[inline(always)]
fn count(known: &mut Remembered, len: u64, interface: u64, now: u32) -> u32 {
    known.counts += 1 << PACKETS | len;
    known.last = now as u16;
    if known.flags & (flag::DROPPED | flag::REDIRECTED) == 0 {
        return xdp_action::XDP_PASS;
    }
    if known.flags & flag::DROPPED != 0 {
        return xdp_action::XDP_DROP;
    }
    match REDIRECTS.get(interface as u32) {
        Some(redirect) if is_direct(*redirect) => FORWARDED,
        // SAFETY: the helper notes where the frame goes; what cannot be sent there is dropped by the kernel.
        Some(redirect) if *redirect != 0 => unsafe { bpf_redirect(*redirect, 0) as u32 },
        _ => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn missed(words: [u64; 8], active: u64, set: u32, place: Place, family: u32) -> u32 {
    let stamps = [stamp_of(place.flow), stamp_of(cache::LEASES)];
    let place = place.set;
    maps::with_scratch(|scratch| {
        scratch.sight =
            Sight { active, words, set, place, stamps, family, counted: Counted::ALONE, table: 0 };
    });
    MISSED
}

/// The action for a packet that is denied with whole networks, counted, unless there is room to tell of it by itself.
#[inline(always)]
fn with_others(words: &[u64; 4], len: u64, interface: u64, active: u64) -> Option<u32> {
    let ([a, b, c, d], place) = broad_key(words, active, emit::overflow()?, |_, _| true)?;
    let set = index(place, loaded!(CACHE_SETS_V4));
    let entries = CACHE_V4.get_ptr_mut(set)?;
    for n in 0..WAYS {
        // SAFETY: this CPU's own set.
        let Entry4 { key, known } = unsafe { &mut *ways::of(entries, ways::first(place) + n) };
        if is_key(key, &[a, b, c, d], [2, 3, 1, 0]) {
            let now = ticks();
            // One that a lease has ended may lie before another.
            if holds(known, None, now) {
                return if emit::half_of_the_ring_is_free() {
                    None
                } else {
                    Some(count(known, len, interface, now))
                };
            }
        }
    }
    None
}

/// The key under which the denial of a packet holds for whole networks, and its place; `is_so` says whether an end was
/// taken for nothing but a part of them.
#[inline(always)]
fn broad_key(
    words: &[u64; 4],
    active: u64,
    table: u32,
    is_so: impl Fn(usize, u32) -> bool,
) -> Option<([u64; 4], u32)> {
    let Active { slot, .. } = Active::from_word(active);
    let pages = FLAT.get(slot)?;
    let has_leases = HEADS.get(slot)?.shapes & shape::LEASED != 0;
    broad::key(&seeds(), words, table, |end, address| {
        let identity = tables::network(pages, address)?;
        // SAFETY: only asked whether it is there.
        let is_leased = has_leases && unsafe { LEASES.get(Address::v4(address)) }.is_some();
        if is_leased || !is_so(end, identity) { None } else { Some(identity) }
    })
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
            return sweep::empty(u64::from(*set) | u64::from(way) << 32 | u64::from(*family) << 40);
        }
        way += 1;
    }
    0
}

/// Remembers the verdict of the packet in the scratch, if it holds for others and has a key; and makes those be judged anew
/// that it changes something for.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn keep() -> u32 {
    let Some(Scratch { sight, context, packet, ends, judgement, decision, .. }) = maps::scratch() else {
        return 0;
    };
    let Some(tables) = Tables::of(context) else { return 0 };
    let allowed = matches!(decision.verdict, Verdict::Allow(_));
    if allowed && cache::changes_a_flow(packet) {
        stamp(key::flow(&seeds(), packet));
    }
    let is_alone = !allowed && sight.counted == Counted::ALONE;
    if sight.family == 0 || is_alone || context.interface.redirect == NOWHERE {
        return 0;
    }
    let Some(Holds { life, mut flags }) = cache::holds(packet, judgement, decision, &tables) else {
        return 0;
    };
    if !allowed && sight.counted == Counted::WITH_OTHERS {
        if sight.family != 4 || !broad::holds(packet, ends, decision) {
            return 0;
        }
        let [a, b, c, d, ..] = sight.words;
        // What was decided counts, not what is known by now.
        let found = broad_key(&[a, b, c, d], sight.active, sight.table, |end, identity| {
            *(if end == 0 { ends.source() } else { ends.destination() }) == Endpoint::network(identity)
        });
        let Some((key, place)) = found else { return 0 };
        sight.words[..4].copy_from_slice(&key);
        (sight.set, sight.place) = (index(place, loaded!(CACHE_SETS_V4)), place);
        flags |= flag::BROAD;
    }
    let now = ticks();
    let life = in_ticks(life);
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
    if flags & flag::FLOW != 0 && key::has_state(sight.words[1]) {
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
        generation: tables.head().generation as u16,
        code,
        flags,
    };
    let Some(way) = room(sight, now, allowed) else { return 0 };
    sweep::empty(u64::from(sight.set) | (way as u64) << 32 | u64::from(sight.family) << 40);
    if let Some(sweep) = SWEEP.get_ptr_mut(0) {
        // SAFETY: this CPU's own element; the sweep never writes this field.
        unsafe { (*sweep).made = (*sweep).made.wrapping_add(1) };
    }
    let [a, b, c, d, ..] = sight.words;
    if sight.family == 4 {
        let Some(entries) = CACHE_V4.get_ptr_mut(sight.set) else { return 0 };
        // SAFETY: this CPU's own entry.
        unsafe { *ways::of(entries, way) = Entry4 { key: [a, b, c, d], known } };
    } else {
        let Some(entries) = CACHE_V6.get_ptr_mut(sight.set) else { return 0 };
        // SAFETY: as above.
        unsafe { *ways::of(entries, way) = Entry6 { key: sight.words, known, pad: [0; 4] } };
    }
    1
}

/// The way of a set where another entry may go: a free one, one that holds no longer, one of a denial, or, for what is
/// allowed, any. So nothing that is denied takes the place of what is allowed. An entry that the sweep has taken is none.
#[inline(always)]
fn room(sight: &Sight, now: u32, allowed: bool) -> Option<usize> {
    let edition = sight.active as u32;
    // No options: of those that are none half is never written, and kernels before 6.3 let nobody read such a place on the stack.
    let (mut denied, mut any) = (WAYS, WAYS);
    let mut n = 0;
    while n < WAYS {
        let way = (n + ways::first(sight.place)) & (WAYS - 1);
        let (word, known) = if sight.family == 4 {
            let entries = CACHE_V4.get_ptr_mut(sight.set)?;
            // SAFETY: this CPU's own set.
            let Entry4 { key, known } = unsafe { &*ways::of(entries, way) };
            (key[3], known)
        } else {
            let entries = CACHE_V6.get_ptr_mut(sight.set)?;
            // SAFETY: as above.
            let Entry6 { key, known, pad: _ } = unsafe { &*ways::of(entries, way) };
            (key[6], known)
        };
        let of = (word >> 32) as u32;
        if of != TAKEN {
            if of != edition || !known.holds_at(now) {
                return Some(way);
            }
            if known.flags & flag::DENIED != 0 {
                denied = way;
            }
            // Another one each time.
            if any == WAYS || (now as usize ^ sight.words[2] as usize) & (WAYS - 1) == way {
                any = way;
            }
        }
        n += 1;
    }
    let way = if denied < WAYS || !allowed { denied } else { any };
    if way < WAYS { Some(way) } else { None }
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
