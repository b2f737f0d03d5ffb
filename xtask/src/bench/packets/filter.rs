//! Somebody else's packet filter behind the same generator: xdp-filter of xdp-tools.
//!
//! In: which features, and the grid whose devices it lets through. Out: its program. It is loaded in a namespace of its own and
//! filled through its pinned tables: entry by entry with its own tool would take a minute.

use std::{
    fs, io,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};
use bulkhead_tests::{
    grid::Grid,
    lab::{
        Mac, Namespace,
        link::{self, End},
        program::{PASS, Program, fill},
        stream::Stream,
    },
};

use super::clock::{Probe, Sample, Unit};
use crate::bench::rows::Found;

/// What it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Features {
    /// IPv4 addresses alone.
    Ipv4,
    /// Addresses of all kinds, and ports.
    All,
}

impl Features {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::All => "all",
        }
    }
}

/// Loaded, and filled.
pub(super) struct Filter {
    pub(super) program: Program,
    _namespaces: [Namespace; 2],
}

/// The interface that it is on.
const INTERFACE: &str = "filtered0";
/// A source address that may pass: `MAP_FLAG_SRC` of xdp-filter.
const SOURCE: u64 = 1;

impl Filter {
    /// Drops what comes from nobody in the grid.
    pub(super) fn load(features: Features, grid: Grid) -> Result<Self, Found> {
        load(features, grid).unwrap_or_else(|error| Err(Found::Failed(format!("{error:#}"))))
    }

    /// Measures one round of a stream of which all must pass.
    pub(super) fn round(&self, stream: &Stream, probe: &mut Probe, unit: &Unit) -> Result<Sample> {
        for flow in 0..u32::try_from(stream.flows())? {
            ensure!(probe.single(flow)? == PASS, "xdp-filter does not let flow {flow} pass");
        }
        probe.warm()?;
        probe.round(unit)
    }
}

/// The outer result is for what should not happen.
fn load(features: Features, grid: Grid) -> Result<Result<Filter, Found>> {
    let (namespace, room) = Namespace::with_room("filter")?;
    let other = Namespace::new("filter-peer")?;
    let end = |namespace, interface, last| {
        let mac = Mac([2, 0xb, 10, 20, 5, last]);
        End { namespace, interface, mac, mtu: 1500 }
    };
    link::veth(&end(&namespace, INTERFACE, 1), &end(&other, "peer0", 2))?;
    let mut command = Command::new("xdp-filter");
    command.args(["load", "--policy", "deny", "--features", features.name(), INTERFACE]);
    // Otherwise the interface gets a program around it, which cannot be jumped to.
    command.env("LIBXDP_SKIP_DISPATCHER", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = match namespace.spawn_child(command) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err(Found::Absent("xdp-filter is not installed".to_owned())));
        }
        child => child.context("failed to start xdp-filter")?,
    };
    let Output { status, stdout: _, stderr } = child.wait_with_output().context("xdp-filter is lost")?;
    ensure!(status.success(), "xdp-filter ends with {status}: {}", String::from_utf8_lossy(&stderr).trim());
    let pins = room.pin_outside("xdp-filter");
    let folder = pins.join("programs").join(INTERFACE);
    let entry = fs::read_dir(&folder).ok().and_then(|mut entries| entries.next());
    let entry =
        entry.with_context(|| format!("xdp-filter has pinned nothing in `{}`", folder.display()))??;
    let program = Program::pinned(&entry.path())?;
    fill(&pins.join("filter_ipv4"), grid.addresses().map(|address| address.octets().to_vec()), SOURCE)?;
    Ok(Ok(Filter { program, _namespaces: [namespace, other] }))
}
