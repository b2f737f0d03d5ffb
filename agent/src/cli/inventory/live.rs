//! What the running agent has heard.

use super::{
    super::{Cli, unexpected},
    Told,
};
use crate::{
    control::{Body, InventoryPage, Request},
    inventory::{Listed, MOST_DEVICES, Report, VERSION, Vendors},
};

/// Asks the agent page after page, and looks up whose the hardware addresses are.
pub(in crate::cli) fn ask(cli: &Cli, vendors: &Vendors) -> anyhow::Result<Told> {
    let mut after = None;
    let mut told: Option<Told> = None;
    loop {
        let body = cli.ask(&Request::Inventory { after })?;
        let Body::Inventory(page) = body else { return Err(unexpected(&body)) };
        let InventoryPage { devices, next, changes, taken, counts, status: _ } = *page;
        let sofar = told.get_or_insert_with(|| {
            let report = Report { v: VERSION, devices: Vec::new(), changes, counts };
            Told { report, taken, whole: true }
        });
        sofar.report.devices.extend(devices.into_iter().map(|named| Listed::new(named, vendors)));
        after = next.filter(|_| sofar.report.devices.len() <= MOST_DEVICES);
        if after.is_none()
            && let Some(told) = told
        {
            return Ok(told);
        }
    }
}
