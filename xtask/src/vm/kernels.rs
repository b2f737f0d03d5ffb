//! Which kernels there are, and how they come here: `apt-get download` in an apt root of our own.
//!
//! In: the mirrors of this machine's own apt sources and its archive keyring, so that the packages are as trusted as
//! any. Out: an unpacked kernel and its modules below `target/vm`, kept until somebody deletes it; so a second run
//! needs no network, and the newest kernel stays the same while a failure is looked at.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

/// A kernel of the matrix.
pub(super) struct Kernel {
    /// As in `--kernel`.
    pub(super) name: &'static str,
    /// The Debian release whose default kernel it is.
    suite: &'static str,
    /// What its version starts with; empty for whatever is newest.
    version: &'static str,
    /// Whether the release has an archive for security updates.
    security: bool,
}

/// Oldest first. The long-term kernels of Debian are what gateways run; the last one warns of what comes.
pub(super) const KERNELS: &[Kernel] = &[
    Kernel { name: "5.10", suite: "bullseye", version: "5.10.", security: true },
    Kernel { name: "6.1", suite: "bookworm", version: "6.1.", security: true },
    Kernel { name: "6.12", suite: "trixie", version: "6.12.", security: true },
    Kernel { name: "current", suite: "sid", version: "", security: false },
];

/// The kernel for virtual machines: the same source with few drivers.
const META: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Where releases go when the mirrors drop them.
const ARCHIVE: [&str; 2] =
    ["http://archive.debian.org/debian/", "http://archive.debian.org/debian-security/"];

/// A kernel on this machine.
pub(super) struct Installed {
    pub(super) name: &'static str,
    /// As `uname -r` will say.
    pub(super) release: String,
    /// The file to boot.
    pub(super) image: PathBuf,
    /// The directory of its modules.
    pub(super) modules: PathBuf,
}

/// Downloads and unpacks a kernel below `cache`, unless that was done before.
pub(super) fn install(kernel: &Kernel, cache: &Path) -> Result<Installed> {
    let home = cache.join(kernel.name);
    let tree = home.join("tree");
    if !tree.exists() {
        eprintln!("fetching Linux {} of Debian {}", kernel.name, kernel.suite);
        fetch(kernel, &home).with_context(|| format!("failed to fetch Linux {}", kernel.name))?;
    }
    find(kernel, &tree)
        .with_context(|| format!("`{}` is not as expected\n\nhint: rm -r {}", tree.display(), home.display()))
}

fn fetch(kernel: &Kernel, home: &Path) -> Result<()> {
    let apt = Apt::new(home)?;
    let [main, security] = mirrors()?;
    if apt.update(kernel, [&main, &security], "").is_err() {
        let [main, security] = ARCHIVE;
        // An archived release is signed for good; its index says until when it was kept current.
        apt.update(kernel, [main, security], "check-valid-until=no ")?;
    }
    let packages = apt.packages(kernel)?;
    let debs = home.join("debs");
    remake(&debs)?;
    run(apt.command("apt-get").current_dir(&debs).arg("download").args(&packages))?;
    let new = home.join("new");
    remake(&new)?;
    for entry in fs::read_dir(&debs)? {
        run(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(&new))?;
    }
    // Only a whole tree gets the name that is looked for.
    fs::rename(&new, home.join("tree"))?;
    fs::remove_dir_all(&debs)?;
    Ok(())
}

/// The mirrors of this machine: main and security updates.
fn mirrors() -> Result<[String; 2]> {
    let format = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"];
    let text = run(Command::new("apt-get").args(format))?;
    let uri = |end: &str| text.lines().find(|uri| uri.ends_with(end)).map(str::to_owned);
    // An image without a list of sources still has apt's own default.
    let main = uri("/debian/").unwrap_or_else(|| "http://deb.debian.org/debian/".into());
    let beside = || main.strip_suffix("debian/").map(|host| format!("{host}debian-security/"));
    let security = uri("/debian-security/").or_else(beside).context("no mirror of security updates")?;
    Ok([main, security])
}

/// apt with lists, caches and a package database of its own: this machine's are not touched, root is not needed.
struct Apt {
    root: PathBuf,
}

impl Apt {
    fn new(home: &Path) -> Result<Self> {
        let root = home.join("apt");
        for dir in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(dir))?;
        }
        fs::write(root.join("status"), "")?;
        Ok(Self { root })
    }

    fn update(&self, kernel: &Kernel, [main, security]: [&str; 2], options: &str) -> Result<()> {
        let Kernel { suite, .. } = kernel;
        let mut sources = format!("deb [{options}signed-by={KEYRING}] {main} {suite} main\n");
        if kernel.security {
            sources += &format!("deb [{options}signed-by={KEYRING}] {security} {suite}-security main\n");
        }
        fs::write(self.root.join("sources.list"), sources)?;
        run(self.command("apt-get").args(["update", "--error-on=any"])).map(drop)
    }

    /// The kernel that the release's meta package stands for. Newer releases split it in several packages.
    fn packages(&self, kernel: &Kernel) -> Result<Vec<String>> {
        let mut ask = self.command("apt-cache");
        ask.args(["depends", "--recurse", "--important", META]);
        let packages = kernel_packages(&run(&mut ask)?);
        ensure!(
            packages.iter().any(|package| package.starts_with(&format!("linux-image-{}", kernel.version))),
            "`{META}` of {} stands for {}, not for {}",
            kernel.suite,
            packages.join(", "),
            kernel.version
        );
        Ok(packages)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (key, file) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::Etc::sourceparts", "no-more-sources"),
            ("Dir::State::lists", "lists"),
            ("Dir::State::status", "status"),
            ("Dir::Cache", "cache"),
        ] {
            command.arg("-o").arg(format!("{key}={}", self.root.join(file).display()));
        }
        // The unprivileged user that apt downloads as may not enter the checkout.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "APT::Architecture=amd64", "-q"]);
        command
    }
}

/// Of everything the meta package draws in, the kernel itself.
fn kernel_packages(depends: &str) -> Vec<String> {
    let kinds = ["linux-image-", "linux-binary-", "linux-modules-"];
    let of_a_version = |package: &str| {
        kinds.iter().any(|kind| {
            package.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
    };
    let packages: BTreeSet<&str> = depends.lines().filter(|package| of_a_version(package)).collect();
    packages.into_iter().map(str::to_owned).collect()
}

/// The one kernel of an unpacked tree. Releases differ in whether `/lib` is below `/usr`, and in where the kernel is.
fn find(kernel: &Kernel, tree: &Path) -> Result<Installed> {
    let homes = [tree.join("lib/modules"), tree.join("usr/lib/modules")];
    let home = homes.iter().find(|dir| dir.is_dir()).context("it has no modules")?;
    let modules = fs::read_dir(home)?.next().context("it has no modules")??.path();
    let release = modules.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let images = [tree.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    let image = images.into_iter().find(|file| file.is_file()).context("it has no kernel")?;
    Ok(Installed { name: kernel.name, release, image, modules })
}

fn remake(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir).with_context(|| format!("failed to create `{}`", dir.display()))
}

/// Runs a command for its output.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("failed to run `{program}`"))?;
    if !output.status.success() {
        bail!("`{program}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{program}` printed no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_found_among_what_the_meta_package_draws_in() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-7.2.13+deb14-cloud-amd64\n\
                       linux-image-7.2.13+deb14-cloud-amd64\n  Depends: linux-binary-7.2.13+deb14-cloud-amd64\n\
                       linux-binary-7.2.13+deb14-cloud-amd64\nlinux-base\nlinux-modules-7.2.13+deb14-cloud-amd64\n";
        assert_eq!(
            kernel_packages(depends),
            [
                "linux-binary-7.2.13+deb14-cloud-amd64",
                "linux-image-7.2.13+deb14-cloud-amd64",
                "linux-modules-7.2.13+deb14-cloud-amd64"
            ]
        );
    }
}
