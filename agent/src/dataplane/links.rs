//! Pinned links and the NICs they lead to: a pin is found by a name, a link knows only the index of its NIC.
//!
//! NICs change their names while they are enforced. In: the pins as an agent left them and the interfaces
//! as they are now. Out: each pin under the name its NIC has now; pins of NICs that are gone are removed.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{
    DataplaneError, Pins,
    kernel::{self, LinkInfo},
    probe::{self, Interface},
};

/// The index that a link has whose NIC is gone.
const GONE: u32 = 0;

impl Pins {
    /// The interface a pinned link enforces on; `None` when its NIC is gone, or in another network namespace.
    ///
    /// # Errors
    /// When the kernel does not tell: such a link may well enforce.
    pub fn enforced(&self, pin: &str, there: &[Interface]) -> Result<Option<String>, DataplaneError> {
        let link = look(&self.link(pin))?;
        Ok(there.iter().find(|i| leads_to(link, i)).map(|i| i.name.clone()))
    }

    /// Puts every pin under the name that its NIC has now, and removes those whose NIC is gone.
    ///
    /// # Errors
    /// When a link cannot be looked at or its pin cannot be moved; no link ends for that.
    pub(super) fn follow_names(&self) -> Result<(), DataplaneError> {
        let there = probe::interfaces()?;
        let mut moving = BTreeMap::new();
        for pin in self.links()? {
            let link = look(&self.link(&pin))?;
            if link.interface == GONE {
                remove(&self.link(&pin))?;
            } else if let Some(interface) = there.iter().find(|i| leads_to(link, i)) {
                moving.insert(pin, interface.name.clone());
            } else if there.iter().any(|i| i.name == pin) {
                // Its NIC is in another network namespace, and enforced there: only the name is needed here.
                let aside = format!("{pin}%{}", link.interface);
                moving.insert(pin, aside);
            }
        }
        moving.retain(|pin, name| pin != name);
        while let Some(pin) = moving.keys().next().cloned() {
            let free =
                moving.iter().find(|(_, name)| !moving.contains_key(*name)).map(|(pin, _)| pin.clone());
            if let Some(free) = free {
                let name = moving.remove(&free).expect("it was found there");
                rename(&self.link(&free), &self.link(&name))?;
                continue;
            }
            // Names went round in a circle. The kernel makes no name with `%` without replacing it
            // (dev_get_valid_name), so this one is free; if the agent dies here, the next one goes on from it.
            let name = moving.remove(&pin).expect("it was found there");
            let aside = format!("{pin}%");
            rename(&self.link(&pin), &self.link(&aside))?;
            moving.insert(aside, name);
        }
        Ok(())
    }
}

/// Whether the link is what runs on the interface. The program tells apart interfaces of other network
/// namespaces, whose indexes are the same numbers.
fn leads_to(link: LinkInfo, interface: &Interface) -> bool {
    link.interface == interface.index && interface.xdp.is_some_and(|xdp| xdp.program == link.program)
}

fn look(path: &Path) -> Result<LinkInfo, DataplaneError> {
    kernel::link_info(path).map_err(|source| failed("look at the pinned link", path, source))
}

fn rename(from: &Path, to: &Path) -> Result<(), DataplaneError> {
    fs::rename(from, to).map_err(|source| failed("rename the pinned link", from, source))
}

fn remove(path: &Path) -> Result<(), DataplaneError> {
    fs::remove_file(path).map_err(|source| failed("remove the stale link", path, source))
}

fn failed(act: &'static str, path: &Path, source: io::Error) -> DataplaneError {
    DataplaneError::Pins { act, path: path.to_owned(), source }
}
