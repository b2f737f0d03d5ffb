//! The select loop: the one place where the agent waits.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    io::unix::AsyncFd,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    Agent, Input,
    door::Door,
    scrape,
    serve::{bind, followers, serve},
};
use crate::{
    config::Config,
    dataplane::{LinkNews, LinkWatch, Overheard},
};

/// How often repeats are drained and summaries written.
const TICK: Duration = Duration::from_millis(500);
/// Samples that one step takes: a device that asks its resolver without end must not keep the rest waiting.
const SAMPLES: usize = 64;
/// Requests waiting for their turn; an asker beyond that waits to be heard.
const REQUESTS: usize = 64;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When it cannot start; enforcement that was there goes on.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let gateway = match &config.name {
        Some(name) => name.clone(),
        None => {
            nix::unistd::gethostname().context("failed to read the host name")?.to_string_lossy().into_owned()
        }
    };
    let now = jiff::Timestamp::now().to_string();
    let metrics = config.metrics.listen;
    let (socket, group) = (config.socket.clone(), config.socket_group.clone());
    // Before the first look, so that nothing falls between.
    let links = LinkWatch::open().context("failed to watch the interfaces")?;
    let (routes, ipsec, firewall) = match config.forwards_directly() {
        true => (
            Some(LinkWatch::of_routes().context("failed to watch the routes")?),
            LinkWatch::of_ipsec().context("failed to watch IPsec")?,
            LinkWatch::of_firewall().context("failed to watch the firewall")?,
        ),
        false => (None, None, None),
    };
    let (mut agent, events, samples) = Agent::start(config, gateway, boot()?, now)?;
    let mut listener = bind(&socket, group.as_deref())
        .with_context(|| format!("failed to listen on `{}`", socket.display()))?;
    let mut events = events.watched().context("failed to wait on the event ring")?;
    let mut samples = samples.watched().context("failed to wait on the ring of samples")?;
    let mut links = links.watched().context("failed to wait for news of the interfaces")?;
    let routes = routes.map(LinkWatch::watched).transpose();
    let mut routes = routes.context("failed to wait for news of the routes")?;
    let ipsec = ipsec.map(LinkWatch::watched).transpose();
    let mut ipsec = ipsec.context("failed to wait for news of IPsec")?;
    let firewall = firewall.map(LinkWatch::watched).transpose();
    let mut firewall = firewall.context("failed to wait for news of the firewall")?;
    let overheard = Overheard::open().context("failed to make a packet socket")?;
    let mut overheard = overheard.watched().context("failed to wait for what a resolver here says")?;
    let (asked, mut requests) = mpsc::channel(REQUESTS);
    let (scrape, mut scrapes) = mpsc::channel(scrape::CONNECTIONS);
    if let Some(address) = metrics {
        tokio::spawn(scrape::serve(address, scrape));
    }
    let door = Door::default();
    // Accepted, and not served before somebody else has left.
    let mut waiting = None;
    let followers = followers();
    let mut unbound = false;
    let mut hangup = signal(SignalKind::hangup()).context("failed to listen for SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let mut tick = interval(TICK);
    // After a long step there is nothing to catch up with.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tracing::info!(socket = %socket.display(), "ready");
    loop {
        if agent.learns_names() {
            overheard.get_mut().listen().context("failed to hear what leaves")?;
        }
        let input = tokio::select! {
            ready = events.readable_mut(), if agent.rests_until().is_none() => {
                ready.context("failed to wait on the event ring")?.clear_ready();
                Input::Events
            }
            ready = samples.readable_mut() => {
                let mut ready = ready.context("failed to wait on the ring of samples")?;
                let some: Vec<_> =
                    std::iter::from_fn(|| ready.get_inner_mut().next_record()).take(SAMPLES).collect();
                // The kernel wakes a reader only when it had read all.
                if some.len() < SAMPLES {
                    ready.clear_ready();
                }
                Input::Samples(some)
            }
            news = heard(&mut links) => Input::Links(news.context("failed to hear of the interfaces")?),
            Some(news) = heard_if(&mut ipsec) => Input::Links(news.context("failed to hear of IPsec")?),
            Some(news) = heard_if(&mut firewall) => Input::Links(news.context("failed to hear of the firewall")?),
            Some(news) = heard_if(&mut routes) => Input::Routes(news.context("failed to hear of the routes")?),
            ready = overheard.readable_mut() => {
                let mut ready = ready.context("failed to wait for what a resolver here says")?;
                let (frames, all) = ready.get_inner_mut().take().context("failed to hear what leaves")?;
                if all {
                    ready.clear_ready();
                }
                Input::Overheard(frames)
            }
            stream = accept(&listener), if waiting.is_none() => {
                // Whoever has nothing to say makes room for whoever may.
                if door.is_full() {
                    door.send_one_away();
                }
                waiting = Some(stream);
                continue;
            }
            place = door.place(), if waiting.is_some() => {
                let (asked, records, followers) = (asked.clone(), agent.follow(), Arc::clone(&followers));
                if let (Some(stream), Some(place)) = (waiting.take(), place) {
                    tokio::spawn(serve(stream, place, asked, records, followers));
                }
                continue;
            }
            // The kernel wakes a reader only when it had read all.
            () = rest(agent.rests_until()), if agent.rests_until().is_some() => Input::Events,
            () = rest(agent.settles_at()), if agent.settles_at().is_some() => Input::Settled,
            Some(request) = requests.recv() => Input::Asked(request),
            Some(scrape) = scrapes.recv() => Input::Metrics(scrape),
            _ = tick.tick() => Input::Tick,
            _ = hangup.recv() => Input::Reload,
            _ = terminate.recv() => Input::Stop,
            _ = interrupt.recv() => Input::Stop,
        };
        // Who deletes the socket must not take the agent out of reach until its restart.
        if matches!(input, Input::Tick) && !socket.exists() {
            match bind(&socket, group.as_deref()) {
                Ok(new) => {
                    listener = new;
                    unbound = false;
                    tracing::warn!(socket = %socket.display(), "the control socket was gone; made anew");
                }
                Err(error) if !unbound => {
                    unbound = true;
                    tracing::error!("failed to make the control socket anew: {error}");
                }
                // Told once.
                Err(_) => {}
            }
        }
        if agent.step(input, events.get_mut()).is_break() {
            break;
        }
    }
    // The socket goes with the agent; enforcement stays.
    let _ = std::fs::remove_file(&socket);
    tracing::info!("stopped; enforcement goes on");
    Ok(())
}

/// 16 hexadecimal digits that no other run has.
fn boot() -> anyhow::Result<String> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let uuid = std::fs::read_to_string(SOURCE).with_context(|| format!("failed to read `{SOURCE}`"))?;
    Ok(uuid.chars().filter(char::is_ascii_hexdigit).take(16).collect())
}

/// Waits for news, and takes them.
async fn heard(watch: &mut AsyncFd<LinkWatch>) -> io::Result<LinkNews> {
    let mut ready = watch.readable_mut().await?;
    let (news, all) = ready.get_inner_mut().take()?;
    if all {
        ready.clear_ready();
    }
    Ok(news)
}

/// The same, if anybody watches.
async fn heard_if(watch: &mut Option<AsyncFd<LinkWatch>>) -> Option<io::Result<LinkNews>> {
    match watch {
        Some(watch) => Some(heard(watch).await),
        None => None,
    }
}

async fn rest(until: Option<Instant>) {
    if let Some(until) = until {
        tokio::time::sleep_until(until.into()).await;
    }
}

async fn accept(listener: &tokio::net::UnixListener) -> tokio::net::UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // A connection that ended before it was accepted, or a moment without descriptors: give others time.
            Err(error) => {
                tracing::warn!("failed to accept a connection: {error}");
                tokio::time::sleep(TICK).await;
            }
        }
    }
}
