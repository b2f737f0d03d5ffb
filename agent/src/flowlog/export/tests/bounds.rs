//! What a sender may not do: tell of other times, and make others wait.

use super::*;

#[test]
fn what_is_told_now_must_be_of_now() {
    let [_, question] = poll(40_000);
    let at = i64::from(SENT) * 1000;
    for (now, taken) in [(at, 1), (at - 2 * 3_600_000, 0), (at + 3 * 86_400_000, 0)] {
        let mut exports = Exports::new();
        let mut flows = 0;
        exports.take(&v5(0, UPTIME, 0, &[question]), exporter(1), Some(now), &mut |_| flows += 1);
        exports.end(&mut |_| flows += 1);
        assert_eq!((flows, exports.heard().left_out.values().sum::<u64>()), (taken, 1 - taken), "{now}");
    }
}

#[test]
fn conversation_waits_once_however_often_it_is_told_of() {
    let datagram = (HMI, PLC, [40_000, 9_999], 17, 0, 1, 60, UPTIME - 5_000, UPTIME - 5_000);
    let mut joined = Joined::default();
    let mut exports = Exports::new();
    exports.take(&v5(0, UPTIME, 0, &[datagram; 30]), exporter(1), None, &mut |_| {});
    std::mem::swap(&mut joined, &mut exports.joined);
    assert_eq!((joined.len(), joined.waiting()), (1, 1));
}

#[test]
fn one_address_takes_no_templates_from_another() {
    let template = set(0, &template(256, &PLAIN));
    let [answer, question] = poll(40_000).map(plain);
    let mut exports = Exports::of(2);
    let mut flows = 0;
    let known = exporter(1);
    exports.take(&v9(0, &[template]), known, None, &mut |_| flows += 1);
    for port in 0..200_u16 {
        let forged = SocketAddr::from(([10, 9, 9, 2], 1_000 + port));
        exports.take(&v9(0, &[]), forged, None, &mut |_| flows += 1);
        // Of an address that is known those stay that have told of something.
        exports.take(&v5(0, UPTIME, 0, &[]), SocketAddr::from((known.ip(), port)), None, &mut |_| flows += 1);
        if port == 10 {
            exports.take(
                &v9(1, &[set(256, &[answer.clone(), question.clone()].concat())]),
                known,
                None,
                &mut |_| {
                    flows += 1;
                },
            );
        }
    }
    exports.take(&v9(2, &[set(256, &[answer, question].concat())]), known, None, &mut |_| flows += 1);
    let heard = exports.heard();
    assert_eq!((heard.without_template, heard.records), (0, 4), "{heard:?}");
    assert!(flows > 0 && exports.exporters() <= MOST_EXPORTERS);
}

#[test]
fn datagram_has_one_message() {
    let set = [set(2, &template(256, &PLAIN)), set(256, &plain(poll(40_000)[0]))];
    let message = ipfix(0, &set);
    let (_, heard) = from_one(&[[message.clone(), message].concat()]);
    assert_eq!((heard.records, heard.damaged), (1, 1));
}

#[test]
fn what_another_exporter_tells_later_is_more_of_it() {
    let [_, question] = poll(40_000);
    let of = |last| {
        let (from, to, ports, protocol, flags, packets, octets, ..) = question;
        v5(0, UPTIME, 0, &[(from, to, ports, protocol, flags, packets, octets, UPTIME - 80_000, last)])
    };
    // The same once more, a little later by its clock; and a minute later, when it is the only one left.
    let (flows, told) = heard(&[(1, of(UPTIME - 70_000)), (2, of(UPTIME - 69_000)), (2, of(UPTIME - 1_000))]);
    assert_eq!(told.repeated, 1);
    assert!(flows[0].ends_with("[20, 0] [1200, 0]"), "{flows:?}");
}
