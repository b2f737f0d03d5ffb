//! Recorded frames as flows, without a policy: what a history would have remembered of them.

use bulkhead_common::{bytes::Bytes, parse::Kind as Shape};

use super::{
    frames::{read, seconds},
    kinds::{Conversations, Part},
};
use crate::traffic::{Kind, Seen};

/// Conversations of recorded frames, told apart as [`super::Frames`] tells them apart.
#[derive(Default)]
pub struct Recorded {
    conversations: Conversations,
}

/// Why a frame is part of no conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPart {
    /// What was not recorded would have told.
    Cut,
    /// It contradicts itself.
    Broken,
    /// Nobody holds fragments together here: the first one has the ports, and counts.
    Fragment,
    /// It asks or says who has an address.
    Neighbours,
    /// It complains about another packet.
    Error,
}

impl NoPart {
    /// The same as a sentence.
    pub fn why(self) -> &'static str {
        match self {
            Self::Cut => "too little of the frame was recorded",
            Self::Broken => "the frame is broken",
            Self::Fragment => "it is a later fragment, of which the first one counts",
            Self::Neighbours => "it is ARP or neighbour discovery",
            Self::Error => "it is an ICMP error about another conversation",
        }
    }

    /// Whether nothing is missing because of it.
    pub fn is_harmless(self) -> bool {
        match self {
            Self::Cut | Self::Broken => false,
            Self::Fragment | Self::Neighbours | Self::Error => true,
        }
    }
}

impl Recorded {
    /// What a frame adds, seen at a time in ns since 1970, and to which kind of conversation.
    ///
    /// # Errors
    /// Why it is part of none.
    pub fn arrive<B: Bytes + ?Sized>(&mut self, frame: &B, time: u64) -> Result<(Kind, Seen), NoPart> {
        let packet = read(frame).ok_or(NoPart::Cut)?;
        if packet.fault.is_some() {
            return Err(NoPart::Broken);
        }
        if packet.fragment.is_later() {
            return Err(NoPart::Fragment);
        }
        let part = self.conversations.part(&packet, time, true);
        let Some(Part { kind, forward, begins, opens, answers, goes_on: _ }) = part else {
            return Err(match packet.kind {
                Shape::Arp | Shape::Neighbor => NoPart::Neighbours,
                Shape::Ip | Shape::Other => NoPart::Error,
            });
        };
        let mut seen = Seen::at(seconds(time));
        (seen.flows, seen.opened, seen.answered) = (begins.into(), opens.into(), answers.into());
        let side = usize::from(!forward);
        (seen.packets[side], seen.bytes[side]) = (1, packet.len.into());
        Ok((kind, seen))
    }
}
