//! Which device is asked for, and whether there is one such.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::bail;

use crate::{
    diagnostic::escape,
    inventory::{Listed, Of, Report},
};

/// Captures and the device that is asked for: `--pcap` takes all that follows it, so an address that is no file is the device if it is
/// the last.
///
/// # Errors
/// An address that is no file stands elsewhere, or beside another device (`other` names the option or is the device).
pub(super) fn asked<'a>(
    named: &'a [PathBuf],
    device: Option<&'a str>,
    other: Option<&str>,
) -> anyhow::Result<(&'a [PathBuf], Option<&'a str>)> {
    let Some((last, before)) = named.split_last() else { return Ok((named, device)) };
    if let Some(wrong) = before.iter().find_map(|path| address(path)) {
        bail!(
            "`{wrong}` is an address and no capture\nhint: write the captures after `--pcap`, the address after the last of them"
        );
    }
    let Some(after) = address(last) else { return Ok((named, device)) };
    if let Some(other) = device.or(other) {
        bail!(
            "`{after}` is an address and no capture\nhint: leave it out: `{}` says already what is shown",
            escape(other)
        );
    }
    if before.is_empty() {
        bail!(
            "`{after}` is an address and no capture\nhint: write the captures between `--pcap` and the address"
        );
    }
    Ok((before, Some(after)))
}

/// A MAC or IP address that no file is named like.
fn address(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    (text.parse::<Of>().is_ok() && fs::symlink_metadata(path).is_err()).then_some(text)
}

/// The device with a hardware address or an address. If one that is heard on its link and one behind a router have an address, it is the
/// first, and that is said.
///
/// # Errors
/// The text is no address, or several hardware addresses have that address.
pub(super) fn find(report: &Report, wanted: &str) -> anyhow::Result<Option<Listed>> {
    let address = match wanted.parse() {
        Ok(Of::Address(address)) => address,
        Ok(of) => return Ok(report.devices.iter().find(|listed| listed.device.of == of).cloned()),
        Err(help) => bail!("`{}` is no address\nhint: {help}", escape(wanted)),
    };
    let (on_link, behind): (Vec<&Listed>, Vec<&Listed>) = report
        .devices
        .iter()
        .filter(|listed| listed.addresses.contains(&address))
        .partition(|listed| matches!(listed.device.of, Of::Mac(_)));
    match (&on_link[..], &behind[..]) {
        ([], behind) => Ok(behind.iter().max_by_key(|listed| listed.device.last).copied().cloned()),
        ([one], behind) => {
            for router in behind.iter().filter_map(|listed| listed.device.behind) {
                say!(
                    "note: `{address}` was heard behind the router {router} as well; this is {}",
                    one.device.of
                );
            }
            Ok(Some((*one).clone()))
        }
        (several, _) => {
            let all: Vec<String> = several
                .iter()
                .map(|listed| format!("{} (last heard {})", listed.device.of, listed.device.last))
                .collect();
            bail!(
                "{} hardware addresses use `{address}`: {}\nhint: write the MAC address of the one that is meant; if they use it at the same time, one of them \
                 is wrong or pretends",
                all.len(),
                all.join(", ")
            )
        }
    }
}

/// Hardware addresses that use an address of this device as well, with that address.
pub(super) fn rivals(report: &Report, of: &Listed) -> Vec<String> {
    let others = report
        .devices
        .iter()
        .filter(|other| matches!(other.device.of, Of::Mac(_)) && other.device.of != of.device.of);
    others
        .filter_map(|other| {
            let address = other.addresses.iter().find(|address| of.addresses.contains(address))?;
            Some(format!("{} uses {address}", other.device.of))
        })
        .collect()
}
