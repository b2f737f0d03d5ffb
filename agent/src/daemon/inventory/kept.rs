//! The inventory in the state folder: one line for each device and each change, so that what is damaged takes nothing else with it.

use serde::{Deserialize, Serialize};

use crate::{
    inventory::{Change, Device, Inventory},
    store::{Store, StoreError},
};

/// The file.
const NAME: &str = "inventory.jsonl";
/// Where a damaged one goes, for whoever wants to look at it.
const ASIDE: &str = "inventory.damaged.jsonl";
const VERSION: u32 = 1;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line<D, C> {
    /// The first one.
    Version(u32),
    Device(D),
    Change(C),
    /// The last one: how many there are before it.
    End(usize),
}

/// What was read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) inventory: Inventory,
    /// What was lost, as a sentence.
    pub(super) trouble: Option<String>,
}

/// What [`read`] reads.
pub(super) fn lines(inventory: &Inventory) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::new();
    let mut count = 0;
    let mut add = |line: &Line<&Device, &Change>| {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
        Ok::<_, serde_json::Error>(())
    };
    add(&Line::Version(VERSION))?;
    for device in inventory.devices() {
        add(&Line::Device(device))?;
        count += 1;
    }
    for change in inventory.changes() {
        add(&Line::Change(change))?;
        count += 1;
    }
    add(&Line::End(count))?;
    Ok(bytes)
}

/// Replaces what is kept.
pub(super) fn write(store: &Store, bytes: &[u8]) -> Result<(), StoreError> {
    store.write(NAME, bytes)
}

/// What is kept, as far as it can be read. A damaged file is set aside.
pub(super) fn restore(store: &Store) -> Found {
    let bytes = match store.read(NAME) {
        Ok(None) => return Found::default(),
        Ok(Some(bytes)) => bytes,
        Err(error) => return Found { trouble: Some(error.caused()), ..Found::default() },
    };
    let (found, lost) = read(&bytes);
    if lost == 0 {
        return found;
    }
    let name = store.folder().join(NAME);
    let mut trouble = format!("`{}` is damaged: {lost} of its lines could not be read", name.display());
    trouble += &match store.write(ASIDE, &bytes) {
        Ok(()) => format!("; it is kept as `{ASIDE}`"),
        Err(error) => format!("; it could not be set aside: {}", error.caused()),
    };
    Found { trouble: Some(trouble), ..found }
}

/// What is in the bytes, and how many lines are lost.
fn read(bytes: &[u8]) -> (Found, usize) {
    let (mut devices, mut changes) = (Vec::new(), Vec::new());
    let (mut damaged, mut end) = (0, None);
    for (at, line) in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).enumerate() {
        match serde_json::from_slice::<Line<Device, Change>>(line) {
            Ok(Line::Version(VERSION)) if at == 0 => {}
            Ok(Line::Device(device)) => devices.push(device),
            Ok(Line::Change(change)) => changes.push(change),
            Ok(Line::End(count)) => end = Some(count),
            Ok(Line::Version(_)) | Err(_) => damaged += 1,
        }
    }
    let there = devices.len() + changes.len();
    // A file that was cut has lost its end.
    let missing = end.map_or(1, |end| end.saturating_sub(there));
    (Found { inventory: Inventory::restore(devices, changes), trouble: None }, missing.max(damaged))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        inventory::{Claim, Evidence, Heard, Kind},
        model::Mac,
    };

    fn some() -> Inventory {
        let mut inventory = Inventory::default();
        for last in 1..=3 {
            let name = format!("press \"{last}\" \u{2713}");
            let heard = Heard {
                mac: Mac([2, 0, 0, 0, 0, last]),
                source: Some([10, 0, 0, last].into()),
                claims: vec![Claim { kind: Kind::Name, value: name, evidence: Evidence::Mdns }],
            };
            inventory.take_on(&heard, Timestamp::from_second(1_780_000_000).expect("a time"), Some("cell0"));
        }
        inventory
    }

    fn devices(inventory: &Inventory) -> Vec<&Device> {
        inventory.devices().collect()
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let before = some();
        let bytes = lines(&before).expect("JSON");
        let (Found { inventory, .. }, lost) = read(&bytes);
        assert_eq!(lost, 0);
        assert_eq!(lines(&inventory).expect("JSON"), bytes);
        assert_eq!(devices(&inventory).len(), 3);
    }

    #[test]
    fn damage_takes_its_own_line_alone() {
        let bytes = lines(&some()).expect("JSON");
        let mut spoiled = bytes.clone();
        let second = bytes.iter().position(|byte| *byte == b'\n').expect("lines") + 3;
        spoiled[second] = 0xff;
        let (Found { inventory, .. }, lost) = read(&spoiled);
        assert_eq!((devices(&inventory).len(), lost), (2, 1));
        // One that was cut has the lines before it.
        let (Found { inventory, .. }, lost) = read(&bytes[..bytes.len() / 2]);
        assert!((1..3).contains(&devices(&inventory).len()) && lost > 0);
        for end in 0..bytes.len() {
            let (_, lost) = read(&bytes[..end]);
            // But for the end of the last line.
            assert!(lost > 0 || end + 1 == bytes.len(), "{end}");
        }
    }
}
