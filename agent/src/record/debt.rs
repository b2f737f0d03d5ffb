//! Records that a sink refused, one behind the other, until it takes records again and is told so.
//!
//! In: each of them. Out: the gap that stands for all of them, in the place of the last.

use serde::{Deserialize, Serialize};

use super::{Cause, Gap, Record, RecordId};

/// What is owed to a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    /// The gateway's name.
    gateway: String,
    /// The first record that was refused.
    first: RecordId,
    /// The last one.
    last: RecordId,
    /// Packets that they account for.
    packets: u64,
}

impl Debt {
    /// A record more was refused.
    pub fn add(debt: &mut Option<Self>, gateway: &str, id: RecordId, packets: u64) {
        let one = debt.get_or_insert_with(|| Self {
            gateway: gateway.to_owned(),
            first: id.clone(),
            last: id.clone(),
            packets: 0,
        });
        one.last = id;
        one.packets += packets;
    }

    /// Packets that the records account for.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The gap that stands for the records, told at a time (RFC 3339).
    pub fn gap(&self, time: String) -> Record {
        let Self { gateway, first, last, packets } = self;
        Record::Gap(Gap {
            first: Some(first.to_string()),
            last: Some(last.to_string()),
            ..Gap::new(last.clone(), gateway, time, Cause::Disk, *packets)
        })
    }
}
