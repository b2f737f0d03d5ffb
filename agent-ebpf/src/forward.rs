//! Direct forwarding: an allowed packet of a router leaves by the way that the kernel has told, without the kernel.
//!
//! In: a packet that passes, on an interface that forwards directly. Out: it is sent, one hop older; or it goes to the stack, and is counted
//! under what kept it. Each CPU remembers ways for itself, so that the kernel is asked once a second for each flow.

use aya_ebpf::{
    bindings::{bpf_fib_lookup, xdp_action, xdp_md},
    helpers::generated::{bpf_fib_lookup as fib_lookup, bpf_redirect},
    programs::XdpContext,
};
use bulkhead_common::{
    cache::key::{self, Frame, INTERFACES, Window},
    forward::{Hop, LIFE, Neighbour, Next, Place, Question, decreased, fate, fate_of, question},
    lookup::{DIRECTLY, DIRECTLY_V4},
};

use crate::{
    cache::{TICK, index, loaded, seeds, ticks},
    maps::{FORWARDS, HOPS, NEIGHBOURS, REDIRECTS, ROUTES},
    packet::{Packet, linear},
    ways::{self, WAYS},
};

/// Address families (linux/socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Sets of ways that a CPU has: a power of two, or 0. Set when the object is loaded.
#[unsafe(no_mangle)]
static HOP_SETS: u32 = 0;

/// Sends an allowed packet on, if its way is plain; the action for it.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn forward(ctx: *mut xdp_md, len: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let frame = Packet::new(&ctx, len);
    let (fate, action) = match send(&ctx, &frame, len) {
        Ok(action) => (fate::DIRECT, action),
        Err(fate) => (fate, xdp_action::XDP_PASS),
    };
    if let Some(count) = FORWARDS.get_ptr_mut(fate) {
        // SAFETY: this CPU's own element; XDP is not preempted by XDP on one CPU.
        unsafe { *count += 1 };
    }
    action
}

#[inline(always)]
fn send(ctx: &XdpContext, frame: &Packet, len: u32) -> Result<u32, u32> {
    let interface = ctx.ingress_ifindex() as u32;
    // What goes on behind its linear start only some drivers send.
    if interface >= INTERFACES || linear(ctx).len(len) < len {
        return Err(fate::KIND);
    }
    let question = question(frame, interface)?;
    // Before the kernel is asked: a change that comes meanwhile ends what it said.
    // SAFETY: the pointer is to the array's element 0.
    let edition = ROUTES.get_ptr(0).map_or(0, |edition| unsafe { edition.read_volatile() });
    let now = ticks();
    let place = place(&question);
    let Some(hops) = HOPS.get_ptr_mut(index(place, loaded!(HOP_SETS))) else { return Err(fate::INTERFACE) };
    // SAFETY: this CPU's own set.
    let hops = unsafe { &mut *hops };
    // Each begins at another way, so that mostly the first one looked at is right.
    let first = ways::first(place);
    let (mut place, mut way) = (Place::new(first), 0);
    while way < WAYS {
        let at = ways::below(first + way) & (WAYS - 1);
        let hop = &mut hops[at];
        if hop.is_of(&question) {
            if hop.next.holds(edition, now, question.length) {
                return leave(frame, &question, &hop.next);
            }
            place = Place::new(at);
            break;
        }
        place = place.or(at, &hop.next, edition, now);
        way += 1;
    }
    let mut neighbour = Neighbour::default();
    let mut next = ask(ctx, &question, &mut neighbour);
    if next.fate == fate::SIZE {
        // Smaller ones of its flow may go.
        return Err(fate::SIZE);
    }
    next.edition = edition;
    next.until = now.wrapping_add(life());
    hops[ways::below(place.at) & (WAYS - 1)] =
        Hop { near: question.near, next, far: question.far, pad: [0; 4] };
    if next.fate == fate::DIRECT && is_due(&neighbour, now) {
        return Err(fate::REFRESH);
    }
    leave(frame, &question, &next)
}

/// [`LIFE`] in ticks.
#[inline(always)]
fn life() -> u32 {
    (LIFE / u64::from(loaded!(TICK).max(1))) as u32
}

/// Where a question belongs: the sets are chosen by its lower bits.
#[inline(always)]
fn place(question: &Question) -> u32 {
    let seeds = seeds();
    let [_, ends, ports] = question.near;
    let mut ends = ends;
    if question.is_v6() {
        let source = key::digest(&seeds, question.far[0], question.far[1]);
        ends = source | key::digest(&seeds, question.far[2], ends) << 32;
    }
    key::place(&seeds, ends, ports & 0xffff_ffff, ports >> 32).set
}

/// Whether the neighbour is to be sent something by the kernel now: its entry grows stale there when it is not used, and is not looked
/// after.
#[inline(always)]
fn is_due(neighbour: &Neighbour, now: u32) -> bool {
    // SAFETY: copied at once.
    let last = unsafe { NEIGHBOURS.get(neighbour) }.copied();
    let is_due = last.is_none_or(|last| now.wrapping_sub(last) >= life());
    if is_due {
        // Without room for it the next packet that asks goes through the kernel too.
        let _ = NEIGHBOURS.insert(neighbour, now, 0);
    }
    is_due
}

/// Asks the kernel which way it would take, and whether the way back is the one by which the packet came. Where it is not, the
/// kernel may have something against the source (rp_filter), which only it can say. Writes who the next hop is.
#[inline(always)]
fn ask(ctx: &XdpContext, question: &Question, neighbour: &mut Neighbour) -> Next {
    let interface = (question.near[2] >> 32) as u32 & (INTERFACES - 1);
    let ends = Ends::of(question);
    let mut next = Next::default();
    // SAFETY: integers, and unions of them.
    let mut fib: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    ends.write(&mut fib, interface, question.length as u16);
    next.fate = look(ctx, &mut fib);
    if next.fate != fate::DIRECT {
        return next;
    }
    let [a, b, c, d, e, f] = fib.dmac;
    let [g, h, i, j, k, l] = fib.smac;
    next.first = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    next.second = u32::from_ne_bytes([i, j, k, l]);
    next.to = fib.ifindex;
    // What its way takes; before Linux 5.12 still the packet's own length.
    // SAFETY: both fields of the union are the same.
    next.fits = u32::from(unsafe { fib.__bindgen_anon_1.tot_len });
    // Before Linux 6.3 a neighbour that does not answer is told like one that does. No host has a group's address.
    if next.first & 0xffff_ffff_ffff == 0 || a & 1 != 0 {
        next.fate = fate::NEIGHBOUR;
        return next;
    }
    // The helper has written the gateway's address over the destination, and its family; where there is none they are as they were.
    // SAFETY: all fields of the union are integers.
    let [a, b, c, d] = unsafe { fib.__bindgen_anon_4.ipv6_dst };
    *neighbour = [
        u64::from(next.to) | u64::from(fib.family) << 32,
        u64::from(a) | u64::from(b) << 32,
        u64::from(c) | u64::from(d) << 32,
    ];
    next.fate = if next.to == interface { fate::INTERFACE } else { exit(question, next.to) };
    if next.fate != fate::DIRECT {
        return next;
    }
    ends.turned().write(&mut fib, next.to, 0);
    let back = look(ctx, &mut fib);
    let [a, b, c, d, e, f] = fib.smac;
    let own = u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
    if back == fate::NEIGHBOUR {
        next.fate = fate::NEIGHBOUR;
    } else if back != fate::DIRECT || fib.ifindex != interface || own != question.mac() {
        next.fate = fate::BACK;
    }
    next
}

#[inline(always)]
fn look(ctx: &XdpContext, fib: &mut bpf_fib_lookup) -> u32 {
    // SAFETY: the helper reads and writes the struct, whose size it is told.
    fate_of(unsafe { fib_lookup(ctx.ctx.cast(), fib, size_of::<bpf_fib_lookup>() as i32, 0) } as i64)
}

/// [`fate::DIRECT`] if a packet may leave out of an interface, otherwise why the kernel gets it.
#[inline(always)]
fn exit(question: &Question, interface: u32) -> u32 {
    match REDIRECTS.get(interface) {
        Some(redirect) if *redirect == DIRECTLY => fate::DIRECT,
        Some(redirect) if *redirect == DIRECTLY_V4 && !question.is_v6() => fate::DIRECT,
        Some(redirect) if *redirect == DIRECTLY_V4 => fate::ROUTE,
        _ => fate::INTERFACE,
    }
}

/// Both ends of a packet in network order, and what besides them the kernel looks at.
struct Ends {
    source: [u32; 4],
    destination: [u32; 4],
    ports: [u16; 2],
    class: u32,
    family: u8,
    protocol: u8,
}

impl Ends {
    #[inline(always)]
    fn of(question: &Question) -> Self {
        let halves = |word: u64| [word as u32, (word >> 32) as u32];
        let [_, ends, ports] = question.near;
        let (source, destination, family) = if question.is_v6() {
            let ([a, b], [c, d]) = (halves(question.far[0]), halves(question.far[1]));
            let ([e, f], [g, h]) = (halves(question.far[2]), halves(ends));
            ([a, b, c, d], [e, f, g, h], AF_INET6)
        } else {
            let [source, destination] = halves(ends);
            ([source, 0, 0, 0], [destination, 0, 0, 0], AF_INET)
        };
        Self {
            source,
            destination,
            ports: [ports as u16, (ports >> 16) as u16],
            class: question.class(),
            family,
            protocol: question.protocol(),
        }
    }

    /// The other way round.
    #[inline(always)]
    fn turned(self) -> Self {
        let Self { source, destination, ports: [from, to], class, family, protocol } = self;
        Self { source: destination, destination: source, ports: [to, from], class, family, protocol }
    }

    /// Asks for a packet of so many bytes behind the Ethernet header that came to an interface; of 0, whatever its size.
    #[inline(always)]
    fn write(&self, fib: &mut bpf_fib_lookup, interface: u32, length: u16) {
        fib.family = self.family;
        fib.l4_protocol = self.protocol;
        [fib.sport, fib.dport] = self.ports;
        fib.__bindgen_anon_1.tot_len = length;
        fib.ifindex = interface;
        fib.__bindgen_anon_3.ipv6_src = self.source;
        fib.__bindgen_anon_4.ipv6_dst = self.destination;
        // The version, which is no part of it, is above traffic class and flow label (linux/bpf.h, `IPV6_FLOWINFO_MASK`).
        fib.__bindgen_anon_2.flowinfo =
            if self.family == AF_INET6 { self.class & 0xffff_ff0f } else { self.class };
    }
}

/// Sends a packet the way that is known, or says why it goes to the stack.
#[inline(always)]
fn leave(frame: &Packet, question: &Question, next: &Next) -> Result<u32, u32> {
    if next.fate != fate::DIRECT {
        return Err(next.fate);
    }
    // What the agent has taken out is not used from now on, whatever is remembered.
    let exit = exit(question, next.to);
    if exit != fate::DIRECT {
        return Err(exit);
    }
    let Some(w) = frame.window::<26>() else { return Err(fate::KIND) };
    w.put_word::<0>(next.first);
    w.put_half::<8>(next.second);
    if question.is_v6() {
        // The hop limit is the upper one of two octets (RFC 8200 3).
        w.put_short::<20>(w.short::<20>().wrapping_sub(0x0100));
    } else {
        w.put_half::<22>(decreased(w.half::<22>()));
    }
    // SAFETY: the helper notes where the frame goes; what cannot be sent there is dropped by the kernel.
    Ok(unsafe { bpf_redirect(next.to, 0) } as u32)
}
