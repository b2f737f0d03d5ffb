//! Taking an interface up and down, and letting it receive what is not for it (rtnetlink(7), RTM_SETLINK).
//!
//! In: an index and what shall be. Out: it is so, or the kernel's reason. Used for inline pairs only: what is between
//! two networks and has no address is nobody else's to configure.

use netlink_packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::DataplaneError;

/// Takes an interface up or down, as an administrator would.
///
/// # Errors
/// [`DataplaneError::Port`] when it is gone or the driver refuses.
pub fn set_up(index: u32, up: bool) -> Result<(), DataplaneError> {
    change(if up { "take up" } else { "take down" }, index, LinkFlags::Up, up)
}

/// Lets an interface receive frames for every hardware address. It stays so when the agent ends.
///
/// # Errors
/// [`DataplaneError::Port`] when it is gone or the driver refuses.
pub fn set_promiscuous(index: u32) -> Result<(), DataplaneError> {
    change("receive all frames on", index, LinkFlags::Promisc, true)
}

fn change(act: &'static str, index: u32, flag: LinkFlags, on: bool) -> Result<(), DataplaneError> {
    let fail = |why: String| DataplaneError::Port { act, index, why };
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(|e| fail(e.to_string()))?;
    socket.bind_auto().map_err(|e| fail(e.to_string()))?;
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = if on { flag } else { LinkFlags::empty() };
    link.header.change_mask = flag;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::SetLink(link)));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map_err(|e| fail(e.to_string()))?;
    let (answer, _) = socket.recv_from_full().map_err(|e| fail(e.to_string()))?;
    let answer =
        NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(|e| fail(e.to_string()))?;
    match answer.payload {
        // An error message without an error is the acknowledgement (netlink(7)).
        NetlinkPayload::Error(error) if error.code.is_some() => Err(fail(error.to_io().to_string())),
        NetlinkPayload::Error(_)
        | NetlinkPayload::Done(_)
        | NetlinkPayload::InnerMessage(_)
        | NetlinkPayload::Noop
        | NetlinkPayload::Overrun(_) => Ok(()),
        // The library's enum grows; what it adds is no refusal.
        _ => Ok(()),
    }
}
