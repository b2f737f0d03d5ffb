//! Which frames the kernel lets through: those in which the inventory may read something. Classic BPF (Linux
//! Documentation/networking/filter.rst); a frame that ends before what is looked at does not come through.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

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
fn program() -> io::Result<Vec<libc::sock_filter>> {
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

/// Puts the filter before a socket.
pub(super) fn attach(socket: &OwnedFd) -> io::Result<()> {
    let mut steps = program()?;
    let program = libc::sock_fprog {
        len: u16::try_from(steps.len()).map_err(io::Error::other)?,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: `program` and the instructions it points to outlive the call, which copies as many as it says.
    // JUSTIFICATION: without the filter the agent would be woken for each packet that arrives.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
