//! Which way a session comes. In: its ends, this machine's interfaces, the configuration. Out: the segments it can come by.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
};

use crate::{
    config::{Config, Segment},
    dataplane::probe::{self, Interface},
    lint::Session,
};

/// Interfaces above one another that are followed: a VLAN of a bridge of a bond has three.
const LAYERS: u32 = 4;

/// The interface by which a session's packets go back, which is where they come from unless somebody routes them in a
/// circle, and all interfaces; `None` when the session does not end on this machine.
pub(super) fn interface(session: &Session, scope: Option<&str>) -> Option<(String, Vec<Interface>)> {
    let addressed = probe::addressed().ok()?;
    let reached = addressed.get(&session.to)?;
    let there = probe::interfaces().ok()?;
    let name = scope.map(str::to_owned).or_else(|| way_back(session.from, &addressed));
    Some((name.unwrap_or_else(|| reached.clone()), there))
}

/// The interface that has the address from which the kernel would answer.
fn way_back(to: IpAddr, addressed: &BTreeMap<IpAddr, String>) -> Option<String> {
    let any: IpAddr = match to {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a datagram socket looks up the route and sends nothing (udp(7)); 9 is the discard port.
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    addressed.get(&socket.local_addr().ok()?.ip()).cloned()
}

/// The segments of an interface: its own or, for a bridge or a bond, those of its ports, and for a VLAN that of the
/// interface below. None when nothing is enforced there.
pub(super) fn segments<'c>(name: &str, there: &[Interface], config: &'c Config) -> Vec<&'c Segment> {
    let mut found = Vec::new();
    collect(name, None, LAYERS, there, config, &mut found);
    found
}

fn collect<'c>(
    name: &str,
    vlan: Option<u16>,
    layers: u32,
    there: &[Interface],
    config: &'c Config,
    found: &mut Vec<&'c Segment>,
) {
    if config.interfaces.iter().any(|interface| interface.name == name) {
        let here = || config.segments.iter().filter(|segment| segment.interface == name);
        // Tags that no segment names belong to the interface's own.
        let segment = here().find(|s| s.vlan == vlan).or_else(|| here().find(|s| s.vlan.is_none()));
        return found.extend(segment);
    }
    let Some(this) = there.iter().find(|i| i.name == name).filter(|_| layers > 0) else { return };
    if let Some((below, id)) = this.vlan {
        if let Some(below) = there.iter().find(|i| i.index == below) {
            collect(&below.name, Some(id), layers - 1, there, config, found);
        }
        return;
    }
    for port in there.iter().filter(|i| i.controller == Some(this.index)) {
        collect(&port.name, vlan, layers - 1, there, config, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_config;

    #[test]
    fn a_session_comes_by_what_is_below_its_interface() {
        let text = "[interface.cell0]\n[interface.plant0]\nrole = \"uplink\"\n[segment.line-3]\ninterface = \"cell0\"\nvlan = 20\n";
        let (config, found, _) = parse_config("bulkhead.toml", text);
        let config = config.unwrap_or_else(|| panic!("{found:?}"));
        let interface = |index: u32, name: &str, controller, vlan| Interface {
            index,
            name: name.to_owned(),
            controller,
            vlan,
            ..Interface::default()
        };
        let there = [
            interface(1, "cell0", Some(5), None),
            interface(2, "plant0", Some(5), None),
            interface(3, "line", None, Some((1, 20))),
            interface(4, "other", None, Some((1, 30))),
            interface(5, "br0", None, None),
            interface(6, "br0.20", None, Some((5, 20))),
            interface(7, "eth0", None, None),
        ];
        let by = |name: &str| {
            let mut names: Vec<&str> =
                segments(name, &there, &config).into_iter().map(|s| s.name.as_str()).collect();
            names.sort_unstable();
            names.join(" ")
        };
        assert_eq!(by("cell0"), "cell0");
        assert_eq!(by("plant0"), "plant0");
        assert_eq!(by("line"), "line-3");
        assert_eq!(by("other"), "cell0");
        assert_eq!(by("br0"), "cell0 plant0");
        assert_eq!(by("br0.20"), "line-3 plant0");
        assert_eq!(by("eth0"), "", "nothing is enforced there");
        assert_eq!(by("gone0"), "");
    }
}
