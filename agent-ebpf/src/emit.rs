//! Tells the agent about a denied packet without ever waiting for it.
//!
//! The first packet of a violation since the last drain becomes an event in the ring buffer; the
//! others are counted in a table of repeats. When the ring is full the table takes the first one too;
//! when both are full the packet is counted with the others of its device and reason, in a table of their own.
//! Only when that is full too it is counted as lost. `violations = delivered + aggregated + lost`.
//!
//! Half of the ring is for the first violation of each device and reason since the last drain: whoever floods one device
//! leaves room for what the others have to tell.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA},
    helpers::generated::{bpf_probe_read_kernel, bpf_ringbuf_query},
};
use bulkhead_common::{
    decide::{Action, Verdict},
    layout::{
        ABI, Repeats, SAMPLE_BYTES, SAMPLE_RING_BYTES, SAMPLES_FOR_LEASES, START_BYTES, ViolationKey,
        is_answer, reading, tally,
    },
    wire::mac,
};

use crate::{
    atomic,
    cache::{Counted, loaded},
    maps::{
        EPOCH, EVENTS, HEADS, OTHERS_0, OTHERS_1, REPEATS_0, REPEATS_1, SAMPLES, Scratch, TALLY, add_to_tally,
    },
    packet::Linear,
};

/// Bytes of the ring of events; set when the object is loaded.
#[unsafe(no_mangle)]
static RING_BYTES: u32 = 0;

/// Reports the denied packet in the scratch, whose frame is `frame`.
#[inline(always)]
pub fn violation(frame: &Linear, scratch: &mut Scratch) {
    add_to_tally(tally::VIOLATIONS);
    let Scratch { sight, context, packet, ends: _, judgement: _, decision, key, others } = scratch;
    let Verdict::Deny(reason) = decision.verdict else { return };
    let generation = HEADS.get(context.slot).map_or(0, |head| head.generation);
    let now = context.now;
    let answer = is_answer(packet);
    *key = ViolationKey {
        device: decision.device,
        source_device: decision.source,
        destination_device: decision.destination,
        source: packet.source,
        destination: packet.destination,
        ifindex: context.ifindex,
        source_mac: mac::octets(packet.source_mac),
        destination_mac: mac::octets(packet.destination_mac),
        vlan: packet.vlan,
        inner_vlan: packet.inner_vlan,
        ethertype: packet.ethertype,
        port: if answer { packet.source_port } else { packet.service_port },
        protocol: packet.protocol,
        reason: reason.code(),
        dropped: u8::from(matches!(decision.action, Action::Drop)),
        mode: decision.mode.code(),
        generation,
        answer: u8::from(answer),
        others: 0,
        pad: [0; 2],
    };
    let epoch = epoch();
    let one = Repeats { packets: 1, bytes: u64::from(packet.len), first: now, last: now };
    if repeat(epoch, key, &one) {
        sight.counted = Counted::AGAIN;
        return add_to_tally(tally::AGGREGATED);
    }
    let told = Repeats { packets: 0, bytes: 0, first: 0, last: 0 };
    *others = key.without_ends();
    // Looked for first: an attempt to insert takes the lock of the row, and in a flood all CPUs would take the same one.
    let is_first = !knows_other(epoch, others) && insert_other(epoch, others, &told);
    if (is_first || half_of_the_ring_is_free())
        && let Some(mut entry) = EVENTS.reserve(0)
    {
        let event = entry.as_mut_ptr();
        let kept = frame.len(START_BYTES as u32);
        // SAFETY: the reserved record is ours until it is submitted; each field is written, and `start` is at a multiple
        // of eight bytes.
        unsafe {
            (&raw mut (*event).abi).write(ABI);
            (&raw mut (*event).len).write(packet.len);
            (&raw mut (*event).time).write(now);
            (&raw mut (*event).key).write(*key);
            let other = if answer { packet.destination_port } else { packet.source_port };
            (&raw mut (*event).other_port).write(other);
            (&raw mut (*event).tcp_flags).write(packet.tcp_flags);
            (&raw mut (*event).kept).write(kept as u8);
            (&raw mut (*event).pad).write([0; 4]);
            (&raw mut (*event).start).cast::<[u64; START_BYTES / 8]>().write([0; START_BYTES / 8]);
        }
        // SAFETY: the helper copies from the packet into the record, no more than either holds.
        let _ = unsafe { bpf_probe_read_kernel((&raw mut (*event).start).cast(), kept, frame.start()) };
        entry.submit(0);
        add_to_tally(tally::DELIVERED);
        // A full table means that the next one of its kind is an event again: told twice, never lost.
        let _ = insert(epoch, key, &told);
        return;
    }
    let counted = aggregate(epoch, key, others, &one);
    if counted != Some(true) {
        (sight.counted, sight.table) = (Counted::WITH_OTHERS, epoch);
    }
    add_to_tally(if counted.is_some() { tally::AGGREGATED } else { tally::LOST });
}

/// Reports packets of a kind that was denied before, which are in [`tally::VIOLATIONS`] already.
#[inline(always)]
pub fn again(key: &ViolationKey, others: &ViolationKey, more: &Repeats) {
    let epoch = epoch();
    let known = repeat(epoch, key, more) || aggregate(epoch, key, others, more).is_some();
    add_packets(known, more);
}

/// Reports packets that were not told apart, likewise.
#[inline(always)]
pub fn many(others: &ViolationKey, more: &Repeats) {
    let epoch = epoch();
    // Another CPU may insert it meanwhile.
    let known = other(epoch, others, more) || insert_other(epoch, others, more) || other(epoch, others, more);
    add_packets(known, more);
}

#[inline(always)]
fn add_packets(known: bool, more: &Repeats) {
    let index = if known { tally::AGGREGATED } else { tally::LOST };
    if let Some(count) = TALLY.get_ptr_mut(index) {
        // SAFETY: an element of a map, aligned.
        unsafe { atomic::add(count, more.packets) };
    }
}

/// Counts the tables of repeats; which of the two is filled is the lowest bit. Read once: the agent waits until every packet that
/// saw the old epoch has left before it drains.
#[inline(always)]
fn epoch() -> u32 {
    // SAFETY: the pointer is to an element of the array.
    EPOCH.get_ptr(0).map_or(0, |e| unsafe { e.read_volatile() })
}

/// The epoch, while its table of repeats is full.
#[inline(always)]
pub fn overflow() -> Option<u32> {
    let epoch = epoch();
    if is_full(epoch) { Some(epoch) } else { None }
}

/// Whether the table of repeats of an epoch is full.
#[inline(always)]
fn is_full(epoch: u32) -> bool {
    // SAFETY: as above.
    let next = EPOCH.get_ptr(FULL).map_or(0, |e| unsafe { e.read_volatile() });
    next == epoch.wrapping_add(1)
}

/// Index in `EPOCH` of one more than the last one whose table was full.
const FULL: u32 = 1;

/// What an insert says of a full table (E2BIG).
const NO_ROOM: i32 = -7;

#[inline(always)]
fn fill(epoch: u32) {
    if !is_full(epoch)
        && let Some(full) = EPOCH.get_ptr_mut(FULL)
    {
        // SAFETY: as above. Whoever writes it later writes the same, or, of an epoch that is over, what nobody looks for.
        unsafe { full.write_volatile(epoch.wrapping_add(1)) };
    }
}

/// Puts a violation that is not there into the table of repeats (`true`), or among those that cannot be told apart; `None`
/// when there is no room.
#[inline(always)]
fn aggregate(epoch: u32, key: &ViolationKey, others: &ViolationKey, more: &Repeats) -> Option<bool> {
    // Another CPU may have inserted the same key between the look-up and now.
    let inserted = insert(epoch, key, more);
    if inserted.is_ok() || repeat(epoch, key, more) {
        return Some(true);
    }
    if inserted == Err(NO_ROOM) {
        fill(epoch);
    }
    if other(epoch, others, more) { Some(false) } else { None }
}

/// Whether the ring has room for more than the first violation of each device and reason.
#[inline(always)]
pub fn half_of_the_ring_is_free() -> bool {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the helper reads a counter of the ring.
    let waiting = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    waiting <= u64::from(loaded!(RING_BYTES)) / 2
}

/// Hands the start of a frame to user space. Never waits: without room the sample is counted as lost.
#[inline(always)]
pub fn sample(packet: &Linear, scratch: &Scratch) {
    let Scratch { context, judgement, decision, .. } = scratch;
    // A device may ask its resolver as often as it likes; what servers say of leases finds room nevertheless.
    // SAFETY: the helper reads a counter of the ring.
    let waiting =
        unsafe { bpf_ringbuf_query((&raw const SAMPLES).cast_mut().cast(), u64::from(BPF_RB_AVAIL_DATA)) };
    if judgement.reading == reading::NAMES && waiting > u64::from(SAMPLE_RING_BYTES - SAMPLES_FOR_LEASES) {
        return add_to_tally(tally::SAMPLES_LOST);
    }
    let Some(mut entry) = SAMPLES.reserve(0) else { return add_to_tally(tally::SAMPLES_LOST) };
    let sample = entry.as_mut_ptr();
    // SAFETY: the reserved record is ours until it is submitted; each field is written once.
    unsafe {
        (&raw mut (*sample).abi).write(ABI);
        (&raw mut (*sample).len).write(packet.len(SAMPLE_BYTES as u32));
        (&raw mut (*sample).time).write(context.now);
        (&raw mut (*sample).ifindex).write(context.ifindex);
        (&raw mut (*sample).device).write(decision.destination);
        (&raw mut (*sample).reading).write(judgement.reading);
        (&raw mut (*sample).pad).write(0);
    }
    // SAFETY: the helper copies from the packet into the record, no more than either holds. What is behind the linear
    // start stays unread: no message that is sampled is that long.
    let _ = unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*sample).bytes).cast(),
            packet.len(SAMPLE_BYTES as u32),
            packet.start(),
        )
    };
    entry.submit(0);
}

#[inline(always)]
fn insert(epoch: u32, key: &ViolationKey, value: &Repeats) -> Result<(), i32> {
    let flags = u64::from(BPF_NOEXIST);
    if epoch & 1 == 0 { REPEATS_0.insert(key, value, flags) } else { REPEATS_1.insert(key, value, flags) }
}

#[inline(always)]
fn knows_other(epoch: u32, key: &ViolationKey) -> bool {
    if epoch & 1 == 0 { OTHERS_0.get_ptr(key).is_some() } else { OTHERS_1.get_ptr(key).is_some() }
}

#[inline(always)]
fn insert_other(epoch: u32, key: &ViolationKey, value: &Repeats) -> bool {
    let flags = u64::from(BPF_NOEXIST);
    if epoch & 1 == 0 {
        OTHERS_0.insert(key, value, flags).is_ok()
    } else {
        OTHERS_1.insert(key, value, flags).is_ok()
    }
}

/// Adds packets to a violation that is in the table already.
#[inline(always)]
fn repeat(epoch: u32, key: &ViolationKey, more: &Repeats) -> bool {
    add(if epoch & 1 == 0 { REPEATS_0.get_ptr_mut(key) } else { REPEATS_1.get_ptr_mut(key) }, more)
}

/// Adds packets to those that cannot be told apart.
#[inline(always)]
fn other(epoch: u32, key: &ViolationKey, more: &Repeats) -> bool {
    add(if epoch & 1 == 0 { OTHERS_0.get_ptr_mut(key) } else { OTHERS_1.get_ptr_mut(key) }, more)
}

#[inline(always)]
fn add(found: Option<*mut Repeats>, more: &Repeats) -> bool {
    let Some(repeats) = found else { return false };
    // SAFETY: this CPU's own value; entries are removed by the agent only, and only from the table that
    // no packet fills. What the sweep adds may be interrupted by a packet: each count is one instruction.
    unsafe {
        atomic::add(&raw mut (*repeats).packets, more.packets);
        atomic::add(&raw mut (*repeats).bytes, more.bytes);
        // What was remembered is told later than what came after it.
        if (*repeats).first == 0 || (*repeats).first > more.first {
            (*repeats).first = more.first;
        }
        if (*repeats).last < more.last {
            (*repeats).last = more.last;
        }
    }
    true
}
