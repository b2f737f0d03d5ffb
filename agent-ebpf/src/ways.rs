//! The ways of a set: where what belongs to one set is looked for, first of all where its hash would have it.

use bulkhead_common::{cache, forward};

/// Ways of each set.
pub const WAYS: usize = cache::WAYS;
const _: () = assert!(WAYS == forward::WAYS && WAYS.is_power_of_two());

/// The way that is looked at first, by the bits of a place that choose no set.
#[inline(always)]
pub fn first(place: u32) -> usize {
    (place >> (u32::BITS - WAYS.ilog2())) as usize
}

/// The number of a way, of which only the lower bits count.
#[inline(always)]
pub fn below(way: usize) -> usize {
    let mut way = way;
    // SAFETY: it changes a register.
    // JUSTIFICATION: the compiler leaves a mask out, or far behind, where it knows more of the number; and an old verifier (Linux 5.10) knows
    // nothing of one that lay on the stack meanwhile. What comes out of an instruction that the compiler does not know may be any number to it.
    unsafe {
        core::arch::asm!(
            "{way} &= {mask}",
            way = inout(reg) way,
            mask = const WAYS - 1,
            options(nomem, nostack, preserves_flags),
        );
    }
    way
}

/// An entry of a set.
#[inline(always)]
pub fn of<T>(entries: *mut [T; WAYS], way: usize) -> *mut T {
    // SAFETY: within the array.
    unsafe { entries.cast::<T>().add(below(way)) }
}
