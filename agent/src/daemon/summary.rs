//! What a change of policy changes, in a line for the list of revisions.

use std::collections::BTreeMap;

use crate::{
    diagnostic::counted,
    model::{Mode, Policy},
    store::TextLayer,
};

/// Names in one list; further ones are counted.
const NAMED: usize = 8;

/// `plant.toml; 12 devices (+1), 40 rules (-2); press-plc monitor -> enforce`.
pub(super) fn changes(
    old: Option<(&[TextLayer], &Policy)>,
    (layers, policy): (&[TextLayer], &Policy),
) -> String {
    let (devices, rules) = (policy.devices.len(), policy.rules.len());
    let Some((old_layers, old)) = old else {
        return format!("{}, {}", counted(devices, "device"), counted(rules, "rule"));
    };
    let counts = format!(
        "{}{}, {}{}",
        counted(devices, "device"),
        moved(old.devices.len(), devices),
        counted(rules, "rule"),
        moved(old.rules.len(), rules)
    );
    let parts = [files(old_layers, layers), counts, modes(old, policy)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Names of files that came, changed or went.
fn files(old: &[TextLayer], new: &[TextLayer]) -> String {
    let (old, new) = (texts(old), texts(new));
    let name = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut words: Vec<String> = (new.iter())
        .filter_map(|(path, text)| match old.get(path) {
            None => Some(format!("{} added", name(path))),
            Some(before) if before != text => Some(name(path)),
            Some(_) => None,
        })
        .collect();
    words.extend(
        old.keys().filter(|path| !new.contains_key(*path)).map(|path| format!("{} removed", name(path))),
    );
    some(words)
}

fn texts(layers: &[TextLayer]) -> BTreeMap<&str, &str> {
    let files = layers.iter().flat_map(|layer| &layer.files);
    files.map(|file| (file.path.as_str(), file.text.as_str())).collect()
}

fn modes(old: &Policy, new: &Policy) -> String {
    let words = new.devices.iter().filter_map(|device| {
        let before = old.device(&device.name).map(|(_, before)| before.mode)?;
        (before != device.mode)
            .then(|| format!("{} {} -> {}", device.name, Mode::name(before), Mode::name(device.mode)))
    });
    some(words.collect())
}

fn some(mut words: Vec<String>) -> String {
    let more = words.len().saturating_sub(NAMED);
    words.truncate(NAMED);
    let mut text = words.join(", ");
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

fn moved(old: usize, new: usize) -> String {
    match new.cmp(&old) {
        std::cmp::Ordering::Less => format!(" (-{})", old - new),
        std::cmp::Ordering::Equal => String::new(),
        std::cmp::Ordering::Greater => format!(" (+{})", new - old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{SourceFile, resolve_texts};

    fn made(files: &[(&str, &str)]) -> (Vec<TextLayer>, Policy) {
        let files: Vec<SourceFile> = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: format!("version = 1\n{text}") })
            .collect();
        let policy = resolve_texts(&files).policy.expect("a valid policy");
        (vec![TextLayer { only: Vec::new(), files }], policy)
    }

    #[test]
    fn a_change_is_told_in_a_line() {
        let plc =
            "[device.plc]\nip = \"10.0.0.1\"\n[[device.plc.allow]]\nfrom = \"any\"\nservice = \"modbus\"\n";
        let old = made(&[("/a/plc.toml", plc), ("/a/old.toml", "[device.pc]\nip = \"10.0.0.9\"\n")]);
        let enforced = plc.replacen("\n[[", "\nmode = \"enforce\"\n[[", 1);
        let hmi = "[device.hmi]\nip = \"10.0.0.2\"\n[device.nas]\nip = \"10.0.0.3\"\n";
        let new = made(&[("/a/plc.toml", &enforced), ("/a/new.toml", hmi)]);
        assert_eq!(changes(None, (&old.0, &old.1)), "2 devices, 1 rule");
        assert_eq!(
            changes(Some((&old.0, &old.1)), (&new.0, &new.1)),
            "new.toml added, plc.toml, old.toml removed; 3 devices (+1), 1 rule; plc monitor -> enforce"
        );
        assert_eq!(changes(Some((&old.0, &old.1)), (&old.0, &old.1)), "2 devices, 1 rule");
    }
}
