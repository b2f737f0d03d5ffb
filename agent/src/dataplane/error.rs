//! What the kernel may refuse, each with the act and the object.

use std::{io, path::PathBuf};

use aya::{EbpfError, maps::MapError, pin::PinError, programs::ProgramError};

use super::verifier;

/// The world said no to the data path.
#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    /// The policy places a device on a segment that the configuration does not have.
    #[error(
        "the policy places a device on segment `{name}`, and the configuration has `{known}`: add `[segment.{name}]` to it, or correct the device"
    )]
    NoSegment {
        /// The segment's name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// No BPF filesystem where pins should live.
    #[error("`{}` is not on a BPF filesystem\nhint: mount -t bpf bpf /sys/fs/bpf", path.display())]
    NotBpffs {
        /// The configured pin directory.
        path: PathBuf,
    },
    /// A file or directory operation on the pins failed.
    #[error("failed to {act} `{}`: {source}", path.display())]
    Pins {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A pinned map is not what this agent would have made.
    #[error(
        "the pinned map `{}` has {found}, expected {expected}\nhint: it was not made by this version; `bulkhead detach` removes it and ends enforcement",
        path.display()
    )]
    ForeignMap {
        /// The pin.
        path: PathBuf,
        /// What differs, as found.
        found: String,
        /// What this agent makes.
        expected: String,
    },
    /// The object did not load: maps could not be created or relocated.
    #[error("failed to load the BPF object: {}", chain(source))]
    Load {
        /// Why.
        #[from]
        source: EbpfError,
    },
    /// The verifier or the kernel refused the program.
    #[error("failed to load the XDP program `{name}`: {}", refusal(source))]
    Program {
        /// Which program of the object.
        name: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// A map operation failed.
    #[error("failed to {act} map `{map}`: {}", chain(source))]
    Map {
        /// What was tried.
        act: &'static str,
        /// Which map.
        map: &'static str,
        /// Why.
        source: MapError,
    },
    /// A map could not be pinned.
    #[error("failed to pin map `{map}`: {}", chain(source))]
    PinMap {
        /// Which map.
        map: &'static str,
        /// Why.
        source: PinError,
    },
    /// The interface is not there.
    #[error("no interface is called `{name}`\nhint: `bulkhead doctor` lists the interfaces of this gateway")]
    NoInterface {
        /// Its configured name.
        name: String,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "`{interface}` already runs the XDP program with id {program}, which is not ours{}; it was left alone\nhint: remove it with the tool that attached it; `ip link set dev {interface} xdp off` works only for a program without a link",
        named(name.as_deref())
    )]
    ForeignProgram {
        /// The interface.
        interface: String,
        /// The kernel's id of the other program.
        program: u32,
        /// Its name, if it has one.
        name: Option<String>,
    },
    /// The program of an agent of another ABI is on the interface.
    #[error(
        "`{interface}` already runs the XDP program with id {program} of another version of Bulkhead, pinned below `{}`; it was left alone\nhint: end it with `bulkhead detach` of that version, or rm -r {}",
        pins.display(), pins.display()
    )]
    OtherVersion {
        /// The interface.
        interface: String,
        /// The kernel's id of the other program.
        program: u32,
        /// The other version's pins.
        pins: PathBuf,
    },
    /// The program could not be attached.
    #[error(
        "failed to attach to `{interface}` in {mode} mode: {}\nhint: {}; `attach = \"generic\"` works everywhere, slowly",
        chain(source),
        advice(source)
    )]
    Attach {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// Why.
        source: ProgramError,
    },
    /// The program could not be attached to a bond.
    #[error(
        "failed to attach to `{interface}` in native mode: {}\nhint: a bond takes it since Linux 5.15, if its mode and all its ports do: list its ports {} as interfaces instead; `attach = \"generic\"` works everywhere, slowly",
        chain(source),
        quoted(ports)
    )]
    AttachBond {
        /// The bond.
        interface: Box<str>,
        /// The names of its ports.
        ports: Box<[String]>,
        /// Why.
        source: ProgramError,
    },
    /// Another entry could not be put behind a link of ours.
    #[error(
        "`{interface}` has an MTU of {mtu}, and the kernel refuses the {} program for it: {}; the one before goes on enforcing\nhint: ip link set dev {interface} mtu {}",
        entry.name(), chain(source), (*mtu).min(super::LINEAR_MTU)
    )]
    Replace {
        /// The interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Which entry suits it.
        entry: super::Entry,
        /// Why.
        source: ProgramError,
    },
    /// The kernel gave no link that outlives the agent.
    #[error(
        "`{interface}` gave no BPF link that can be pinned, so enforcement would end with the agent; detached again"
    )]
    NotPinnable {
        /// The interface.
        interface: String,
    },
    /// An interface of a pair could not be changed.
    #[error("failed to {act} the interface with index {index}: {why}")]
    Port {
        /// What was tried.
        act: &'static str,
        /// On which interface.
        index: u32,
        /// Why it failed.
        why: String,
    },
    /// A netlink question failed.
    #[error("failed to read the interfaces of this network namespace: {0}")]
    Netlink(String),
    /// More devices or rules than stable ids.
    #[error("no counters left for {what} `{name}`: all {limit} are in use\nhint: raise `limits.{what}`")]
    NoId {
        /// `devices` or `rules`.
        what: &'static str,
        /// For whom.
        name: String,
        /// How many there are.
        limit: u32,
    },
    /// The kernel cannot tell when packets in flight have been judged.
    #[error(
        "the kernel has no global memory barrier (membarrier(2)), without which tables cannot change between two packets\nhint: boot without `nohz_full=`"
    )]
    NoBarrier,
    /// Another agent uses the pins.
    #[error(
        "the pins `{}` are in use by another agent (pid {pid})\nhint: one agent per pin directory; stop that one first, enforcement goes on meanwhile",
        path.display()
    )]
    PinsInUse {
        /// The pins.
        path: PathBuf,
        /// The other process; `unknown` when it is not in this namespace of processes.
        pid: String,
    },
    /// A processor does not let the agent run, which alone can count what was remembered there.
    #[error(
        "processor {cpu} does not let the agent run: what is counted there is {age:.1?} old\nhint: `ps -eLo psr,cls,rtprio,comm` shows what has a real-time priority there (FF, RR, DLN) and leaves no time to others"
    )]
    Late {
        /// The processor.
        cpu: usize,
        /// How old its counts are.
        age: std::time::Duration,
    },
    /// A system call without a wrapper failed.
    #[error("failed to {act}: {source}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What the verifier has against the program; what else failed, with its causes.
fn refusal(error: &ProgramError) -> String {
    if let ProgramError::LoadError { io_error, verifier_log } = error {
        let useful = verifier::useful(&verifier_log.to_string()).replace('\n', "\n  ");
        if !useful.is_empty() {
            return format!(
                "the verifier refused it: {useful}\nhint: the whole log: BULKHEAD_LOG=debug bulkhead run"
            );
        }
        return io_error.to_string();
    }
    chain(error)
}

/// What to do about a refused attachment, by what kernels since 5.10 answer.
fn advice(error: &ProgramError) -> &'static str {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut code = None;
    while let Some(e) = cause {
        code = e.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error).or(code);
        cause = e.source();
    }
    match code {
        Some(libc::ERANGE) => {
            "frames of its MTU need more than one buffer: Linux 5.18 and a driver that can, or a smaller MTU"
        }
        Some(libc::EOPNOTSUPP) => {
            "it has no native mode: attach to what is below it (the trunk of a VLAN, the ports of a bond or bridge)"
        }
        Some(libc::EEXIST) => "a bond or the ports below it take a program, not both",
        Some(_) | None => "`bulkhead doctor` says whether the driver supports native mode",
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Whose program it is, as far as its name tells.
fn named(name: Option<&str>) -> String {
    match name {
        Some(name) if super::probe::is_ours(name) => {
            format!(" (`{name}`: another agent of Bulkhead, with other pins)")
        }
        Some(name) => format!(" (`{name}`)"),
        None => String::new(),
    }
}

/// An error with all its causes: aya's top message alone is just the name of a system call.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let next = e.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = e.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;

    use super::*;

    fn refused(code: i32) -> String {
        let io_error = io::Error::from_raw_os_error(code);
        let source = ProgramError::SyscallError(SyscallError { call: "bpf_link_create", io_error });
        DataplaneError::Attach { interface: "cell7".into(), mode: "native", source }.to_string()
    }

    #[test]
    fn refused_attachment_says_what_to_do_about_it() {
        assert!(refused(libc::ERANGE).contains("hint: frames of its MTU need more than one buffer"));
        let said = refused(libc::EOPNOTSUPP);
        assert!(said.starts_with("failed to attach to `cell7` in native mode: "), "{said}");
        assert!(said.contains("hint: it has no native mode: attach to what is below it"), "{said}");
        assert!(refused(libc::EEXIST).contains("a bond or the ports below it"));
        assert!(refused(libc::EIO).contains("`bulkhead doctor` says"));
    }
}
