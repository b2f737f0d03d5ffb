//! What the agent's thread does with the conversations of a thousand devices, in the kernel's own table: every five seconds a look,
//! once a minute a write.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Result, ensure};
use aya::maps::{HashMap, Map, MapData};
use bulkhead_agent::{
    dataplane::{CacheSizes, Dataplane, Pins, Sizes, monotonic_ns},
    history::{History, Watched},
    observe::{Clock, Conversations, Leased, Look},
    traffic::Sum,
};
use bulkhead_common::{
    address::Address,
    flow::{self, state},
    layout::{Flow, FlowKey},
    wire::protocol,
};
use bulkhead_tests::lab::Namespace;
use nix::time::{ClockId, clock_gettime};

use super::{LIMITS, kind};

const CONVERSATIONS: u32 = 10_000;
const LOOKS: u64 = 12;
const SECOND: u64 = 1_000_000_000;
/// Percent of one processor.
pub(super) fn share() -> Result<f64> {
    let (namespace, room) = Namespace::with_room("history")?;
    namespace.run(|| -> Result<f64> {
        let pins = room.pin_outside("bulkhead");
        let sizes = Sizes {
            devices: 4096,
            rules: 65_536,
            flows: 1 << 17,
            violations: 8192,
            ring_bytes: 256 << 10,
            cache: CacheSizes::holding(1024),
        };
        let (dataplane, ..) = Dataplane::open(&pins, sizes)?;
        let map = MapData::from_pin(Pins::below(&pins).map("FLOWS"))?;
        let mut flows: HashMap<MapData, FlowKey, Flow> = Map::from_map_data(map)?.try_into()?;
        let reader = dataplane.flow_reader()?;
        let folder = tempfile::tempdir()?;
        let mut history = History::open(&folder.path().join("history.db"), LIMITS)?;
        let (mut conversations, mut sum) = (Conversations::new(0), Sum::new(1 << 16));
        let leased: Leased = BTreeMap::new();
        let mut spent = 0.0;
        // The first minute meets them, the second one is measured.
        for minute in 0..2 {
            for look in 0..LOOKS {
                go_on(&mut flows, minute * LOOKS + look)?;
                let begun = spent_by_thread()?;
                let clock = Clock { wall: jiff::Timestamp::now(), mono_ns: monotonic_ns() };
                let looked = Look { clock, leased: &leased };
                conversations.begin();
                reader.each(1 << 18, |key, flow| {
                    if let Some((kind, seen)) = conversations.take(key, flow, &looked) {
                        sum.add(kind, &seen);
                    }
                })?;
                conversations.end(clock.mono_ns);
                if look == LOOKS - 1 {
                    let now = clock.wall.as_second();
                    let (rows, _) = sum.take();
                    ensure!(rows.len() == CONVERSATIONS as usize, "{} rows", rows.len());
                    history.add(&rows, &[], Some(Watched { from: now - 60, to: now }))?;
                }
                if minute == 1 {
                    spent += spent_by_thread()? - begun;
                }
            }
        }
        Ok(100.0 * spent / 60.0)
    })
}

/// Each conversation goes on: five more packets each way.
fn go_on(flows: &mut HashMap<MapData, FlowKey, Flow>, look: u64) -> Result<()> {
    for number in 0..CONVERSATIONS {
        let spoken = kind(number);
        let address = |end: Option<IpAddr>| end.map_or(Address::UNSPECIFIED, Address::from);
        let (from, to) = (address(spoken.from.address), address(spoken.to.address));
        let (key, initiator) = flow::key(from, to, 40_000, spoken.service.number, protocol::TCP, 0);
        let now = monotonic_ns();
        let count = 5 * (look + 1);
        let flow = Flow {
            began: 1,
            seen: now,
            packets: [count, count],
            bytes: [70 * count, 100 * count],
            initiator,
            state: state::ANSWERED,
            ..Flow::default()
        };
        flows.insert(key, flow, 0)?;
    }
    Ok(())
}

/// Seconds of a processor that this thread took.
fn spent_by_thread() -> Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    #[expect(clippy::cast_precision_loss, reason = "below an hour")]
    Ok(time.tv_sec() as f64 + time.tv_nsec() as f64 / SECOND as f64)
}
