//! The root file system of a run: busybox, the test binaries with their libraries and files, the kernel's modules.
//!
//! Test binaries find their files by the path of the checkout they were compiled in, so those lie there in the machine
//! too. Modules are loaded in the order of their dependencies; the packages have no `modules.dep` (it is made when they
//! are installed), so each module is asked itself.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection};

use super::{
    cpio::{Archive, Kind},
    kernels::{Installed, run},
    tool_path,
};

/// Where programs are in the machine.
pub(super) const PROGRAMS: &str = "tests";

/// Marks lines of the machine itself on its console.
pub(super) const MARK: &str = "@@";

/// What is in a machine besides busybox.
pub(super) struct Contents<'a> {
    /// Names below [`PROGRAMS`] and where they come from; their libraries come along.
    pub(super) programs: Vec<(&'a str, &'a Path)>,
    /// Folders of files that are read at run time, each at the path that it has here.
    pub(super) folders: Vec<PathBuf>,
    /// The modules that are loaded, with those that they need.
    pub(super) modules: &'a [&'a str],
    /// What is run once everything is mounted and loaded: lines for a shell.
    pub(super) script: String,
}

/// A program without what only a debugger reads: it is unpacked into half of the machine's memory. `strip` comes with every gcc.
fn stripped(binary: &Path) -> Result<Vec<u8>> {
    let to = tempfile::NamedTempFile::new().context("failed to make a file")?;
    let status = Command::new("strip").args(["--strip-debug", "-o"]).args([to.path(), binary]).status();
    let status = status.context("failed to run `strip`\n\nhint: apt-get install binutils")?;
    ensure!(status.success(), "`strip {}` failed", binary.display());
    read(to.path())
}

/// Writes the archive.
pub(super) fn write(to: &Path, kernel: &Installed, contents: &Contents<'_>) -> Result<()> {
    let Contents { programs, folders, modules: wanted, script } = contents;
    let mut tree = Tree { archive: Archive::new(BufWriter::new(File::create(to)?)), made: BTreeSet::new() };
    for dir in ["proc", "sys", "dev", "run", "tmp", "state"] {
        tree.directory(Path::new(dir))?;
    }
    let busybox = tool_path("busybox").context("`busybox` is not installed")?;
    tree.file(Path::new("bin/busybox"), Kind::Program, &read(&busybox)?)?;
    let mut libraries = BTreeSet::new();
    for (name, binary) in programs {
        tree.file(&Path::new(PROGRAMS).join(name), Kind::Program, &stripped(binary)?)?;
        libraries.extend(needed(binary)?);
    }
    for library in &libraries {
        tree.file(relative(library), Kind::Program, &read(library)?)?;
    }
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            tree.file(relative(&path), Kind::File, &read(&path)?)?;
        }
    }
    let modules = modules(&kernel.modules, wanted)?;
    for (name, content) in &modules {
        tree.file(&Path::new("modules").join(name), Kind::File, content)?;
    }
    let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    tree.file(Path::new("init"), Kind::Program, init(&names, script).as_bytes())?;
    Ok(tree.archive.finish()?)
}

/// The first process. A line of it that fails shows itself in what the tests say.
fn init(modules: &[&str], run: &str) -> String {
    let mut script = format!(
        "#!/bin/busybox sh\n\
        /bin/busybox --install -s /bin\nexport PATH=/bin RUST_BACKTRACE=0\n\
        export BULKHEAD_VM=1 BULKHEAD_REQUIRE=packet,netns,vm BULKHEAD_BIN=/{PROGRAMS}/bulkhead\n\
        mount -t proc proc /proc\nmount -t sysfs sys /sys\nmount -t devtmpfs dev /dev\n\
        mount -t bpf bpf /sys/fs/bpf\nmount -t tmpfs run /run\nmkdir -p /tmp\nip link set lo up\n"
    );
    for module in modules {
        script += &format!("insmod /modules/{module}\n");
    }
    // The first process may not end: the machine is switched off below it.
    script + run + "echo o > /proc/sysrq-trigger\nwhile :; do sleep 1; done\n"
}

struct Tree<W: Write> {
    archive: Archive<W>,
    made: BTreeSet<PathBuf>,
}

impl<W: Write> Tree<W> {
    fn directory(&mut self, path: &Path) -> Result<()> {
        if path.as_os_str().is_empty() || self.made.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.made.insert(path.to_owned());
        Ok(self.archive.add(&path.to_string_lossy(), Kind::Directory, &[])?)
    }

    fn file(&mut self, path: &Path, kind: Kind, content: &[u8]) -> Result<()> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        Ok(self.archive.add(&path.to_string_lossy(), kind, content)?)
    }
}

/// The shared libraries of a binary, the loader among them.
fn needed(binary: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = run(Command::new("ldd").arg(binary))?;
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

/// The modules and all they depend on, each behind what it needs, unpacked.
fn modules(dir: &Path, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut found = Vec::new();
    collect(dir, &mut found)?;
    let mut loaded: Vec<(String, Vec<u8>)> = Vec::new();
    // What one kernel has as a module, another has in itself.
    let inside = fs::read_to_string(dir.join("modules.builtin")).unwrap_or_default();
    let inside: BTreeSet<String> =
        inside.lines().filter_map(|line| Some(stem(Path::new(line))?.replace('-', "_"))).collect();
    for name in wanted.iter().filter(|name| !inside.contains(**name)) {
        load(name, &found, &mut loaded)?;
    }
    Ok(loaded)
}

fn load(name: &str, found: &[PathBuf], loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if loaded.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    // A dependency is named with underscores, its file may have dashes.
    let file = found
        .iter()
        .find(|path| stem(path).is_some_and(|stem| stem.replace('-', "_") == name))
        .with_context(|| format!("the kernel has no module `{name}`"))?;
    let content = unpacked(file)?;
    for dependency in dependencies(&content).with_context(|| format!("`{}`", file.display()))? {
        load(&dependency, found, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

fn stem(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.split_once(".ko").map(|(stem, _)| stem)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("failed to list `{}`", dir.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), found)?;
        } else if stem(&entry.path()).is_some() {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn unpacked(file: &Path) -> Result<Vec<u8>> {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => read(file),
        Some("xz") => {
            let output = Command::new("xz").arg("-dc").arg(file).output().context("failed to run `xz`")?;
            ensure!(output.status.success(), "`xz` cannot unpack `{}`", file.display());
            Ok(output.stdout)
        }
        other => bail!("`{}` is packed in a way not known here: {other:?}", file.display()),
    }
}

/// What a module says it depends on: `depends=a,b` among the NUL-separated fields of `.modinfo`.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let elf = object::File::parse(module).context("no ELF file")?;
    let section = elf.section_by_name(".modinfo").context("no section `.modinfo`")?;
    let text = section.data().context("`.modinfo` is cut off")?;
    let depends = text.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"depends="));
    let depends = String::from_utf8_lossy(depends.unwrap_or_default()).into_owned();
    Ok(depends.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect())
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_is_found_by_its_file() {
        assert_eq!(stem(Path::new("a/8021q.ko.xz")), Some("8021q"));
        assert_eq!(stem(Path::new("a/veth.ko")), Some("veth"));
        assert_eq!(stem(Path::new("a/modules.order")), None);
    }

    #[test]
    fn everything_is_mounted_and_loaded_before_anything_runs() {
        let script = init(&["stp", "bridge"], "/tests/some\n");
        let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("no `{text}` in\n{script}"));
        assert!(at("insmod /modules/stp\n") < at("insmod /modules/bridge\n"));
        assert!(at("mount -t bpf") < at("/tests/some\n"));
        assert!(at("/modules/bridge") < at("/tests/some\n") && at("/tests/some\n") < at("sysrq-trigger"));
    }
}
