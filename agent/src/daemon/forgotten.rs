//! Spools that belong to no sink any more: nobody empties them, and they hold packets that were promised to somebody.
//!
//! In: the folder of the spools, and the sinks of the configuration. Out: a warning for each, with what is to be done about it.

use std::{fs, path::Path, path::PathBuf};

use crate::{
    config::{Destination, Sink},
    spool::Waiting,
};

/// A spool without a sink.
#[derive(Debug)]
pub(super) struct Forgotten {
    folder: PathBuf,
    name: String,
    waiting: Waiting,
}

impl Forgotten {
    /// Those in a folder, by name. What is not a folder is nobody's spool.
    pub(super) fn find(spools: &Path, sinks: &[Sink]) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(spools) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut found: Vec<Self> = folders
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                let is_used = sinks.iter().any(|sink| sink.name == name && has_spool(sink));
                let folder = entry.path();
                let waiting = Waiting::in_folder(&folder).unwrap_or_default();
                (!is_used).then_some(Self { folder, name, waiting })
            })
            .collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        found
    }

    /// What to say of it, as long as it is there.
    pub(super) fn warning(&self) -> Option<String> {
        let Self { folder, name, waiting: Waiting { bytes, packets, unsent: _ } } = self;
        let folder = folder.is_dir().then(|| folder.display())?;
        Some(match bytes {
            0 => format!("`{folder}` is the spool of no sink, and nothing waits in it: remove it"),
            _ => format!(
                "`{folder}` is the spool of no sink, and {bytes} bytes wait in it with {packets} denied packets: \
                 configure `[sink.{name}]` for a receiver again to tell them, or remove the folder"
            ),
        })
    }
}

fn has_spool(sink: &Sink) -> bool {
    match sink.to {
        Destination::Syslog(_) => true,
        Destination::Stdout | Destination::Journald | Destination::File { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::parse_config,
        spool::{Spool, Stamp},
    };

    #[test]
    fn a_spool_without_a_receiver_is_told_of_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, records) in [("siem", 1_u64), ("moved", 2), ("empty", 0)] {
            let (mut spool, _reader) =
                Spool::open(&dir.path().join(name), 1 << 20, "boot 1").expect("it opens");
            spool.append((1..=records).map(|seq| (Stamp { boot: 7, seq }, 10, "a record")));
        }
        fs::write(dir.path().join("file"), "").expect("written");
        let text = "[interface.eth1]\nrole = \"device-side\"\n[sink.siem]\nto = \"syslog+tcp://siem.example.com\"\n[sink.moved]\nto = \"stdout\"\n";
        let config = parse_config("bulkhead.toml", text).0.expect("a configuration");
        let found = Forgotten::find(dir.path(), &config.sinks);
        let said: Vec<String> = found.iter().filter_map(Forgotten::warning).collect();
        let folder = dir.path().display();
        assert_eq!(
            said,
            [
                format!("`{folder}/empty` is the spool of no sink, and nothing waits in it: remove it"),
                format!(
                    "`{folder}/moved` is the spool of no sink, and 96 bytes wait in it with 20 denied packets: \
                     configure `[sink.moved]` for a receiver again to tell them, or remove the folder"
                ),
            ]
        );
        fs::remove_dir_all(dir.path().join("moved")).expect("removed");
        fs::remove_dir_all(dir.path().join("empty")).expect("removed");
        assert_eq!(found.iter().filter_map(Forgotten::warning).count(), 0);
    }
}
