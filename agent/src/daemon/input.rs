//! Everything that can happen to the agent.

use bulkhead_common::layout::Sample;
use tokio::sync::{mpsc, oneshot};

use super::metrics::Gathered;
use crate::{
    control::{Reply, Request},
    dataplane::{DataplaneError, LinkNews},
    store::Who,
};

/// One thing that happened.
pub enum Input {
    /// The event ring has something.
    Events,
    /// Servers answered devices that ask for addresses: DHCP servers and resolvers.
    Samples(Vec<Sample>),
    /// Frames that left this machine from a resolver's port; they may be cut.
    Overheard(Vec<Vec<u8>>),
    /// Interfaces, addresses or IPsec policies changed, or news of that were lost.
    Links(LinkNews),
    /// Routes, neighbours or what else the way of a packet depends on changed, or news of that were lost.
    Routes(LinkNews),
    /// What routes and neighbours were told of is made by now.
    Settled,
    /// A moment passed: drain repeats, look after NICs, write summaries.
    Tick,
    /// Somebody asked something on the control socket.
    Asked(Asked),
    /// The metrics endpoint has something.
    Metrics(Scrape),
    /// SIGHUP: read the policy files again.
    Reload,
    /// SIGTERM or SIGINT: write what is pending and end. Enforcement goes on.
    Stop,
}

/// What the metrics endpoint has.
pub enum Scrape {
    /// Somebody wants the numbers.
    Wanted(oneshot::Sender<Result<Gathered, DataplaneError>>),
    /// It listens, or why it cannot.
    Listens(Result<(), String>),
}

/// A request with its way back.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// Who: user and process, from the socket's peer credentials.
    pub by: Who,
    /// Where the answer goes.
    pub answer: Answering,
}

/// How an answer travels.
#[derive(Debug)]
pub enum Answering {
    /// One line.
    Once(oneshot::Sender<Reply>),
    /// Lines until the asker leaves; bounded, and a slow reader misses some and is told how many.
    Stream(mpsc::Sender<Reply>),
}
