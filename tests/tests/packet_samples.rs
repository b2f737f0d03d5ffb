//! Which answers of DHCP servers user space gets to read: those that a guard let through and that name a lease, so that
//! nobody else writes how long an address is whose.
//!
//! In: frames of the packet table over `served.toml`. Out: a sample, or none.

mod packet;

use bulkhead_agent::dataplane::{Dataplane, Moment};
use bulkhead_common::layout::reading;
use bulkhead_tests::frame::frame;
use packet::{SIZES, Setup, gateway, lab, tables, text};

#[test]
fn only_answers_that_a_guard_let_through_are_read_by_user_space() {
    let Some((namespace, room)) = lab("only_answers_that_a_guard_let_through_are_read_by_user_space") else {
        return;
    };
    namespace.run(|| {
        let root = room.pin_outside("samples");
        let (mut dataplane, _, mut samples) =
            Dataplane::open(&root, SIZES).unwrap_or_else(|error| panic!("{error}"));
        Setup::default().configure(&mut dataplane);
        let policy = tables(&[("served.toml", &text("served.toml"))]);
        if let Err(error) = dataplane.apply(policy, &gateway(), &Setup::segments(), &Moment::default()) {
            panic!("{error}");
        }
        for (words, line, read) in [
            ("", "dhcpd>camera dhcp reply yiaddr=camera", true),
            ("", "dhcpd>all dhcp reply yiaddr=camera chaddr=camera", true),
            ("", "dhcpd>camera udp6 547>546 ll", true),
            ("", "dhcpd>hmi dhcp reply yiaddr=hmi", false),
            ("", "dhcpd>camera dhcp reply yiaddr=camera udplen=+1", false),
            ("", "dhcpd>camera dhcp reply yiaddr=camera bootp=1", false),
            ("", "camera>all dhcp ask", false),
            ("", "camera>dhcpd dhcp reply yiaddr=ntp chaddr=camera", false),
            ("unmanaged=pass", "attacker>guest dhcp reply yiaddr=ntp chaddr=camera", false),
            ("untrusted", "attacker>all dhcp reply yiaddr=camera chaddr=camera", false),
            ("untrusted", "dhcpd>camera udp6 547>546 ll", false),
            ("untrusted", "camera>patch dhcp ask", false),
            ("untrusted", "patch>camera dhcp reply yiaddr=camera", true),
            ("untrusted", "patch>camera dhcp reply yiaddr=ntp", false),
            ("untrusted dhcp-server-mac=dhcpd", "dhcpd>all dhcp reply yiaddr=camera chaddr=camera", true),
        ] {
            Setup::of(words).expect("the words are known").configure(&mut dataplane);
            let frame = frame(line).expect("it is well formed");
            dataplane.test_run(&frame).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(samples.next_record().is_some(), read, "`{line}` with `{words}`");
            assert!(samples.next_record().is_none(), "`{line}` is read twice");
        }
        assert_eq!(dataplane.tally().expect("readable").samples_lost, 0);
    });
}

/// Names are learned from what a resolver answers to a device that asked it, and from nothing else.
#[test]
fn only_answers_to_a_devices_question_are_read_for_names() {
    let Some((namespace, room)) = lab("only_answers_to_a_devices_question_are_read_for_names") else {
        return;
    };
    namespace.run(|| {
        let root = room.pin_outside("names");
        let (mut dataplane, _, mut samples) =
            Dataplane::open(&root, SIZES).unwrap_or_else(|error| panic!("{error}"));
        for (policy, named) in [("named.toml", true), ("served.toml", false)] {
            dataplane.forget().unwrap_or_else(|error| panic!("{error}"));
            Setup::of("adopt").expect("the words are known").configure(&mut dataplane);
            let tables = tables(&[(policy, &text(policy))]);
            let (plc, ids) = (tables.device_id("plc").expect("it is there").0 + 1, Setup::segments());
            if let Err(error) = dataplane.apply(tables, &gateway(), &ids, &Moment::default()) {
                panic!("{error}");
            }
            let plc = dataplane.applied().expect("applied").ids.device(plc);
            for (line, read) in [
                // Older than the agent, or nobody's answer: taken for allowed, and not at its word.
                ("ntp>plc udp 53>49153", false),
                ("plc>ntp udp 49152>53", false),
                ("ntp>plc udp 53>49152", true),
                ("ntp>plc udp 53>49152", true),
                ("ntp>plc udp 54>49152", false),
                ("internet>plc udp 53>49152", false),
                ("plc>ntp udp6 49152>53", false),
                ("ntp>plc udp6 53>49152", true),
                // Somebody else began: what comes from the port of a resolver is none's answer.
                ("ntp>plc udp 53>40000", false),
                ("ntp>plc udp 53>40000", false),
                // No rule of it names a name.
                ("oven>ntp udp 49152>53", false),
                ("ntp>oven udp 53>49152", false),
                ("plc>ntp tcp 49152>53 S", false),
                ("ntp>plc tcp 53>49152 SA", false),
            ] {
                dataplane
                    .test_run(&frame(line).expect("it is well formed"))
                    .unwrap_or_else(|e| panic!("{e}"));
                let found = samples.next_record().map(|sample| (sample.reading, sample.device));
                let wanted = (read && named).then_some((reading::NAMES, plc));
                assert_eq!(found, wanted, "`{line}` under {policy}");
            }
        }
        assert_eq!(dataplane.tally().expect("readable").samples_lost, 0);
    });
}

#[test]
fn device_that_asks_without_end_leaves_room_for_leases() {
    let Some((namespace, room)) = lab("device_that_asks_without_end_leaves_room_for_leases") else { return };
    namespace.run(|| {
        let root = room.pin_outside("room");
        let (mut dataplane, _, mut samples) =
            Dataplane::open(&root, SIZES).unwrap_or_else(|error| panic!("{error}"));
        Setup::default().configure(&mut dataplane);
        let camera = "version = 1\n[device.camera]\nmac = \"00:40:8c:00:00:01\"\nip = \"dhcp\"\n";
        let tables = tables(&[("named.toml", &text("named.toml")), ("camera.toml", camera)]);
        if let Err(error) = dataplane.apply(tables, &gateway(), &Setup::segments(), &Moment::default()) {
            panic!("{error}");
        }
        let run = |dataplane: &mut Dataplane, line: &str| {
            dataplane.test_run(&frame(line).expect("it is well formed")).unwrap_or_else(|e| panic!("{e}"));
        };
        run(&mut dataplane, "plc>ntp udp 49152>53");
        (0..300).for_each(|_| run(&mut dataplane, "ntp>plc udp 53>49152"));
        assert_ne!(dataplane.tally().expect("readable").samples_lost, 0, "nobody has read so much");
        run(&mut dataplane, "dhcpd>camera dhcp reply yiaddr=camera");
        let read: Vec<u32> = std::iter::from_fn(|| samples.next_record()).map(|one| one.reading).collect();
        let (last, names) = read.split_last().expect("some");
        assert_eq!(*last, reading::LEASES);
        assert!(names.len() > 100 && names.iter().all(|one| *one == reading::NAMES), "{read:?}");
    });
}
