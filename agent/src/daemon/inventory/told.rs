//! What is new, told as records at a pace that a flood of forged addresses does not change.

/// How many changes are told.
#[derive(Default)]
pub(super) struct Pace {
    untold: u64,
}

impl Pace {
    pub(super) fn untold(&self) -> u64 {
        self.untold
    }
}
