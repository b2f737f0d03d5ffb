//! Whether a driver sends everything that a program on another interface redirects to it: what it does not send is lost, and nobody is told.
//!
//! In: an interface. Out: why it may not, in words to follow "it ".

use aya::util::online_cpus;
use netlink_sys::protocols::NETLINK_GENERIC;

use super::{
    netlink::{NLM_F_REQUEST, ask, value},
    offloads::{driver, queues},
};

/// Drivers that run XDP programs and have no way in for what others redirect, in some kernel before Linux 6.3, where nobody can be asked.
const WITHOUT: [&str; 9] =
    ["ena", "gve", "ixgbevf", "mana", "mlx4_en", "nfp", "nicvf", "stmmaceth", "vmxnet3"];
/// Drivers that take what any processor redirects, however many queues they have: they share them.
const SHARING: [&str; 3] = ["tun", "veth", "virtio_net"];
/// `NETDEV_XDP_ACT_NDO_XMIT` (linux/netdev.h, Linux 6.3).
const NDO_XMIT: u64 = 4;

/// Why an interface may not send all that is redirected to it.
pub fn unsent(interface: &str, index: u32) -> Option<String> {
    let driver = match driver(interface) {
        Ok(driver) => driver,
        Err(error) => return Some(format!("does not say which driver it has: {error}")),
    };
    // A virtual pair sends as soon as its other end receives so, which nobody tells here.
    if driver == "veth" {
        return None;
    }
    let sends = match features(index) {
        Ok(Some(features)) => features & NDO_XMIT != 0,
        Ok(None) => !WITHOUT.contains(&driver.as_str()),
        Err(error) => {
            return Some(format!("does not say whether its driver sends what is redirected: {error}"));
        }
    };
    if !sends {
        return Some(format!("has a driver, `{driver}`, that does not send what is redirected to it"));
    }
    // Each processor uses the queue of its number. Who does not say has a number that nobody can change.
    let processors = online_cpus().ok()?.into_iter().max()? + 1;
    let sending = queues(interface).ok()?.tx;
    let is_short = sending < processors && !SHARING.contains(&driver.as_str());
    is_short.then(|| {
        format!(
            "has {sending} queues to send, and there are {processors} processors (`ethtool -L {interface}`)"
        )
    })
}

/// What a driver can do of XDP (`NETDEV_CMD_DEV_GET`); `None` from a kernel that cannot be asked.
fn features(index: u32) -> std::io::Result<Option<u64>> {
    // The controller of generic netlink, which knows the others by their names (linux/genetlink.h).
    const CONTROLLER: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const DEV_GET: u8 = 1;
    const XDP_FEATURES: u16 = 3;
    // `struct genlmsghdr`, then the attribute `CTRL_ATTR_FAMILY_NAME`.
    let mut question = vec![GET_FAMILY, 1, 0, 0];
    question.extend([11_u16, 2].map(u16::to_ne_bytes).concat());
    question.extend(b"netdev\0\0");
    let mut family = None;
    let asked = ask(NETLINK_GENERIC, CONTROLLER, NLM_F_REQUEST, &question, |payload| {
        let id = value(payload.get(4..).unwrap_or_default(), FAMILY_ID);
        family = id.and_then(|id| id.first_chunk::<2>()).map(|id| u16::from_ne_bytes(*id));
    });
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
        asked => asked?,
    }
    let Some(family) = family else { return Ok(None) };
    // `NETDEV_A_DEV_IFINDEX`.
    let mut question = vec![DEV_GET, 1, 0, 0];
    question.extend([8_u16, 1].map(u16::to_ne_bytes).concat());
    question.extend(index.to_ne_bytes());
    let mut features = None;
    ask(NETLINK_GENERIC, family, NLM_F_REQUEST, &question, |payload| {
        let bits = value(payload.get(4..).unwrap_or_default(), XDP_FEATURES);
        features = bits.and_then(|bits| bits.first_chunk::<8>()).map(|bits| u64::from_ne_bytes(*bits));
    })?;
    Ok(features)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_that_cannot_send_what_is_redirected_says_why() {
        // The loopback has no driver for XDP at all, and every kernel has it as 1.
        let said = unsent("lo", 1).expect("it cannot");
        assert!(said.starts_with("has a driver") || said.starts_with("does not say"), "{said}");
        assert!(
            unsent("no-such-one", 9999).is_some_and(|said| said.starts_with("does not say which driver"))
        );
    }

    #[test]
    fn kernel_tells_what_a_driver_can_do() {
        let Ok(features) = features(1) else { panic!("the kernel answers for the loopback") };
        let version = crate::dataplane::kernel_version().1;
        assert_eq!(features.is_some(), version >= (6, 3), "{features:?} of {version:?}");
        assert_eq!(features.unwrap_or(0) & NDO_XMIT, 0);
    }
}
