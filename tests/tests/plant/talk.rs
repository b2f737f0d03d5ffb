//! Conversations between the hosts' own stacks, in both families.

use std::{
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket},
    time::Duration,
};

use bulkhead_tests::lab::{
    Lab, Sniffer, frames, link,
    modbus::{Plc, Write, write_once},
    topology::{Host, MODBUS},
    wire::RawSender,
};
use etherparse::PacketBuilder;

/// A conversation between the hosts' own stacks, and the rule that lets it.
pub(crate) struct Talk {
    pub(crate) name: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) run: fn(&Lab, Duration) -> bool,
}

pub(crate) const TALKS: [Talk; 9] = [
    Talk { name: "Modbus", rule: "modbus", run: |lab, within| modbus(lab, lab.plc().ip.into(), within) },
    Talk { name: "Modbus over IPv6", rule: "modbus", run: |lab, w| modbus(lab, lab.plc().ip6().into(), w) },
    Talk {
        name: "Modbus on the link",
        rule: "modbus",
        run: |lab, w| modbus(lab, lab.plc().link_local().into(), w),
    },
    Talk { name: "ping", rule: "ping", run: ping },
    Talk { name: "ping over IPv6", rule: "ping", run: ping_v6 },
    Talk { name: "DNS", rule: "dns", run: |lab, w| asks(lab, lab.host("historian").ip.into(), 53, w) },
    Talk {
        name: "DNS over IPv6",
        rule: "dns",
        run: |lab, w| asks(lab, lab.host("historian").ip6().into(), 53, w),
    },
    Talk { name: "NTP", rule: "ntp", run: |lab, w| asks(lab, lab.host("historian").ip.into(), 123, w) },
    Talk {
        name: "NTP over IPv6",
        rule: "ntp",
        run: |lab, w| asks(lab, lab.host("historian").ip6().into(), 123, w),
    },
];

fn place(host: &Host, address: IpAddr, port: u16, at: &Host) -> SocketAddr {
    if address == host.link_local() {
        let scope = link::index(&at.namespace, at.interface).expect("it is there");
        return SocketAddrV6::new(host.link_local(), port, 0, scope).into();
    }
    SocketAddr::new(address, port)
}

/// The HMI writes a register.
fn modbus(lab: &Lab, address: IpAddr, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let _server = Plc::start_at(plc, place(plc, address, MODBUS, plc)).expect("a server");
    let written = write_once(hmi, place(plc, address, MODBUS, hmi), 7, 1, within);
    written.expect("a try") == Write::Written
}

/// The PLC asks the historian a question in one datagram.
fn asks(lab: &Lab, server: IpAddr, port: u16, within: Duration) -> bool {
    let (plc, historian) = (lab.plc(), lab.host("historian"));
    let here: IpAddr = if server.is_ipv4() { plc.ip.into() } else { plc.ip6().into() };
    let bind = |host: &Host, address: SocketAddr| host.namespace.run(|| UdpSocket::bind(address));
    let server = bind(historian, (server, port).into()).expect("a server");
    let client = bind(plc, (here, 0).into()).expect("a client");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(within)).expect("a time");
    }
    let mut heard = [0; 8];
    let mut exchange = || -> io::Result<()> {
        client.send_to(b"question", server.local_addr()?)?;
        let (len, from) = server.recv_from(&mut heard)?;
        server.send_to(&heard[..len], from)?;
        client.recv(&mut heard).map(drop)
    };
    exchange().is_ok()
}

/// The PLC's stack answers the HMI's echo request.
fn ping(lab: &Lab, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let builder = PacketBuilder::ethernet2(hmi.mac.0, plc.mac.0)
        .ipv4(hmi.ip.octets(), plc.ip.octets(), 64)
        .icmpv4_echo_request(7, 1);
    let mut request = Vec::new();
    builder.write(&mut request, b"who is there").expect("a vector grows");
    // Protocol 1 at 9, type 0 at 20.
    is_answered(hmi, &request, within, |ethertype, packet| {
        ethertype == 0x0800 && packet.get(9) == Some(&1) && packet.get(20) == Some(&0)
    })
}

fn ping_v6(lab: &Lab, within: Duration) -> bool {
    let (plc, hmi) = (lab.plc(), lab.host("hmi"));
    let ends = ((hmi.mac, hmi.ip6()), (plc.mac, plc.ip6()));
    let request = frames::icmp_v6(ends.0, ends.1, 64, 128, [0, 7, 0, 1], b"who is there");
    is_answered(hmi, &request, within, |ethertype, packet| {
        ethertype == 0x86dd && packet.get(6) == Some(&58) && packet.get(40) == Some(&129)
    })
}

fn is_answered(host: &Host, request: &[u8], within: Duration, is_answer: fn(u16, &[u8]) -> bool) -> bool {
    let sniffer = Sniffer::start(&host.namespace, host.interface, move |seen| {
        let (ethertype, packet) = seen.payload()?;
        (!seen.outgoing && is_answer(ethertype, packet)).then_some(())
    });
    let sniffer = sniffer.expect("a sniffer");
    let sender = RawSender::new(&host.namespace, host.interface).expect("a packet socket");
    sender.send(request).expect("sent");
    sniffer.wait_until("an answer", within, |seen| !seen.is_empty()).is_ok()
}
