//! Whether a lab can be made on this machine at all, told in one sentence before anything is started.

use std::{fs::File, io};

use nix::unistd::geteuid;

use super::{
    Lab, Topology,
    link::{self, End, Mac},
    namespace::Namespace,
    stacks,
};
use crate::skip::{Tier, skip};

/// A lab for a test of a tier, or `None` after the skip was recorded.
pub fn lab_for(tier: Tier, test: &str, topology: Topology, mtu: u32) -> Option<Lab> {
    let able = match tier {
        Tier::Stacks => stacks::requirements(),
        Tier::Packet | Tier::Netns | Tier::Vm | Tier::Signing | Tier::Metrics | Tier::Sinks => requirements(),
    };
    match able {
        Ok(()) => Some(Lab::build(topology, mtu).expect("a machine that meets the requirements makes a lab")),
        Err(reason) => {
            skip(tier, test, &reason);
            None
        }
    }
}

/// Tries what a lab needs: privilege, BTF, private mounts with bpffs, network namespaces and a veth pair.
pub fn requirements() -> Result<(), String> {
    if !geteuid().is_root() {
        return Err(
            "the lab needs root to make network namespaces and to load BPF: run it with sudo".to_owned()
        );
    }
    if let Err(error) = File::open("/sys/kernel/btf/vmlinux") {
        return Err(if error.kind() == io::ErrorKind::NotFound {
            "the kernel has no BTF: `/sys/kernel/btf/vmlinux` is missing (CONFIG_DEBUG_INFO_BTF)".to_owned()
        } else {
            format!("`/sys/kernel/btf/vmlinux` cannot be read: {error}")
        });
    }
    let (a, _room) = Namespace::with_room("probe-a").map_err(|error| format!("{error:#}"))?;
    let b = Namespace::new("probe-b").map_err(|error| format!("{error:#}"))?;
    link::veth(
        &End { namespace: &a, interface: "probe0", mac: Mac([2, 0, 0, 0, 0, 1]), mtu: 1500 },
        &End { namespace: &b, interface: "probe1", mac: Mac([2, 0, 0, 0, 0, 2]), mtu: 1500 },
    )
    .map_err(|error| format!("{error:#}"))
}
