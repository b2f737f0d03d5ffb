//! Interfaces, addresses, routes and kernel settings of a namespace, without the `ip`, `ethtool` and `sysctl` binaries.
//!
//! In: what shall be. Out: it is so when the call returns. Every MAC address is set, none is random, so that two runs
//! of a lab produce the same frames.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    Handle, LinkBond, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVlan, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        link::{BondMode, InfoData, InfoVeth, LinkFlags},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::RouteType,
    },
};

use super::{
    namespace::Namespace,
    sys::{Offload, offload_off, offload_on},
    wait::wait_for,
};

/// The link watch runs at once on an idle machine.
const CARRIER_WITHIN: Duration = Duration::from_secs(10);

/// A hardware address. The lab has its own type: it must build without the agent, which the demo compiles later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// One end of a veth pair.
pub struct End<'a> {
    /// Where it is.
    pub namespace: &'a Namespace,
    /// Its name there, at most 15 bytes.
    pub interface: &'a str,
    /// Its address.
    pub mac: Mac,
    /// Bytes of layer 3 payload; the same at both ends, because native XDP checks the peer's too.
    pub mtu: u32,
}

/// Makes a veth pair across two namespaces and brings both ends up, offloads off.
pub fn veth(a: &End<'_>, b: &End<'_>) -> Result<()> {
    let what = || format!("failed to make the veth pair `{}` - `{}`", a.interface, b.interface);
    let peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(b.interface.to_owned())
        .address(b.mac.0.to_vec())
        .mtu(b.mtu)
        .setns_by_fd(b.namespace.raw_fd())
        .build();
    let pair = LinkMessageBuilder::<LinkVeth>::new(a.interface, b.interface)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .address(a.mac.0.to_vec())
        .mtu(a.mtu)
        .build();
    netlink(a.namespace, async move |handle| handle.link().add(pair).execute().await).with_context(what)?;
    for end in [a, b] {
        let name = end.interface;
        end.namespace
            .run(|| {
                // Without this, XDP and packet sockets see checksums still to be computed, merged segments, and
                // frames whose VLAN tag is only metadata.
                [
                    Offload::TxChecksum,
                    Offload::Segmentation,
                    Offload::GenericSegmentation,
                    Offload::GenericReceive,
                    Offload::Flags,
                ]
                .into_iter()
                .try_for_each(|offload| {
                    offload_off(name, offload)
                        .with_context(|| format!("failed to switch {offload:?} of `{name}` off"))
                })
            })
            .with_context(what)?;
        up(end.namespace, name).with_context(what)?;
    }
    [a, b].into_iter().try_for_each(|end| wait_until_running(end).with_context(what))
}

/// Lets an end receive merged segments again. A veth takes frames from an XDP program of its other end (XDP_REDIRECT)
/// only when it receives through NAPI, which this switches on.
pub fn generic_receive_on(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace
        .run(|| offload_on(interface, Offload::GenericReceive))
        .with_context(|| format!("failed to switch GRO of `{interface}` on"))
}

/// Lets an interface take VLAN tags off the frames it receives, where XDP no longer sees them.
pub fn vlan_stripping_on(namespace: &Namespace, interface: &str) -> Result<()> {
    namespace
        .run(|| offload_on(interface, Offload::Flags))
        .with_context(|| format!("failed to let `{interface}` take VLAN tags off"))
}

/// The kernel notices the carrier of the end that came up first a little later (its link watch); until then it drops
/// what that end sends, and a lost ARP message costs a second.
fn wait_until_running(end: &End<'_>) -> Result<()> {
    let index = index(end.namespace, end.interface)?;
    wait_for(&format!("the carrier of `{}`", end.interface), CARRIER_WITHIN, || {
        let flags = netlink(end.namespace, async move |handle| {
            let link = handle.link().get().match_index(index).execute().try_next().await?;
            Ok(link.map(|link| link.header.flags))
        })?;
        Ok(flags.filter(|flags| flags.contains(LinkFlags::Running)).map(drop))
    })
}

/// What a bridge may be told to forward besides: every reserved group but those of spanning tree (which it forwards
/// while it takes no part), pause and link aggregation (IEEE 802.1Q-2018 table 8-1; `group_fwd_mask`).
const RESERVED_GROUPS: u16 = 0xfff8;

/// Makes a bridge that forwards at once (no spanning tree, no multicast snooping) and all that it can, LLDP and port
/// authentication too, and lets its frames pass netfilter by.
pub fn bridge(namespace: &Namespace, name: &str, mac: Mac) -> Result<()> {
    let message = LinkBridge::new(name).address(mac.0.to_vec()).forward_delay(0).mcast_snooping(false);
    let message = message.group_fwd_mask(RESERVED_GROUPS).build();
    netlink(namespace, async move |handle| handle.link().add(message).execute().await)
        .with_context(|| format!("failed to make bridge `{name}`"))?;
    // With br_netfilter the bridge would drop malformed IPv4 by itself, before anybody could count it.
    for key in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"] {
        set_if_present(namespace, &format!("net/bridge/{key}"), "0")?;
    }
    up(namespace, name)
}

/// Makes a hub of a bridge: it forgets at once who is where, and sends every frame to all ports. A frame with another's
/// source address would turn that one's traffic away otherwise.
pub fn hub(namespace: &Namespace, bridge: &str) -> Result<()> {
    let message = LinkBridge::new(bridge).ageing_time(0).build();
    netlink(namespace, async move |handle| handle.link().change(message).execute().await)
        .with_context(|| format!("failed to make a hub of `{bridge}`"))
}

/// Makes the interface of one VLAN of `trunk` and brings it up.
pub fn vlan(namespace: &Namespace, trunk: &str, name: &str, id: u16) -> Result<()> {
    let message = LinkVlan::new(name, index(namespace, trunk)?, id).build();
    netlink(namespace, async move |handle| handle.link().add(message).execute().await)
        .with_context(|| format!("failed to make `{name}` for VLAN {id} of `{trunk}`"))?;
    up(namespace, name)
}

/// Makes a bond that sends through its ports in turn, and brings it up.
pub fn bond(namespace: &Namespace, name: &str, ports: &[&str]) -> Result<()> {
    let message = LinkBond::new(name).mode(BondMode::BalanceRr).build();
    netlink(namespace, async move |handle| handle.link().add(message).execute().await)
        .with_context(|| format!("failed to make bond `{name}`"))?;
    for port in ports {
        // A bond takes only ports that are down, and brings them up itself.
        down(namespace, port)?;
        enslave(namespace, port, name)?;
    }
    up(namespace, name)
}

/// Makes `port` a port of `bridge` (or of a bond).
pub fn enslave(namespace: &Namespace, port: &str, bridge: &str) -> Result<()> {
    let what = || format!("failed to make `{port}` a port of `{bridge}`");
    let port = index(namespace, port).with_context(what)?;
    let controller = index(namespace, bridge).with_context(what)?;
    let message = LinkUnspec::new_with_index(port).controller(controller).build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Takes an interface out of its bridge or bond.
pub fn release(namespace: &Namespace, port: &str) -> Result<()> {
    let what = || format!("failed to release `{port}`");
    let message =
        LinkUnspec::new_with_index(index(namespace, port).with_context(what)?).nocontroller().build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Brings an interface up.
pub fn up(namespace: &Namespace, interface: &str) -> Result<()> {
    set_up(namespace, interface, true)
}

/// Takes an interface down.
pub fn down(namespace: &Namespace, interface: &str) -> Result<()> {
    set_up(namespace, interface, false)
}

fn set_up(namespace: &Namespace, interface: &str, up: bool) -> Result<()> {
    let what = || format!("failed to bring `{interface}` {}", if up { "up" } else { "down" });
    let message = LinkUnspec::new_with_index(index(namespace, interface).with_context(what)?);
    let message = if up { message.up() } else { message.down() }.build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Gives an interface another name.
pub fn rename(namespace: &Namespace, interface: &str, name: &str) -> Result<()> {
    let what = || format!("failed to rename `{interface}` to `{name}`");
    let index = index(namespace, interface).with_context(what)?;
    let message = LinkUnspec::new_with_index(index).name(name.to_owned()).build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Gives an interface another MTU.
pub fn mtu(namespace: &Namespace, interface: &str, mtu: u32) -> Result<()> {
    let what = || format!("failed to give `{interface}` an MTU of {mtu}");
    let index = index(namespace, interface).with_context(what)?;
    let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Gives an interface another hardware address.
pub fn set_mac(namespace: &Namespace, interface: &str, mac: Mac) -> Result<()> {
    let what = || format!("failed to give `{interface}` the address {mac}");
    let index = index(namespace, interface).with_context(what)?;
    let message = LinkUnspec::new_with_index(index).address(mac.0.to_vec()).build();
    netlink(namespace, async move |handle| handle.link().set(message).execute().await).with_context(what)
}

/// Deletes an interface (and with a veth its peer).
pub fn delete(namespace: &Namespace, interface: &str) -> Result<()> {
    let what = || format!("failed to delete `{interface}`");
    let index = index(namespace, interface).with_context(what)?;
    netlink(namespace, async move |handle| handle.link().del(index).execute().await).with_context(what)
}

/// Gives an interface an address.
pub fn address(namespace: &Namespace, interface: &str, address: impl Into<IpAddr>, prefix: u8) -> Result<()> {
    let address = address.into();
    let what = || format!("failed to give `{interface}` the address {address}/{prefix}");
    let index = index(namespace, interface).with_context(what)?;
    netlink(namespace, async move |handle| handle.address().add(index, address, prefix).execute().await)
        .with_context(what)
}

/// Takes every IPv4 address from an interface.
pub fn no_address(namespace: &Namespace, interface: &str) -> Result<()> {
    let what = || format!("failed to take the addresses from `{interface}`");
    let index = index(namespace, interface).with_context(what)?;
    netlink(namespace, async move |handle| {
        let mut all = handle.address().get().set_link_index_filter(index).execute();
        while let Some(address) = all.try_next().await? {
            if address.header.family == AddressFamily::Inet {
                handle.address().del(address).execute().await?;
            }
        }
        Ok(())
    })
    .with_context(what)
}

/// Lets one interface speak IPv6, which [`prepare`] has switched off.
pub fn ipv6_on(namespace: &Namespace, interface: &str) -> Result<()> {
    set(namespace, &format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")
}

/// Sends everything that is not on a connected network to `via`.
pub fn default_route(namespace: &Namespace, via: Ipv4Addr) -> Result<()> {
    let message = RouteMessageBuilder::<Ipv4Addr>::new().gateway(via).build();
    netlink(namespace, async move |handle| handle.route().add(message).execute().await)
        .with_context(|| format!("failed to add the default route via {via}"))
}

/// Sends what is for a network to `via`.
pub fn route(namespace: &Namespace, network: Ipv4Addr, prefix: u8, via: Ipv4Addr) -> Result<()> {
    let message =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(network, prefix).gateway(via).build();
    netlink(namespace, async move |handle| handle.route().add(message).execute().await)
        .with_context(|| format!("failed to add the route to {network}/{prefix} via {via}"))
}

/// Sends what is for an IPv6 network to `via`.
pub fn route_v6(namespace: &Namespace, network: Ipv6Addr, prefix: u8, via: Ipv6Addr) -> Result<()> {
    let message =
        RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(network, prefix).gateway(via).build();
    netlink(namespace, async move |handle| handle.route().add(message).execute().await)
        .with_context(|| format!("failed to add the route to {network}/{prefix} via {via}"))
}

/// Lets a host swallow everything that it should forward to an address, or no longer.
pub fn blackhole(namespace: &Namespace, to: Ipv4Addr, on: bool) -> Result<()> {
    let message =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, 32).kind(RouteType::BlackHole).build();
    netlink(namespace, async move |handle| match on {
        true => handle.route().add(message).execute().await,
        false => handle.route().del(message).execute().await,
    })
    .with_context(|| format!("failed to change the black hole of {to}"))
}

/// Tells a bridge by which of its ports an address is reached.
pub fn permanent_port(namespace: &Namespace, port: &str, mac: Mac) -> Result<()> {
    let what = || format!("failed to tell the bridge that {mac} is at `{port}`");
    let index = index(namespace, port).with_context(what)?;
    netlink(namespace, async move |handle| {
        let entry = handle.neighbours().add_bridge(index, &mac.0);
        // `Permanent` would be an address of the bridge's own.
        entry.state(NeighbourState::Noarp).flags(NeighbourFlags::Controller).replace().execute().await
    })
    .with_context(what)
}

/// What an interface has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Frames received.
    pub received: u64,
    /// Frames sent: of a veth, those that the other end has taken.
    pub sent: u64,
    /// Frames that were to be sent and were not: of a veth, because the queue of the other end is full.
    pub unsent: u64,
}

impl Counted {
    /// Frames that were to be sent since then, and are done with: the other end has taken them, or its queue was full.
    pub fn done_since(self, before: Self) -> u64 {
        (self.sent - before.sent) + (self.unsent - before.unsent)
    }
}

/// Reads the counters of an interface.
pub fn counted(namespace: &Namespace, interface: &str) -> Result<Counted> {
    namespace.run(|| counted_here(interface))
}

/// Reads the counters of an interface of the caller's namespace.
pub(super) fn counted_here(interface: &str) -> Result<Counted> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("failed to read `/proc/net/dev`")?;
    // `name: bytes packets errs drop fifo frame compressed multicast`, and the same of the way out.
    let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    let line = line.with_context(|| format!("there is no interface `{interface}`"))?;
    let column = |at: usize| {
        let column = line.split_whitespace().nth(at).and_then(|column| column.parse().ok());
        column.with_context(|| format!("`{interface}` has no counter {at}"))
    };
    Ok(Counted { received: column(1)?, sent: column(9)?, unsent: column(11)? })
}

/// Adds a neighbour that no ARP message can change.
pub fn permanent_neighbour(
    namespace: &Namespace,
    interface: &str,
    address: Ipv4Addr,
    mac: Mac,
) -> Result<()> {
    neighbour(namespace, interface, address, mac, NeighbourState::Permanent)
}

/// Makes a neighbour one of which nothing was heard for long: whoever next sends it something has to ask for it again.
pub fn stale_neighbour(namespace: &Namespace, interface: &str, address: Ipv4Addr, mac: Mac) -> Result<()> {
    neighbour(namespace, interface, address, mac, NeighbourState::Stale)
}

fn neighbour(
    namespace: &Namespace,
    interface: &str,
    address: Ipv4Addr,
    mac: Mac,
    state: NeighbourState,
) -> Result<()> {
    let what = || format!("failed to add the neighbour {address} of `{interface}`");
    let index = index(namespace, interface).with_context(what)?;
    netlink(namespace, async move |handle| {
        let neighbour = handle.neighbours().add(index, IpAddr::V4(address));
        neighbour.state(state).link_layer_address(&mac.0).replace().execute().await
    })
    .with_context(what)
}

/// Whether nothing was heard of a neighbour for long, and nobody has sent it anything since.
pub fn is_stale(namespace: &Namespace, address: Ipv4Addr) -> Result<bool> {
    netlink(namespace, async move |handle| {
        let mut all = handle.neighbours().get().execute();
        let mut found = false;
        while let Some(one) = all.try_next().await? {
            let is_it = |part: &NeighbourAttribute| {
                matches!(part, NeighbourAttribute::Destination(NeighbourAddress::Inet(of)) if *of == address)
            };
            found |= one.header.state == NeighbourState::Stale && one.attributes.iter().any(is_it);
        }
        Ok(found)
    })
    .with_context(|| format!("failed to look for the neighbour {address}"))
}

/// Writes a setting of the namespace, as in `sysctl`, with slashes: `net/ipv4/ip_forward`.
pub fn set(namespace: &Namespace, key: &str, value: &str) -> Result<()> {
    namespace
        .run(|| fs::write(format!("/proc/sys/{key}"), value))
        .with_context(|| format!("failed to set `{key}` to `{value}`"))
}

/// The index of an interface in its namespace.
pub fn index(namespace: &Namespace, interface: &str) -> Result<u32> {
    namespace
        .run(|| if_nametoindex(interface))
        .with_context(|| format!("there is no interface `{interface}`"))
}

/// What every new namespace needs before interfaces come: `lo` up, no IPv6 chatter, no source check of the kernel's own.
pub(super) fn prepare(namespace: &Namespace) -> Result<()> {
    for scope in ["all", "default"] {
        // Router solicitations and MLD reports at random moments would make frame counts differ between runs.
        set_if_present(namespace, &format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
        // A spoofed source must be stopped by the agent, not by luck: the kernel's reverse-path filter is off.
        set(namespace, &format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
    }
    up(namespace, "lo")
}

fn set_if_present(namespace: &Namespace, key: &str, value: &str) -> Result<()> {
    // Each namespace shows its own settings: ask inside.
    if namespace.run(|| fs::exists(format!("/proc/sys/{key}")))? {
        set(namespace, key, value)
    } else {
        Ok(())
    }
}

/// Asks rtnetlink inside a namespace, on a runtime of its own.
pub fn netlink<T: Send>(
    namespace: &Namespace,
    ask: impl AsyncFnOnce(Handle) -> Result<T, rtnetlink::Error> + Send,
) -> Result<T> {
    namespace.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let (connection, handle, _messages) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            Ok(ask(handle).await?)
        })
    })
}
