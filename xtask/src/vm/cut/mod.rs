//! A gateway whose power fails: what was acknowledged survives, whole, and nothing else comes back.
//!
//! In: a kernel, the agent and the program `bulkhead-cut` of the tests, which is the gateway in the machine. Out: after
//! each cut the machine boots again on the same disk, and what it finds is judged ([`judge`]): the revision acknowledged
//! last or the one under way, all of its files, its packets, the audit trail, no damage; and records for a receiver that was away
//! ([`spooled`]). [`power`] cuts into changes and
//! starts of the agent; [`reboot`] boots with other clocks while a change waits for its confirmation.
//!
//! A cut is SIGKILL for qemu: what the kernel of the machine had in memory is gone. The disk is a server in this process
//! ([`disk`]) with a cache that only a flush empties, and a cut loses its blocks by chance, in any order. So an `fsync` that
//! is missing, in the agent or below it, shows. Not simulated: a disk that lies about flushes, that damages what it had
//! kept, or that writes less than 4096 bytes of a block; and file systems other than ext4 as it is made by default.

mod disk;
mod image;
mod judge;
mod machine;
mod power;
mod reboot;
mod spooled;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    AGENT, executables,
    initramfs::{self, Contents, PROGRAMS},
    kernels::{Installed, run as output_of},
    tool_path,
};
use crate::Outcome;
use machine::Bench;
use power::Tally;

/// The kernel that is used when none is named: what new gateways run.
pub(super) const KERNEL: &str = "6.12";

const GATEWAY: &str = "bulkhead-cut";
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "veth"];

/// How often the power fails.
const CUTS: &str = "BULKHEAD_CUTS";
const DEFAULT_CUTS: u32 = 50;
/// Repeats the choices of a run; not its moments.
const SEED: &str = "BULKHEAD_CUT_SEED";
/// Gateways that lose their power side by side, each on its own disk.
const GATEWAYS: u32 = 2;

/// Runs the cuts and the reboots on a kernel.
pub(super) fn run(root: &Path, kernel: &Installed) -> Result<Outcome> {
    let cuts = number(CUTS)?.map_or(Ok(DEFAULT_CUTS), u32::try_from).context("too many cuts")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?;
    let seed = number(SEED)?.unwrap_or(now.as_secs());
    println!("\n{cuts} power cuts on Linux {}, {SEED}={seed}", kernel.release);
    let started = Instant::now();
    let dir = tempfile::tempdir().context("failed to make a temporary directory")?;
    let initramfs = dir.path().join("initramfs");
    make(root, kernel, dir.path(), &initramfs)?;
    let bench = |name: &str| -> Result<Bench<'_>> {
        let home = dir.path().join(name);
        fs::create_dir(&home)?;
        Ok(Bench { kernel, initramfs: &initramfs, dir: home, name: name.to_owned() })
    };
    let reboots = bench("reboot")?;
    // The cuts are shared out; the first gateway takes what is left over.
    let shares = (0..GATEWAYS).map(|at| (cuts + GATEWAYS - 1 - at) / GATEWAYS).filter(|share| *share > 0);
    let gateways: Vec<(Bench<'_>, u32, u64)> = (1_u32..)
        .zip(shares)
        .map(|(at, share)| Ok((bench(&format!("cut-{at}"))?, share, seed.wrapping_add(at.into()))))
        .collect::<Result<_>>()?;
    let (of_reboots, of_cuts) = thread::scope(|scope| {
        let of_reboots = scope.spawn(|| reboot::run(&reboots, seed));
        let of_cuts: Vec<_> = gateways
            .iter()
            .map(|(bench, share, seed)| scope.spawn(move || power::run(bench, *share, *seed)))
            .collect();
        let ended = of_cuts.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>();
        (of_reboots.join(), ended)
    });
    let mut wrong = 0;
    let mut reason = |bench: &Bench<'_>, error: &anyhow::Error| {
        wrong += 1;
        println!("{}: {error:#}{}", bench.name, keep(root, bench));
    };
    let mut total = Tally::default();
    for ((bench, ..), ended) in gateways.iter().zip(of_cuts) {
        match ended {
            Ok(Ok(tally)) => total = total.plus(&tally),
            Ok(Err(error)) => reason(bench, &error),
            Err(_) => bail!("a thread panicked"),
        }
    }
    let mut boots = 0;
    match of_reboots {
        Ok(Ok(count)) => boots = count,
        Ok(Err(error)) => reason(&reboots, &error),
        Err(_) => bail!("a thread panicked"),
    }
    println!(
        "\n{total}\n{boots} boots with an unconfirmed change or after one, in {} s",
        started.elapsed().as_secs()
    );
    println!("\n{}", if wrong == 0 { "no cut has done harm" } else { "not as it should be" });
    Ok(if wrong == 0 { Outcome::Fine } else { Outcome::Found })
}

fn number(variable: &str) -> Result<Option<u64>> {
    let Some(text) = env::var(variable).ok().filter(|text| !text.is_empty()) else { return Ok(None) };
    let number = text.parse().ok();
    ensure!(number.is_some(), "`{variable}` is `{text}`\n\nhint: it is a number");
    Ok(number)
}

/// Makes the initramfs, with binaries that are small enough to be unpacked at each boot.
fn make(root: &Path, kernel: &Installed, dir: &Path, to: &Path) -> Result<()> {
    let built = [
        executables(root, &["build", "-p", "bulkhead-tests", "--bin", GATEWAY], &[GATEWAY])?,
        executables(root, &["build", "-p", "bulkhead-agent", "--bin", AGENT], &[AGENT])?,
    ];
    let strip = tool_path("strip").context("`strip` is not installed")?;
    let mut programs: Vec<(&str, PathBuf)> = Vec::new();
    for (name, binary) in [GATEWAY, AGENT].into_iter().zip(built.concat()) {
        let small = dir.join(name);
        output_of(Command::new(&strip).arg("-o").arg(&small).arg(&binary))?;
        programs.push((name, small));
    }
    let contents = Contents {
        programs: programs.iter().map(|(name, path)| (*name, path.as_path())).collect(),
        folders: Vec::new(),
        modules: MODULES,
        script: format!("mount -t ext4 /dev/vda /state\n/{PROGRAMS}/{GATEWAY} 2>&1\numount /state\n"),
    };
    initramfs::write(to, kernel, &contents)
        .with_context(|| format!("failed to make the initramfs for Linux {}", kernel.release))
}

/// Keeps the disk of a gateway that failed, as its last machine got it, and says where.
fn keep(root: &Path, bench: &Bench<'_>) -> String {
    let to = root.join("target/vm").join(format!("{}.ext4", bench.name));
    match fs::copy(bench.dir.join(image::COPY), &to) {
        Ok(_) => format!("\nhint: `{}` is the disk that it booted from, its journal replayed", to.display()),
        Err(_) => String::new(),
    }
}
