//! Everything but the policy on which a row depends, in words behind `@set`.
//!
//! In: words. Out: segments, settings and trusted hosts, the same for host and kernel. The frames of the packet table
//! arrive on `lo`, the segment `floor`; `line` and `spur` are the names of two more, VLAN 7 and VLAN 9 of it, which exist as
//! soon as a word for them is set: `vlan7:untrusted`, or `vlan7:` alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use bulkhead_agent::{
    compile::Placed,
    dataplane::{Dataplane, Runtime},
    model::Selector,
};
use bulkhead_common::{
    address::Address,
    layout::{SegmentKey, SegmentRow, Settings, TrustedKey},
    lookup::{ANY_VLAN, Unmanaged, infrastructure, segment_flag, setting, trust},
    wire::mac,
};
use bulkhead_tests::frame::host;

use super::{COUNTER, FOREVER, LO, gateway};

/// The segments by name, as a policy may name them; the place in the list plus one is the number.
const SEGMENTS: [&str; 3] = ["floor", "line", "spur"];
/// VLANs that may be segments of their own, with their numbers.
const VLANS: [(u16, u16); 2] = [(7, 2), (9, 3)];

/// What one segment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub unmanaged: Unmanaged,
    pub management: bool,
    pub trusted: bool,
    pub drop_fragments: bool,
    pub infrastructure: u32,
    /// Who may have a role here although not everybody may.
    pub hosts: Vec<(Address, u32)>,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            unmanaged: Unmanaged::Monitor,
            management: true,
            trusted: true,
            drop_fragments: false,
            infrastructure: infrastructure::ALL,
            hosts: Vec::new(),
        }
    }
}

/// Everything but the policy on which a row depends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    pub adopt: bool,
    pub strict: bool,
    /// New flows of a device in a window; 0 is no cap.
    pub cap: u32,
    /// From where the gateway may be managed, instead of the two prefixes of the `admin`.
    pub pins: Vec<String>,
    /// Who receives the agent's records over TCP.
    pub receivers: Vec<SocketAddr>,
    pub floor: Place,
    /// The VLANs that are segments of their own.
    pub vlans: BTreeMap<u16, Place>,
}

/// Times of the settings, ns.
#[derive(Clone, Copy)]
pub struct Times {
    pub adopt_for: u64,
    pub tcp: u64,
    pub opening: u64,
    pub closing: u64,
    pub udp: u64,
    pub icmp: u64,
    pub fragment: u64,
    pub lease: u64,
    pub window: u64,
}

const SECOND: u64 = 1_000_000_000;

/// Of the host, whose clock a row moves: each its own, so that a row proves the one it means.
pub const TIMES: Times = Times {
    adopt_for: 300 * SECOND,
    tcp: 100 * SECOND,
    opening: 20 * SECOND,
    closing: 10 * SECOND,
    udp: 30 * SECOND,
    icmp: 5 * SECOND,
    fragment: 15 * SECOND,
    lease: 60 * SECOND,
    window: 2 * SECOND,
};

/// Longer than any test: no clock can make host and kernel disagree.
pub const ENDLESS: Times = Times {
    adopt_for: FOREVER,
    tcp: FOREVER,
    opening: FOREVER,
    closing: FOREVER,
    udp: FOREVER,
    icmp: FOREVER,
    fragment: FOREVER,
    lease: FOREVER,
    window: FOREVER,
};

impl Place {
    fn row(&self, segment: u16) -> SegmentRow {
        let bits = [
            (self.management, segment_flag::MANAGEMENT),
            (self.trusted, segment_flag::TRUSTED),
            (self.drop_fragments, segment_flag::DROP_FRAGMENTS),
        ];
        SegmentRow {
            counter: COUNTER,
            redirect: 0,
            infrastructure: self.infrastructure,
            segment,
            unmanaged: self.unmanaged.code(),
            flags: bits.iter().filter(|(on, _)| *on).map(|(_, bit)| bit).sum(),
        }
    }

    fn trusted_hosts(&self, segment: u16) -> impl Iterator<Item = TrustedKey> {
        let segment = u32::from(segment);
        self.hosts.iter().map(move |(address, role)| TrustedKey { address: *address, segment, role: *role })
    }

    fn set(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let wrong = || format!("`{word}` sets nothing");
        let address = || value.parse::<IpAddr>().map(Address::from).map_err(|_| wrong());
        let off = match name {
            "no-management" => {
                self.management = false;
                return Ok(());
            }
            "untrusted" => {
                self.trusted = false;
                return Ok(());
            }
            "drop-fragments" => {
                self.drop_fragments = true;
                return Ok(());
            }
            "unmanaged" => {
                self.unmanaged = match value {
                    "drop" => Unmanaged::Drop,
                    "pass" => Unmanaged::Pass,
                    _ => return Err(wrong()),
                };
                return Ok(());
            }
            "dhcp-server" => {
                self.hosts.push((address()?, trust::DHCP_SERVER));
                return Ok(());
            }
            "router" => {
                self.hosts.push((address()?, trust::ROUTER));
                return Ok(());
            }
            "router-mac" | "dhcp-server-mac" => {
                let low = mac::from_octets(host(value).ok_or_else(wrong)?.mac);
                let role = if name == "router-mac" { trust::ROUTER_MAC } else { trust::DHCP_SERVER_MAC };
                self.hosts.push((Address { high: 0, low }, role));
                return Ok(());
            }
            "" => return Ok(()),
            "no-arp" => infrastructure::ARP,
            "no-dhcp" => infrastructure::DHCP,
            "no-nd" => infrastructure::NEIGHBOR_DISCOVERY,
            "no-membership" => infrastructure::MEMBERSHIP,
            "no-lldp" => infrastructure::LLDP,
            "no-stp" => infrastructure::STP,
            "no-redundancy" => infrastructure::REDUNDANCY,
            "no-eapol" => infrastructure::EAPOL,
            "no-ptp" => infrastructure::PTP,
            _ => return Err(wrong()),
        };
        self.infrastructure &= !off;
        Ok(())
    }
}

impl Setup {
    /// The words behind `@set`.
    pub fn of(words: &str) -> Result<Self, String> {
        let mut setup = Self::default();
        for word in words.split_whitespace() {
            match word {
                "adopt" => setup.adopt = true,
                "strict" => setup.strict = true,
                _ => {
                    if let Some(cap) = word.strip_prefix("cap=") {
                        setup.cap = cap.parse().map_err(|_| format!("`{word}` sets nothing"))?;
                    } else if let Some(pin) = word.strip_prefix("pin=") {
                        setup.pins.push(pin.to_owned());
                    } else if let Some(receiver) = word.strip_prefix("receiver=") {
                        let receiver = receiver.parse().map_err(|_| format!("`{word}` sets nothing"))?;
                        setup.receivers.push(receiver);
                    } else if let Some(rest) = word.strip_prefix("vlan") {
                        let (vlan, word) = rest.split_once(':').ok_or("a VLAN without `:`")?;
                        let vlan = vlan.parse().map_err(|_| format!("`{vlan}` is no VLAN"))?;
                        setup.vlans.entry(vlan).or_default().set(word)?;
                    } else {
                        setup.floor.set(word)?;
                    }
                }
            }
        }
        Ok(setup)
    }

    /// The number of each segment by its name.
    pub fn segments() -> BTreeMap<String, u16> {
        SEGMENTS.iter().zip(1..).map(|(name, id)| ((*name).to_owned(), id)).collect()
    }

    fn vlan_rows(&self) -> BTreeMap<u16, SegmentRow> {
        let known = VLANS.iter().filter_map(|(vlan, id)| Some((*vlan, self.vlans.get(vlan)?.row(*id))));
        let rows: BTreeMap<u16, SegmentRow> = known.collect();
        assert_eq!(rows.len(), self.vlans.len(), "a VLAN that is no segment");
        rows
    }

    fn floor_row(&self) -> SegmentRow {
        let row = self.floor.row(1);
        let flags = if self.vlans.is_empty() { 0 } else { segment_flag::HAS_VLANS };
        SegmentRow { flags: row.flags | flags, ..row }
    }

    pub fn runtime(&self, times: &Times) -> Runtime {
        let Self { adopt, strict, cap, pins, receivers, floor, vlans } = self;
        let Times { adopt_for, tcp, opening, closing, udp, icmp, fragment, lease, window } = *times;
        let number = |vlan: &u16| VLANS.iter().find(|(known, _)| known == vlan).map_or(0, |(_, id)| *id);
        let hosts = vlans.iter().flat_map(|(vlan, place)| place.trusted_hosts(number(vlan)));
        let of_the_admin = ["10.99.0.0/16".to_owned(), "fd00:99::/32".to_owned()];
        let pins = if pins.is_empty() { &of_the_admin[..] } else { pins };
        let receivers = receivers.iter().map(|receiver| TrustedKey {
            address: receiver.ip().into(),
            segment: receiver.port().into(),
            role: trust::RECEIVER,
        });
        let trusted: BTreeSet<TrustedKey> = floor.trusted_hosts(1).chain(hosts).chain(receivers).collect();
        Runtime {
            settings: Settings {
                adopt_until: if *adopt { adopt_for } else { 0 },
                tcp_idle: tcp,
                opening_idle: opening,
                closing_idle: closing,
                udp_idle: udp,
                icmp_idle: icmp,
                fragment_idle: fragment,
                lease_idle: lease,
                flow_window: window,
                flow_cap: *cap,
                flags: if *strict { setting::STRICT } else { 0 },
            },
            management_peers: pins.iter().map(|pin| pin.parse().expect("a pin is a prefix")).collect(),
            management_services: vec![
                Selector { protocol: 6, low: 22, high: 22 },
                Selector { protocol: 17, low: 60_000, high: 61_000 },
            ],
            trusted,
        }
    }

    /// Writes it where packets read it.
    pub fn configure(&self, dataplane: &mut Dataplane) {
        dataplane.configure(&self.runtime(&ENDLESS)).expect("settings fit");
        let key = |vlan| SegmentKey { ifindex: LO, vlan, pad: 0 };
        let rows = self.vlan_rows().into_iter().map(|(vlan, row)| (key(vlan), row));
        let rows: Vec<_> = rows.chain([(key(ANY_VLAN), self.floor_row())]).collect();
        for (key, row) in &rows {
            dataplane.set_segment(*key, *row).expect("there is room for three");
        }
        let keep = rows.iter().map(|(key, _)| *key).collect();
        dataplane.retain_segments(&keep).expect("segments can be forgotten");
    }

    /// The same for the host.
    pub fn placed(&self, times: &Times) -> Placed {
        let Runtime { settings, management_peers, management_services, trusted } = self.runtime(times);
        Placed {
            deadlines: Vec::new(),
            named: BTreeMap::new(),
            segment: self.floor_row(),
            vlans: self.vlan_rows(),
            segments: Self::segments(),
            trusted,
            settings,
            gateway: gateway(),
            broadcasts: BTreeSet::new(),
            management_peers,
            management_services,
        }
    }
}
