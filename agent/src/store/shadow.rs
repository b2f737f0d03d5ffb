//! A policy that is proposed and judged beside the one in force: its texts, so that it survives a restart of the agent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{PolicyFile, TextLayer, Who, digest};
use crate::policy::SourceFile;

/// Name of [`KeptShadow`] in the store.
pub const SHADOW: &str = "shadow.json";

/// A proposed policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptShadow {
    /// When it was set.
    pub since: Timestamp,
    /// By whom.
    pub by: Who,
    /// The path its files were read from.
    pub from: String,
    /// In that user's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who signed its files: key, number and comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// Digest of the files.
    pub digest: String,
    /// Its files.
    pub files: Vec<PolicyFile>,
}

impl KeptShadow {
    /// Takes texts, sealed with their digest.
    pub fn sealed(self, layer: &TextLayer) -> Self {
        let files =
            layer.files.iter().map(|file| PolicyFile { path: file.path.clone(), text: file.text.clone() });
        Self { digest: digest(&layer.kept().files), files: files.collect(), ..self }
    }

    /// The texts; none when they are not those that were written.
    pub fn texts(&self) -> Option<TextLayer> {
        let files =
            self.files.iter().map(|file| SourceFile { path: file.path.clone(), text: file.text.clone() });
        let layer = TextLayer { only: Vec::new(), files: files.collect() };
        (digest(&layer.kept().files) == self.digest).then_some(layer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_spoiled_ones_do_not() {
        let file = SourceFile { path: "a.toml".into(), text: "version = 1\n".into() };
        let layer = TextLayer { only: Vec::new(), files: vec![file] };
        let kept = KeptShadow {
            since: Timestamp::UNIX_EPOCH,
            by: Who::default(),
            from: "/etc/p".into(),
            reason: None,
            signed: None,
            digest: String::new(),
            files: Vec::new(),
        };
        let kept = kept.sealed(&layer);
        let text = serde_json::to_string(&kept).expect("JSON");
        let back: KeptShadow = serde_json::from_str(&text).expect("what was written");
        assert_eq!(back.texts(), Some(layer));
        let spoiled = text.replace("version = 1", "version = 2");
        let spoiled: KeptShadow = serde_json::from_str(&spoiled).expect("JSON still");
        assert_eq!(spoiled.texts(), None);
    }
}
