//! Which kernel runs, and system calls without a wrapper: the RCU grace period, and where a pinned link leads.
#![allow(unsafe_code, reason = "system calls that neither aya nor nix wraps")]

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use super::DataplaneError;

/// The kernel that runs, as `uname -r` says it, and its first two numbers (0 where there are none).
pub fn kernel_version() -> (String, (u32, u32)) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    (release, version)
}

/// Waits until every packet that is being judged now has been judged.
///
/// MEMBARRIER_CMD_GLOBAL waits for an RCU grace period (membarrier(2), Linux 4.3), and an XDP program
/// runs inside one RCU read-side section.
///
/// # Errors
/// When the kernel has no such barrier.
pub fn rcu_grace() -> Result<(), DataplaneError> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    // JUSTIFICATION: neither libc nor nix wraps membarrier(2).
    let done = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if done == 0 {
        return Ok(());
    }
    Err(DataplaneError::System { act: "wait for packets in flight", source: io::Error::last_os_error() })
}

/// Makes sure that [`rcu_grace`] will work: with full dynticks (`nohz_full=`) the kernel has no such barrier.
///
/// # Errors
/// When it would not.
pub(super) fn require_rcu_grace() -> Result<(), DataplaneError> {
    // SAFETY: the call takes three integers and touches no memory of ours.
    // JUSTIFICATION: neither libc nor nix wraps membarrier(2).
    let commands = unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_QUERY, 0, 0) };
    if commands < 0 {
        let source = io::Error::last_os_error();
        return Err(DataplaneError::System { act: "ask for the kernel's barriers", source });
    }
    if commands & i64::from(libc::MEMBARRIER_CMD_GLOBAL) == 0 {
        return Err(DataplaneError::NoBarrier);
    }
    Ok(())
}

/// Lets this thread run soon after it is woken, at the cost of others: a nice value of -5, with which it gets three times
/// the share of an ordinary thread at most (sched(7)). Devices wait for what this thread reads.
///
/// # Errors
/// Without CAP_SYS_NICE.
pub fn hurry() -> io::Result<()> {
    // SAFETY: the call takes three integers and touches no memory of ours; 0 is the calling thread.
    // JUSTIFICATION: nix does not wrap setpriority(2).
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -5) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// What a link is, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkInfo {
    /// The kernel's id of the program behind it.
    pub(super) program: u32,
    /// The index of its NIC; 0 once the NIC is gone.
    pub(super) interface: u32,
}

/// `struct bpf_link_info` (include/uapi/linux/bpf.h) as far as the index of an XDP link; the union behind
/// `prog_id` is aligned to 8 bytes.
#[repr(C, align(8))]
#[derive(Default)]
struct RawLinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    pad: u32,
    interface: u32,
    tail: u32,
}

/// `union bpf_attr` of BPF_OBJ_GET, up to its flags.
#[repr(C, align(8))]
struct ObjectGet {
    path: u64,
    fd: u32,
    flags: u32,
}

/// `union bpf_attr` of BPF_OBJ_GET_INFO_BY_FD.
#[repr(C, align(8))]
struct InfoByFd {
    fd: u32,
    length: u32,
    info: u64,
}

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_LINK_TYPE_XDP: u32 = 6;

/// `union bpf_attr` of BPF_LINK_DETACH.
#[repr(C)]
struct LinkDetach {
    fd: u32,
}

/// Takes the program off its NIC now (Linux 5.9). A link whose last pin is removed ends as well, but at a moment of the
/// kernel's choosing.
pub(super) fn detach_link(path: &Path) -> io::Result<()> {
    let link = open(path)?;
    let detach = LinkDetach { fd: u32::try_from(link.as_raw_fd()).map_err(io::Error::other)? };
    // SAFETY: the call reads one integer, and the descriptor is open.
    // JUSTIFICATION: aya detaches only links that it has made itself.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_LINK_DETACH, &raw const detach, size_of::<LinkDetach>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The descriptor of something pinned.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let get = ObjectGet { path: name.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `get` and the string it points to outlive the call, which reads as many bytes as it is told.
    // JUSTIFICATION: aya opens a pinned link, and lends nobody its descriptor.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_OBJ_GET, &raw const get, size_of::<ObjectGet>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    // JUSTIFICATION: it must be closed on every way out.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Where a pinned XDP link leads.
pub(super) fn link_info(path: &Path) -> io::Result<LinkInfo> {
    let fd = open(path)?;
    let mut info = RawLinkInfo::default();
    let ask = InfoByFd {
        fd: u32::try_from(fd.as_raw_fd()).map_err(io::Error::other)?,
        length: u32::try_from(size_of::<RawLinkInfo>()).map_err(io::Error::other)?,
        info: (&raw mut info) as u64,
    };
    // SAFETY: the kernel writes at most `length` bytes to `info`, which is as long and outlives the call;
    // every pattern of bits is a value of it.
    // JUSTIFICATION: aya's `LinkInfo` does not tell the index.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &raw const ask, size_of::<InfoByFd>())
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    if info.kind != BPF_LINK_TYPE_XDP {
        return Err(io::Error::other("it is not an XDP link"));
    }
    Ok(LinkInfo { program: info.program, interface: info.interface })
}

/// `union bpf_attr` of BPF_MAP_LOOKUP_ELEM.
#[repr(C, align(8))]
struct LookUp {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;

/// The kernel's id of the inner map at an index of a pinned map of maps; 0 where there is none.
pub(super) fn inner_map(path: &Path, index: u32) -> io::Result<u32> {
    let map = open(path)?;
    let mut id = 0_u32;
    let ask = LookUp {
        map: u32::try_from(map.as_raw_fd()).map_err(io::Error::other)?,
        pad: 0,
        key: (&raw const index) as u64,
        value: (&raw mut id) as u64,
        flags: 0,
    };
    // SAFETY: key and value are as long as those of every map of maps and outlive the call.
    // JUSTIFICATION: aya's look-up goes on from the id to a descriptor, which takes CAP_SYS_ADMIN.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const ask, size_of::<LookUp>()) };
    if done < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENOENT) { Ok(0) } else { Err(error) };
    }
    Ok(id)
}

/// `union bpf_attr` of BPF_PROG_TEST_RUN, up to its contexts.
#[repr(C, align(8))]
#[derive(Default)]
struct TestRun {
    program: u32,
    returned: u32,
    size_in: u32,
    size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

const BPF_PROG_TEST_RUN: libc::c_long = 10;

/// Runs a program once on a frame, on the CPU of the calling thread (Linux 4.12). What it returns is not asked for.
pub(super) fn run_once(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    let mut run = TestRun {
        program: u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?,
        size_in: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_in: frame.as_ptr() as u64,
        // To repeat it in the kernel, the kernel would patch its own code, and wait for all CPUs.
        repeat: 1,
        ..TestRun::default()
    };
    // SAFETY: the kernel reads the frame, which outlives the call, and writes nothing but fields of `run`.
    // JUSTIFICATION: aya runs only programs of its own objects, which a thread of its own cannot borrow.
    let done = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_TEST_RUN, &raw mut run, size_of::<TestRun>()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The clock that packets are stamped with, ns: CLOCK_MONOTONIC, as `bpf_ktime_get_ns`.
pub fn monotonic_ns() -> u64 {
    let time =
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    u64::try_from(time.tv_sec()).unwrap_or(0) * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0)
}
