//! The look at interfaces and addresses, and who hears of what is found and in force.

use std::time::Instant;

use super::agent::Agent;
use crate::dataplane::DataplaneError;

impl Agent {
    /// Looks after the NICs; what cannot be done now is tried again at the next look.
    pub(super) fn look(&mut self) {
        self.looked = Instant::now();
        if let Err(error) = self.look_after_nics(self.looked) {
            tracing::error!("{error}");
        }
    }

    pub(super) fn look_after_nics(&mut self, heard: Instant) -> Result<(), DataplaneError> {
        for news in self.nics.look_after(&mut self.dataplane, heard)? {
            tracing::warn!("{news}");
        }
        if let Some(now) = self.nics.changed_addresses()?
            && let Some(applied) = self.dataplane.applied()
        {
            let tables = applied.tables.clone();
            let before = std::mem::replace(&mut self.nics.addresses, now);
            if let Err(error) = self.enforce(tables) {
                // The attempt is made again at the next look.
                self.nics.addresses = before;
                return Err(error);
            }
            tracing::info!("the gateway's own addresses changed; policy applied again");
            self.learn();
        }
        self.reporter.place(&self.nics);
        if let Some(inventory) = &mut self.inventory {
            inventory.place(&self.nics);
        }
        Ok(())
    }

    /// Tells those who name things what is in force, and where.
    pub(super) fn learn(&mut self) {
        self.reporter.learn(&self.dataplane, &self.nics, &self.in_force.policy);
        if let Some(inventory) = &mut self.inventory {
            inventory.place(&self.nics);
            inventory.know(&self.in_force.policy);
        }
    }
}
