//! Reads the body of a request, which is limited three times: in its size, in the time it takes to arrive, and in the
//! bytes that the bodies of all requests hold together.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::config::Limits;
use crate::http::response::{Unavailable, WebhookResponse};

/// A body that has not arrived this long after its head is answered 408.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body, and the permit that counts its bytes until it is dropped.
pub type QueuedBody<'r> = (Bytes, SemaphorePermit<'r>);

pub struct BodyReader {
    limits: Limits,
    /// One permit for each byte.
    queued_bytes: Semaphore,
}

impl BodyReader {
    pub fn new(limits: Limits) -> Self {
        Self { limits, queued_bytes: Semaphore::new(limits.queued_bytes) }
    }

    /// The bytes that all requests hold now.
    pub fn queued_bytes(&self) -> usize {
        self.limits.queued_bytes - self.queued_bytes.available_permits()
    }

    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: impl Body<Data = Bytes>,
    ) -> Result<QueuedBody<'_>, WebhookResponse> {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.limits.body_bytes as u64) {
            return Err(WebhookResponse::BodyTooLarge);
        }
        let mut collecting = pin!(self.collect(body));
        // Most bodies arrive together with their head, so they are asked for once before a timer is armed.
        match poll_fn(|context| Poll::Ready(collecting.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => timeout(BODY_TIMEOUT, collecting).await.unwrap_or(Err(WebhookResponse::BodyTooSlow)),
        }
    }

    async fn collect(&self, body: impl Body<Data = Bytes>) -> Result<QueuedBody<'_>, WebhookResponse> {
        let mut body = pin!(body);
        let mut collected = Bytes::new();
        let mut permit = self.reserve(0)?;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err(WebhookResponse::BodyBroken) };
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > self.limits.body_bytes {
                return Err(WebhookResponse::BodyTooLarge);
            }
            permit.merge(self.reserve(data.len())?);
            // A body of one frame, which most are, is never copied.
            if collected.is_empty() {
                collected = data;
            } else {
                let mut joined = BytesMut::from(collected);
                joined.extend_from_slice(&data);
                collected = joined.freeze();
            }
        }
        Ok((collected, permit))
    }

    /// Counts bytes towards the limit of all bodies until the permit is dropped.
    pub fn reserve(&self, bytes: usize) -> Result<SemaphorePermit<'_>, WebhookResponse> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.queued_bytes.try_acquire_many(permits).map_err(|_| WebhookResponse::Unavailable(Unavailable::QueuedBytes))
    }
}
