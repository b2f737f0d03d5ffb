//! `[interface.NAME]`: what is behind a NIC, how the program gets on it, and which two are a pair.

use toml::de::DeTable;

use super::{
    super::{ALONE_HELP, Attach, Forward, Interface, Pair, Role, Segment, alone_said, language::INTERFACE},
    Infrastructure, segments, word,
};
use crate::{
    diagnostic::{At, Diagnostic, quote},
    policy::reader::{Leaf, Reader},
};

pub(in crate::config) const ROLES: [(&str, Word); 3] =
    [("device-side", Word::DeviceSide), ("uplink", Word::Uplink), ("pair", Word::Pair)];
pub(in crate::config) const SIDES: [(&str, Role); 2] =
    [("device", Role::DeviceSide), ("uplink", Role::Uplink)];
pub(in crate::config) const ATTACH: [(&str, Attach); 2] =
    [("native", Attach::Native), ("generic", Attach::Generic)];
pub(in crate::config) const FORWARD: [(&str, Forward); 2] =
    [("kernel", Forward::Kernel), ("direct", Forward::Direct)];

/// More ports than a gateway has; each costs an attached program.
const MAX_INTERFACES: usize = 256;
/// `IFNAMSIZ` is 16, the last one zero (netdevice(7)).
const MAX_INTERFACE_NAME: usize = 15;

/// What a pair gets wrong.
const PAIR: &str = "BH0611";

#[derive(Clone, Copy, Default)]
pub(in crate::config) enum Word {
    DeviceSide,
    #[default]
    Uplink,
    Pair,
}

/// An interface as written: which role a side of a pair has depends on its peer.
struct Raw<'t, 'i> {
    name: Leaf<String>,
    table: &'t DeTable<'i>,
    role: Word,
    peer: Option<Leaf<String>>,
    side: Option<Leaf<Role>>,
    mirror_link: Option<Leaf<bool>>,
}

/// All interfaces by name, and the segment that each one is.
pub(super) fn interfaces(
    reader: &mut Reader<'_, '_>,
    root: &DeTable<'_>,
    infrastructure: Infrastructure,
) -> (Vec<Interface>, Vec<Segment>) {
    let tables = reader.named_tables(root, "interface");
    let help = "add `[interface.eth1]` with `role = \"device-side\"`, and `[interface.eth0]` for the uplink";
    if tables.is_empty() && root.get("interface").is_none_or(|value| value.get_ref().is_table()) {
        let location = reader.locate(0..0);
        let found = Diagnostic::error("BH0601", "no interface is configured");
        reader.out.push(found.at(location, "").help(help));
    }
    if let Some((name, _)) = tables.get(MAX_INTERFACES) {
        let message = format!("{} interfaces are too many", tables.len());
        reader.refuse::<()>("BH0601", name, message, &format!("at most {MAX_INTERFACES} are attached"));
    }
    let mut raw: Vec<Raw<'_, '_>> =
        tables.into_iter().take(MAX_INTERFACES).map(|(name, table)| read(reader, name, table)).collect();
    raw.sort_by(|a, b| a.name.value.cmp(&b.name.value));
    let mut found = Vec::new();
    let mut segments = Vec::new();
    let mut direct = Vec::new();
    for this in &raw {
        let (role, pair) = match this.role {
            Word::DeviceSide => (Role::DeviceSide, None),
            Word::Uplink => (Role::Uplink, None),
            Word::Pair => pair(reader, this, &raw),
        };
        // A device must not reach the gateway's own services unless someone says so, and through a pair nothing
        // reaches the gateway.
        let name = &this.name.value;
        let default = Segment {
            management: role == Role::Uplink && pair.is_none(),
            trusted: role == Role::Uplink,
            ..segments::plain(name, infrastructure)
        };
        let what = format!("interface {}", quote(name));
        segments.push(segments::switches(reader, this.table, &what, default));
        let attach = word(reader, this.table, "attach", &ATTACH);
        found.push(Interface {
            name: name.clone(),
            role,
            attach,
            forward: forward(reader, this, attach, &mut direct),
            pair,
            fix_offloads: reader.boolean(this.table, "fix_offloads").is_some_and(|flag| flag.value),
        });
    }
    // Of one that may not, its own error says enough.
    let may = found.iter().any(|interface| interface.forward == Forward::Direct);
    if let [(name, at)] = direct[..]
        && may
    {
        let location = reader.out.locate(at);
        reader.out.push(Diagnostic::warning("BH0620", alone_said(name)).at(location, "").help(ALONE_HELP));
    }
    (found, segments)
}

fn read<'t, 'i>(reader: &mut Reader<'_, '_>, name: Leaf<String>, table: &'t DeTable<'i>) -> Raw<'t, 'i> {
    let text = name.value.as_str();
    // As the kernel's dev_valid_name: a name is a folder in sysfs.
    let odd = text.is_empty() || text.len() > MAX_INTERFACE_NAME || text == "." || text == "..";
    if odd || text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control()) {
        let help = "write 1 to 15 bytes without `/`, `:` or blanks, as `ip link` shows it";
        reader.refuse::<()>("BH0602", &name, format!("{} cannot be an interface", quote(text)), help);
    }
    reader.keys(table, &INTERFACE, &format!("interface {}", quote(text)));
    let role = word(reader, table, "role", &ROLES);
    let peer = reader.string(table, "peer");
    let side = reader.string(table, "side").and_then(|leaf| {
        let role = reader.word("BH0603", &leaf, "value of `side`", &SIDES)?;
        Some(Leaf { value: role, at: leaf.at })
    });
    let mirror_link = reader.boolean(table, "mirror_link");
    if !matches!(role, Word::Pair) {
        let places = [
            ("peer", peer.as_ref().map(|leaf| leaf.at)),
            ("side", side.map(|leaf| leaf.at)),
            ("mirror_link", mirror_link.map(|leaf| leaf.at)),
        ];
        for (key, at) in places {
            if let Some(at) = at {
                let message = format!("`{key}` is for a pair, and {} is none", quote(text));
                refuse(reader, at, message, "write `role = \"pair\"`, or remove it");
            }
        }
    }
    Raw { name, table, role, peer, side, mirror_link }
}

/// Who sends on what passes an interface. Those that say `direct` are noted with the place.
fn forward<'r>(
    reader: &mut Reader<'_, '_>,
    this: &'r Raw<'_, '_>,
    attach: Attach,
    direct: &mut Vec<(&'r str, At)>,
) -> Forward {
    let Some(leaf) = reader.string(this.table, "forward") else { return Forward::default() };
    let name = quote(&this.name.value);
    let forward = reader.word("BH0603", &leaf, "value of `forward`", &FORWARD).unwrap_or_default();
    if forward == Forward::Direct {
        direct.push((&this.name.value, leaf.at));
    }
    let (message, help) = match (forward, this.role, attach) {
        (Forward::Direct, Word::Pair, _) => {
            (format!("{name} is a side of a pair, which sends everything to the other one"), "remove it")
        }
        (Forward::Direct, _, Attach::Generic) => (
            format!("{name} runs the program behind the driver, where packets cannot leave directly"),
            "write `attach = \"native\"` to run it in the driver, or `forward = \"kernel\"`",
        ),
        (Forward::Direct | Forward::Kernel, _, _) => return forward,
    };
    reader.refuse("BH0619", &leaf, message, help).unwrap_or_default()
}

/// The role and the other side of an interface of a pair.
fn pair(reader: &mut Reader<'_, '_>, this: &Raw<'_, '_>, all: &[Raw<'_, '_>]) -> (Role, Option<Pair>) {
    let name = &this.name.value;
    let said = this.side.map(|leaf| leaf.value);
    let alone = (said.unwrap_or_default(), None);
    let Some(peer) = &this.peer else {
        let message = format!("{} is one side of a pair, and the other is not named", quote(name));
        refuse(reader, this.name.at, message, "add `peer = \"...\"` with the name of the other side");
        return alone;
    };
    if peer.value == *name {
        let message = format!("{} cannot be its own peer", quote(name));
        refuse(reader, peer.at, message, "name the other side of the pair");
        return alone;
    }
    let Some(other) = all.iter().find(|raw| raw.name.value == peer.value) else {
        let names = all.iter().map(|raw| raw.name.value.as_str()).filter(|other| other != name);
        let help = match reader.out.suggest(&peer.value, names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("add `[interface.{}]` with `role = \"pair\"`", peer.value),
        };
        refuse(reader, peer.at, format!("the peer {} is not configured", quote(&peer.value)), &help);
        return alone;
    };
    let back = other.peer.as_ref().map(|leaf| leaf.value.as_str());
    if !matches!(other.role, Word::Pair) || back != Some(name) {
        let message = format!("{} does not name {} as its peer", quote(&peer.value), quote(name));
        let help = format!("write `role = \"pair\"` and `peer = \"{name}\"` in `[interface.{}]`", peer.value);
        refuse(reader, peer.at, message, &help);
        return alone;
    }
    // What concerns both is told once.
    let first = *name < peer.value;
    let role = match (said, other.side.map(|leaf| leaf.value)) {
        (Some(Role::Uplink), Some(Role::Uplink)) | (None, None) => {
            if first {
                let message =
                    format!("no side of the pair {} and {} holds devices", quote(name), quote(&peer.value));
                let help = "write `side = \"device\"` on the side where the devices are";
                refuse(reader, this.name.at, message, help);
            }
            Role::Uplink
        }
        (Some(role), Some(_) | None) => role,
        (None, Some(Role::DeviceSide)) => Role::Uplink,
        (None, Some(Role::Uplink)) => Role::DeviceSide,
    };
    let mirrors = [this.mirror_link, other.mirror_link].map(|leaf| leaf.map(|leaf| leaf.value));
    if let ([Some(here), Some(there)], Some(leaf)) = (mirrors, this.mirror_link)
        && here != there
        && first
    {
        let message =
            format!("the pair {} and {} disagrees about `mirror_link`", quote(name), quote(&peer.value));
        refuse(reader, leaf.at, message, "write it on one side, or the same on both");
    }
    let mirror_link = mirrors.into_iter().flatten().next().unwrap_or(true);
    (role, Some(Pair { peer: peer.value.clone(), mirror_link }))
}

fn refuse(reader: &mut Reader<'_, '_>, at: At, message: String, help: &str) {
    let location = reader.out.locate(at);
    reader.out.push(Diagnostic::error(PAIR, message).at(location, "").help(help));
}
