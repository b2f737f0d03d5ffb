//! Where recorded frames arrived: an interface of the configuration, or any.

use std::collections::BTreeMap;

use anyhow::bail;
use bulkhead_common::layout::SegmentRow;

use crate::{
    compile::{Tables, numbered_segments},
    config::{Config, Segment, parse_config},
    diagnostic::{closest, quote},
    replay::Place,
};

/// The places of a configuration, the first of them the one for frames of which nobody knows.
pub(super) struct Places {
    all: Vec<Place>,
    /// Where each interface of the configuration is in the list.
    by_name: BTreeMap<String, usize>,
    /// Numbers of the configured segments.
    segments: Option<BTreeMap<String, u16>>,
}

impl Places {
    /// The places of a configuration, if there is one; `only` is the interface on which all frames arrived.
    pub(super) fn new(config: Option<&Config>, only: Option<&str>) -> anyhow::Result<Self> {
        let segments = config.map(Config::segment_ids);
        let names: Vec<&str> =
            config.into_iter().flat_map(|c| &c.interfaces).map(|i| i.name.as_str()).collect();
        let places = names.iter().map(|name| config.map(|config| place(config, name)).unwrap_or_default());
        let places: Vec<Place> = places.collect();
        let Some(only) = only else {
            let by_name = names.iter().map(|name| (*name).to_owned()).zip(1..).collect();
            let all = std::iter::once(anywhere()).chain(places).collect();
            return Ok(Self { all, by_name, segments });
        };
        let Some(place) = names.iter().zip(places).find(|(name, _)| **name == only) else {
            let help = match closest(only, names.iter().copied()) {
                _ if names.is_empty() => "`--config FILE` names a configuration with interfaces".to_owned(),
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the interfaces are {}", names.join(", ")),
            };
            bail!("no interface {} is configured\nhint: {help}", quote(only));
        };
        Ok(Self { all: vec![place.1], by_name: BTreeMap::new(), segments })
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Place] {
        &self.all
    }

    /// The place of an interface by the name it has in a capture.
    pub(super) fn of(&self, interface: Option<&str>) -> usize {
        interface.and_then(|name| self.by_name.get(name)).copied().unwrap_or(0)
    }

    /// The number of each segment that tables may name.
    pub(super) fn segments(&self, tables: &Tables) -> BTreeMap<String, u16> {
        self.segments.clone().unwrap_or_else(|| numbered_segments(tables))
    }
}

/// Any segment, with the switches that a segment has by default.
fn anywhere() -> Place {
    let (config, _, _) = parse_config("defaults", "[interface.any]\n");
    let segment = config.and_then(|config| config.segments.first().map(|segment| segment.row(0)));
    Place { segment: segment.unwrap_or_default(), vlans: BTreeMap::new(), anywhere: true }
}

/// An interface with its VLANs.
fn place(config: &Config, interface: &str) -> Place {
    let row = |(id, segment): &(u16, Segment)| (segment.vlan, segment.row(*id));
    let rows: Vec<(Option<u16>, SegmentRow)> = config.segments_on(interface).iter().map(row).collect();
    let own = rows.iter().find(|(vlan, _)| vlan.is_none()).map(|(_, row)| *row);
    let vlans = rows.into_iter().filter_map(|(vlan, row)| Some((vlan?, row))).collect();
    Place { segment: own.unwrap_or_default(), vlans, anywhere: false }
}
