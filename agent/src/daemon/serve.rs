//! The control socket: accepts, reads one request a connection, carries the answer back.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt, chown},
    path::Path,
    sync::Arc,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, broadcast, mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_util::codec::{Framed, LinesCodec};

use super::{
    door::Place,
    input::{Answering, Asked},
    report::RECENT,
};
use crate::{
    control::{Body, Failure, MAX_LINE, Reply, Request},
    record::Record,
    store::Who,
};

/// Connections that may follow at the same time: they stay, and must leave room for questions.
const FOLLOWERS: usize = 16;

/// Places of followers.
pub(super) fn followers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(FOLLOWERS))
}

/// How long an asker may take to say his request, or to read a line of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Binds the socket with mode 0660, for the group if one is named.
pub(super) fn bind(path: &Path, group: Option<&str>) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::symlink_metadata(path) {
        // The state directory is locked by this process, so a socket that is there has no owner any more.
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path)?,
        Ok(_) => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there"));
        }
        Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    if let Some(name) = group {
        let found = nix::unistd::Group::from_name(name).map_err(io::Error::from)?;
        let gid =
            found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no group `{name}`")))?.gid;
        chown(path, None, Some(gid.as_raw()))?;
    }
    Ok(listener)
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: UnixStream,
    mut place: Place,
    asked: mpsc::Sender<Asked>,
    mut records: broadcast::Receiver<Arc<Record>>,
    followers: Arc<Semaphore>,
) {
    let peer = stream.peer_cred();
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    let said = tokio::select! {
        said = lines.next() => said,
        () = place.sent_away() => return,
        () = sleep(PATIENCE) => return,
    };
    place.has_spoken();
    let by = match peer {
        Ok(peer) => {
            let uid = peer.uid();
            let pid = peer.pid().and_then(|pid| u32::try_from(pid).ok());
            Who::process(uid, user_name(uid).await, pid)
        }
        Err(_) => Who::default(),
    };
    let request = match said {
        Some(Ok(line)) => serde_json::from_str::<Request>(&line).map_err(|e| e.to_string()),
        Some(Err(error)) => Err(error.to_string()),
        None => return,
    };
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            let message = format!("the request was not understood: {error}");
            let _ = say(&mut lines, &Reply::Error(Failure { message, found: false })).await;
            return;
        }
    };
    if let Request::Violations { last, follow } = request {
        let place = if follow { followers.try_acquire_owned().ok() } else { None };
        if follow && place.is_none() {
            let message = format!(
                "{FOLLOWERS} already follow, and no more can\nhint: end one of them, or read the violation log"
            );
            let _ = say(&mut lines, &Reply::Error(Failure { message, found: false })).await;
            return;
        }
        // Room for every past record and the end mark.
        let (back, mut past) = mpsc::channel(RECENT + 1);
        let request = Request::Violations { last, follow };
        if asked.send(Asked { request, by, answer: Answering::Stream(back) }).await.is_err() {
            return;
        }
        let mut told = 0;
        while let Some(reply) = past.recv().await {
            if let Reply::Ok(body) = &reply
                && let Body::Violation(record) = &**body
            {
                told = record["seq"].as_u64().unwrap_or(told);
            }
            if say(&mut lines, &reply).await.is_err() {
                return;
            }
        }
        if follow {
            let _ = follow_on(&mut lines, &mut records, told).await;
        }
        return;
    }
    let (back, answer) = oneshot::channel();
    if asked.send(Asked { request, by, answer: Answering::Once(back) }).await.is_err() {
        return;
    }
    if let Ok(reply) = answer.await {
        let _ = say(&mut lines, &reply).await;
    }
}

/// How long a directory may take to say what a user is called.
const NAME_WITHIN: Duration = Duration::from_millis(500);

/// The user's name, if it is known soon: the directory may be on another host, and this gateway may be cut off.
async fn user_name(uid: u32) -> Option<String> {
    let asked = tokio::task::spawn_blocking(move || nix::unistd::User::from_uid(uid.into()).ok().flatten());
    Some(timeout(NAME_WITHIN, asked).await.ok()?.ok()??.name)
}

type Lines = Framed<UnixStream, LinesCodec>;

/// Goes on with records behind `told`: the past and the future overlap by what happened in between.
async fn follow_on(
    lines: &mut Lines,
    records: &mut broadcast::Receiver<Arc<Record>>,
    told: u64,
) -> Result<(), ()> {
    loop {
        tokio::select! {
            record = records.recv() => {
                let body = match record {
                    Ok(record) if record.seq() <= told => continue,
                    Ok(record) => Body::Violation(serde_json::to_value(&*record).map_err(|_| ())?),
                    Err(broadcast::error::RecvError::Lagged(missed)) => Body::Missed(missed),
                    Err(broadcast::error::RecvError::Closed) => return Ok(()),
                };
                say(lines, &Reply::Ok(Box::new(body))).await?;
            }
            // The asker says nothing more; when the line ends he has left.
            said = lines.next() => if said.is_none() { return Ok(()) },
        }
    }
}

async fn say(lines: &mut Lines, reply: &Reply) -> Result<(), ()> {
    let text = serde_json::to_string(reply).map_err(|_| ())?;
    timeout(PATIENCE, lines.send(text)).await.map_err(|_| ())?.map_err(|_| ())
}
