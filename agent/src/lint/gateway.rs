//! Devices that are the gateway itself. In: a policy, and what the gateway's own interfaces are called and addressed by.
//! Out: an error for each hardware address of the gateway that a device claims, since every frame that the gateway shall
//! forward is sent to one of them; a warning for each of its addresses, whose packets are never taken for a device's.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    diagnostic::{Diagnostic, quote, sort},
    model::{Mac, Policy},
};

/// What is forwarded would be denied.
const OWN_MAC: &str = "BH0336";
/// A device that never is anybody.
const OWN_ADDRESS: &str = "BH0517";

/// What the gateway's own interfaces are known by: hardware addresses and addresses, each with the interface's name.
#[derive(Clone, Debug, Default)]
pub struct Own {
    macs: BTreeMap<Mac, String>,
    addresses: BTreeMap<IpAddr, String>,
}

impl Own {
    /// Interfaces by name and hardware address, and addresses by interface. What is no hardware address of six bytes is
    /// left out.
    pub fn new<'i>(
        interfaces: impl IntoIterator<Item = (&'i str, &'i [u8])>,
        addresses: BTreeMap<IpAddr, String>,
    ) -> Self {
        let mut macs = BTreeMap::new();
        for (name, mac) in interfaces {
            // The loopback has zeros.
            if let Ok(mac) = <[u8; 6]>::try_from(mac)
                && mac != [0; 6]
            {
                macs.entry(Mac(mac)).or_insert_with(|| name.to_owned());
            }
        }
        Self { macs, addresses }
    }
}

/// Devices that are known by what is the gateway's own.
pub fn own_devices(policy: &Policy, own: &Own) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for device in &policy.devices {
        let name = quote(&device.name);
        if let Some((mac, interface)) = device.macs.iter().find_map(|mac| Some((mac, own.macs.get(mac)?))) {
            let message = format!(
                "device {name} has the MAC address {mac}, which is that of `{interface}`, an interface of this gateway"
            );
            let help = "give the device's own MAC address: what this gateway shall forward is sent to its own, and would be taken for packets to the device and denied";
            found.push(Diagnostic::error(OWN_MAC, message).at(device.location.clone(), "").help(help));
        } else if let Some((ip, interface)) =
            device.addresses.iter().find_map(|ip| Some((ip, own.addresses.get(ip)?)))
        {
            let message =
                format!("device {name} has the address {ip}, which this gateway itself has on `{interface}`");
            let help = "correct the address, or write `gateway` where rules mean this gateway: packets of its own addresses are never taken for a device's";
            found.push(Diagnostic::warning(OWN_ADDRESS, message).at(device.location.clone(), "").help(help));
        }
    }
    sort(&mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, resolve_texts};

    #[test]
    fn devices_that_are_the_gateway_are_found() {
        let text = "version = 1\n[device.a]\nmac = \"00:1d:9c:00:00:01\"\nip = \"10.0.0.1\"\n\
                    [device.b]\nip = [\"10.0.0.2\", \"10.0.0.254\"]\n[device.c]\nmac = \"00:1d:9c:00:00:03\"\n";
        let files = [SourceFile { path: "a.toml".into(), text: text.into() }];
        let policy = resolve_texts(&files).policy.expect("a valid policy");
        let told = |mac: [u8; 6], ip: &str| {
            let addresses = [(ip.parse().expect("an address"), "plant0".to_owned())].into();
            let own = Own::new([("lo", &[0_u8; 6][..]), ("cell0", &mac[..]), ("tun0", &[])], addresses);
            own_devices(&policy, &own)
                .into_iter()
                .map(|found| (found.code, found.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(told([0, 0x1d, 0x9c, 0, 0, 9], "10.0.0.9"), []);
        let [mac, ip] = &told([0, 0x1d, 0x9c, 0, 0, 3], "10.0.0.254")[..] else { panic!("one of each") };
        let (ip, mac) = if ip.0 == OWN_ADDRESS { (ip, mac) } else { (mac, ip) };
        assert_eq!(ip.0, OWN_ADDRESS);
        assert!(ip.1.contains("`b`") && ip.1.contains("10.0.0.254") && ip.1.contains("`plant0`"), "{}", ip.1);
        assert_eq!(mac.0, OWN_MAC);
        assert!(mac.1.contains("`c`") && mac.1.contains("`cell0`"), "{}", mac.1);
    }
}
