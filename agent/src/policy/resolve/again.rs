//! Entries of files that have not changed, under names that mean the same, are the rules they were last time.
//!
//! In: what every name means, and the rules of the last reading. Out: which files' entries are to be read, and the rules
//! of the others. Only a reading without an error is remembered: what is wrong must be found each time.

use sha2::{Digest as _, Sha256};

use super::{Last, names::Names};
use crate::{
    diagnostic::{At, FileId},
    model::{DeviceId, Rule},
};

/// What the entries of all files were when they were read last.
#[derive(Debug)]
pub(in crate::policy) struct Known {
    /// Of everything that an entry may name.
    names: [u8; 32],
    /// The services in the order of the ids that the rules have.
    services: Vec<String>,
    /// By the number of the file.
    files: Vec<OfFile>,
}

/// What the entries of one file became.
#[derive(Debug, Default)]
pub(super) struct OfFile {
    /// The rules, in the order of the file; services have the ids of [`Known::services`].
    pub(super) rules: Vec<(At, Rule)>,
    /// Names of services.
    pub(super) mentioned: Vec<String>,
    /// How much the entries count towards the bound of all rules.
    pub(super) parts: usize,
}

/// The last reading, as far as it holds for this one.
#[derive(Default)]
pub(super) struct Again {
    services: Vec<String>,
    /// By the number of the file; `None` for those to read.
    files: Vec<Option<OfFile>>,
}

impl Again {
    /// `unchanged` says of each file whether it is the same as when the last reading was made.
    pub(super) fn new(last: Last<'_>, names: &[u8; 32]) -> Self {
        let Some((known, unchanged)) = last.filter(|(known, _)| known.names == *names) else {
            return Self::default();
        };
        let of_file = |(same, file): (&bool, OfFile)| same.then_some(file);
        Self { services: known.services, files: unchanged.iter().zip(known.files).map(of_file).collect() }
    }

    /// What the entries of a file were, if they need not be read.
    pub(super) fn of(&self, file: usize) -> Option<&OfFile> {
        self.files.get(file)?.as_ref()
    }

    /// How many rules need not be made.
    pub(super) fn rules(&self) -> usize {
        self.files.iter().flatten().map(|file| file.rules.len()).sum()
    }

    /// The rules with services by these ids, or none of them when an id means another service now.
    pub(super) fn with_services<'s>(self, services: impl Iterator<Item = &'s str>) -> Self {
        if services.eq(self.services.iter().map(String::as_str)) { self } else { Self::default() }
    }

    /// What to remember of this reading. `mentioned` and `parts` are by the number of the file.
    pub(super) fn known<'s>(
        self,
        names: [u8; 32],
        services: impl Iterator<Item = &'s str>,
        mentioned: Vec<Vec<String>>,
        parts: Vec<usize>,
        rules: &[(At, Rule)],
    ) -> Known {
        let mut known = self.files;
        known.resize_with(mentioned.len(), || None);
        let is_new: Vec<bool> = known.iter().map(Option::is_none).collect();
        let file = |((mentioned, parts), known): (_, Option<OfFile>)| {
            known.unwrap_or_else(|| OfFile { rules: Vec::new(), mentioned, parts })
        };
        let mut files: Vec<OfFile> = mentioned.into_iter().zip(parts).zip(known).map(file).collect();
        for (at, rule) in rules {
            let FileId(number) = at.file;
            if is_new.get(number as usize) == Some(&true) {
                files[number as usize].rules.push((*at, rule.clone()));
            }
        }
        for file in files.iter_mut().zip(is_new).filter(|(_, is_new)| *is_new).map(|(file, _)| file) {
            file.rules.shrink_to_fit();
        }
        Known { names, services: services.map(str::to_owned).collect(), files }
    }
}

#[cfg(test)]
impl Known {
    /// The same, as if no entry had become a rule.
    pub(in crate::policy) fn without_rules(mut self) -> Self {
        self.files.iter_mut().for_each(|file| file.rules.clear());
        self
    }
}

/// A hash over everything that reading an entry asks of the names: which there are, in which order, and what they hold.
pub(super) fn fingerprint(names: &Names<'_>) -> [u8; 32] {
    let mut out = Feed(Vec::with_capacity(64 * names.devices.len()));
    out.many(names.devices.iter(), |out, (name, device)| {
        let raw = device.raw;
        out.text(name);
        out.text(raw.class.as_ref().map_or("", |class| &class.value));
        out.text(raw.zone.as_ref().map_or("", |zone| &zone.value));
        out.0.extend([raw.dynamic, raw.addresses.is_empty(), raw.macs.is_empty()].map(u8::from));
    });
    out.many(names.networks.iter(), |out, (name, network)| {
        out.text(name);
        out.0.extend([network.raw.is_by_name, network.raw.names.is_empty()].map(u8::from));
    });
    out.many(names.classes.keys(), |out, name| out.text(name));
    out.many(names.zones.iter(), |out, (name, zone)| {
        out.text(name);
        out.0.extend([zone.declared.is_some(), zone.named.is_some()].map(u8::from));
    });
    out.many(names.groups.iter(), |out, (name, group)| {
        out.text(name);
        out.0.push(group.is_whole.into());
        out.many(group.networks.iter(), |out, network| out.number(network.0.into()));
        let devices = group.id.map(|id| names.devices_of(crate::model::Peer::Group(id)));
        out.0.push(devices.is_some().into());
        out.many(devices.into_iter().flatten(), |out, DeviceId(id)| out.number((*id).into()));
    });
    out.many(names.multicasts.iter(), |out, (name, group)| {
        out.text(name);
        out.0.extend([group.cidrs.is_empty(), group.macs.is_empty()].map(u8::from));
    });
    out.many(names.services.iter(), |out, (name, (selectors, built_in))| {
        out.text(name);
        out.0.push((*built_in).into());
        out.many(selectors.iter(), |out, selector| {
            out.0.push(selector.protocol);
            out.number(u64::from(selector.low) << 16 | u64::from(selector.high));
        });
    });
    Sha256::digest(&out.0).into()
}

/// Bytes to hash. Numbers of things come with them, so that no list runs into the next.
struct Feed(Vec<u8>);

impl Feed {
    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    fn many<T>(&mut self, all: impl Iterator<Item = T> + Clone, mut one: impl FnMut(&mut Self, T)) {
        self.number(all.clone().count() as u64);
        all.for_each(|item| one(self, item));
    }
}
