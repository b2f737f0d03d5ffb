//! What a NIC does to frames that no program can make good: hidden VLAN tags, merged segments, frames that the other
//! side of a pair cannot send.
//!
//! In: facts about the NIC. Out: obstacles in words, each with the command that removes it. Read by the agent, which
//! shows them in `status`, and by `doctor`.

use super::{Offloads, probe::Interface};

/// Something that keeps frames from being judged or forwarded as they were sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// What it is, to follow the name of the interface.
    pub seen: String,
    /// The command that removes it.
    pub fix: String,
}

/// The obstacles of an interface; `peer` is the other side of its pair.
pub fn obstacles(interface: &Interface, offloads: Offloads, peer: Option<&Interface>) -> Vec<Obstacle> {
    let Interface { name, mtu, .. } = interface;
    let Offloads { rx_vlan, lro } = offloads;
    let mut found = Vec::new();
    if rx_vlan {
        found.push(Obstacle {
            seen: "takes VLAN tags off before the program sees them (rxvlan)".to_owned(),
            fix: format!("ethtool -K {name} rxvlan off"),
        });
    }
    if lro {
        found.push(Obstacle {
            seen: "merges segments before the program sees them (LRO)".to_owned(),
            fix: format!("ethtool -K {name} lro off"),
        });
    }
    // What is larger than the MTU of the other side is dropped when it is redirected (xdp_ok_fwd_dev).
    if let Some(peer) = peer.filter(|peer| peer.mtu < *mtu) {
        found.push(Obstacle {
            seen: format!(
                "has an MTU of {mtu}, and the other side of its pair, `{}`, one of {}",
                peer.name, peer.mtu
            ),
            fix: format!("ip link set dev {} mtu {mtu}", peer.name),
        });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nic(name: &str, mtu: u32) -> Interface {
        Interface { name: name.to_owned(), mtu, ..Interface::default() }
    }

    #[test]
    fn each_obstacle_comes_with_its_command() {
        let (eth1, eth2) = (nic("eth1", 9000), nic("eth2", 1500));
        let fixes = |list: Vec<Obstacle>| list.into_iter().map(|o| o.fix).collect::<Vec<_>>();
        let hidden = Offloads { rx_vlan: true, lro: true };
        assert_eq!(
            fixes(obstacles(&eth1, hidden, Some(&eth2))),
            ["ethtool -K eth1 rxvlan off", "ethtool -K eth1 lro off", "ip link set dev eth2 mtu 9000"]
        );
        let nothing = Offloads { rx_vlan: false, lro: false };
        assert!(
            obstacles(&eth2, nothing, Some(&eth1)).is_empty(),
            "the larger side takes all of the smaller"
        );
        assert!(obstacles(&eth1, nothing, None).is_empty());
    }
}
