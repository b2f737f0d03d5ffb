//! The system calls of the lab that neither the standard library nor nix wraps, each behind a safe signature.
//!
//! Why here: `unsafe` in one file can be read in one sitting. Everything else of the lab is safe code.
#![allow(
    unsafe_code,
    reason = "packet sockets, ethtool, bpf(2), priorities and the parent-death signal have no safe wrapper"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the C interfaces take small constants and struct sizes in narrow types"
)]

use std::{
    ffi::CStr,
    io, mem,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

/// Makes the child die with the *thread* that starts it, and start not at all when that thread is already gone.
pub(super) fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: between fork and exec only prctl, getppid and _exit run, all async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // The parent may have died before the prctl: then nobody will send the signal.
            if nix::unistd::getppid() != parent {
                libc::_exit(1);
            }
            Ok(())
        });
    }
}

/// Which frames a packet socket receives.
#[derive(Clone, Copy)]
pub(super) enum Receive {
    /// All, in both directions.
    All,
    /// None: the socket only sends.
    Nothing,
}

/// A raw packet socket bound to one interface of the caller's network namespace.
pub(super) fn packet_socket(index: u32, receive: Receive) -> io::Result<OwnedFd> {
    let protocol = match receive {
        Receive::All => (libc::ETH_P_ALL as u16).to_be(),
        Receive::Nothing => 0,
    };
    // SAFETY: no pointers; the result is checked before it becomes an owned descriptor.
    // Protocol 0 until bind: otherwise frames of other interfaces would be queued in between.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        check(fd)?;
        OwnedFd::from_raw_fd(fd)
    };
    if matches!(receive, Receive::All) {
        set_option(&fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        set_option(&fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
        // 64 MiB: a burst must not be lost while the sniffer is not scheduled. Beyond rmem_max, as root may.
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 64 << 20)?;
        // The sniffer looks at its stop flag this often (microseconds).
        let timeout = libc::timeval { tv_sec: 0, tv_usec: 20_000 };
        set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, timeout)?;
    }
    // SAFETY: an all-zero sockaddr_ll is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the address lives across the call and its true size is given.
    let bound = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    };
    check(bound)?;
    Ok(fd)
}

/// What a packet socket received: bytes written to the buffer, direction, the VLAN tag the kernel took out, and when the kernel saw it, ns
/// since 1970.
pub(super) struct Received {
    pub(super) len: usize,
    pub(super) outgoing: bool,
    pub(super) vlan: Option<[u8; 4]>,
    pub(super) time: u64,
}

/// Receives one frame. `Ok(None)` when nothing came within the socket's timeout.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    // SAFETY: all-zero is valid for these C structs; every pointer in the header refers to a local that outlives
    // recvmsg, with its true length; the control buffer is u64-aligned, as cmsghdr requires.
    unsafe {
        let mut from: libc::sockaddr_ll = mem::zeroed();
        let mut control = [0_u64; 16];
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_name = (&raw mut from).cast();
        header.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let len = libc::recvmsg(fd.as_raw_fd(), &raw mut header, 0);
        let Ok(len) = usize::try_from(len) else {
            let error = io::Error::last_os_error();
            let nothing = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted);
            // Anything else is ENETDOWN and the like: the lab is being taken down; the caller decides.
            return if nothing { Ok(None) } else { Err(error) };
        };
        let (mut vlan, mut time) = (None, 0);
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_PACKET && (*message).cmsg_type == libc::PACKET_AUXDATA {
                let aux: libc::tpacket_auxdata =
                    libc::CMSG_DATA(message).cast::<libc::tpacket_auxdata>().read_unaligned();
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
                    let [a, b] = aux.tp_vlan_tpid.to_be_bytes();
                    let [c, d] = aux.tp_vlan_tci.to_be_bytes();
                    vlan = Some([a, b, c, d]);
                }
            }
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_TIMESTAMPNS {
                let stamp: libc::timespec =
                    libc::CMSG_DATA(message).cast::<libc::timespec>().read_unaligned();
                let part = |part: i64| u64::try_from(part).unwrap_or(0);
                time = part(stamp.tv_sec) * 1_000_000_000 + part(stamp.tv_nsec);
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
        Ok(Some(Received { len, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, vlan, time }))
    }
}

/// Lets no further frame into the socket's queue; what is in it stays.
pub(super) fn refuse_more(fd: BorrowedFd<'_>) -> io::Result<()> {
    // BPF_RET | BPF_K with 0: keep no byte of any frame (socket(7), SO_ATTACH_FILTER).
    let mut nothing = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut nothing };
    // SAFETY: the program and its one instruction live across the call, and the length is the struct's.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Frames the socket had to drop since the last call (the kernel resets the counter on reading).
pub(super) fn packet_drops(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: the struct and its length live across the call.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut len,
        )
    };
    check(result)?;
    Ok(u64::from(stats.tp_drops))
}

/// Ethtool's legacy on/off commands (linux/ethtool.h) that the lab needs.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Offload {
    /// ETHTOOL_STXCSUM: off, so that every sniffer and XDP program sees finished checksums.
    TxChecksum = 0x17,
    /// ETHTOOL_STSO: off, so that one segment is one frame.
    Segmentation = 0x1f,
    /// ETHTOOL_SGSO: as above, for the software path.
    GenericSegmentation = 0x24,
    /// ETHTOOL_SGRO: off, so that the receiver counts frames as they were sent.
    GenericReceive = 0x2c,
    /// ETHTOOL_SFLAGS with value 0: VLAN tags stay in the frame, where XDP can see them.
    Flags = 0x26,
}

/// Switches one offload of an interface of the caller's network namespace off.
pub(super) fn offload_off(interface: &str, offload: Offload) -> io::Result<()> {
    match ethtool(interface, offload as u32, 0) {
        // A veth whose other end has got an XDP program meanwhile cannot do it any more, so it is off.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            // Each command that asks is one less than the one that sets.
            if ethtool(interface, offload as u32 - 1, 0)? == 0 { Ok(()) } else { Err(error) }
        }
        done => done.map(drop),
    }
}

/// Switches one offload on. Of the flags only the removal of VLAN tags on reception (ETH_FLAG_RXVLAN).
pub(super) fn offload_on(interface: &str, offload: Offload) -> io::Result<()> {
    let value = match offload {
        Offload::TxChecksum
        | Offload::Segmentation
        | Offload::GenericSegmentation
        | Offload::GenericReceive => 1,
        Offload::Flags => RX_VLAN,
    };
    ethtool(interface, offload as u32, value).map(drop)
}

/// `ETH_FLAG_RXVLAN` (linux/ethtool.h).
const RX_VLAN: u32 = 1 << 8;

/// One command with one number; returns the number as the kernel left it.
fn ethtool(interface: &str, command: u32, data: u32) -> io::Result<u32> {
    #[repr(C)]
    struct EthtoolValue {
        command: u32,
        data: u32,
    }
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let mut value = EthtoolValue { command, data };
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero: the name is NUL-terminated (IFNAMSIZ).
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "interface name is too long"));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the kernel reads and writes `request` and the eight bytes of `value`, both alive here.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    check(result)?;
    Ok(value.data)
}

/// A BPF instruction: operation, destination and source register, offset, constant (linux/bpf.h, `struct bpf_insn`).
#[derive(Clone, Copy)]
pub(super) struct Instruction(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) i16, pub(super) i32);

/// `BPF_XDP`: what libraries load for an interface, and what a program must be that hands packets on to such a one.
const FOR_INTERFACES: u32 = 37;

/// Commands of bpf(2) (linux/bpf.h, `enum bpf_cmd`).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Bpf {
    MakeMap = 0,
    SetEntry = 2,
    Load = 5,
    Pinned = 7,
    TestRun = 10,
    ProgramById = 13,
    Attach = 28,
}

/// # Safety
/// The attributes must be the beginning of `union bpf_attr` for the command, and their pointers good for it.
unsafe fn bpf<T>(command: Bpf, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: what the caller promises; the size is that of the attributes.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attributes), size_of::<T>())
    };
    let result = i32::try_from(result).map_err(io::Error::other)?;
    check(result).map(|()| result)
}

/// # Safety
/// As for [`bpf`], and the command must give a new descriptor.
unsafe fn bpf_fd<T>(command: Bpf, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: what the caller promises; a new descriptor is nobody else's.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(command, attributes)?)) }
}

/// Loads an XDP program that is given by its instructions.
pub(super) fn load_xdp(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    /// `BPF_PROG_TYPE_XDP`.
    const XDP: u32 = 6;
    #[repr(C)]
    struct Attributes {
        kind: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log: [u32; 2],
        log_buffer: u64,
        version: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        attach: u32,
    }
    let bytes: Vec<u8> = instructions
        .iter()
        .flat_map(|Instruction(operation, to, from, offset, constant)| {
            let head = [*operation, to | from << 4];
            head.into_iter().chain(offset.to_ne_bytes()).chain(constant.to_ne_bytes())
        })
        .collect();
    let license = c"MIT";
    let mut attributes = Attributes {
        kind: XDP,
        count: instructions.len() as u32,
        instructions: bytes.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log: [0; 2],
        log_buffer: 0,
        version: 0,
        flags: 0,
        name: [0; 16],
        interface: 0,
        attach: FOR_INTERFACES,
    };
    // SAFETY: the kernel reads the instructions and the licence, both alive here.
    unsafe { bpf_fd(Bpf::Load, &mut attributes) }
}

/// A program that is loaded already, by the kernel's id of it.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // Behind the id: the next one, and flags.
    // SAFETY: no pointers.
    unsafe { bpf_fd(Bpf::ProgramById, &mut [id, 0, 0]) }
}

/// A program or map that is pinned.
pub(super) fn pinned(path: &CStr) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    // SAFETY: the kernel reads the path, which is alive here and ends with a zero.
    unsafe { bpf_fd(Bpf::Pinned, &mut Attributes { path: path.as_ptr() as u64, fd: 0, flags: 0 }) }
}

/// A map with one entry, the program that is jumped to (`BPF_MAP_TYPE_PROG_ARRAY`).
pub(super) fn jump() -> io::Result<OwnedFd> {
    /// Its number; then sizes of key and value, entries, flags.
    const PROGRAMS: [u32; 5] = [3, 4, 4, 1, 0];
    // SAFETY: no pointers.
    unsafe { bpf_fd(Bpf::MakeMap, &mut PROGRAMS.clone()) }
}

/// Writes an entry of a map. Key and value must have the map's sizes; a per-CPU map has a value for each CPU the
/// machine could have.
pub(super) fn set_entry(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attributes = Attributes {
        map: map.as_raw_fd().cast_unsigned().into(),
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads key and value, which are alive and, as the callers see to, as long as the map's.
    unsafe { bpf(Bpf::SetEntry, &mut attributes) }.map(drop)
}

/// What a test run does with what the program returns.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(super) enum Verdicts {
    /// Nothing: the next run sees the frame as the last one left it.
    Ignored = 0,
    /// What it says, with a copy of the frame each time (`BPF_F_TEST_XDP_LIVE_FRAMES`, Linux 5.18). What is sent goes out of an
    /// interface of the caller's network namespace.
    Done = 1 << 1,
}

/// Runs an XDP program many times on a frame. Returns what the last run returned.
pub(super) fn run_xdp(
    program: BorrowedFd<'_>,
    frame: &[u8],
    times: u32,
    verdicts: Verdicts,
) -> io::Result<u32> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        returned: u32,
        data_in_size: u32,
        data_out_size: u32,
        data_in: u64,
        data_out: u64,
        times: u32,
        duration: u32,
        context_sizes: [u32; 2],
        contexts: [u64; 2],
        flags: u32,
        cpu: u32,
        batch: u32,
        padding: u32,
    }
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        returned: 0,
        data_in_size: u32::try_from(frame.len()).map_err(io::Error::other)?,
        data_out_size: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        times,
        duration: 0,
        context_sizes: [0; 2],
        contexts: [0; 2],
        flags: verdicts as u32,
        cpu: 0,
        batch: 0,
        padding: 0,
    };
    // SAFETY: the kernel reads the frame, which is alive and as long as it says.
    unsafe { bpf(Bpf::TestRun, &mut attributes) }?;
    Ok(attributes.returned)
}

/// Attaches an XDP program in native mode; it stays until the descriptor is closed.
pub(super) fn attach_xdp(program: BorrowedFd<'_>, index: u32) -> io::Result<OwnedFd> {
    /// `XDP_FLAGS_DRV_MODE` (linux/if_link.h).
    const NATIVE: u32 = 1 << 2;
    // SAFETY: no pointers.
    unsafe { bpf_fd(Bpf::Attach, &mut [program.as_raw_fd().cast_unsigned(), index, FOR_INTERFACES, NATIVE]) }
}

/// Gives a thread a turn before everything that has no such priority (`SCHED_FIFO`, sched(7)): 1 and more, the highest first.
pub(super) fn first_in_turn(thread: i32, priority: i32) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the kernel reads the parameters, which live across the call.
    check(unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameters) })
}

fn set_option<T>(fd: &OwnedFd, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: the value lives across the call and its true size is given; callers pass plain C values.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    check(result)
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
