//! What outlives the agent: the maps and links under `<pins>/v<ABI>/`, and whether they are ours.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use aya::maps::{MapInfo, MapType, lpm_trie::Key};
use bulkhead_common::{
    address::Address,
    cache::{self, Entry4, Entry6, WAYS},
    forward::fate,
    layout::{
        ABI, Budget, Flow, FlowKey, FragmentKey, FragmentRow, Head, InterfaceCounters, Lease, MAX_FRAGMENTED,
        MAX_INTERFACES, MAX_SCHEDULES, MAX_SEGMENTS, MAX_TRUSTED, Repeats, SAMPLE_RING_BYTES, SLOTS,
        SegmentKey, SegmentRow, ServiceKey, Settings, Sweep, Traffic, TrustedKey, ViolationKey, tally,
    },
    reason::CODES,
};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{CacheSizes, error::DataplaneError};

/// Sizes of the maps that the configuration chooses. They are fixed while the maps exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Devices with counters, including the one for unmanaged traffic.
    pub devices: u32,
    /// Rules with counters.
    pub rules: u32,
    /// Flows remembered at the same time.
    pub flows: u32,
    /// Distinct violations between two drains.
    pub violations: u32,
    /// Bytes of the event ring; a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// Of the verdict cache.
    pub cache: CacheSizes,
}

/// A map of the object, as it must be.
pub(super) struct MapSpec {
    pub(super) name: &'static str,
    pub(super) kind: MapType,
    pub(super) key: usize,
    pub(super) value: usize,
    /// How many entries.
    pub(super) entries: Entries,
    flags: u32,
}

/// Who chooses a map's size.
#[derive(Clone, Copy)]
pub(super) enum Entries {
    /// The object.
    Fixed(u32),
    /// The configuration, by this key of `[limits]`.
    Chosen(&'static str, fn(&mut Sizes) -> &mut u32),
}

const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1024;

/// Every pinned map of the object.
pub(super) fn maps() -> Vec<MapSpec> {
    use Entries::{Chosen, Fixed};
    let map = |name, kind, key, value, entries| MapSpec { name, kind, key, value, entries, flags: 0 };
    let slots = |name| map(name, MapType::ArrayOfMaps, 4, 4, Fixed(SLOTS));
    let repeats = |name| {
        let entries = Chosen("violations", |s| &mut s.violations);
        map(name, MapType::PerCpuHash, size_of::<ViolationKey>(), size_of::<Repeats>(), entries)
    };
    vec![
        map("ACTIVE", MapType::Array, 4, 8, Fixed(1)),
        map("HEADS", MapType::Array, 4, size_of::<Head>(), Fixed(SLOTS)),
        map("SETTINGS", MapType::Array, 4, size_of::<Settings>(), Fixed(1)),
        slots("MACS"),
        slots("ADDRESSES"),
        slots("NETWORKS"),
        slots("FLAT"),
        slots("SERVICES"),
        slots("RULES"),
        slots("NAMED"),
        map("SCHEDULES", MapType::Array, 4, 8, Fixed(SLOTS * MAX_SCHEDULES)),
        map("SEGMENTS", MapType::Hash, size_of::<SegmentKey>(), size_of::<SegmentRow>(), Fixed(MAX_SEGMENTS)),
        map("TRUSTED", MapType::Hash, size_of::<TrustedKey>(), 4, Fixed(MAX_TRUSTED)),
        MapSpec {
            flags: NO_PREALLOC,
            ..map("MGMT_PEERS", MapType::LpmTrie, size_of::<Key<[u8; 16]>>(), 4, Fixed(130))
        },
        MapSpec {
            flags: NO_PREALLOC,
            ..map("MGMT_PORTS", MapType::LpmTrie, size_of::<Key<ServiceKey>>(), 4, Fixed(512))
        },
        map(
            "FLOWS",
            MapType::LruHash,
            size_of::<FlowKey>(),
            size_of::<Flow>(),
            Chosen("flows", |s| &mut s.flows),
        ),
        map(
            "FRAGMENTS",
            MapType::LruHash,
            size_of::<FragmentKey>(),
            size_of::<FragmentRow>(),
            Fixed(MAX_FRAGMENTED),
        ),
        map("BUDGETS", MapType::Array, 4, size_of::<Budget>(), Chosen("devices", |s| &mut s.devices)),
        map(
            "LEASES",
            MapType::Hash,
            size_of::<Address>(),
            size_of::<Lease>(),
            Chosen("devices", |s| &mut s.devices),
        ),
        map(
            "DEVICE_COUNTS",
            MapType::PerCpuArray,
            4,
            CODES as usize * 8,
            Chosen("devices", |s| &mut s.devices),
        ),
        map("RULE_COUNTS", MapType::PerCpuArray, 4, size_of::<Traffic>(), Chosen("rules", |s| &mut s.rules)),
        map("PORT_COUNTS", MapType::PerCpuArray, 4, size_of::<InterfaceCounters>(), Fixed(MAX_INTERFACES)),
        map("TALLY", MapType::PerCpuArray, 4, 8, Fixed(tally::LEN)),
        map("EPOCH", MapType::Array, 4, 4, Fixed(2)),
        repeats("REPEATS_0"),
        repeats("REPEATS_1"),
        repeats("OTHERS_0"),
        repeats("OTHERS_1"),
        MapSpec {
            flags: MMAPABLE,
            ..map(
                "CACHE_V4",
                MapType::Array,
                4,
                WAYS * size_of::<Entry4>(),
                Chosen("verdicts", |s| &mut s.cache.v4),
            )
        },
        MapSpec {
            flags: MMAPABLE,
            ..map(
                "CACHE_V6",
                MapType::Array,
                4,
                WAYS * size_of::<Entry6>(),
                Chosen("verdicts", |s| &mut s.cache.v6),
            )
        },
        map("SWEEP", MapType::PerCpuArray, 4, size_of::<Sweep>(), Fixed(1)),
        map("STAMPS", MapType::Array, 4, 8, Fixed(cache::STAMPS + 1)),
        map("REDIRECTS", MapType::Array, 4, 4, Fixed(cache::key::INTERFACES)),
        map("FORWARDS", MapType::PerCpuArray, 4, 8, Fixed(fate::LEN)),
        map("EVENTS", MapType::RingBuf, 0, 0, Chosen("ring_bytes", |s| &mut s.ring_bytes)),
        map("SAMPLES", MapType::RingBuf, 0, 0, Fixed(SAMPLE_RING_BYTES)),
    ]
}

/// The pin directory of this ABI.
#[derive(Clone, Debug)]
pub struct Pins {
    root: PathBuf,
    directory: PathBuf,
}

impl Pins {
    /// The pins below a configured directory.
    pub fn below(root: &Path) -> Self {
        Self { root: root.to_owned(), directory: root.join(format!("v{ABI}")) }
    }

    /// `<pins>/v<ABI>`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where a map is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the link of an interface is pinned. An interface name has no slash (dev_valid_name), but
    /// may have a dot, which bpffs keeps for itself.
    pub fn link(&self, interface: &str) -> PathBuf {
        self.directory.join("links").join(interface.replace('.', "%2e"))
    }

    /// Interfaces whose link is pinned, sorted.
    ///
    /// # Errors
    /// When the directory exists but cannot be read.
    pub fn links(&self) -> Result<Vec<String>, DataplaneError> {
        let path = self.directory.join("links");
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(DataplaneError::Pins { act: "list", path, source }),
        };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().replace("%2e", ".")).collect();
        names.sort();
        Ok(names)
    }

    /// Whether anything of ours is there: links that may be enforcing right now.
    pub fn exist(&self) -> bool {
        self.map("ACTIVE").exists()
    }

    /// Where an agent of another ABI has pinned the interface's link, if one has.
    pub(super) fn of_another_version(&self, interface: &str) -> Option<PathBuf> {
        let ours = self.link(interface);
        let link = ours.strip_prefix(&self.directory).ok()?;
        let versions = fs::read_dir(&self.root).ok()?.flatten().map(|entry| entry.path());
        versions.filter(|path| *path != self.directory && path.join(link).exists()).min()
    }

    /// Makes the directories, for root only.
    ///
    /// # Errors
    /// When they are not on a BPF filesystem or cannot be made.
    pub fn create(&self) -> Result<(), DataplaneError> {
        let there = self.root.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
        let is_bpffs = statfs(there).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC);
        if !is_bpffs {
            return Err(DataplaneError::NotBpffs { path: self.root.clone() });
        }
        let path = self.directory.join("links");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .and_then(|()| fs::set_permissions(&self.directory, fs::Permissions::from_mode(0o700)))
            .map_err(|source| DataplaneError::Pins { act: "create", path, source })
    }

    /// Compares every pinned map with what this agent would make, and returns the sizes in force: those of
    /// existing maps stay, whatever the configuration says, because changing them would end enforcement.
    ///
    /// # Errors
    /// [`DataplaneError::ForeignMap`] for the first map of another type, key, value or flags.
    pub fn verify(&self, wanted: Sizes) -> Result<Sizes, DataplaneError> {
        let mut sizes = wanted;
        for spec in maps() {
            let path = self.map(spec.name);
            if !path.exists() {
                continue;
            }
            let info = MapInfo::from_pin(&path).map_err(|source| DataplaneError::Map {
                act: "open the pinned",
                map: spec.name,
                source,
            })?;
            let found = (info.map_type().ok(), info.key_size(), info.value_size(), info.map_flags());
            let shape = |kind: Option<MapType>, key: u32, value: u32, flags: u32| {
                let kind = kind.map_or("unknown".to_owned(), |k| format!("{k:?}"));
                format!("type {kind}, key {key}, value {value}, flags {flags:#x}")
            };
            let expected = (Some(spec.kind), bytes(spec.key), bytes(spec.value), spec.flags);
            let (kind, key, value, flags) = found;
            // A per-CPU array's flags may carry bits of the kernel's own; type and sizes decide memory safety.
            if found != expected {
                return Err(DataplaneError::ForeignMap {
                    path,
                    found: shape(kind, key, value, flags),
                    expected: shape(expected.0, expected.1, expected.2, expected.3),
                });
            }
            match spec.entries {
                Entries::Chosen(_, size) => *size(&mut sizes) = info.max_entries(),
                Entries::Fixed(entries) if entries != info.max_entries() => {
                    return Err(DataplaneError::ForeignMap {
                        path,
                        found: format!("{} entries", info.max_entries()),
                        expected: format!("{entries}"),
                    });
                }
                Entries::Fixed(_) => {}
            }
        }
        Ok(sizes)
    }

    /// Removes every pin; what is not open elsewhere ceases to exist, links first.
    ///
    /// # Errors
    /// When a pin cannot be removed.
    pub fn remove(&self) -> Result<(), DataplaneError> {
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| DataplaneError::Pins { act: "remove", path, source }
        };
        for path in [self.directory.join("links"), self.directory.clone()] {
            match fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(fail(&path)(e)),
            }
        }
        Ok(())
    }
}

fn bytes(size: usize) -> u32 {
    u32::try_from(size).expect("a map's key or value is small")
}
