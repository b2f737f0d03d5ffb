//! The XDP program: packet, decide, count, emit, action.
#![no_std]
#![no_main]

mod count;
mod emit;
mod maps;
mod packet;

use aya_ebpf::{
    bindings::xdp_action, helpers::generated::bpf_xdp_get_buff_len, macros::xdp, programs::XdpContext,
};
use bulkhead_common::{
    decide::{self, Action, Verdict},
    layout::tally,
    lookup::Rules,
    parse::parse_into,
    reason::Reason,
};
use maps::{Scratch, Tables};

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
    let interface = maps::interface(ifindex);
    let (Some(tables), Some(scratch)) = (Tables::active(interface), maps::scratch()) else {
        return closed(interface.counter, len);
    };
    read(&packet::Packet::new(ctx, len), scratch);
    recognise(scratch, &tables);
    judge(scratch, &tables);
    scratch.decision =
        decide::account(&scratch.packet, &scratch.ends, &interface, tables.head().shapes, &scratch.judgement);
    count::count(&scratch.decision, interface.counter, len);
    if let Verdict::Deny(reason) = scratch.decision.verdict {
        emit::emit(scratch, reason, tables.head().generation, ifindex);
        #[cfg(feature = "trace")]
        aya_log_ebpf::info!(ctx, "deny {} device {}", reason.name(), scratch.decision.device);
    }
    match scratch.decision.action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    }
}

// The steps of `decide`, each behind a call and with its result in the scratch: what a step found out is
// then unknown to the verifier, so that it does not follow every path of one step through all the next.

#[inline(never)]
fn read(bytes: &packet::Packet, scratch: &mut Scratch) {
    parse_into(bytes, &mut scratch.packet);
}

#[inline(never)]
fn recognise(scratch: &mut Scratch, tables: &Tables<'_>) {
    scratch.ends = decide::recognise(&scratch.packet, tables);
}

#[inline(never)]
fn judge(scratch: &mut Scratch, tables: &Tables<'_>) {
    scratch.judgement = decide::judge(&scratch.packet, &scratch.ends, tables);
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
