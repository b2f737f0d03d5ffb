//! The XDP program: packet, decide, count, emit, action.
#![no_std]
#![no_main]

mod count;
mod emit;
mod maps;
mod packet;
mod tables;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::generated::{bpf_redirect, bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
use bulkhead_common::{
    decide::{self, Action, Verdict},
    layout::tally,
    lookup::{Rules, shape},
    parse::parse_into,
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

#[inline(always)]
fn run(ctx: &XdpContext, len: u32) -> u32 {
    let ifindex = ctx.ingress_ifindex() as u32;
    let interface = tables::interface(ifindex);
    let (Some(context), Some(scratch)) = (Context::active(ifindex, interface), maps::scratch()) else {
        return closed(interface.counter, len);
    };
    scratch.context = context;
    read(ctx.ctx, len);
    recognise();
    judge();
    settle();
    let Some(shapes) = Tables::of(&scratch.context).map(|tables| tables.head().shapes) else {
        return closed(interface.counter, len);
    };
    scratch.decision = decide::account(&scratch.packet, &scratch.ends, shapes, &scratch.judgement);
    count::count(&scratch.decision, interface.counter, len);
    match scratch.decision.verdict {
        Verdict::Deny(_reason) => {
            emit();
            #[cfg(feature = "trace")]
            aya_log_ebpf::info!(ctx, "deny {} device {}", _reason.name(), scratch.decision.device);
        }
        Verdict::Allow(_) => {
            if scratch.packet.is_dhcp_reply() && shapes & shape::LEASED != 0 {
                sample(ctx.ctx, len);
            }
        }
    }
    match scratch.decision.action {
        Action::Pass if interface.redirect != 0 => {
            // SAFETY: the helper notes where the frame goes; what cannot be sent there is dropped by the kernel.
            unsafe { bpf_redirect(interface.redirect, 0) as u32 }
        }
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    }
}

// The steps of `decide`, each a global function that takes what the step before left in the scratch: the verifier
// judges each of them once and alone, instead of following every path of one step through all the next. Old kernels
// let such a function have numbers and the context as arguments, nothing else.

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read(ctx: *mut xdp_md, len: u32) -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    parse_into(&packet::Packet::new(&XdpContext::new(ctx), len), &mut scratch.packet);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn recognise() -> u32 {
    let Some(Scratch { context, packet, ends, .. }) = maps::scratch() else { return 0 };
    let Some(tables) = Tables::of(context) else { return 0 };
    *ends = decide::recognise(packet, &tables);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge() -> u32 {
    let Some(Scratch { context, packet, ends, judgement, .. }) = maps::scratch() else { return 0 };
    let Some(tables) = Tables::of(context) else { return 0 };
    *judgement = decide::judge(packet, ends, &tables);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn settle() -> u32 {
    let Some(Scratch { context, packet, ends, judgement, .. }) = maps::scratch() else { return 0 };
    let Some(tables) = Tables::of(context) else { return 0 };
    decide::settle(packet, ends, &tables, judgement);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn emit() -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    emit::violation(scratch);
    1
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sample(ctx: *mut xdp_md, len: u32) -> u32 {
    let Some(scratch) = maps::scratch() else { return 0 };
    emit::sample(&packet::Packet::new(&XdpContext::new(ctx), len), &scratch.context);
    1
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
