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
