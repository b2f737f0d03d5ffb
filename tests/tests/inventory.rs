//! `bulkhead inventory` on captures: what a person reads, which entry is made, and how it ends.

mod command;

use bulkhead_tests::capture::{paced, pcap};
use command::{bulkhead, file, folder};
use etherparse::PacketBuilder;

/// 2026-03-02T10:00:00Z.
const MONDAY: u64 = 1_772_445_600_000_000_000;
const PLC: [u8; 6] = [0x02, 0x1d, 0x9c, 0xc7, 0xb0, 0x70];
const ADDRESS: [u8; 4] = [10, 20, 1, 11];

fn arp() -> Vec<u8> {
    let head = [&[0xff; 6][..], &PLC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    [&head[..], &PLC, &ADDRESS, &[0; 6], &[10, 20, 1, 1]].concat()
}

/// An answer to Read Device Identification that has a firmware version alone.
fn identity(version: &str) -> Vec<u8> {
    let length = u8::try_from(version.len()).expect("short");
    let payload =
        [&[0, 9, 0, 0, 0, 10 + length, 1, 0x2b, 0x0e, 1, 1, 0, 0, 1, 2, length][..], version.as_bytes()];
    let build =
        PacketBuilder::ethernet2(PLC, [2; 6]).ipv4(ADDRESS, [10, 20, 2, 20], 64).tcp(502, 40_000, 1, 1000);
    let mut frame = Vec::new();
    build.ack(7).write(&mut frame, &payload.concat()).expect("it fits");
    frame
}

#[test]
fn a_capture_tells_who_is_there_and_what_changed() {
    let folder = folder("inventory");
    let frames = [arp(), identity("v1"), identity("v2\u{1b}[2J")];
    let capture = file(&folder, "seen.pcap", pcap(&paced(MONDAY, frames), 65_535)).display().to_string();
    let ran = bulkhead(&["inventory", "--pcap", &capture]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let line = ran.out.lines().nth(1).expect("a device").split_whitespace().collect::<Vec<_>>().join(" ");
    let expected =
        "02:1d:9c:c7:b0:70 - 10.20.1.11 locally administered v2?[2J plc (guess) 2026-03-02T10:00:00.002Z";
    assert_eq!(line, expected, "{}", ran.out);
    assert!(ran.err.ends_with("1 device, 1 not in the policy\n"), "{}", ran.err);
    let ran = bulkhead(&["inventory", "--changes", "--pcap", &capture]);
    let expected = "2026-03-02T10:00:00Z  new device 02:1d:9c:c7:b0:70\n\
                    2026-03-02T10:00:00.002Z  02:1d:9c:c7:b0:70 changed its firmware from `v1` to `v2?[2J` (modbus)\n";
    assert_eq!((ran.code, ran.out.as_str()), (0, expected));
    let ran = bulkhead(&["inventory", "10.20.1.11", "--pcap", &capture]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    for told in ["suggested  plc (guess): it identifies itself by modbus", "firmware  v1", "firmware  v2?[2J"]
    {
        assert!(ran.out.contains(told), "{told}: {}", ran.out);
    }
    let ran = bulkhead(&["inventory", "--stub", "10.20.1.11", "--pcap", &capture]);
    let expected = "[device.device-c7b070]\nmac     = [\"02:1d:9c:c7:b0:70\"]\nip      = [\"10.20.1.11\"]\n\
                    # class = \"plc\"   # guess: it identifies itself by modbus\nmode    = \"monitor\"\n";
    assert!(ran.code == 0 && ran.out.ends_with(expected), "{}", ran.out);
    let stub = file(&folder, "stub.toml", &ran.out).display().to_string();
    assert_eq!(bulkhead(&["check", &stub]).code, 0);
    // Whoever is in the policy is listed by its name, or left out.
    let ran = bulkhead(&["inventory", "--policy", &stub, "--pcap", &capture]);
    assert!(ran.out.contains(" device-c7b070 ") && ran.err.ends_with("1 device, 0 not in the policy\n"));
    let ran = bulkhead(&["inventory", "--policy", &stub, "--unknown", "--pcap", &capture]);
    assert_eq!((ran.code, ran.out.lines().count()), (0, 1), "{}", ran.out);
}

#[test]
fn what_cannot_be_done_is_said_with_its_exit_code() {
    let folder = folder("inventory-wrong");
    let whole = pcap(&paced(MONDAY, [arp(), identity("v1")]), 65_535);
    let capture = file(&folder, "seen.pcap", &whole).display().to_string();
    let cut = file(&folder, "cut.pcap", &whole[..whole.len() - 3]).display().to_string();
    let other = file(&folder, "other.pcap", "no capture").display().to_string();
    let policy = file(&folder, "policy.toml", "version = 1\n[device.x]\nmacc = 1\n").display().to_string();
    for (words, code, says) in [
        (&["--pcap", &other][..], 2, "neither pcap nor pcapng"),
        (&["--pcap", "/nonexistent/a.pcap"], 2, "failed to read `/nonexistent/a.pcap`: No such file"),
        (&["--pcap", &cut], 0, "cut.pcap is cut short: it ends within a record"),
        (&["--pcap", &capture, "--stub", "press"], 2, "`press` is no address\nhint: write a MAC address"),
        (&["--pcap", &capture, "--stub", "10.9.9.9"], 1, "nothing was heard of `10.9.9.9`"),
        (&["--pcap", &capture, "--policy", &policy], 1, "unknown key `macc`"),
        (
            &["--pcap", "10.20.1.11"],
            2,
            "`10.20.1.11` is an address and no capture\nhint: write the captures between",
        ),
        (
            &["--pcap", "10.20.1.11", &capture],
            2,
            "`10.20.1.11` is an address and no capture\nhint: write the captures after",
        ),
        (&["10.20.1.12", "--pcap", &capture, "10.20.1.11"], 2, "leave it out: `10.20.1.12` says already"),
        (&["--changes", "--pcap", &capture, "10.20.1.11"], 2, "leave it out: `--changes` says already"),
        (&["--socket", "/nonexistent/api.sock"], 2, "no agent answers on `/nonexistent/api.sock`"),
    ] {
        let words: Vec<&str> = ["inventory"].into_iter().chain(words.iter().copied()).collect();
        let ran = bulkhead(&words);
        assert!(ran.code == code && ran.err.contains(says), "{words:?}: {} {}", ran.code, ran.err);
    }
}

#[test]
fn the_device_may_stand_after_the_captures() {
    let folder = folder("inventory-last");
    let capture = file(&folder, "seen.pcap", pcap(&paced(MONDAY, [arp(), identity("v1")]), 65_535));
    let capture = capture.display().to_string();
    let before = bulkhead(&["inventory", "10.20.1.11", "--pcap", &capture, &capture]);
    assert!(before.code == 0 && before.out.contains("firmware  v1"), "{}", before.err);
    for wanted in ["10.20.1.11", "02:1d:9c:c7:b0:70"] {
        let ran = bulkhead(&["inventory", "--pcap", &capture, &capture, wanted]);
        assert_eq!((ran.code, &ran.out), (0, &before.out), "{wanted}: {}", ran.err);
    }
    // A file is a file, whatever its name.
    let named = file(&folder, "10.20.1.11", pcap(&paced(MONDAY, [arp()]), 65_535)).display().to_string();
    let ran = bulkhead(&["inventory", "--pcap", &named]);
    assert!(ran.code == 0 && ran.err.ends_with("1 device, 1 not in the policy\n"), "{}", ran.err);
}

#[test]
fn an_address_of_two_hosts_is_nobodys() {
    let folder = folder("inventory-two");
    let mut other = arp();
    for place in [6, 22] {
        other[place..place + 6].copy_from_slice(&[0xde, 0x66, 0x9a, 0xb3, 0xb2, 0x70]);
    }
    let capture =
        file(&folder, "two.pcap", pcap(&paced(MONDAY, [arp(), other]), 65_535)).display().to_string();
    for words in [&["10.20.1.11", "--json"][..], &["--stub", "10.20.1.11"]] {
        let words: Vec<&str> = ["inventory", "--pcap", &capture].iter().chain(words).copied().collect();
        let ran = bulkhead(&words);
        let expected = "2 hardware addresses use `10.20.1.11`: 02:1d:9c:c7:b0:70 (last heard 2026-03-02T10:00:00Z), \
                        de:66:9a:b3:b2:70 (last heard 2026-03-02T10:00:00.001Z)\nhint: write the MAC address";
        assert!(ran.code == 2 && ran.out.is_empty() && ran.err.contains(expected), "{words:?}: {}", ran.err);
    }
    let ran = bulkhead(&["inventory", "--pcap", &capture, "--stub", "02:1d:9c:c7:b0:70"]);
    assert!(ran.code == 0 && ran.out.contains("mac     = [\"02:1d:9c:c7:b0:70\"]"), "{}", ran.err);
    let note = "note: another host uses an address of this one: de:66:9a:b3:b2:70 uses 10.20.1.11\n";
    assert!(ran.err.contains(note), "{}", ran.err);
}
