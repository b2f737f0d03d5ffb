//! Making the maps, or adopting the pinned ones, and loading the program against them.

use std::{collections::BTreeMap, os::fd::AsFd, path::Path};

use aya::{Ebpf, EbpfLoader};

use super::{
    Array, ArrayOfMaps, Dataplane, DataplaneError, Entry, EventReader, HashMap, LpmTrie, Map, MapData,
    MapError, OBJECT, PerCpuArray, PerCpuHashMap, Pins, RingBuf, SampleReader, Sizes, cache, drift, entry,
    ids::Ids,
    kernel,
    pins::{Entries, maps},
};

impl Dataplane {
    /// Opens the data path below `root`: pinned maps are verified and adopted, missing ones made and
    /// pinned, the program is loaded. Nothing that enforces changes.
    ///
    /// # Errors
    /// [`DataplaneError`] says which act on which object failed; nothing is removed.
    pub fn open(root: &Path, wanted: Sizes) -> Result<(Self, EventReader, SampleReader), DataplaneError> {
        kernel::require_rcu_grace()?;
        let pins = Pins::below(root);
        pins.create()?;
        let sizes = pins.verify(wanted)?;
        let mut loader = EbpfLoader::new();
        for spec in maps() {
            loader.map_pin_path(spec.name, pins.map(spec.name));
            if let Entries::Chosen(_, size) = spec.entries {
                loader.map_max_entries(spec.name, *size(&mut sizes.clone()));
            }
        }
        // It goes with the program, so that it is as large as it should be now.
        loader.map_max_entries("HOPS", sizes.cache.hops.max(1));
        let constants = cache::Constants::of(sizes.cache)?;
        constants.put(&mut loader);
        loader.override_global("RING_BYTES", &sizes.ring_bytes, true);
        let mut ebpf = loader.load(OBJECT)?;
        #[cfg(feature = "trace")]
        super::trace::start(&mut ebpf);
        // The other entry is loaded when a NIC needs it: its verification takes as long again.
        entry::load(&mut ebpf, Entry::Linear.symbol())?;
        entry::load(&mut ebpf, cache::SWEEP)?;
        let sweepers = cache::sweepers(&ebpf, sizes.cache)?;
        let ids = Ids::open(&pins, sizes.devices, sizes.rules)?;
        let events = ring(&ebpf, "EVENTS")?;
        let samples = ring(&ebpf, "SAMPLES")?;
        let map_ids = drift::identities(&pins);
        let mut map = |name| take(&mut ebpf, name);
        let dataplane = Self {
            active: Array::try_from(map("ACTIVE")).map_err(open("ACTIVE"))?,
            heads: Array::try_from(map("HEADS")).map_err(open("HEADS"))?,
            settings: Array::try_from(map("SETTINGS")).map_err(open("SETTINGS"))?,
            macs: ArrayOfMaps::try_from(map("MACS")).map_err(open("MACS"))?,
            addresses: ArrayOfMaps::try_from(map("ADDRESSES")).map_err(open("ADDRESSES"))?,
            networks: ArrayOfMaps::try_from(map("NETWORKS")).map_err(open("NETWORKS"))?,
            flat: ArrayOfMaps::try_from(map("FLAT")).map_err(open("FLAT"))?,
            services: ArrayOfMaps::try_from(map("SERVICES")).map_err(open("SERVICES"))?,
            rules: ArrayOfMaps::try_from(map("RULES")).map_err(open("RULES"))?,
            named: ArrayOfMaps::try_from(map("NAMED")).map_err(open("NAMED"))?,
            forwards: PerCpuArray::try_from(map("FORWARDS")).map_err(open("FORWARDS"))?,
            routes: Array::try_from(map("ROUTES")).map_err(open("ROUTES"))?,
            redirects: Array::try_from(map("REDIRECTS")).map_err(open("REDIRECTS"))?,
            schedules: Array::try_from(map("SCHEDULES")).map_err(open("SCHEDULES"))?,
            segments: HashMap::try_from(map("SEGMENTS")).map_err(open("SEGMENTS"))?,
            trusted: HashMap::try_from(map("TRUSTED")).map_err(open("TRUSTED"))?,
            management_peers: LpmTrie::try_from(map("MGMT_PEERS")).map_err(open("MGMT_PEERS"))?,
            management_ports: LpmTrie::try_from(map("MGMT_PORTS")).map_err(open("MGMT_PORTS"))?,
            flows: HashMap::try_from(map("FLOWS")).map_err(open("FLOWS"))?,
            fragments: HashMap::try_from(map("FRAGMENTS")).map_err(open("FRAGMENTS"))?,
            budgets: Array::try_from(map("BUDGETS")).map_err(open("BUDGETS"))?,
            leases: HashMap::try_from(map("LEASES")).map_err(open("LEASES"))?,
            device_counts: PerCpuArray::try_from(map("DEVICE_COUNTS")).map_err(open("DEVICE_COUNTS"))?,
            rule_counts: PerCpuArray::try_from(map("RULE_COUNTS")).map_err(open("RULE_COUNTS"))?,
            port_counts: PerCpuArray::try_from(map("PORT_COUNTS")).map_err(open("PORT_COUNTS"))?,
            tally: PerCpuArray::try_from(map("TALLY")).map_err(open("TALLY"))?,
            sweep: PerCpuArray::try_from(map("SWEEP")).map_err(open("SWEEP"))?,
            sweepers,
            epoch: Array::try_from(map("EPOCH")).map_err(open("EPOCH"))?,
            repeats: [
                PerCpuHashMap::try_from(map("REPEATS_0")).map_err(open("REPEATS_0"))?,
                PerCpuHashMap::try_from(map("REPEATS_1")).map_err(open("REPEATS_1"))?,
            ],
            others: [
                PerCpuHashMap::try_from(map("OTHERS_0")).map_err(open("OTHERS_0"))?,
                PerCpuHashMap::try_from(map("OTHERS_1")).map_err(open("OTHERS_1"))?,
            ],
            pins,
            sizes,
            ids,
            slots: [None, None],
            in_force: None,
            spare_named: super::names::spare(4096),
            deadlines: [BTreeMap::new(), BTreeMap::new()],
            applied: None,
            placed: drift::Placed::default(),
            map_ids,
            inner_maps: [None, None],
            ebpf,
        };
        Ok((dataplane, EventReader::new(events), SampleReader::new(samples)))
    }
}

/// A ring to read from. The map itself stays: an entry that is loaded later refers to it by its descriptor, and the
/// reader may be gone by then.
fn ring(ebpf: &Ebpf, name: &'static str) -> Result<RingBuf<MapData>, DataplaneError> {
    let Some(Map::RingBuf(map)) = ebpf.map(name) else {
        panic!("the object is built with the ring `{name}`")
    };
    let copy = map.fd().as_fd().try_clone_to_owned();
    let copy = copy.map_err(|source| DataplaneError::System { act: "copy a descriptor", source })?;
    let map = MapData::from_fd(copy).map_err(open(name))?;
    RingBuf::try_from(Map::RingBuf(map)).map_err(open(name))
}

fn take(ebpf: &mut Ebpf, name: &str) -> Map {
    ebpf.take_map(name).expect("the object is built with this map, and it is taken once")
}

fn open(map: &'static str) -> impl FnOnce(MapError) -> DataplaneError {
    move |source| DataplaneError::Map { act: "open", map, source }
}
