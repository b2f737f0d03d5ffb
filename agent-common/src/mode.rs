//! What a denied packet of a device meets.

/// Whether a denied packet of a device is dropped, and whether anything is allowed at all.
///
/// Stored as one byte in the maps ([`Mode::code`]), because the kernel side may meet any byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum Mode {
    /// A denied packet passes and is reported as would-drop.
    #[default]
    Monitor = 0,
    /// A denied packet is dropped.
    Enforce = 1,
    /// Everything is dropped but talk with the remediation peers.
    Quarantine = 2,
}

impl Mode {
    /// The byte stored in the maps.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The mode behind a byte of a map. An unknown byte is the strictest mode: a corrupt table never opens.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Monitor,
            1 => Self::Enforce,
            _ => Self::Quarantine,
        }
    }

    /// Whether a denied packet is dropped.
    pub const fn enforces(self) -> bool {
        match self {
            Self::Monitor => false,
            Self::Enforce | Self::Quarantine => true,
        }
    }

    /// The word used in policy files, logs and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Enforce => "enforce",
            Self::Quarantine => "quarantine",
        }
    }
}
