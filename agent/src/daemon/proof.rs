//! What is in force, for whoever proves it against the history: texts, modes and stages, once the history is brought up to now.

use std::{collections::BTreeMap, sync::mpsc::RecvTimeoutError, time::Duration};

use tokio::sync::oneshot;

use super::{agent::Agent, beside};
use crate::control::{Body, File, InForceStatus, LayerText, Reply};

/// The history is waited for so long.
const PATIENCE: Duration = Duration::from_secs(10);

impl Agent {
    /// Answers beside the loop: a disk may take its time.
    pub(super) fn tell_in_force(&self, write: bool, back: oneshot::Sender<Reply>) {
        let layers = self.in_force.layers.iter().map(|layer| LayerText {
            only: layer.only.clone(),
            files: (layer.files.iter())
                .map(|file| File { path: file.path.clone(), text: file.text.clone() })
                .collect(),
        });
        let mut told = InForceStatus {
            number: self.pointer.current,
            policy: self.policy_in_force(),
            layers: layers.collect(),
            by_hand: self.modes_by_hand(),
            stages: self.stages_told(),
            behind: None,
        };
        let written = write.then(|| self.history.as_ref().map(|history| history.write_now()));
        beside::answer("in force", back, move || {
            told.behind = match written {
                None => None,
                Some(None) => Some("no history is kept (`[history]`)".to_owned()),
                Some(Some(None)) => Some("there is more to write than time for it".to_owned()),
                Some(Some(Some(written))) => match written.recv_timeout(PATIENCE) {
                    Ok(trouble) => trouble,
                    Err(RecvTimeoutError::Timeout) => Some("the disk takes too long".to_owned()),
                    Err(RecvTimeoutError::Disconnected) => Some("whoever keeps it has ended".to_owned()),
                },
            };
            Reply::Ok(Box::new(Body::InForce(Box::new(told))))
        });
    }

    /// Modes set by hand, by device.
    pub(super) fn modes_by_hand(&self) -> BTreeMap<String, String> {
        let devices = self.overrides.devices.iter();
        devices.map(|(name, change)| (name.clone(), change.mode.name().to_owned())).collect()
    }
}
