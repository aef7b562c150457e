//! Connections: accepted up to a limit, served with HTTP/1, closed when nothing comes in time, drained at the end.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hookline_schemas::time::ReceivedAt;
use hookline_service::shutdown::CancellationToken;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::http::limits::Bound;
use crate::http::openapi;
use crate::http::response::{Answer, RETRY_AFTER_SECONDS, Unavailable};
use crate::http::timeouts::{Felt, Patience, Phase, Pulse, Verdict};
use crate::metrics::Metrics;
use crate::webhook::Webhooks;

/// Heads beyond this get 431.
const HEAD_BYTES: usize = 16 << 10;
/// What a connection may still send after its last answer, and for how long, before it is reset.
const LINGER: (Duration, u64) = (Duration::from_millis(500), 1 << 20);
/// Connections over the limit that are told so at once; more than these are closed without a word.
const TURNED_AWAY: usize = 64;
/// Pause after an error of accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection shares.
#[derive(Clone, Debug)]
pub struct Server {
    webhooks: Arc<Webhooks>,
    metrics: Metrics,
    connections: Bound,
    turned_away: Bound,
    draining: CancellationToken,
}

impl Server {
    /// Serves `webhooks` on at most so many connections.
    pub fn new(webhooks: Arc<Webhooks>, metrics: Metrics, connections: usize) -> Self {
        Self {
            webhooks,
            metrics,
            connections: Bound::new(connections),
            turned_away: Bound::new(TURNED_AWAY),
            draining: CancellationToken::new(),
        }
    }

    /// Accepts until `shutdown`, then waits for what is in flight; returns how many connections were left at the deadline.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken, deadline: Duration) -> usize {
        let mut stop = pin!(shutdown.cancelled());
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => self.accept(accepted).await,
            }
        }
        self.webhooks.drain();
        self.draining.cancel();
        if let Err(error) = self.accept_the_last(listener) {
            tracing::warn!(%error, "cannot accept what was already connected");
        }
        let until = Instant::now() + deadline;
        while self.open_connections() > 0 && Instant::now() < until {
            sleep(Duration::from_millis(10)).await;
        }
        self.open_connections()
    }

    /// Whoever is connected already, as far as the kernel is concerned, gets an answer too. The kernel itself is asked:
    /// the runtime may not have heard of them yet.
    fn accept_the_last(&self, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    self.open(TcpStream::from_std(stream)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn open_connections(&self) -> usize {
        self.connections.taken() + self.turned_away.taken()
    }

    async fn accept(&self, accepted: io::Result<(TcpStream, std::net::SocketAddr)>) {
        match accepted {
            Ok((stream, _)) => self.open(stream),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    fn open(&self, stream: TcpStream) {
        let Some(share) = self.connections.take(1) else {
            self.metrics.connections_refused.inc();
            if let Some(share) = self.turned_away.take(1) {
                tokio::spawn(async move {
                    turn_away(stream).await;
                    drop(share);
                });
            }
            return;
        };
        // Without it answers to a sender that waits would be delayed; where it fails the connection is gone already.
        let _ = stream.set_nodelay(true);
        let server = self.clone();
        tokio::spawn(async move {
            server.metrics.connections.inc();
            server.serve(stream).await;
            server.metrics.connections.dec();
            drop(share);
        });
    }

    async fn serve(&self, mut stream: TcpStream) {
        let pulse = Pulse::default();
        let io = Felt { io: TokioIo::new(&mut stream), pulse: pulse.clone() };
        let connection = http1::Builder::new()
            .max_header_size(HEAD_BYTES)
            .header_read_timeout(None)
            // What was sent is dealt with even if its sender has stopped listening: a record that it made counts as in
            // flight for as long as it is, and if it fails, its signed time is remembered.
            .half_close(true)
            .serve_connection(io, service_fn(|request| self.respond(request, &pulse)))
            .without_shutdown();
        tokio::select! {
            biased;
            served = connection => if let Err(error) = served {
                tracing::debug!(%error, "a connection broke");
            },
            phase = self.watch(&pulse) => {
                self.metrics.timed_out(phase);
                return;
            }
        }
        // After broken HTTP too: that has been answered, as far as it could be.
        linger(stream).await;
    }

    /// Returns when the connection has run out of time.
    async fn watch(&self, pulse: &Pulse) -> Phase {
        let mut patience = Patience::SERVING;
        loop {
            let (phase, elapsed) = pulse.phase();
            match phase.judge(elapsed, patience) {
                Verdict::Close(phase) => return phase,
                Verdict::Wait(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = self.draining.cancelled(), if patience == Patience::SERVING => {
                        patience = Patience::DRAINING;
                        // However long it was idle: a request may have been sent that was not read yet.
                        sleep(patience.idle).await;
                    }
                },
            }
        }
    }

    async fn respond(&self, request: Request<Incoming>, pulse: &Pulse) -> Result<Response<Full<Bytes>>, Infallible> {
        pulse.enter(Phase::Busy);
        let response = if request.uri().path() == openapi::PATH {
            openapi::response(request.method())
        } else {
            self.webhooks.answer(request, now()).await.response()
        };
        pulse.enter(Phase::Idle);
        Ok(response)
    }
}

/// Lets the other side read its last answer: closing while it still sends would throw the answer away.
async fn linger(mut stream: TcpStream) {
    let (time, bytes) = LINGER;
    if stream.shutdown().await.is_ok() {
        let _ = timeout(time, tokio::io::copy(&mut (&mut stream).take(bytes), &mut tokio::io::sink())).await;
    }
}

/// One connection too many.
async fn turn_away(mut stream: TcpStream) {
    let body = Answer::Unavailable(Unavailable::InFlight).body().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {RETRY_AFTER_SECONDS}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if let Ok(Ok(())) = timeout(LINGER.0, stream.write_all(answer.as_bytes())).await {
        linger(stream).await;
    }
}

fn now() -> ReceivedAt {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ReceivedAt(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
