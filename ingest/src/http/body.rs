//! Reads the body of a request, which is limited three times: in its size, in the time it takes to arrive, and in the
//! bytes that the bodies of all requests hold together.
//!
//! Bodies that are not whole yet share these bytes by peers, see [`crate::http::fair_share`]: while there is room for
//! all, a peer may have as much as it likes. A body that comes together with its head, which most do, is never entered
//! there.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::http::connections::Client;
use crate::http::fair_share::{FairShare, HeldId};
use crate::http::peer::{Peer, TrustedProxies};
use crate::http::response::{Unavailable, WebhookResponse};
use crate::http::timeouts::Phase;

/// A body that has not arrived this long after its head is answered 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body, and the bytes that it counts until they are dropped.
pub type QueuedBody<'r> = (Bytes, ReservedBytes<'r>);

/// Reads bodies into an amount of memory that they share.
pub struct BodyReader {
    body_bytes: usize,
    queued_bytes: usize,
    /// What a body is answered for which there is no room.
    full: Unavailable,
    /// The bytes that all requests hold now.
    reserved: AtomicUsize,
    /// A sender that is dropped tells the reader of its body that its bytes were taken away.
    unfinished: Mutex<FairShare<oneshot::Sender<Infallible>>>,
    trusted_proxies: TrustedProxies,
}

/// Bytes that count towards the limit of all bodies until this is dropped.
pub struct ReservedBytes<'r> {
    reader: &'r BodyReader,
    bytes: usize,
    /// Present while the body is not whole and therefore entered by its peer, where its bytes are counted instead.
    unfinished: Option<HeldId>,
}

impl BodyReader {
    pub fn new(body_bytes: usize, queued_bytes: usize, full: Unavailable, trusted_proxies: TrustedProxies) -> Self {
        let (reserved, unfinished) = (AtomicUsize::new(0), Mutex::default());
        Self { body_bytes, queued_bytes, full, reserved, unfinished, trusted_proxies }
    }

    /// The bytes that all requests hold now.
    pub fn queued_bytes(&self) -> usize {
        self.reserved.load(Ordering::Relaxed)
    }

    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
        client: &Client,
    ) -> Result<QueuedBody<'_>, WebhookResponse> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.body_bytes as u64) {
            return Err(WebhookResponse::BodyTooLarge);
        }
        let mut body = pin!(body);
        let peer = || self.trusted_proxies.peer(client.address, headers);
        let mut collected = Collected { body: Bytes::new(), reserved: self.nothing() };
        // Most bodies arrive together with their head, so what is there is taken before a timer is armed.
        while let Poll::Ready(frame) = poll_fn(|context| Poll::Ready(body.as_mut().poll_frame(context))).await {
            match frame {
                Some(frame) => collected.add(frame, peer)?,
                None => return Ok((collected.body, collected.reserved)),
            }
        }
        client.phase.enter(Phase::Body);
        let taken_away = collected.reserved.enter(peer());
        let rest = timeout(BODY_TIMEOUT, collected.rest(body, peer));
        let read = tokio::select! {
            biased;
            _ = taken_away => Err(WebhookResponse::Unavailable(Unavailable::FairShare)),
            rest = rest => rest.unwrap_or(Err(WebhookResponse::BodyTooSlow)),
        };
        client.phase.enter(Phase::Busy);
        read
    }

    fn nothing(&self) -> ReservedBytes<'_> {
        ReservedBytes { reader: self, bytes: 0, unfinished: None }
    }

    fn try_reserve(&self, bytes: usize) -> bool {
        let more = |reserved: usize| reserved.checked_add(bytes).filter(|sum| *sum <= self.queued_bytes);
        self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, FairShare<oneshot::Sender<Infallible>>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Collected<'r> {
    body: Bytes,
    reserved: ReservedBytes<'r>,
}

impl<'r> Collected<'r> {
    async fn rest<B: Body<Data = Bytes>>(
        mut self,
        mut body: Pin<&mut B>,
        peer: impl Fn() -> Peer,
    ) -> Result<QueuedBody<'r>, WebhookResponse> {
        while let Some(frame) = body.frame().await {
            self.add(frame, &peer)?;
        }
        self.reserved.leave()?;
        Ok((self.body, self.reserved))
    }

    fn add<E>(&mut self, frame: Result<Frame<Bytes>, E>, peer: impl Fn() -> Peer) -> Result<(), WebhookResponse> {
        let Ok(frame) = frame else { return Err(WebhookResponse::BodyBroken) };
        let Ok(data) = frame.into_data() else { return Ok(()) };
        if self.body.len() + data.len() > self.reserved.reader.body_bytes {
            return Err(WebhookResponse::BodyTooLarge);
        }
        self.reserved.reserve(data.len(), peer)?;
        // A body of one frame, which most are, is never copied.
        if self.body.is_empty() {
            self.body = data;
        } else {
            let mut joined = BytesMut::from(std::mem::take(&mut self.body));
            joined.extend_from_slice(&data);
            self.body = joined.freeze();
        }
        Ok(())
    }
}

impl ReservedBytes<'_> {
    /// Reserves more, if need be at the expense of whoever holds most in bodies that are not whole yet.
    fn reserve(&mut self, more: usize, peer: impl Fn() -> Peer) -> Result<(), WebhookResponse> {
        let reader = self.reader;
        if self.unfinished.is_none() && reader.try_reserve(more) {
            self.bytes += more;
            return Ok(());
        }
        let mut unfinished = reader.lock();
        if self.unfinished.is_some_and(|id| !unfinished.contains(id)) {
            return Err(WebhookResponse::Unavailable(Unavailable::FairShare));
        }
        // The memory of a body whose bytes are taken here is free once its reader has heard of it, which it does next.
        while !reader.try_reserve(more) {
            let largest = unfinished.take_for(peer(), more, |held| Some(held.amount).filter(|bytes| *bytes > 0));
            let taken = largest.ok_or(WebhookResponse::Unavailable(reader.full))?;
            reader.reserved.fetch_sub(taken.amount, Ordering::Relaxed);
        }
        match self.unfinished {
            Some(id) => unfinished.grow(id, more),
            None => self.bytes += more,
        }
        Ok(())
    }

    /// Enters the body as not whole yet. The receiver ends once its bytes are taken away.
    fn enter(&mut self, peer: Peer) -> oneshot::Receiver<Infallible> {
        let (sender, taken_away) = oneshot::channel();
        let mut unfinished = self.reader.lock();
        let id = unfinished.next_id(peer);
        unfinished.insert(id, std::mem::take(&mut self.bytes), sender);
        self.unfinished = Some(id);
        taken_away
    }

    /// From now on the body is whole, and its bytes cannot be taken away any more.
    fn leave(&mut self) -> Result<(), WebhookResponse> {
        if let Some(id) = self.unfinished.take() {
            let held = self.reader.lock().remove(id);
            self.bytes = held.ok_or(WebhookResponse::Unavailable(Unavailable::FairShare))?.amount;
        }
        Ok(())
    }
}

impl Drop for ReservedBytes<'_> {
    fn drop(&mut self) {
        // What was taken away is counted by the one who took it.
        let _ = self.leave();
        self.reader.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::Context;

    use tokio::sync::mpsc;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::http::timeouts::ConnectionPhase;

    impl BodyReader {
        /// Bytes that are in use, as of a body that waits for the broker.
        pub fn hold(&self, bytes: usize) -> ReservedBytes<'_> {
            assert!(self.try_reserve(bytes));
            ReservedBytes { bytes, ..self.nothing() }
        }
    }

    /// A body whose frames a test sends one by one.
    struct Frames(mpsc::UnboundedReceiver<Bytes>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(context).map(|data| data.map(|data| Ok(Frame::data(data))))
        }
    }

    struct Request {
        frames: mpsc::UnboundedSender<Bytes>,
        phase: ConnectionPhase,
        /// The length of the body, or why there is none.
        read: JoinHandle<Result<usize, WebhookResponse>>,
    }

    fn send(reader: &Arc<BodyReader>, peer: u8, bytes: usize) -> Request {
        let (frames, receiver) = mpsc::unbounded_channel();
        frames.send(vec![0; bytes].into()).unwrap();
        let phase = ConnectionPhase::default();
        let client = Client { address: Ipv4Addr::new(10, 0, 0, peer).into(), phase: phase.clone() };
        let reader = Arc::clone(reader);
        let read = tokio::spawn(async move {
            let read = reader.read(&HeaderMap::new(), Frames(receiver), &client).await;
            read.map(|(body, _)| body.len())
        });
        Request { frames, phase, read }
    }

    impl Request {
        async fn ended(self) -> Result<usize, WebhookResponse> {
            drop(self.frames);
            self.read.await.unwrap()
        }
    }

    const FULL: Result<usize, WebhookResponse> = Err(WebhookResponse::Unavailable(Unavailable::QueuedBytes));
    const TAKEN_AWAY: Result<usize, WebhookResponse> = Err(WebhookResponse::Unavailable(Unavailable::FairShare));

    fn reader() -> Arc<BodyReader> {
        Arc::new(BodyReader::new(100, 100, Unavailable::QueuedBytes, TrustedProxies::default()))
    }

    async fn settle() {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_peer_has_all_the_bytes_and_makes_room_for_others() {
        let reader = reader();
        let (small, large) = (send(&reader, 1, 40), send(&reader, 1, 59));
        settle().await;
        assert_eq!(reader.queued_bytes(), 99);
        assert_eq!(small.phase.current().0, Phase::Body);
        assert_eq!(send(&reader, 1, 2).ended().await, FULL, "nobody else makes room");
        assert_eq!(send(&reader, 2, 2).ended().await, Ok(2), "though it comes whole");
        assert_eq!(large.ended().await, TAKEN_AWAY, "the largest");
        small.frames.send(vec![0; 50].into()).unwrap();
        settle().await;
        assert_eq!(reader.queued_bytes(), 90, "what is taken away can be used by anybody");
        assert_eq!(send(&reader, 2, 50).ended().await, Ok(50));
        assert_eq!(small.ended().await, TAKEN_AWAY);
        assert_eq!(reader.queued_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_whole_keeps_its_bytes() {
        let reader = reader();
        let whole = reader.hold(60);
        let slow = send(&reader, 1, 30);
        settle().await;
        assert_eq!(send(&reader, 2, 20).ended().await, Ok(20));
        assert_eq!(slow.ended().await, TAKEN_AWAY);
        assert_eq!(send(&reader, 2, 41).ended().await, FULL);
        drop(whole);
        assert_eq!(send(&reader, 2, 41).ended().await, Ok(41));
        assert_eq!(reader.queued_bytes(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bodies_of_several_peers_have_the_same_share() {
        let reader = reader();
        let slow = [1, 2].map(|peer| send(&reader, peer, 50));
        settle().await;
        let third = send(&reader, 3, 20);
        settle().await;
        assert_eq!(reader.queued_bytes(), 70);
        third.frames.send(vec![0; 31].into()).unwrap();
        settle().await;
        assert_eq!(third.ended().await, FULL, "it would hold more than the other that is left");
        let ends = [slow[0].read.is_finished(), slow[1].read.is_finished()];
        assert!(ends[0] != ends[1], "one of the two made room");
    }
}
