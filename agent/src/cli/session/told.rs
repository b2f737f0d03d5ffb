//! What sshd told the shell of its session. In: the environment of this process, or else of those that started it, since
//! `sudo` passes little of it on. Out: the words. They are for a warning only: whoever owns a process can make them up.

use std::{env, fs::File, io::Read, path::Path};

/// `CLIENT PORT SERVER PORT`, as sshd(8) sets it.
const SSH: &str = "SSH_CONNECTION";

/// Processes above this one that are asked.
const STEPS: usize = 32;

/// Longest environment that is read, bytes.
const MOST: u64 = 1 << 20;

/// The session of this process. An empty one is none, whoever started it.
pub(super) fn by_shell() -> Option<String> {
    let own = env::var_os(SSH).map(|told| told.to_string_lossy().into_owned());
    let told = own.or_else(|| above(Path::new("/proc"), std::process::id()))?;
    Some(told).filter(|told| !told.is_empty())
}

/// The session of the nearest process above `process` that has one.
fn above(proc: &Path, process: u32) -> Option<String> {
    let mut process = process;
    for _ in 0..STEPS {
        process = parent(proc, process).filter(|parent| *parent > 1)?;
        let environment = read(&proc.join(process.to_string()).join("environ")).unwrap_or_default();
        let mut variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
        if let Some((_, told)) = variables.find(|(name, _)| *name == SSH) {
            return Some(told.to_owned());
        }
    }
    None
}

fn parent(proc: &Path, process: u32) -> Option<u32> {
    let stat = read(&proc.join(process.to_string()).join("stat"))?;
    // proc_pid_stat(5): the name, which may hold anything, ends at the last `)`; then state and parent.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_above_a_process_that_was_not_told() {
        let proc = tempfile::tempdir().expect("a folder");
        let process = |id: u32, parent: u32, environment: &str| {
            let folder = proc.path().join(id.to_string());
            std::fs::create_dir(&folder).expect("there is room");
            std::fs::write(folder.join("stat"), format!("{id} (a) R 1 (sh) S {parent} 1 1")).expect("room");
            std::fs::write(folder.join("environ"), environment).expect("there is room");
        };
        process(40, 30, "HOME=/root\0");
        process(30, 20, "USER=ot\0SSH_CONNECTION=10.1.2.3 5 10.1.0.1 22\0TERM=x\0");
        process(20, 1, "SSH_CONNECTION=older\0");
        process(50, 60, "A=b\0");
        process(60, 50, "A=b\0");
        assert_eq!(above(proc.path(), 40).as_deref(), Some("10.1.2.3 5 10.1.0.1 22"));
        assert_eq!(above(proc.path(), 20), None, "nobody above but the first process");
        assert_eq!(above(proc.path(), 50), None, "a circle ends");
        assert_eq!(above(proc.path(), 99), None, "gone meanwhile");
    }
}
