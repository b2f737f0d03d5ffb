//! One network namespace: a descriptor without a name, so that it is gone with the process.
//!
//! In: closures and commands. Out: their results, as if they had run on another machine.
//! Each namespace has an attendant, a thread that lives in it as long as the value does. Children are started by the
//! attendant, because they inherit its namespaces and because the parent-death signal follows the *thread* that forked.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    panic,
    process::{Child, Command},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::{Pid, gettid},
};

use super::{link, room::Room, sys};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with `lo` up and IPv6 autoconfiguration off.
pub struct Namespace {
    name: String,
    net: Arc<OwnedFd>,
    attendant: Option<Attendant>,
}

struct Attendant {
    jobs: mpsc::Sender<Job>,
    tid: Pid,
    thread: JoinHandle<()>,
}

impl Namespace {
    /// Makes a namespace. `name` appears in errors and thread names only.
    pub fn new(name: &str) -> Result<Self> {
        Self::make(name, || Ok(())).map(|(namespace, ())| namespace)
    }

    /// Makes a namespace whose children also see private mounts: see [`Room`].
    pub fn with_room(name: &str) -> Result<(Self, Room)> {
        Self::make(name, Room::enter)
    }

    fn make<T: Send + 'static>(
        name: &str,
        prepare: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<(Self, T)> {
        let (made, answer) = mpsc::channel();
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name(format!("ns-{name}"))
            .spawn(move || {
                let enter = || -> Result<(OwnedFd, Pid, T)> {
                    unshare(CloneFlags::CLONE_NEWNET)?;
                    let prepared = prepare()?;
                    // `thread-self`, because `self` is the main thread, which stays where it is.
                    let net = File::open("/proc/thread-self/ns/net")?.into();
                    Ok((net, gettid(), prepared))
                };
                let entered = enter();
                let failed = entered.is_err();
                if made.send(entered).is_err() || failed {
                    return;
                }
                for job in queue {
                    job();
                }
            })
            .context("failed to start a thread")?;
        let (net, tid, prepared) = answer
            .recv()
            .map_err(|_| anyhow!("the thread ended"))
            .flatten()
            .with_context(|| format!("failed to make network namespace `{name}`"))?;
        let attendant = Attendant { jobs, tid, thread };
        let namespace = Self { name: name.to_owned(), net: Arc::new(net), attendant: Some(attendant) };
        link::prepare(&namespace).with_context(|| format!("failed to prepare network namespace `{name}`"))?;
        Ok((namespace, prepared))
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `f` on a thread inside the namespace and waits for it. A panic inside is a panic here.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let thread = thread::scope(|scope| {
            scope
                .spawn(|| {
                    enter(&self.net);
                    f()
                })
                .join()
        });
        thread.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
    }

    /// Starts a long-lived thread inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        what: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>> {
        let net = Arc::clone(&self.net);
        thread::Builder::new()
            .name(what.to_owned())
            .spawn(move || {
                enter(&net);
                f()
            })
            .with_context(|| format!("failed to start thread `{what}`"))
    }

    /// Starts a child inside the namespace (and the room, if it has one). It is killed when this value is dropped and
    /// when the process dies, however that happens.
    pub fn spawn_child(&self, mut command: Command) -> io::Result<Child> {
        sys::die_with_parent(&mut command);
        let (started, answer) = mpsc::channel();
        let job: Job = Box::new(move || {
            // Nobody waiting means that the caller is gone; the child then dies with the attendant.
            drop(started.send(command.spawn()));
        });
        let attendant = self.attendant.as_ref().expect("the attendant lives until drop");
        attendant.jobs.send(job).map_err(|_| io::Error::other("the attendant is gone"))?;
        answer.recv().map_err(io::Error::other)?
    }

    /// The thread that keeps the namespace: `/proc/<pid>/task/<tid>/ns/net` is the way in for `nsenter`.
    pub fn tid(&self) -> i32 {
        self.attendant.as_ref().expect("the attendant lives until drop").tid.as_raw()
    }

    /// The command with which a person looks around inside.
    pub fn nsenter(&self) -> String {
        let task = format!("/proc/{}/task/{}/ns", std::process::id(), self.tid());
        format!("nsenter --net={task}/net --mount={task}/mnt")
    }

    /// The namespace's descriptor as a number, for netlink messages that move an interface.
    pub(super) fn raw_fd(&self) -> i32 {
        self.net.as_raw_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.net.as_fd()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(Attendant { jobs, tid: _, thread }) = self.attendant.take() {
            drop(jobs);
            // A panicked attendant has already told its story on stderr.
            drop(thread.join());
        }
    }
}

fn enter(net: &OwnedFd) {
    setns(net, CloneFlags::CLONE_NEWNET)
        .expect("the descriptor is a network namespace that this process made");
}
