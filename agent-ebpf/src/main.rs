//! The XDP program: packet, decide, count, emit, action.
#![no_std]
#![no_main]
// One load from a packet of more than a byte.
#![feature(asm_experimental_arch)]

mod atomic;
mod cache;
mod count;
mod emit;
mod forward;
mod maps;
mod packet;
mod sweep;
mod tables;
mod ways;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_redirect, bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
#[cfg(feature = "trace")]
use bulkhead_common::decide::Decision;
use bulkhead_common::{
    bytes::Bytes,
    decide::{self, Action, Ends, Judgement, Verdict},
    layout::{Active, reading, tally},
    lookup::{NOWHERE, Rules, is_direct},
    parse::{Packet, parse_into},
    reason::Reason,
};
use maps::Scratch;
use tables::{Context, Tables};

/// Kernels since 5.18: frames may continue in fragments, so native mode works with jumbo MTUs.
#[xdp(frags)]
pub fn bulkhead_frags(ctx: XdpContext) -> u32 {
    // SAFETY: the helper reads the length of the context's frame.
    let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    run(&ctx, len as u32)
}

/// Older kernels: the whole frame is linear.
#[xdp]
pub fn bulkhead(ctx: XdpContext) -> u32 {
    run(&ctx, (ctx.data_end() - ctx.data()) as u32)
}

/// Brings the exact counters up to what the verdict cache of this CPU has counted. The agent runs it; its frame says with which set
/// it begins.
#[xdp]
pub fn sweep(ctx: XdpContext) -> u32 {
    let frame = packet::Packet::new(&ctx, 4);
    if let Some(begin) = frame.array(0) {
        sweep::sweep(u32::from_ne_bytes(begin));
    }
    xdp_action::XDP_PASS
}

#[inline(always)]
fn run(ctx: &XdpContext, len: u32) -> u32 {
    let action = look(ctx.ctx, len);
    if action < cache::FORWARDED {
        return action;
    }
    if action == cache::FORWARDED {
        return forward::forward(ctx.ctx, len);
    }
    let ifindex = ctx.ingress_ifindex() as u32;
    if begin(ifindex) == 0 {
        return closed(tables::interface(ifindex).counter, len);
    }
    cache::refresh();
    read(ctx.ctx, len);
    recognise();
    judge();
    settle();
    let outcome = account(len);
    if outcome & outcome::COUNTED == 0 {
        return closed(tables::interface(ifindex).counter, len);
    }
    if outcome & outcome::DENIED != 0 {
        emit(ctx.ctx);
        #[cfg(feature = "trace")]
        maps::with_scratch(|scratch| trace(ctx, &scratch.decision));
    } else if outcome & outcome::SAMPLED != 0 {
        sample(ctx.ctx);
    }
    cache::keep();
    if outcome & outcome::DROPPED != 0 {
        return xdp_action::XDP_DROP;
    }
    let redirect = maps::scratch().map_or(0, |scratch| scratch.context.interface.redirect);
    if is_direct(redirect) {
        return forward::forward(ctx.ctx, len);
    }
    if redirect != 0 {
        // SAFETY: the helper notes where the frame goes; what cannot be sent there is dropped by the kernel.
        return unsafe { bpf_redirect(redirect, 0) as u32 };
    }
    xdp_action::XDP_PASS
}

/// Bits of what is left to do with a packet.
mod outcome {
    /// It was decided and counted.
    pub const COUNTED: u32 = 1;
    /// It ends here.
    pub const DROPPED: u32 = 2;
    /// Somebody is told of it.
    pub const DENIED: u32 = 4;
    /// User space must read it.
    pub const SAMPLED: u32 = 8;
}

#[cfg(feature = "trace")]
#[inline(always)]
fn trace(ctx: &XdpContext, decision: &Decision) {
    if let Verdict::Deny(reason) = decision.verdict {
        aya_log_ebpf::info!(ctx, "deny {} device {}", reason.name(), decision.device);
    }
}

// The steps of `decide`, each a global function that takes what the step before left in the scratch: the verifier
// judges each of them once and alone, instead of following every path of one step through all the next. Old kernels
// let such a function have numbers and the context as arguments, nothing else.

/// Looks for the packet among those that were decided of late.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look(ctx: *mut xdp_md, len: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let interface = ctx.ingress_ifindex() as u64;
    cache::look(&packet::Packet::new(&ctx, len), interface, maps::active())
}

/// Chooses what the packet is judged by: 0 while there is no policy. A step of its own, because what the main function
/// keeps takes room below every other.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn begin(ifindex: u32) -> u32 {
    done(
        maps::with_scratch(|scratch| {
            let Active { slot, generation, edition: _ } = Active::from_word(scratch.sight.active);
            scratch.context = Context::of(slot, ifindex);
            generation != 0
        })
        .filter(|is_some| *is_some)
        .map(drop),
    )
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read(ctx: *mut xdp_md, len: u32) -> u32 {
    done(maps::with_scratch(|scratch| {
        parse_into(&packet::Packet::new(&XdpContext::new(ctx), len), &mut scratch.packet);
    }))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recognise() -> u32 {
    let Some(Step { tables, packet, ends, judgement: _ }) = step() else { return 0 };
    decide::recognise(packet, &tables, ends);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge() -> u32 {
    let Some(Step { tables, packet, ends, judgement }) = step() else { return 0 };
    *judgement = decide::judge(packet, ends, &tables);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settle() -> u32 {
    let Some(Step { tables, packet, ends, judgement }) = step() else { return 0 };
    decide::settle(packet, ends, &tables, judgement);
    1
}

/// The last step of `decide`, and the one that depends on where the packet would go; and the counters.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn account(len: u32) -> u32 {
    let Some(Scratch { context, packet, ends, judgement, decision, .. }) = maps::scratch() else {
        return 0;
    };
    let Some(tables) = Tables::of(context) else { return 0 };
    *decision = decide::account(packet, ends, tables.head().shapes, judgement);
    if context.interface.redirect == NOWHERE {
        decision.action = Action::Drop;
    }
    count::count(decision, context.interface.counter, len);
    let bit = |holds: bool, bit: u32| if holds { bit } else { 0 };
    outcome::COUNTED
        | bit(decision.action == Action::Drop, outcome::DROPPED)
        | bit(matches!(decision.verdict, Verdict::Deny(_)), outcome::DENIED)
        | bit(judgement.reading != reading::NOTHING, outcome::SAMPLED)
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn emit(ctx: *mut xdp_md) -> u32 {
    done(maps::with_scratch(|scratch| {
        emit::violation(&packet::linear(&XdpContext::new(ctx)), scratch);
    }))
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sample(ctx: *mut xdp_md) -> u32 {
    done(maps::with_scratch(|scratch| {
        emit::sample(&packet::linear(&XdpContext::new(ctx)), scratch);
    }))
}

/// What a step works on: the tables of the packet's slot, and parts of the scratch.
struct Step<'a> {
    tables: Tables<'a>,
    packet: &'a mut Packet,
    ends: &'a mut Ends,
    judgement: &'a mut Judgement,
}

/// Borrows the scratch for one step. No closure: one that is not inlined takes room on a stack that has none to spare.
#[inline(always)]
fn step<'a>() -> Option<Step<'a>> {
    let Scratch { context, packet, ends, judgement, .. } = maps::scratch()?;
    Some(Step { tables: Tables::of(context)?, packet, ends, judgement })
}

#[inline(always)]
fn done(ran: Option<()>) -> u32 {
    u32::from(ran.is_some())
}

/// Without a policy nothing passes: the agent attaches the program only after it has applied one.
#[inline(always)]
fn closed(interface: u32, len: u32) -> u32 {
    maps::add_to_tally(tally::VIOLATIONS);
    maps::add_to_tally(tally::LOST);
    count::device(0, Reason::NoPolicy.code());
    count::port(Action::Drop, true, interface, len);
    xdp_action::XDP_DROP
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are for GPL-compatible programs only; the source is MIT OR Apache-2.0.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
