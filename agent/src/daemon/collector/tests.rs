//! Datagrams over the loopback become rows; who is not named is refused; what cannot be handed over waits.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::mpsc::{self, RecvTimeoutError},
};

use super::*;
use crate::traffic::{End, Kind, Service};

/// A datagram of NetFlow 5 with one record: a query of UDP port 161.
fn datagram(sequence: u32, client: u16) -> Vec<u8> {
    let now = u32::try_from(jiff::Timestamp::now().as_second()).expect("before 2106");
    let mut datagram = vec![0, 5, 0, 1];
    datagram.extend(1_000_000_u32.to_be_bytes());
    datagram.extend(now.to_be_bytes());
    datagram.extend(0_u32.to_be_bytes());
    datagram.extend(sequence.to_be_bytes());
    datagram.extend([0; 4]);
    datagram.extend([10, 0, 0, 8, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]);
    datagram.extend(3_u32.to_be_bytes());
    datagram.extend(300_u32.to_be_bytes());
    datagram.extend(999_000_u32.to_be_bytes());
    datagram.extend(1_000_000_u32.to_be_bytes());
    datagram.extend(client.to_be_bytes());
    datagram.extend(161_u16.to_be_bytes());
    datagram.extend([0, 0, 17, 0]);
    datagram.extend([0; 8]);
    datagram
}

fn free() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.local_addr().expect("it has one")
}

/// Looks at it now, and whenever the collector tells something.
fn until<T>(collector: &Collector, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look() {
            return found;
        }
        let left = deadline.checked_duration_since(Instant::now());
        let left = left.unwrap_or_else(|| panic!("{what}: {:?}", collector.status()));
        let Shared { status, changed } = &*collector.status;
        let status = status.lock().expect("nobody panics");
        // What was told between the look and now is told again soon.
        drop(changed.wait_timeout(status, left.min(2 * TELL)).expect("nobody panics"));
    }
}

fn kind(from: [u8; 4], to: [u8; 4]) -> Kind {
    let [from, to] = [from, to].map(|address| End::at(IpAddr::from(address)));
    Kind { from, to, service: Service { protocol: 17, number: 161 } }
}

#[test]
fn named_exporters_are_heard_and_others_refused() {
    let listen = free();
    let config = FlowCollector { listen, from: vec![IpAddr::from([127, 0, 0, 1])] };
    let (to, rows) = mpsc::channel();
    let mut times = 0;
    // The first time nobody can take them.
    let hand = move |rows: Vec<Row>| {
        times += 1;
        if times == 1 { Err(rows) } else { to.send(rows).map_err(|error| error.0) }
    };
    let collector = Collector::begin(&config, Box::new(hand));
    let exporter = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let stranger = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).expect("a socket");
    // It listens from now on.
    until(&collector, "the socket", || {
        exporter.send_to(&[1, 2, 3], listen).ok()?;
        (collector.status().damaged > 0).then_some(())
    });
    for (sequence, client) in [(0, 40_000), (1, 40_001), (5, 40_002)] {
        exporter.send_to(&datagram(sequence, client), listen).expect("sent");
        stranger.send_to(&datagram(sequence, client), listen).expect("sent");
    }
    let status = until(&collector, "all of them", || {
        let status = collector.status();
        (status.refused == 3 && status.records == 3).then_some(status)
    });
    assert_eq!(status.refused_last.as_deref(), Some("127.0.0.2"));
    assert_eq!((status.missing, status.problem), (3, None));
    assert!(status.exporters["127.0.0.1"] >= 4);
    collector.finish();
    let mut all: Vec<Row> = Vec::new();
    loop {
        match rows.recv_timeout(Duration::from_secs(5)) {
            Ok(more) => all.extend(more),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("the thread did not end"),
        }
    }
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].kind, all[0].seen.flows), (kind([10, 0, 0, 8], [10, 0, 0, 9]), 3));
    assert_eq!(all[0].seen.packets, [9, 0]);
}

#[test]
fn what_cannot_be_listened_on_is_said_and_tried_again() {
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listen = other.local_addr().expect("it has one");
    let config = FlowCollector { listen, from: vec![IpAddr::from([127, 0, 0, 1])] };
    let collector = Collector::begin(&config, Box::new(|_| Ok(())));
    let problem = until(&collector, "a problem", || collector.status().problem);
    assert!(problem.contains("failed to listen"), "{problem}");
    drop(other);
    until(&collector, "it listens", || collector.status().problem.is_none().then_some(()));
    collector.finish();
    // It has answered, and ends.
    until(&collector, "its end", || collector.thread.is_finished().then_some(()));
}
