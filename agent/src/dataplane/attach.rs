//! The program on a NIC: attached by a link that is pinned, so that it outlives the agent; replaced
//! atomically when an agent finds its predecessor's link; never in place of somebody else's program.

use std::{io, path::Path};

use aya::programs::{
    Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};

use super::{
    Dataplane, DataplaneError,
    probe::{self, Interface},
};

/// Where in the stack the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AttachMode {
    /// In the driver, before the stack has done anything.
    #[default]
    Native,
    /// In the stack, behind the allocation of a packet buffer: works everywhere, slowly.
    Generic,
}

impl AttachMode {
    /// The word used in the configuration and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
        }
    }

    fn flags(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

/// How an interface came to be enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// A new link was made.
    New,
    /// An earlier agent's link now runs our program; no packet went past it.
    Adopted,
}

impl Dataplane {
    /// Puts the program on an interface and pins its link.
    ///
    /// # Errors
    /// [`DataplaneError::NoInterface`], [`DataplaneError::ForeignProgram`], [`DataplaneError::OtherVersion`], or what the driver said.
    pub fn attach(&mut self, name: &str, mode: AttachMode) -> Result<Attached, DataplaneError> {
        // Without them the link could not be pinned, and would end with this call.
        self.pins.create()?;
        let there = probe::interfaces()?;
        let missing = || DataplaneError::NoInterface { name: name.to_owned() };
        let interface = there.iter().find(|i| i.name == name).cloned().ok_or_else(missing)?;
        if self.adopt(&interface)? {
            return Ok(Attached::Adopted);
        }
        // Whatever is there now is not behind our pin. The kernel would refuse with EBUSY, without an id.
        if let Some(xdp) = interface.xdp {
            let (interface, program) = (name.to_owned(), xdp.program);
            return Err(match self.pins.of_another_version(name) {
                Some(pins) => DataplaneError::OtherVersion { interface, program, pins },
                None => {
                    let name = probe::program_name(program);
                    DataplaneError::ForeignProgram { interface, program, name }
                }
            });
        }
        let put = |program: &mut Xdp| {
            let id = program.attach_to_if_index(interface.index, mode.flags());
            Ok(id.and_then(|id| program.take_link(id)))
        };
        let link = self.try_entries(interface.mtu, mode, put)?.map_err(|(_, source)| {
            let ports = probe::ports(&interface, &there);
            let ports: Box<[String]> = ports.iter().map(|port| port.name.clone()).collect();
            if mode == AttachMode::Generic || ports.is_empty() {
                return DataplaneError::Attach { interface: name.to_owned(), mode: mode.name(), source };
            }
            DataplaneError::AttachBond { interface: name.into(), ports, source }
        })?;
        // aya falls back to netlink when the kernel refuses a BPF link. Such an attachment cannot be
        // pinned; the conversion fails and drops, which detaches it.
        let link =
            FdLink::try_from(link).map_err(|_| DataplaneError::NotPinnable { interface: name.to_owned() })?;
        let path = self.pins.link(name);
        link.pin(&path).map_err(|error| pins("pin the link", &path, io::Error::other(error)))?;
        Ok(Attached::New)
    }

    /// Puts every pin under the name its NIC has now, whether or not anything is attached anew.
    ///
    /// # Errors
    /// When a pinned link cannot be looked at or its pin cannot be moved.
    pub fn follow_names(&self) -> Result<(), DataplaneError> {
        self.pins.follow_names()
    }

    /// Puts our program behind the link an earlier agent pinned, if one leads to this interface.
    fn adopt(&mut self, interface: &Interface) -> Result<bool, DataplaneError> {
        self.pins.follow_names()?;
        let path = self.pins.link(&interface.name);
        // Whatever is pinned here now leads to this interface.
        if !path.try_exists().map_err(|source| pins("look for", &path, source))? {
            return Ok(false);
        }
        // The link keeps the mode it was made in.
        let mode = interface.xdp.map_or(AttachMode::default(), |xdp| xdp.mode);
        let put = |program: &mut Xdp| {
            // A try uses its descriptor up.
            let id = program.attach_to_link(pinned(interface, &path)?);
            // The next one may close: the pin holds the link.
            Ok(id.and_then(|id| program.take_link(id)).map(drop))
        };
        let replaced = self.try_entries(interface.mtu, mode, put)?;
        replaced.map_err(|(entry, source)| DataplaneError::Replace {
            interface: interface.name.clone(),
            mtu: interface.mtu,
            entry,
            source,
        })?;
        // Two programs do not agree on the place of a flow: what one knew of its end the other does not.
        self.edited()?;
        Ok(true)
    }
}

/// The link an agent pinned.
fn pinned(interface: &Interface, path: &Path) -> Result<XdpLink, DataplaneError> {
    let pinned = PinnedLink::from_pin(path)
        .map_err(|error| pins("open the pinned link", path, io::Error::other(error)))?;
    XdpLink::try_from(FdLink::from(pinned))
        .map_err(|_| DataplaneError::NotPinnable { interface: interface.name.clone() })
}

fn pins(act: &'static str, path: &Path, source: io::Error) -> DataplaneError {
    DataplaneError::Pins { act, path: path.to_owned(), source }
}
