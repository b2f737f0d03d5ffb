//! Policies of any size that look like somebody's plant, for benchmarks and for tests of what only size shows.
//!
//! In: a number of devices and a seed. Out: the same policy files each time, without a finding: devices in lines, cells
//! (zones) and classes, networks, services of their own. A class has 95 `allow` entries and each device 5 of its own, so
//! that 100 rules are in effect for every device. Nothing here knows the agent: it is text that comes out.

mod allow;

use std::fmt::Write;

use crate::dice::Dice;
use allow::Peers;

/// `allow` entries of a class.
pub const OF_CLASS: u32 = 95;
/// `allow` entries of a device itself.
pub const OF_DEVICE: u32 = 5;
/// The most devices: every cell has a prefix of 16 bits, and each of its lines one of 24 bits.
pub const MAX_DEVICES: u32 = 50_000;

const LINE: u32 = 100;
const CELL: u32 = 250;
const CLASSES_OF_A_FILE: u32 = 10;
/// Services of the plant's own.
pub(crate) const SERVICES: u32 = 60;
/// What classes are called, and which share of devices has the kind.
const KINDS: [&str; 10] =
    ["server", "plc", "drive", "hmi", "io", "camera", "robot", "scanner", "meter", "ups"];

/// A plant of so many devices.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    devices: u32,
    seed: u64,
}

/// One file of a policy: its name and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The name within the folder.
    pub name: String,
    /// What is written in it.
    pub text: String,
}

impl Site {
    /// A plant of 10 to [`MAX_DEVICES`] devices. Another seed gives other peers, services, modes and texts.
    pub fn new(devices: u32, seed: u64) -> Self {
        Self { devices: devices.clamp(10, MAX_DEVICES), seed }
    }

    /// How many devices there are.
    pub fn devices(&self) -> u32 {
        self.devices
    }

    /// How many classes.
    pub fn classes(&self) -> u32 {
        self.devices.div_ceil(LINE).clamp(2, 100)
    }

    /// How many zones.
    pub fn zones(&self) -> u32 {
        self.devices.div_ceil(CELL)
    }

    /// How many `allow` entries are written.
    pub fn entries(&self) -> u32 {
        self.classes() * OF_CLASS + self.devices * OF_DEVICE
    }

    /// How many rules are in effect: each entry once for each device that has it.
    pub fn effective(&self) -> u32 {
        self.devices * (OF_CLASS + OF_DEVICE)
    }

    /// Every file, in the order of their names.
    pub fn files(&self) -> Vec<File> {
        let mut files = vec![File { name: "10-networks.toml".to_owned(), text: self.networks() }];
        for first in (0..self.classes()).step_by(CLASSES_OF_A_FILE as usize) {
            let name = format!("20-classes-{:03}.toml", first / CLASSES_OF_A_FILE);
            let last = (first + CLASSES_OF_A_FILE).min(self.classes());
            let mut text = "version = 1\n".to_owned();
            (first..last).for_each(|class| self.class(class, &mut text));
            files.push(File { name, text });
        }
        files.extend((0..self.devices.div_ceil(LINE)).map(|line| self.line(line)));
        files
    }

    /// The file of one production line, from 0: up to a hundred devices.
    pub fn line(&self, line: u32) -> File {
        let mut text = format!("version = 1\n# line {line} of cell {}\n", self.zone_of(line * LINE));
        let last = ((line + 1) * LINE).min(self.devices);
        (line * LINE..last).for_each(|device| self.device(device, &mut text));
        File { name: format!("30-line-{line:03}.toml"), text }
    }

    /// The name of a device, from 0.
    pub fn device_name(&self, device: u32) -> String {
        format!("{}-{:03}-{:02}", KINDS[(device % KINDS_COUNT) as usize], device / LINE, device % LINE)
    }

    pub(crate) fn class_name(&self, class: u32) -> String {
        format!("{}-{class:02}", KINDS[(class % KINDS_COUNT) as usize])
    }

    pub(crate) fn zone_name(&self, zone: u32) -> String {
        format!("cell-{zone:02}")
    }

    /// Networks that hold no device of the plant.
    pub(crate) fn outside(&self) -> u32 {
        (24 + self.devices / 200).min(60)
    }

    /// Devices that many classes name: those in front are the plant's servers.
    pub(crate) fn servers(&self) -> u32 {
        (self.devices / 50).clamp(1, 100)
    }

    fn zone_of(&self, device: u32) -> u32 {
        device / CELL
    }

    fn networks(&self) -> String {
        let mut text = "version = 1\n".to_owned();
        let mut put = |line: String| text.push_str(&line);
        for zone in 0..self.zones() {
            let name = self.zone_name(zone);
            put(format!(
                "\n[network.lan-{name}]\ncidr = [\"10.{}.0.0/16\", \"fd00:{zone:x}::/32\"]\n",
                zone + 21
            ));
        }
        for net in 0..self.outside() {
            put(format!("\n[network.{}]\n", outside_name(net)));
            let v6 = if net % 3 == 0 { format!(", \"2001:db8:{net:x}::/48\"") } else { String::new() };
            put(format!("cidr = [\"198.18.{net}.0/24\", \"198.19.{net}.{}/32\"{v6}]\n", net + 1));
        }
        for service in 0..SERVICES {
            let port = 20_000 + service * 10;
            put(format!("\n[service.{}]\n", own_service(service)));
            match service % 4 {
                0 => put(format!("tcp = [\"{port}-{}\"]\n", port + 3)),
                1 => put(format!("udp = [\"{port}\"]\n")),
                2 => put(format!("tcp = [\"{port}\"]\nudp = [\"{}\"]\n", port + 1)),
                _ => put(format!("tcp = [\"{port}\", \"{}\"]\n", port + 5)),
            }
        }
        text
    }

    fn class(&self, class: u32, text: &mut String) {
        let name = self.class_name(class);
        let mut dice = Dice::new(self.seed, u64::from(class) << 32 | 1);
        put(text, format_args!("\n[class.{name}]\ncomment = \"what every {name} needs\"\n"));
        let mut peers = Peers::of_class(self, class);
        for entry in 0..OF_CLASS {
            let allow = peers.next(&mut dice);
            put(text, format_args!("\n[[class.{name}.allow]]\n"));
            allow.write(text);
            remarks(text, &mut dice, entry);
        }
    }

    fn device(&self, device: u32, text: &mut String) {
        let mut dice = Dice::new(self.seed, u64::from(device) << 32 | 2);
        let name = self.device_name(device);
        let [_, a, b, c] = device.to_be_bytes();
        let (zone, within) = (self.zone_of(device), device % CELL);
        let v4 = format!("10.{}.{}.{}", zone + 21, within / LINE, within % LINE + 1);
        put(text, format_args!("\n[device.{name}]\n"));
        // One in forty is behind a router, one in twenty is leased its address, one in five speaks IPv6 as well.
        if device % 40 != 39 {
            put(text, format_args!("mac = [\"00:1d:9c:{a:02x}:{b:02x}:{c:02x}\"]\n"));
        }
        match device % 20 {
            7 => put(text, format_args!("ip = \"dhcp\"\n")),
            3 | 8 | 13 | 18 => {
                put(text, format_args!("ip = [\"{v4}\", \"fd00:{zone:x}::{within:x}\"]\n"));
            }
            _ => put(text, format_args!("ip = [\"{v4}\"]\n")),
        }
        put(text, format_args!("zone = \"{}\"\n", self.zone_name(zone)));
        put(text, format_args!("class = \"{}\"\n", self.class_name(device % self.classes())));
        let criticality = ["low", "medium", "high", "safety"][dice.below(4) as usize];
        let mode = ["enforce", "enforce", "monitor"][dice.below(3) as usize];
        put(text, format_args!("criticality = \"{criticality}\"\nmode = \"{mode}\"\n"));
        if dice.below(4) == 0 {
            put(text, format_args!("comment = \"cabinet {}, row {}\"\n", dice.below(90), dice.below(9)));
        }
        for entry in 0..OF_DEVICE {
            put(text, format_args!("\n[[device.{name}.allow]]\n"));
            allow::own(self, device, entry).write(text);
            remarks(text, &mut dice, entry);
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "there are ten")]
const KINDS_COUNT: u32 = KINDS.len() as u32;

pub(crate) fn outside_name(net: u32) -> String {
    let what = ["office", "vendor", "historian", "scada", "backup", "site"][(net % 6) as usize];
    format!("{what}-net-{net:02}")
}

pub(crate) fn own_service(service: u32) -> String {
    format!("plant-{service:02}")
}

/// What people write beside a rule: some a comment, some an owner, some a ticket.
fn remarks(text: &mut String, dice: &mut Dice, entry: u32) {
    if dice.below(3) == 0 {
        put(
            text,
            format_args!("comment = \"step {entry} of the batch report, see drawing {}\"\n", dice.below(900)),
        );
    }
    if dice.below(5) == 0 {
        put(text, format_args!("owner = \"{}\"\n", ["ot-team", "it-ops", "line-3"][dice.below(3) as usize]));
    }
    if dice.below(5) == 0 {
        put(text, format_args!("ticket = \"CHG-{:05}\"\n", dice.below(100_000)));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes any text");
}
