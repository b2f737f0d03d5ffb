//! Which frames the kernel lets through: those in which the inventory may read something. Classic BPF (Linux
//! Documentation/networking/filter.rst); a frame that ends before what is looked at does not come through.

use std::io;

use bulkhead_common::wire::{ethertype, neighbor};

use super::SNAP;

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// To the instruction behind it.
    Next,
    /// To a mark.
    Mark(&'static str),
}

use To::{Mark, Next};

const TAKE: To = Mark("take");
const DROP: To = Mark("drop");

enum Step {
    /// Something that goes on behind it.
    Does(u16, u32),
    /// A jump: if so, if not.
    Asks(u16, u32, To, To),
    /// A place that jumps lead to.
    Here(&'static str),
}

use Step::{Asks, Does, Here};

const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_KEPT: u16 = 0x60;
const SET_X: u16 = 0x01;
const KEEP: u16 = 0x02;
const TO_X: u16 = 0x07;
const FROM_X: u16 = 0x87;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const LEFT: u16 = 0x64;
const RIGHT: u16 = 0x74;
const GO: u16 = 0x05;
const EQUAL: u16 = 0x15;
const ABOVE: u16 = 0x25;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// IEC 61158-6-10.
const PROFINET: u32 = 0x8892;
/// SKF_AD_OFF + SKF_AD_PKTTYPE: in which direction.
const DIRECTION: u32 = 0xffff_f000 + 4;
const SYN_ACK_RST: u32 = 0x16;
const SYN_ACK: u32 = 0x12;

fn is(value: u32, so: To, otherwise: To) -> Step {
    Asks(EQUAL, value, so, otherwise)
}

/// X is how far an inner tag moves everything (the outer one is not in the frame any more), and from the transport on, together with the
/// IP header, what lies before. Offsets are those of an Ethernet frame.
fn steps() -> Vec<Step> {
    let udp = libc::IPPROTO_UDP as u32;
    let tcp = libc::IPPROTO_TCP as u32;
    let icmp6 = libc::IPPROTO_ICMPV6 as u32;
    vec![
        Does(LOAD_BYTE, DIRECTION),
        is(libc::PACKET_OUTGOING.into(), DROP, Next),
        is(libc::PACKET_LOOPBACK.into(), DROP, Next),
        Does(SET_X, 0),
        Does(LOAD_HALF, 12),
        is(ethertype::VLAN.into(), Mark("tagged"), Next),
        is(ethertype::QINQ.into(), Mark("tagged"), Mark("type")),
        Here("tagged"),
        Does(SET_X, 4),
        Here("type"),
        Does(LOAD_HALF_AT_X, 12),
        is(ethertype::ARP.into(), TAKE, Next),
        is(ethertype::LLDP.into(), TAKE, Next),
        is(ethertype::IPV4.into(), Mark("ipv4"), Next),
        is(ethertype::IPV6.into(), Mark("ipv6"), Next),
        is(PROFINET, Next, DROP),
        // Of PROFINET what is not cyclic: DCP.
        Does(LOAD_HALF_AT_X, 14),
        Asks(AT_LEAST, 0xfefc, Next, DROP),
        Asks(ABOVE, 0xfeff, DROP, TAKE),
        Here("ipv4"),
        // Later fragments have no ports.
        Does(LOAD_HALF_AT_X, 20),
        Asks(ANY_BIT, 0x1fff, DROP, Next),
        Does(LOAD_BYTE_AT_X, 23),
        Does(KEEP, 0),
        Does(LOAD_BYTE_AT_X, 14),
        Does(AND, 0xf),
        Does(LEFT, 2),
        Does(ADD_X, 0),
        Does(TO_X, 0),
        Asks(GO, 0, Mark("transport"), Next),
        Here("ipv6"),
        Does(LOAD_BYTE_AT_X, 20),
        is(icmp6, Mark("icmp6"), Next),
        Does(KEEP, 0),
        Does(FROM_X, 0),
        Does(ADD, 40),
        Does(TO_X, 0),
        Here("transport"),
        Does(LOAD_KEPT, 0),
        is(udp, Mark("udp"), Next),
        is(tcp, Mark("tcp"), DROP),
        Here("icmp6"),
        Does(LOAD_BYTE_AT_X, 21),
        is(neighbor::HOP_LIMIT.into(), Next, DROP),
        Does(LOAD_BYTE_AT_X, 54),
        is(neighbor::ADVERTISEMENT.into(), TAKE, Next),
        is(neighbor::ROUTER_ADVERTISEMENT.into(), TAKE, DROP),
        Here("udp"),
        // From: mDNS, SSDP, BACnet, EtherNet/IP. To: SSDP, a DHCP server.
        Does(LOAD_HALF_AT_X, 14),
        is(5353, TAKE, Next),
        is(1900, TAKE, Next),
        is(47_808, TAKE, Next),
        is(44_818, TAKE, Next),
        Does(LOAD_HALF_AT_X, 16),
        is(1900, TAKE, Next),
        is(67, TAKE, DROP),
        Here("tcp"),
        // Who accepts a connection.
        Does(LOAD_BYTE_AT_X, 27),
        Does(AND, SYN_ACK_RST),
        is(SYN_ACK, TAKE, Next),
        // Where the payload begins; of the servers' answers those alone that identify them.
        Does(LOAD_HALF_AT_X, 14),
        Does(KEEP, 0),
        Does(LOAD_BYTE_AT_X, 26),
        Does(RIGHT, 4),
        Does(LEFT, 2),
        Does(ADD_X, 0),
        Does(TO_X, 0),
        Does(LOAD_KEPT, 0),
        is(502, Mark("modbus"), Next),
        is(102, Mark("s7"), Next),
        is(44_818, Next, DROP),
        // ListIdentity.
        Does(LOAD_BYTE_AT_X, 14),
        is(0x63, TAKE, DROP),
        Here("modbus"),
        // Function 43.
        Does(LOAD_BYTE_AT_X, 21),
        is(0x2b, TAKE, DROP),
        Here("s7"),
        // Behind TPKT and COTP: a message of user data.
        Does(LOAD_HALF_AT_X, 21),
        is(0x3207, TAKE, DROP),
        Here("drop"),
        Does(RETURN, 0),
        Here("take"),
        Does(RETURN, SNAP as u32),
    ]
}

/// The program: every mark a number of instructions.
pub(super) fn program() -> io::Result<Vec<libc::sock_filter>> {
    let steps = steps();
    let mut marks = Vec::new();
    let mut length = 0_usize;
    for step in &steps {
        match step {
            Here(mark) => marks.push((*mark, length)),
            Does(..) | Asks(..) => length += 1,
        }
    }
    let mut program = Vec::with_capacity(length);
    for step in &steps {
        let behind = program.len() + 1;
        let far = |to: To| -> io::Result<usize> {
            let To::Mark(mark) = to else { return Ok(0) };
            let found =
                marks.iter().find(|(name, _)| *name == mark).and_then(|(_, at)| at.checked_sub(behind));
            found.ok_or_else(|| io::Error::other(format!("the filter has no mark `{mark}` ahead")))
        };
        let short = |to: To| u8::try_from(far(to)?).map_err(io::Error::other);
        program.push(match *step {
            Here(_) => continue,
            Does(code, k) => libc::sock_filter { code, jt: 0, jf: 0, k },
            Asks(GO, _, to, _) => libc::sock_filter { code: GO, jt: 0, jf: 0, k: far(to)? as u32 },
            Asks(code, k, so, otherwise) => {
                libc::sock_filter { code, jt: short(so)?, jf: short(otherwise)?, k }
            }
        });
    }
    Ok(program)
}

#[cfg(test)]
mod tests {
    use std::os::{fd::OwnedFd, unix::net::UnixDatagram};

    use etherparse::PacketBuilder;

    use super::{super::packet_socket, *};

    /// Whether the kernel lets a frame through: the filter stands before any kind of socket.
    fn passes(frame: &[u8]) -> bool {
        let (ours, theirs) = UnixDatagram::pair().expect("sockets");
        let theirs = OwnedFd::from(theirs);
        packet_socket::attach(&theirs, &mut program().expect("a program")).expect("the kernel takes it");
        let theirs = UnixDatagram::from(theirs);
        theirs.set_nonblocking(true).expect("a socket");
        // The sender never hears of the filter.
        ours.send(frame).expect("sent");
        theirs.recv(&mut [0; 4096]).is_ok()
    }

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1], &ethertype.to_be_bytes(), payload].concat()
    }

    fn tagged(frame: &[u8], with: u16) -> Vec<u8> {
        [&frame[..12], &with.to_be_bytes(), &[0, 10], &frame[12..]].concat()
    }

    /// Over IPv4 with options and without, and over IPv6.
    fn over_ip(
        build: impl Fn(etherparse::PacketBuilderStep<etherparse::IpHeaders>) -> Vec<u8>,
    ) -> Vec<Vec<u8>> {
        let start = || PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [0xff; 6]);
        let v4 = |options: &[u8]| {
            let mut header = etherparse::Ipv4Header {
                time_to_live: 64,
                source: [10, 0, 0, 1],
                destination: [10, 0, 0, 2],
                ..etherparse::Ipv4Header::default()
            };
            header.options = options.try_into().expect("short");
            start().ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        };
        let v6 = start().ipv6([1; 16], [2; 16], 255);
        vec![build(v4(&[])), build(v4(&[1, 1, 1, 1])), build(v6)]
    }

    fn udp(ports: [u16; 2]) -> Vec<Vec<u8>> {
        over_ip(|step| {
            let mut frame = Vec::new();
            step.udp(ports[0], ports[1]).write(&mut frame, b"something to say").expect("it fits");
            frame
        })
    }

    fn tcp(port: u16, syn: bool, payload: &[u8]) -> Vec<Vec<u8>> {
        over_ip(|step| {
            let mut frame = Vec::new();
            let step = step.tcp(port, 40_000, 1, 1000).ack(7);
            let step = if syn { step.syn() } else { step };
            step.write(&mut frame, payload).expect("it fits");
            frame
        })
    }

    #[test]
    fn what_tells_something_passes_whatever_is_before_it_and_nothing_else() {
        let modbus = |function: u8| [0, 1, 0, 0, 0, 9, 1, function, 14, 1, 1, 0, 0, 0, 0];
        let s7 = |kind: u8| [3, 0, 0, 33, 2, 0xf0, 0x80, 0x32, kind, 0, 0, 0, 0, 0, 8];
        let mut heard = vec![
            ethernet(ethertype::ARP, &[0; 28]),
            ethernet(ethertype::LLDP, &[0; 20]),
            ethernet(0x8892, &[0xfe, 0xff, 0, 0]),
        ];
        for ports in [[5353, 5353], [1900, 5000], [5000, 1900], [68, 67], [47_808, 47_808], [44_818, 9]] {
            heard.extend(udp(ports));
        }
        heard.extend(tcp(8080, true, &[]));
        heard.extend(tcp(502, false, &modbus(0x2b)));
        heard.extend(tcp(102, false, &s7(7)));
        heard.extend(tcp(44_818, false, &[0x63, 0, 0, 0]));
        let mut quiet = vec![ethernet(0x8892, &[0x80, 0x00, 0, 0]), ethernet(0x88b8, &[0; 40])];
        quiet.extend(udp([53, 5000]).into_iter().chain(udp([5000, 502])));
        quiet.extend(tcp(502, false, &modbus(3)).into_iter().chain(tcp(102, false, &s7(1))));
        quiet.extend(tcp(502, false, &[]).into_iter().chain(tcp(443, false, &[0x63; 40])));
        for (frames, passing) in [(&heard, true), (&quiet, false)] {
            for frame in frames.iter() {
                assert_eq!(passes(frame), passing, "{frame:02x?}");
                for tag in [ethertype::VLAN, ethertype::QINQ] {
                    assert_eq!(passes(&tagged(frame, tag)), passing, "{tag:x} {frame:02x?}");
                }
            }
        }
        // A later fragment has no ports, whatever stands there.
        let mut fragment = udp([5353, 5353]).remove(0);
        fragment[21] = 1;
        assert!(!passes(&fragment));
    }

    #[test]
    fn neighbours_pass_from_the_link_alone() {
        let frame = |kind: u8, hops: u8| {
            let mut frame = udp([5353, 5353]).pop().expect("of IPv6");
            (frame[20], frame[21], frame[54]) = (58, hops, kind);
            frame
        };
        for kind in [neighbor::ADVERTISEMENT, neighbor::ROUTER_ADVERTISEMENT] {
            assert!(passes(&frame(kind, 255)) && !passes(&frame(kind, 254)));
        }
        assert!(!passes(&frame(128, 255)));
    }
}
