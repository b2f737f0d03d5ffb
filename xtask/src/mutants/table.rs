//! The faults: each a place in the decision, what stands there, and what a tired programmer might have written.
//!
//! In: nothing. Out: [`MUTANTS`]. A text that is no longer there exactly once makes the run an error: mend the table with
//! the code.

/// One fault.
pub(super) struct Mutant {
    /// What is wrong, in words.
    pub(super) name: &'static str,
    /// The file below `agent-common/src`.
    pub(super) file: &'static str,
    /// What stands there, exactly once.
    pub(super) find: &'static str,
    /// What is put there.
    pub(super) replace: &'static str,
}

const fn mutant(name: &'static str, file: &'static str, find: &'static str, replace: &'static str) -> Mutant {
    Mutant { name, file, find, replace }
}

/// Every fault, in the order of the street.
pub(super) const MUTANTS: &[Mutant] = &[
    // parse: link
    mutant(
        "a third VLAN tag is read as a payload",
        "parse.rs",
        "return Err(Reason::VlanDepth);",
        "return Ok(());",
    ),
    mutant(
        "the priority bits belong to the VLAN",
        "parse.rs",
        "be16([t[0], t[1]]) & 0x0fff",
        "be16([t[0], t[1]])",
    ),
    mutant(
        "the inner tag overwrites the outer",
        "parse.rs",
        "if packet.vlan == 0 {",
        "if packet.inner_vlan == 0 {",
    ),
    // parse: IP
    mutant("an IPv4 header may be shorter than 20 bytes", "parse/ip.rs", "!= 4 || header < 20 {", "!= 4 {"),
    mutant(
        "the total length may be past the frame",
        "parse/ip.rs",
        "if total < header || at + total > packet.len as usize {",
        "if total < header {",
    ),
    mutant("IPv4 options pass", "parse/ip.rs", "if packet.protocol != protocol::IGMP || header", "if header"),
    mutant(
        "the fragment offset is ignored",
        "parse/ip.rs",
        "let offset = flags & 0x1fff;",
        "let offset = flags & 0;",
    ),
    mutant(
        "a fragment may be longer than a packet",
        "parse/ip.rs",
        "is_multiple_of(8)) || too_long {",
        "is_multiple_of(8)) {",
    ),
    mutant(
        "one extension header too many",
        "parse/ip.rs",
        "MAX_EXTENSIONS: usize = 4;",
        "MAX_EXTENSIONS: usize = 5;",
    ),
    mutant(
        "an extension header of any length",
        "parse/ip.rs",
        "if size > MAX_EXTENSION || (kind",
        "if (kind",
    ),
    mutant("a routing header with one stop left passes", "parse/ip.rs", "&& e[3] != 0 {", "&& e[3] > 1 {"),
    mutant("a packet to itself passes", "parse/ip.rs", " || packet.source == packet.destination {", " {"),
    mutant(
        "an IPv6 packet may speak for an IPv4 host",
        "parse/ip.rs",
        " || (is_v6 && packet.source.is_v4());",
        ";",
    ),
    // parse: transport and neighbours
    mutant(
        "the UDP length may be past the packet",
        "parse/transport.rs",
        "if total < 8 || (total > len && !packet.fragment.is_some()) {",
        "if total < 8 {",
    ),
    mutant(
        "the TCP header may be past the packet",
        "parse/transport.rs",
        "if header > len {",
        "if header > 60 {",
    ),
    mutant(
        "a FIN or nothing at all is a segment",
        "parse/transport.rs",
        "if control == 0 || control == tcp::FIN || !lone {",
        "if !lone {",
    ),
    mutant("SYN with FIN is a segment", "parse/transport.rs", "== tcp::FIN || !lone {", "== tcp::FIN {"),
    mutant(
        "an error may quote a later fragment",
        "parse/transport.rs",
        "if q[0] != 0x45 || be16([q[6], q[7]]) & 0x1fff != 0 {",
        "if q[0] != 0x45 {",
    ),
    mutant(
        "a SYN with ACK opens",
        "parse.rs",
        "& (tcp::SYN | tcp::ACK) == tcp::SYN",
        "& tcp::SYN == tcp::SYN",
    ),
    mutant(
        "neighbour discovery from beyond the link",
        "parse/neighbor.rs",
        "packet.hops != neighbor::HOP_LIMIT || code",
        "code",
    ),
    mutant(
        "two link-layer options of a message differ",
        "parse/neighbor.rs",
        "size != 8 || (packet.claim.mac != 0 && packet.claim.mac != mac)",
        "size != 8",
    ),
    // decide: who
    mutant(
        "the sender in an ARP message is not compared",
        "decide/binding.rs",
        "if packet.claim.mac == packet.source_mac {",
        "if true {",
    ),
    mutant(
        "an advertisement claims nothing",
        "decide/binding.rs",
        "let claims = packet.icmp_type == neighbor::ADVERTISEMENT;",
        "let claims = false;",
    ),
    mutant(
        "the link-layer option is not compared",
        "decide/binding.rs",
        "if mac != 0 && mac != packet.source_mac {",
        "if mac != 0 && mac == 1 {",
    ),
    mutant(
        "the segment is not compared",
        "decide/binding.rs",
        "if segment != 0 && segment != ends.segment.segment {",
        "if segment == u16::MAX {",
    ),
    mutant(
        "an inner VLAN is overlooked",
        "decide/binding.rs",
        "(vlan != packet.vlan || packet.inner_vlan != 0)",
        "vlan != packet.vlan",
    ),
    mutant(
        "a device's MAC stands for any address behind it",
        "decide/binding.rs",
        "let is_elsewhere = row.device != 0 &&",
        "let is_elsewhere = row.device == 0 &&",
    ),
    mutant(
        "a lease never ends",
        "decide.rs",
        "if mac == 0 || expires <= rules.now() {",
        "if mac == 0 || expires == 0 {",
    ),
    mutant(
        "the pin holds where it is not honoured",
        "decide.rs",
        " || !honoured {",
        " || (false && !honoured) {",
    ),
    // decide: infrastructure
    mutant(
        "anybody may be a router",
        "decide/infrastructure.rs",
        "TRUSTED != 0 && !is_device)\n        || is_named",
        "TRUSTED != 1 << 7 && !is_device)\n        || is_named",
    ),
    mutant(
        "a device on a trusted segment may be a router",
        "decide/infrastructure.rs",
        "TRUSTED != 0 && !is_device)\n        || is_named",
        "TRUSTED != 0 && (true || !is_device))\n        || is_named",
    ),
    mutant(
        "a routed DHCP answer is one for a client",
        "decide/infrastructure.rs",
        "if !to_client {",
        "if false && !to_client {",
    ),
    mutant(
        "anybody may serve DHCP",
        "decide/infrastructure.rs",
        "TRUSTED != 0 && !is_device)\n        || is_listed",
        "TRUSTED != 1 << 7 && !is_device)\n        || is_listed",
    ),
    // decide: fragments
    mutant(
        "an overlap of one unit fits",
        "decide/fragments.rs",
        "stop > row.ahead_start {",
        "stop > row.ahead_start + 1 {",
    ),
    mutant(
        "a first fragment is remembered for ever",
        "decide/fragments.rs",
        "row.seen) <= idle",
        "row.seen) <= idle.max(u64::MAX)",
    ),
    // decide: conversations
    mutant(
        "who asks by ICMP may answer itself",
        "decide/conversation.rs",
        "let fits = !is_icmp || (flow.initiator == side) == asks;",
        "let fits = !is_icmp || asks || side < 2;",
    ),
    mutant(
        "initiator and responder of a live flow are mixed up",
        "decide/conversation.rs",
        "rules, initiator == side)",
        "rules, initiator != side)",
    ),
    mutant(
        "a changed policy is not asked about live flows",
        "decide/conversation.rs",
        "let current = flow.generation == generation",
        "let current = flow.generation <= generation",
    ),
    mutant(
        "a leased address keeps the flows of who had it",
        "decide/conversation.rs",
        "&& (flow.low, flow.high) == between",
        "&& (true || (flow.low, flow.high) == between)",
    ),
    mutant(
        "what a rule allowed goes on when its time is over",
        "decide/conversation.rs",
        "&& (flow.schedule == 0 || rules.is_open(flow.schedule));",
        "&& (true || rules.is_open(flow.schedule));",
    ),
    mutant(
        "a learned name leads to what is protected",
        "decide/conversation.rs",
        "responder.device != 0 || responder.flags & (device_flag::GATEWAY | device_flag::GROUP) != 0;",
        "responder.flags & device_flag::GROUP != 0;",
    ),
    mutant(
        "a learned name leads to everybody",
        "decide/conversation.rs",
        "responder.flags & (device_flag::GATEWAY | device_flag::GROUP) != 0;",
        "responder.flags & device_flag::GATEWAY != 0;",
    ),
    mutant(
        "strict is not",
        "decide/conversation.rs",
        "if midstream && !adopting && settings",
        "if midstream && adopting && settings",
    ),
    mutant(
        "an answer to the gateway reaches its servers",
        "decide/conversation.rs",
        "packet.destination_port >= EPHEMERAL_PORTS",
        "packet.destination_port > 0",
    ),
    mutant(
        "a question to a group is one for every service",
        "decide/conversation.rs",
        "Address::UNSPECIFIED, port, service,",
        "Address::UNSPECIFIED, port, service & 0,",
    ),
    mutant(
        "an error goes to anybody",
        "decide/conversation.rs",
        "if quoted.protocol == 0 || quoted.source != packet.destination {",
        "if quoted.protocol == 0 {",
    ),
    mutant(
        "a group answers with frames",
        "decide/conversation.rs",
        "if packet.is_to_group() {\n        return Err(denied(unless_closed(Reason::Ethertype",
        "if false && packet.is_to_group() {\n        return Err(denied(unless_closed(Reason::Ethertype",
    ),
    mutant(
        "silence keeps a flow alive",
        "flow.rs",
        "now.saturating_sub(flow.seen) > idle",
        "now.saturating_sub(flow.seen) < idle",
    ),
    mutant(
        "one FIN ends a connection",
        "flow.rs",
        "== state::FINISHED {\n        return;",
        "!= 0 {\n        return;",
    ),
    mutant(
        "the initiator's segments are an answer",
        "flow.rs",
        "if side != flow.initiator {",
        "if side == flow.initiator {",
    ),
    // decide: modes
    mutant(
        "quarantine looks at one end only",
        "decide/quarantine.rs",
        "let destination = is_held(",
        "let destination = !source && is_held(",
    ),
    mutant(
        "a device is a remediation peer without rules",
        "decide/quarantine.rs",
        "Ok(if other_is_protected {",
        "Ok(if false && other_is_protected {",
    ),
    mutant(
        "a quarantined device is only watched",
        "decide.rs",
        "Verdict::Deny(_) if mode.enforces()",
        "Verdict::Deny(_) if mode == Mode::Enforce",
    ),
    mutant(
        "a rule to anybody is one from anybody",
        "lookup.rs",
        "(initiator[kind as usize / 5], responder[kind as usize % 5])",
        "(initiator[kind as usize / 5], initiator[kind as usize % 5])",
    ),
    mutant(
        "a closed rule allows",
        "lookup.rs",
        "if is_open(one.schedule) {",
        "if true || is_open(one.schedule) {",
    ),
];
