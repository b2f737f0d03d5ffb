//! Where packet bytes come from. The XDP program reads between `data` and `data_end`, the host reads a
//! slice; everything above this trait is the same code on both sides.

/// Bounded reads from one packet. An offset past the end is `None`, never a panic and never a wrap.
pub trait Bytes {
    /// Length of the whole frame in bytes, including what is not linear in memory.
    fn len(&self) -> u32;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `N` bytes starting at `offset`, in the order of the wire.
    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Bytes for [u8] {
    fn len(&self) -> u32 {
        // A frame is bounded by the link's MTU; saturate rather than truncate for absurd inputs.
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }

    fn array<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        self.get(offset..end)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        parse::{Kind, parse},
        reason::Reason,
    };

    #[test]
    fn an_offset_past_the_end_is_none_and_never_wraps() {
        let bytes: &[u8] = &[1, 2, 3];
        assert_eq!(bytes.array(1), Some([2, 3]));
        assert_eq!(bytes.array::<2>(2), None);
        assert_eq!(bytes.array::<2>(usize::MAX), None);
        assert_eq!(bytes.array::<0>(3), Some([]));
    }

    /// Shorter than an Ethernet header: no NIC hands it over and BPF_PROG_TEST_RUN refuses it, so no row can say it.
    #[test]
    fn a_frame_without_a_whole_ethernet_header_is_truncated() {
        for len in 0..14 {
            let packet = parse(&[0xfe; 14][..len]);
            assert_eq!(
                (packet.fault, packet.kind, packet.source_mac),
                (Some(Reason::Truncated), Kind::Other, 0)
            );
        }
        assert_eq!(parse(&[0xfe; 14][..]).fault, None);
    }
}
