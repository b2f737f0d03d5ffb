//! What is measured, beside what. In: nothing. Out: every scenario, in the order of the table.

use super::{bulkhead::Policy, peers::Peer};
use crate::bench::rows::Target;

/// How the gateway forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By an XDP program, which sends frames out of the other interface, or not at all.
    Redirected,
    /// By the kernel, between two networks.
    Routed,
    /// As there, but by the program where the kernel's way is plain.
    Direct,
    /// By the kernel, within one network.
    Bridged,
}

/// What stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Nothing,
    /// An XDP program that drops every frame and reads none.
    DropAll,
    /// An XDP program that sends every frame on and reads none.
    Redirect,
    /// As above, both having looked at each frame: it comes from the memory of another processor, for whoever looks at it first.
    DropRead,
    RedirectRead,
    /// The agent.
    Bulkhead(Policy),
    Peer(Peer),
}

/// Two tables: frames that end at the gateway, and frames that go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Drop,
    Forward,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scenario {
    pub(super) group: Group,
    /// The name in the table and behind `--only`.
    pub(super) name: &'static str,
    pub(super) way: Way,
    pub(super) filter: Filter,
    /// What is promised of its cost over Bulkhead's.
    pub(super) target: Option<Target>,
}

impl Filter {
    /// The command that is needed and not installed.
    pub(super) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Peer(peer) => peer.missing(),
            Self::Nothing
            | Self::DropAll
            | Self::Redirect
            | Self::DropRead
            | Self::RedirectRead
            | Self::Bulkhead(_) => None,
        }
    }
}

impl Group {
    pub(super) const ALL: [Self; 2] = [Self::Drop, Self::Forward];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Drop => "wire, drop",
            Self::Forward => "wire, forward",
        }
    }

    /// What all others of the group are measured over: the first of its scenarios.
    pub(super) const fn reference(self) -> &'static str {
        match self {
            Self::Drop => "Bulkhead",
            Self::Forward => "Bulkhead, inline pair",
        }
    }
}

/// The row whose ratio is the other way around: the filter on top of what it does its work with.
pub(super) const REDIRECT: &str = "XDP redirect, no filter";
/// Bulkhead and redirect over redirect alone.
pub(super) const OVER_REDIRECT: Target = Target::Most(1.25);

/// All of them; of each group the reference first.
pub(super) const ALL: [Scenario; 20] = [
    dropped(Group::Drop.reference(), Filter::Bulkhead(Policy::Denies), None),
    dropped("XDP drop that reads nothing", Filter::DropAll, None),
    dropped("XDP drop that reads the port", Filter::DropRead, None),
    dropped("nft netdev, set of 16k", Filter::Peer(Peer::NetdevSet { allows: false }), least(3.5)),
    dropped("nft netdev, 100 rules", Filter::Peer(Peer::NetdevLinear(100)), None),
    dropped("nft netdev, 1,000 rules", Filter::Peer(Peer::NetdevLinear(1000)), least(60.0)),
    dropped("nft inet, ct and set of 16k", Filter::Peer(Peer::InetTracked { allows: false }), None),
    forwarded(Group::Forward.reference(), Way::Redirected, Filter::Bulkhead(Policy::Allows), None),
    forwarded(REDIRECT, Way::Redirected, Filter::Redirect, None),
    forwarded("XDP redirect that reads the port", Way::Redirected, Filter::RedirectRead, None),
    forwarded("routing, no filter", Way::Routed, Filter::Nothing, least(4.0)),
    forwarded("routing, Bulkhead", Way::Routed, Filter::Bulkhead(Policy::Allows), None),
    forwarded("routing, Bulkhead, direct", Way::Direct, Filter::Bulkhead(Policy::Allows), None),
    forwarded("routing, xdp-filter, 1,024 addresses", Way::Routed, Filter::Peer(Peer::XdpFilter), None),
    forwarded(
        "routing, nft netdev, set of 16k",
        Way::Routed,
        Filter::Peer(Peer::NetdevSet { allows: true }),
        least(7.0),
    ),
    forwarded(
        "routing, nft inet, ct and set of 16k",
        Way::Routed,
        Filter::Peer(Peer::InetTracked { allows: true }),
        least(10.0),
    ),
    forwarded("routing, nft inet, ct established", Way::Routed, Filter::Peer(Peer::InetEstablished), None),
    forwarded("bridge, no filter", Way::Bridged, Filter::Nothing, None),
    forwarded("bridge, Bulkhead", Way::Bridged, Filter::Bulkhead(Policy::Allows), None),
    forwarded("bridge, nft bridge, set of 16k", Way::Bridged, Filter::Peer(Peer::BridgeSet), None),
];

const fn least(times: f64) -> Option<Target> {
    Some(Target::Least(times))
}

const fn dropped(name: &'static str, filter: Filter, target: Option<Target>) -> Scenario {
    Scenario { group: Group::Drop, name, way: Way::Routed, filter, target }
}

const fn forwarded(name: &'static str, way: Way, filter: Filter, target: Option<Target>) -> Scenario {
    Scenario { group: Group::Forward, name, way, filter, target }
}
