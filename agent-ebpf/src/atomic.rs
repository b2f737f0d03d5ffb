//! Single instructions that nothing comes between: the target has no atomic types.

/// Adds to a counter in one instruction (`BPF_ATOMIC`, RFC 9669 5.3): nothing is lost when something else adds to it at the
/// same moment.
///
/// # Safety
/// The counter is aligned and lives, in a map.
#[inline(always)]
pub unsafe fn add(counter: *mut u64, more: u64) {
    // SAFETY: the caller's.
    // JUSTIFICATION: the compiler offers no atomics for this target, which has this one since its beginning.
    unsafe {
        core::arch::asm!("lock *(u64 *)({counter} + 0) += {more}", counter = in(reg) counter, more = in(reg) more);
    }
}

/// Stores a word. What is read or written before stays before it, and what comes after after it, as far as one CPU is concerned.
///
/// # Safety
/// The word is aligned and lives, in a map.
#[inline(always)]
pub unsafe fn put(word: *mut u32, value: u32) {
    // SAFETY: the caller's.
    // JUSTIFICATION: the compiler keeps memory accesses on their side of an instruction that it does not know.
    unsafe {
        core::arch::asm!("*(u32 *)({word} + 0) = {value}", word = in(reg) word, value = in(reg) u64::from(value));
    }
}
