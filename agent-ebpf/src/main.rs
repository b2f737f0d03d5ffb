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
    decide::{Action, Verdict, decide},
    layout::tally,
    lookup::Rules,
    parse::parse_into,
    reason::Reason,
};

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
    let Some(tables) = maps::Tables::active(interface) else {
        return closed(interface.counter, len);
    };
    let Some(scratch) = maps::scratch() else { return closed(interface.counter, len) };
    parse_into(&packet::Packet::new(ctx, len), &mut scratch.packet);
    let decision = decide(&scratch.packet, &tables);
    count::count(&decision, interface.counter, len);
    if let Verdict::Deny(reason) = decision.verdict {
        emit::emit(scratch, &decision, reason, tables.head().generation, ifindex);
        #[cfg(feature = "trace")]
        aya_log_ebpf::info!(ctx, "deny {} device {}", reason.name(), decision.device);
    }
    match decision.action {
        Action::Pass => xdp_action::XDP_PASS,
        Action::Drop => xdp_action::XDP_DROP,
    }
}

/// Without a policy nothing passes: the agent attaches the program only after it has applied one.
#[inline(always)]
fn closed(interface: u32, len: u32) -> u32 {
    count::tally(tally::VIOLATIONS);
    count::tally(tally::LOST);
    if let Some(count) = maps::DEVICE_COUNTS.get_ptr_mut(u32::from(Reason::NoPolicy.code())) {
        // SAFETY: this CPU's own element.
        unsafe { *count += 1 };
    }
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
