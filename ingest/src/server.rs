//! Accepts connections up to a limit, serves HTTP/1 on them, closes those on which nothing arrives in time, and drains
//! them at shutdown.
//!
//! The loop stands on hyper alone. `axum::serve`, and hyper with hyper-util's `GracefulShutdown`, lack four properties:
//! - A request arms no timer for its head (see [`crate::http::timeouts`]).
//! - A connection for which there is no place gets a 503 with `retry-after`, and is not left waiting in the kernel's
//!   queue.
//! - A connection over the limit takes the place of one that waits for its client, of the peer that has most (see
//!   [`crate::http::connections`]): hyper-util has neither a limit of connections nor a way to end a chosen one, and a
//!   limit as a layer of tower knows requests, not connections on which nothing was sent.
//! - At shutdown, hyper closes an idle connection at once, though a request may have been sent that is not read yet,
//!   and waits for half a head like at any other time. Here the former has 1 s more, and the latter 5 s.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookline_schemas::time::ReceivedAt;
use hookline_service::clock::unix_now;
use hookline_service::shutdown::CancellationToken;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::http::connections::{Client, Connections};
use crate::http::openapi;
use crate::http::peer::TrustedProxies;
use crate::http::response::{RETRY_AFTER_SECONDS, Unavailable, WebhookResponse};
use crate::http::timeouts::{ConnectionPhase, ConnectionTimeouts, Phase, PhaseTrackingIo, TimeoutCheck};
use crate::metrics::Metrics;
use crate::webhook::Webhooks;

/// A longer head is answered 431.
const HEAD_BYTES: usize = 16 << 10;
/// A client may go on sending for so long, and so much, after its last response; then the connection is reset.
const LINGER_TIMEOUT: Duration = Duration::from_millis(500);
const LINGER_BYTES: u64 = 1 << 20;
/// Connections over the limit that get a 503 at the same time. Beyond these, sockets are closed at once.
const REFUSALS: usize = 64;
/// The pause after an error of `accept`, such as too many open files, which the next call would meet again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

pub struct Server {
    webhooks: Arc<Webhooks>,
    metrics: Metrics,
    connections: Arc<Connections>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Server {
    pub fn new(
        webhooks: Arc<Webhooks>,
        metrics: Metrics,
        connections: usize,
        trusted_proxies: TrustedProxies,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            webhooks,
            connections: Arc::new(Connections::new(connections, trusted_proxies, metrics.clone())),
            metrics,
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            tasks: TaskTracker::new(),
            shutdown,
        }
    }

    /// Accepts connections until shutdown, then waits up to `deadline` for their end; returns how many are left.
    pub async fn run(self, listener: TcpListener, deadline: Duration) -> usize {
        let server = Arc::new(self);
        server.shutdown.run_until_cancelled(server.accept(&listener)).await;
        server.webhooks.drain();
        if let Err(error) = server.accept_backlog(listener) {
            tracing::warn!(
                "cannot accept a connection that waits in the kernel's queue, so it gets no response: {error}"
            );
        }
        server.tasks.close();
        let _ = timeout(deadline, server.tasks.wait()).await;
        server.tasks.len()
    }

    async fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => self.open(stream, address.ip()),
                Err(error) => {
                    tracing::warn!("cannot accept a connection, the next attempt is in {ACCEPT_PAUSE:?}: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts the connections that the kernel has established, so that they get a response, too. The kernel is asked
    /// and not the runtime, which may not have heard of them yet.
    fn accept_backlog(self: &Arc<Self>, listener: TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            match listener.accept() {
                Ok((stream, address)) => {
                    stream.set_nonblocking(true)?;
                    self.open(TcpStream::from_std(stream)?, address.ip());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn open(self: &Arc<Self>, stream: TcpStream, address: IpAddr) {
        // Nagle's algorithm would delay responses; setting the option fails only where the connection is gone already.
        let _ = stream.set_nodelay(true);
        let client = Client { address, phase: ConnectionPhase::default() };
        let refused = self.connections.open(&client.clone(), stream, |stream, permit| {
            let server = Arc::clone(self);
            let serve = async move {
                server.serve(stream, &client).await;
                drop(permit);
            };
            self.tasks.spawn(serve).abort_handle()
        });
        if let Err(stream) = refused {
            self.metrics.connections_refused.inc();
            if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
                self.tasks.spawn(async move {
                    refuse(stream).await;
                    drop(permit);
                });
            }
        }
    }

    async fn serve(&self, mut stream: TcpStream, client: &Client) {
        let io = PhaseTrackingIo { io: TokioIo::new(&mut stream), phase: client.phase.clone() };
        let connection = http1::Builder::new()
            .max_header_size(HEAD_BYTES)
            .header_read_timeout(None)
            // A request is handled to its end even if its sender has closed its half of the connection: its record
            // counts as in flight for as long as it is, and if that fails, the signed time is remembered.
            .half_close(true)
            .serve_connection(io, service_fn(|request| self.respond(request, client)))
            .without_shutdown();
        tokio::select! {
            biased;
            served = connection => if let Err(error) = served {
                tracing::debug!("a connection ended with an error of HTTP or of the socket: {error}");
            },
            exceeded = self.watch(&client.phase) => {
                self.metrics.timed_out(exceeded);
                return;
            }
        }
        // Broken HTTP has had its response, too, as far as hyper could give one.
        lingering_close(stream).await;
    }

    /// Returns the phase whose time limit the connection has exceeded.
    async fn watch(&self, connection: &ConnectionPhase) -> Phase {
        let mut timeouts = ConnectionTimeouts::SERVING;
        loop {
            let (phase, elapsed) = connection.current();
            match timeouts.check(phase, elapsed) {
                TimeoutCheck::Exceeded(phase) => return phase,
                TimeoutCheck::CheckAgainAfter(wait) => tokio::select! {
                    () = sleep(wait) => {}
                    () = self.shutdown.cancelled(), if timeouts == ConnectionTimeouts::SERVING => {
                        timeouts = ConnectionTimeouts::SHUTDOWN;
                        // However long the connection was idle, a request may have been sent that is not read yet.
                        sleep(timeouts.idle).await;
                    }
                },
            }
        }
    }

    async fn respond(&self, request: Request<Incoming>, client: &Client) -> Result<Response<Full<Bytes>>, Infallible> {
        client.phase.enter(Phase::Busy);
        let response = if request.uri().path() == openapi::PATH {
            openapi::response(request.method())
        } else {
            let received_at = ReceivedAt(i64::try_from(unix_now().as_millis()).unwrap_or(i64::MAX));
            self.webhooks.respond(request, received_at, client).await.into_http()
        };
        client.phase.enter(Phase::Idle);
        Ok(response)
    }
}

/// Closes after the client has, or has had the time to, read its last response: a socket that is closed while data
/// arrives is reset, and a reset can throw the response away.
async fn lingering_close(mut stream: TcpStream) {
    if stream.shutdown().await.is_ok() {
        let mut rest = (&mut stream).take(LINGER_BYTES);
        let _ = timeout(LINGER_TIMEOUT, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }
}

/// Answers 503 before a request has been read.
async fn refuse(mut stream: TcpStream) {
    let body = WebhookResponse::Unavailable(Unavailable::InFlight).body().unwrap_or_default();
    let response = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {RETRY_AFTER_SECONDS}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if let Ok(Ok(())) = timeout(LINGER_TIMEOUT, stream.write_all(response.as_bytes())).await {
        lingering_close(stream).await;
    }
}
