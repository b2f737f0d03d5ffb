//! The metrics endpoint: `GET /metrics` for whoever may connect.
//!
//! A connection is one request, and ends after it. Connections, what they send and how long they take are bounded; whoever comes
//! when all places are taken waits in the kernel's queue. The numbers are read and written down by a thread, one at a time.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, thread, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, oneshot},
    time::{sleep, timeout},
};

use super::input::Scrape;
use crate::metrics::Form;

/// Connections at the same time.
pub(super) const CONNECTIONS: usize = 8;
/// A head beyond this is refused, bytes.
const MAX_HEAD: usize = 16 << 10;
/// How long a head may take to arrive.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a request may take from the connection to the last byte of the answer.
const DONE_WITHIN: Duration = Duration::from_secs(30);
/// An address that cannot be had is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// After a connection that could not be accepted: a moment without descriptors.
const PAUSE: Duration = Duration::from_millis(500);

const PATH: &str = "/metrics";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What requests share.
struct Endpoint {
    agent: mpsc::Sender<Scrape>,
    /// One place: reading takes memory and a processor.
    reading: Arc<Semaphore>,
}

/// Serves the endpoint for as long as the agent lives.
pub(super) async fn serve(address: SocketAddr, agent: mpsc::Sender<Scrape>) {
    let endpoint = Arc::new(Endpoint { agent, reading: Arc::new(Semaphore::new(1)) });
    let Some(listener) = endpoint.listener(address).await else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let endpoint = Arc::clone(&endpoint);
                tokio::spawn(async move {
                    endpoint.connection(stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("failed to accept a connection for metrics: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

impl Endpoint {
    /// The address may be missing for now, or somebody else's: enforcement does not wait for it. `None` when the agent is gone.
    async fn listener(&self, address: SocketAddr) -> Option<TcpListener> {
        let mut told = None;
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::info!(%address, "metrics can be read");
                    if told.is_some() {
                        self.agent.send(Scrape::Listens(Ok(()))).await.ok()?;
                    }
                    return Some(listener);
                }
                Err(error) => {
                    let why = format!(
                        "metrics cannot be read: failed to listen on `{address}`: {error}; it is tried again every {} s",
                        AGAIN.as_secs()
                    );
                    if told.as_ref() != Some(&why) {
                        tracing::error!("{why}");
                        self.agent.send(Scrape::Listens(Err(why.clone()))).await.ok()?;
                        told = Some(why);
                    }
                }
            }
            sleep(AGAIN).await;
        }
    }

    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.answer(&request).await) });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_WITHIN)
            .keep_alive(false)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // Who sends nonsense, is too slow or leaves has no answer.
        drop(timeout(DONE_WITHIN, served).await);
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, format!("metrics are at {PATH}\n"));
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics can be read\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let form = Form::wanted(&accept.collect::<Vec<_>>().join(","));
        match self.page(form).await {
            Ok(page) => response(StatusCode::OK, form.content_type(), page),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }

    async fn page(&self, form: Form) -> Result<String, String> {
        const ENDS: &str = "the agent ends";
        let place = Arc::clone(&self.reading).acquire_owned().await.map_err(|_| ENDS)?;
        let (back, gathered) = oneshot::channel();
        self.agent.send(Scrape::Wanted(back)).await.map_err(|_| ENDS)?;
        let gathered = gathered.await.map_err(|_| ENDS)?.map_err(|error| error.to_string())?;
        let (back, page) = oneshot::channel();
        thread::spawn(move || {
            let page = gathered.read().map(|snapshot| form.page(snapshot));
            drop(place);
            // Whoever asked may have left.
            drop(back.send(page));
        });
        page.await.map_err(|_| "the numbers could not be read")?.map_err(|error| error.to_string())
    }
}

fn plain(status: StatusCode, text: String) -> Response<String> {
    response(status, PLAIN, text)
}

fn response(status: StatusCode, kind: &'static str, text: String) -> Response<String> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::dataplane::DataplaneError;

    /// Asks an endpoint whose agent cannot read its counters.
    async fn ask(request: &str) -> String {
        let (agent, mut asked) = mpsc::channel(CONNECTIONS);
        let endpoint = Endpoint { agent, reading: Arc::new(Semaphore::new(1)) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let agent = async {
            while let Some(scrape) = asked.recv().await {
                let Scrape::Wanted(back) = scrape else { continue };
                let (path, source) = ("TALLY".into(), std::io::ErrorKind::NotFound.into());
                drop(back.send(Err(DataplaneError::Pins { act: "open", path, source })));
            }
        };
        let asker = async {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer
        };
        let server = async {
            let (stream, _) = listener.accept().await.expect("a connection");
            endpoint.connection(stream).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = asker => answer,
            () = agent => panic!("the endpoint is there"),
            () = server => panic!("it waits"),
        }
    }

    #[tokio::test]
    async fn counters_that_cannot_be_read_are_an_error_and_no_zeros() {
        let answer = ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.contains("TALLY") && !answer.contains("bulkhead_"), "{answer}");
    }

    #[tokio::test]
    async fn whoever_is_lost_is_told_the_way() {
        let answer = ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(
            answer.starts_with("HTTP/1.1 404 ") && answer.ends_with("metrics are at /metrics\n"),
            "{answer}"
        );
        let answer = ask("DELETE /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
        assert!(ask("nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400 "));
    }
}
