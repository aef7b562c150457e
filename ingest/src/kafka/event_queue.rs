//! Lets librdkafka's event queue wake the runtime through an eventfd, for which rdkafka has no safe wrapper.
#![expect(unsafe_code, reason = "the calls have no safe wrapper")]

use std::io;
use std::os::fd::AsRawFd as _;
use std::ptr::NonNull;

use nix::sys::eventfd::{EfdFlags, EventFd};
use rdkafka::ClientContext;
use rdkafka::bindings::{
    rd_kafka_queue_destroy, rd_kafka_queue_get_main, rd_kafka_queue_io_event_enable, rd_kafka_queue_length,
    rd_kafka_queue_t,
};
use rdkafka::client::Client;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What librdkafka writes to the eventfd: the amount that is added to its counter.
const ONE: [u8; 8] = 1u64.to_ne_bytes();

pub(crate) fn eventfd() -> io::Result<AsyncFd<EventFd>> {
    let eventfd = EventFd::from_value_and_flags(0, EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
    // SAFETY: an eventfd owns its descriptor, always gives the same one, and closes it when it is dropped.
    unsafe { AsyncFd::register_with_interest(eventfd, Interest::READABLE) }.map_err(io::Error::from)
}

/// The main queue of a client. An event that arrives while the queue is empty writes to the eventfd; one that arrives
/// behind others does not.
pub(crate) struct EventQueue(NonNull<rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are thread-safe.
unsafe impl Send for EventQueue {}
// SAFETY: as above.
unsafe impl Sync for EventQueue {}

impl EventQueue {
    /// The caller drops the queue before the client and the eventfd.
    pub(crate) fn waking<C: ClientContext>(client: &Client<C>, eventfd: &EventFd) -> Self {
        // SAFETY: the pointer of a living client; the reference to the queue is given back in `drop`.
        let queue = unsafe { rd_kafka_queue_get_main(client.native_ptr()) };
        #[expect(clippy::expect_used, reason = "every client has a main queue")]
        let queue = NonNull::new(queue).expect("a main queue");
        // SAFETY: the queue is ours, the descriptor open and non-blocking, and librdkafka copies the payload.
        unsafe { rd_kafka_queue_io_event_enable(queue.as_ptr(), eventfd.as_raw_fd(), ONE.as_ptr().cast(), ONE.len()) };
        Self(queue)
    }

    pub(crate) fn is_empty(&self) -> bool {
        // SAFETY: the queue is ours.
        unsafe { rd_kafka_queue_length(self.0.as_ptr()) == 0 }
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours, and not used after this.
        unsafe {
            rd_kafka_queue_io_event_enable(self.0.as_ptr(), -1, std::ptr::null(), 0);
            rd_kafka_queue_destroy(self.0.as_ptr());
        }
    }
}
