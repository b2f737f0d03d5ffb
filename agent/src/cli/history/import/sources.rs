//! Files of flows, by what is in them: logs of sensors, recorded traffic, recorded datagrams of exporters, files of IPFIX messages.

use std::{
    collections::BTreeMap,
    io::{self, BufReader, Cursor, Read},
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, anyhow, bail};
use clap::ValueEnum;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::{
    capture::{self, Reader},
    flowlog::{
        self, Flow,
        export::{self, Exports, Heard},
    },
    replay::Recorded,
};

/// Frames that are looked at to know whether a capture is of exporters.
const LOOK: usize = 64;
/// Exporters are told apart by address and port; in a file there is one, without either.
const FILE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Format {
    /// Lines of a log: Zeek's conn.log, or CSV
    Log,
    /// pcap or pcapng: the recorded frames themselves
    Frames,
    /// pcap or pcapng of what exporters sent: NetFlow 5, NetFlow 9, IPFIX
    Netflow,
    /// Messages of IPFIX one after another (RFC 5655)
    Ipfix,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Frames => "frames",
            Self::Netflow => "netflow",
            Self::Ipfix => "ipfix",
        }
    }
}

/// What became of a file.
pub(super) struct Outcome {
    pub(super) format: Format,
    pub(super) flows: u64,
    /// By the reason: how many lines, frames or records, and the number of the first where they have numbers.
    pub(super) left_out: BTreeMap<String, (u64, Option<u64>)>,
    /// The log does not say that it is complete.
    pub(super) is_open: bool,
    /// Reasons among them for which nothing is missing.
    pub(super) harmless: u64,
    pub(super) heard: Option<Heard>,
    /// Why there is no more of it.
    pub(super) ended: anyhow::Result<()>,
}

impl Outcome {
    fn new(format: Format) -> Self {
        Self {
            format,
            flows: 0,
            left_out: BTreeMap::new(),
            is_open: false,
            harmless: 0,
            heard: None,
            ended: Ok(()),
        }
    }

    fn leave(&mut self, why: &str) {
        match self.left_out.get_mut(why) {
            Some((count, _)) => *count += 1,
            None => drop(self.left_out.insert(why.to_owned(), (1, None))),
        }
    }

    fn hear(&mut self, heard: Heard) {
        for (why, count) in &heard.left_out {
            self.left_out.insert((*why).to_owned(), (*count, None));
        }
        self.heard = Some(heard);
    }
}

/// Counts the bytes that are read, for whoever waits.
pub(super) struct Metered<'a, R> {
    pub(super) inner: R,
    pub(super) read: &'a AtomicU64,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(into)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Reads a file of flows, whatever is in it, and hands each flow over.
///
/// # Errors
/// When it is none of what it may be; what ends it before its end is part of the outcome.
pub(super) fn read(
    mut source: impl Read,
    format: Option<Format>,
    each: &mut dyn FnMut(Flow),
) -> anyhow::Result<Outcome> {
    let mut head = Vec::new();
    source.by_ref().take(4).read_to_end(&mut head).context("failed to read it")?;
    let is_capture = capture::is_capture(&head);
    if head.starts_with(&[0x1f, 0x8b]) {
        bail!("it is compressed (gzip)\nhint: unpack it first (`gunzip --keep`)");
    }
    let is_messages = matches!(head[..], [0, 10, ..]);
    let whole = Cursor::new(head).chain(source);
    match format {
        Some(Format::Log) => lines(whole, each),
        Some(format @ (Format::Frames | Format::Netflow)) => frames(whole, Some(format), each),
        Some(Format::Ipfix) => Ok(messages(whole, each)),
        None if is_capture => frames(whole, None, each),
        None if is_messages => Ok(messages(whole, each)),
        None => lines(whole, each),
    }
}

fn lines(source: impl Read, each: &mut dyn FnMut(Flow)) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new(Format::Log);
    match flowlog::read(BufReader::new(source), each) {
        Ok(lines) => {
            outcome.flows = lines.flows;
            outcome.is_open = lines.is_open;
            let left_out = lines.left_out.into_iter();
            outcome.left_out = left_out.map(|(why, (count, first))| (why, (count, Some(first)))).collect();
        }
        Err(error) => outcome.ended = Err(error.into()),
    }
    Ok(outcome)
}

/// A frame that is kept until it is known what the capture is of.
struct Kept {
    time: u64,
    bytes: Vec<u8>,
    length: u32,
}

fn frames(source: impl Read, format: Option<Format>, each: &mut dyn FnMut(Flow)) -> anyhow::Result<Outcome> {
    let mut reader = Reader::new(source)?;
    let mut kept = Vec::new();
    let mut ended = Ok(false);
    while format.is_none() && kept.len() < LOOK {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                kept.push(Kept { time: frame.time, bytes: frame.bytes.to_vec(), length: frame.length });
            }
            Ok(None) => ended = Ok(true),
            Err(error) => ended = Err(error),
        }
        if !matches!(ended, Ok(false)) {
            break;
        }
    }
    let format =
        format.unwrap_or_else(|| if is_of_exporters(&kept) { Format::Netflow } else { Format::Frames });
    let mut taker =
        Taker { outcome: Outcome::new(format), recorded: Recorded::default(), exports: Exports::new() };
    for Kept { time, bytes, length } in &kept {
        let frame =
            capture::Frame { time: *time, interface: 0, name: None, bytes, length: *length, outbound: false };
        taker.take(&frame, each);
    }
    while let Ok(false) = ended {
        match reader.next_frame() {
            Ok(Some(frame)) => taker.take(&frame, each),
            Ok(None) => ended = Ok(true),
            Err(error) => ended = Err(error),
        }
    }
    let Taker { mut outcome, mut exports, .. } = taker;
    for interface in reader.interfaces().iter().filter(|interface| interface.skipped > 0) {
        let why = format!("the frames of an interface are not Ethernet (link type {})", interface.link);
        outcome.left_out.entry(why).or_insert((0, None)).0 += interface.skipped;
    }
    if format == Format::Netflow {
        exports.end(&mut |flow: Flow| {
            outcome.flows += flow.seen.flows;
            each(flow);
        });
        outcome.hear(exports.heard());
    }
    outcome.ended = ended.map(drop).map_err(Into::into);
    Ok(outcome)
}

/// Whether all datagrams at the beginning of a capture are those of exporters.
fn is_of_exporters(frames: &[Kept]) -> bool {
    let mut datagrams = frames.iter().filter_map(|frame| datagram(&frame.bytes).ok().flatten()).peekable();
    datagrams.peek().is_some() && datagrams.all(|(_, payload)| export::is_export(payload))
}

/// The sender and the payload of a UDP datagram; none of other frames.
///
/// # Errors
/// Why it cannot be read.
fn datagram(frame: &[u8]) -> Result<Option<(SocketAddr, &[u8])>, &'static str> {
    let sliced = SlicedPacket::from_ethernet(frame)
        .map_err(|_| "the frame is broken, or too little of it was recorded")?;
    let (source, is_part) = match &sliced.net {
        Some(NetSlice::Ipv4(v4)) => (IpAddr::V4(v4.header().source_addr()), v4.is_payload_fragmented()),
        Some(NetSlice::Ipv6(v6)) => (IpAddr::V6(v6.header().source_addr()), v6.is_payload_fragmented()),
        Some(NetSlice::Arp(_)) | None => return Ok(None),
    };
    if is_part {
        return Err("the datagram is in fragments: exporters can be told to send shorter ones");
    }
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { return Ok(None) };
    Ok(Some((SocketAddr::new(source, udp.source_port()), udp.payload())))
}

/// Takes frames, for what they are or for what they say.
struct Taker {
    outcome: Outcome,
    recorded: Recorded,
    exports: Exports,
}

impl Taker {
    fn take(&mut self, frame: &capture::Frame<'_>, each: &mut dyn FnMut(Flow)) {
        let Self { outcome, recorded, exports } = self;
        if outcome.format == Format::Frames {
            match recorded.arrive(frame, frame.time) {
                Ok((kind, seen)) => {
                    outcome.flows += seen.flows;
                    each(Flow { kind, seen });
                }
                Err(lost) => {
                    outcome.leave(lost.why());
                    outcome.harmless += u64::from(lost.is_harmless());
                }
            }
            return;
        }
        match datagram(frame.bytes) {
            Ok(Some((from, payload))) => {
                let now = i64::try_from(frame.time / 1_000_000).ok();
                exports.take(payload, from, now, &mut |flow: Flow| {
                    outcome.flows += flow.seen.flows;
                    each(flow);
                });
            }
            Ok(None) => outcome.leave("the frame is no UDP datagram"),
            Err(why) => outcome.leave(why),
        }
    }
}

/// Messages of IPFIX one after another (RFC 5655 5).
fn messages(mut source: impl Read, each: &mut dyn FnMut(Flow)) -> Outcome {
    let mut outcome = Outcome::new(Format::Ipfix);
    let mut exports = Exports::new();
    let mut flows = 0;
    let mut counted = |flow: Flow| {
        flows += flow.seen.flows;
        each(flow);
    };
    let mut at = 0_u64;
    let mut message = Vec::new();
    loop {
        match next_message(&mut source, &mut message, at) {
            Ok(true) => {
                at += message.len() as u64;
                exports.take(&message, FILE, None, &mut counted);
            }
            Ok(false) => break,
            Err(error) => {
                outcome.ended = Err(error);
                break;
            }
        }
    }
    exports.end(&mut counted);
    outcome.flows = flows;
    outcome.hear(exports.heard());
    outcome
}

/// Reads one message; false at the end.
fn next_message(source: &mut impl Read, into: &mut Vec<u8>, at: u64) -> anyhow::Result<bool> {
    into.clear();
    let failed = || format!("failed to read it at byte {at}");
    source.by_ref().take(4).read_to_end(into).with_context(failed)?;
    let length = match into[..] {
        [] => return Ok(false),
        [0, 10, high, low] => u64::from(u16::from_be_bytes([high, low])),
        [_, _, _, _] => bail!("it is damaged at byte {at}: there is no message of IPFIX"),
        _ => bail!("it ends within a message at byte {at}"),
    };
    let rest = length.checked_sub(4).filter(|rest| *rest >= 12);
    let rest =
        rest.ok_or_else(|| anyhow!("it is damaged at byte {at}: a message of {length} bytes is none"))?;
    let read = source.by_ref().take(rest).read_to_end(into).with_context(failed)?;
    if (read as u64) < rest {
        bail!("it ends within a message at byte {at}");
    }
    Ok(true)
}
