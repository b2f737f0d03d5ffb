//! What a device may be, by rules that a person can read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Device, Evidence, Kind, Vendor};

/// How sure a suggestion is, as sure as claims can make it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Something that others have as well.
    Guess,
    /// Something that hardly anything else has, or several guesses by different protocols.
    Likely,
    /// The device says so itself, in a field that exists to say it. It may lie.
    Certain,
}

impl Confidence {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Guess => "guess",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

/// A class, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suggested {
    /// What it may be.
    pub class: &'static str,
    /// How sure that is.
    pub confidence: Confidence,
    /// What speaks for it.
    pub because: Vec<String>,
}

/// What speaks for a class.
enum Clue {
    /// It says its role, by whatever protocol.
    Role(&'static str),
    /// It accepts connections on a port.
    Serves(&'static str),
    /// It identified itself by a protocol.
    Speaks(Evidence),
    /// It announces a service of this kind.
    Offers(&'static str),
    /// What it says of its name, model, maker or in free text has this in it, in lower case.
    Says(&'static str),
    /// Its hardware address is of somebody whose name has this in it, in lower case.
    Made(&'static str),
}

use Clue::{Made, Offers, Role, Says, Serves, Speaks};
use Confidence::{Certain, Guess, Likely};

/// The rules, each for itself.
const RULES: &[(&str, Confidence, Clue)] = &[
    ("plc", Certain, Role("plc")),
    ("hmi", Certain, Role("hmi")),
    ("drive", Certain, Role("drive")),
    ("io-device", Certain, Role("io device")),
    ("router", Certain, Role("router")),
    ("switch", Certain, Role("switch")),
    ("switch", Likely, Role("bridge")),
    ("phone", Certain, Role("telephone")),
    ("access-point", Certain, Role("access point")),
    ("plc", Likely, Speaks(Evidence::S7)),
    ("plc", Likely, Serves("tcp/102")),
    ("plc", Guess, Serves("tcp/502")),
    ("plc", Guess, Speaks(Evidence::Modbus)),
    ("plc", Guess, Serves("tcp/44818")),
    ("plc", Guess, Speaks(Evidence::EtherNetIp)),
    ("plc", Likely, Serves("tcp/2404")),
    ("plc", Likely, Serves("tcp/20000")),
    ("plc", Likely, Says("simatic")),
    ("plc", Likely, Says("s7-1")),
    ("plc", Likely, Says("modicon")),
    ("plc", Likely, Says("controllogix")),
    ("plc", Guess, Made("siemens")),
    ("plc", Guess, Made("rockwell")),
    ("plc", Guess, Made("schneider electric")),
    ("plc", Guess, Made("beckhoff")),
    ("plc", Guess, Made("wago")),
    ("plc", Guess, Made("phoenix contact")),
    ("io-device", Guess, Speaks(Evidence::Profinet)),
    ("building-controller", Likely, Speaks(Evidence::Bacnet)),
    ("hmi", Guess, Says("hmi")),
    ("hmi", Guess, Says("panel")),
    ("drive", Guess, Says("sinamics")),
    ("drive", Guess, Says("powerflex")),
    ("printer", Likely, Offers("_ipp._tcp")),
    ("printer", Likely, Offers("_pdl-datastream._tcp")),
    ("printer", Likely, Offers("_printer._tcp")),
    ("printer", Likely, Serves("tcp/9100")),
    ("printer", Likely, Offers("urn:schemas-upnp-org:device:Printer")),
    ("camera", Likely, Offers("_rtsp._tcp")),
    ("camera", Likely, Offers("_axis-video._tcp")),
    ("camera", Guess, Serves("tcp/554")),
    ("camera", Guess, Made("hikvision")),
    ("camera", Guess, Made("axis communications")),
    ("camera", Guess, Says("camera")),
    ("media-player", Likely, Offers("_googlecast._tcp")),
    ("media-player", Likely, Offers("_airplay._tcp")),
    ("media-player", Likely, Offers("urn:schemas-upnp-org:device:MediaRenderer")),
    ("router", Likely, Offers("urn:schemas-upnp-org:device:InternetGatewayDevice")),
    ("workstation", Guess, Says("msft 5.0")),
    ("workstation", Guess, Offers("_workstation._tcp")),
    ("workstation", Guess, Serves("tcp/3389")),
    ("mobile", Likely, Says("android-dhcp")),
    ("medical-modality", Likely, Serves("tcp/104")),
    ("medical-modality", Guess, Serves("tcp/11112")),
];

impl Clue {
    /// What it is in this device, in words, and by what it is known.
    fn found(&self, device: &Device, vendor: &Vendor) -> Option<(String, Option<Evidence>)> {
        let fact = |kind: Kind, is: &dyn Fn(&str) -> bool| {
            let fact = device.of_kind(kind).into_iter().find(|fact| is(&fact.value))?;
            Some((
                format!("{} `{}` ({})", kind.name(), fact.value, fact.evidence.name()),
                Some(fact.evidence),
            ))
        };
        match self {
            Role(role) => fact(Kind::Role, &|value| value == *role),
            Serves(port) => fact(Kind::Serves, &|value| value == *port),
            Offers(service) => fact(Kind::Service, &|value| value.starts_with(service)),
            Speaks(evidence) => {
                let by = device.facts.iter().any(|fact| fact.evidence == *evidence);
                by.then(|| (format!("it identifies itself by {}", evidence.name()), Some(*evidence)))
            }
            Says(word) => [Kind::Model, Kind::Name, Kind::Vendor, Kind::Description]
                .into_iter()
                .find_map(|kind| fact(kind, &|value| value.to_lowercase().contains(word))),
            Made(word) => match vendor {
                Vendor::Named(name) if name.to_lowercase().contains(word) => {
                    Some((format!("hardware address of `{name}`"), None))
                }
                Vendor::Named(_) | Vendor::Local | Vendor::Unknown => None,
            },
        }
    }
}

/// How sure, why, and by which protocol if by one.
type Reason = (Confidence, String, Option<Evidence>);

/// The class that the most certain rules speak for; of equal ones the one with more reasons, then the first by name.
pub(super) fn suggested(device: &Device, vendor: &Vendor) -> Option<Suggested> {
    let mut classes: BTreeMap<&'static str, Vec<Reason>> = BTreeMap::new();
    for (class, confidence, clue) in RULES {
        if let Some((why, by)) = clue.found(device, vendor) {
            classes.entry(class).or_default().push((*confidence, why, by));
        }
    }
    let mut all: Vec<Suggested> =
        classes.into_iter().map(|(class, reasons)| joined(class, reasons)).collect();
    all.sort_by_key(|one| std::cmp::Reverse((one.confidence, one.because.len())));
    all.into_iter().next()
}

fn joined(class: &'static str, mut reasons: Vec<Reason>) -> Suggested {
    reasons.sort_by_key(|(confidence, _, _)| std::cmp::Reverse(*confidence));
    let best = reasons.first().map_or(Guess, |(confidence, _, _)| *confidence);
    let first = reasons.first().and_then(|(_, _, by)| *by);
    let is_by_others = reasons.iter().any(|(_, _, by)| *by != first);
    let confidence = if best == Guess && is_by_others { Likely } else { best };
    let mut because: Vec<String> = Vec::new();
    for (_, why, _) in reasons {
        if !because.contains(&why) {
            because.push(why);
        }
    }
    Suggested { class, confidence, because }
}
