//! The connections that are open: at most as many as `limits.connections`, shared by peers (see
//! [`crate::http::fair_share`]).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;

use crate::http::fair_share::{FairShare, HeldId};
use crate::http::peer::TrustedProxies;
use crate::http::timeouts::ConnectionPhase;
use crate::metrics::Metrics;

/// Who is at the other end of a connection, and what the connection is doing.
#[derive(Clone)]
pub struct Client {
    pub address: IpAddr,
    pub phase: ConnectionPhase,
}

pub struct Connections {
    limit: usize,
    trusted_proxies: TrustedProxies,
    metrics: Metrics,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    count: usize,
    by_peer: FairShare<OpenConnection>,
}

struct OpenConnection {
    phase: ConnectionPhase,
    task: AbortHandle,
}

/// A place among the open connections, which is free again once this is dropped.
pub struct ConnectionPermit {
    connections: Arc<Connections>,
    id: HeldId,
}

impl Connections {
    pub fn new(limit: usize, trusted_proxies: TrustedProxies, metrics: Metrics) -> Self {
        Self { limit, trusted_proxies, metrics, open: Mutex::default() }
    }

    /// Spawns the task that serves a connection, unless there is no room for it. With all places taken, room is made by
    /// ending the connection that waits longest for its client, of the peer that has most; a peer that has most itself, or
    /// as many as any other, is refused.
    ///
    /// Behind a trusted proxy nobody can tell whose a connection is before it has a head, so those of a proxy count nothing
    /// and are never ended for others: proxies bound the connections of their own clients.
    ///
    /// A connection that is refused is given back.
    pub fn open<S>(
        self: &Arc<Self>,
        client: &Client,
        connection: S,
        spawn: impl FnOnce(S, ConnectionPermit) -> AbortHandle,
    ) -> Result<(), S> {
        let peer = client.address.into();
        let mut open = self.lock();
        let mut evicted = None;
        if open.count >= self.limit {
            let longest = open.by_peer.take_for(peer, 1, |held| held.thing.phase.waits_for_client());
            let Some(held) = longest else { return Err(connection) };
            evicted = Some(held.thing.task);
            open.count -= 1;
        }
        let id = open.by_peer.next_id(peer);
        // A task that ends at once waits for this lock.
        let task = spawn(connection, ConnectionPermit { connections: Arc::clone(self), id });
        let amount = usize::from(!self.trusted_proxies.contains(client.address));
        open.by_peer.insert(id, amount, OpenConnection { phase: client.phase.clone(), task });
        open.count += 1;
        drop(open);
        self.metrics.connections.inc();
        if let Some(task) = evicted {
            self.metrics.connections_evicted.inc();
            task.abort();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if open.by_peer.remove(self.id).is_some() {
            open.count -= 1;
        }
        self.connections.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use prometheus::Registry;
    use tokio::time::advance;

    use super::*;
    use crate::http::timeouts::Phase;

    struct Opened {
        phase: ConnectionPhase,
        task: AbortHandle,
    }

    /// Opens a connection that lasts until it is ended for another one.
    fn open(connections: &Arc<Connections>, number: u8) -> Option<Opened> {
        let client = Client { address: Ipv4Addr::new(10, 0, 0, number).into(), phase: ConnectionPhase::default() };
        let mut task = None;
        let opened = connections.open(&client, (), |(), permit| {
            let serve = async move {
                let _permit = permit;
                std::future::pending::<()>().await;
            };
            task.insert(tokio::spawn(serve).abort_handle()).clone()
        });
        opened.ok().and(task).map(|task| Opened { phase: client.phase, task })
    }

    fn limited_to(limit: usize, trusted_proxies: &str) -> Arc<Connections> {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        Arc::new(Connections::new(limit, TrustedProxies::try_from(trusted_proxies.to_owned()).unwrap(), metrics))
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_peer_has_all_and_makes_room_for_others() {
        let connections = limited_to(4, "");
        let mut of_one = Vec::new();
        for _ in 0..4 {
            of_one.extend(open(&connections, 1));
            advance(Duration::from_secs(1)).await;
        }
        assert_eq!(of_one.len(), 4);
        assert!(open(&connections, 1).is_none(), "nobody else makes room");
        // The first waits for the broker, the second has just begun to wait for its client.
        of_one[0].phase.enter(Phase::Busy);
        of_one[1].phase.enter(Phase::Idle);
        assert!(open(&connections, 2).is_some());
        assert!(open(&connections, 2).is_some());
        assert!(open(&connections, 2).is_none(), "both have two now");
        assert!(open(&connections, 3).is_some(), "who has none gets one of the two that have most");
        tokio::task::yield_now().await;
        let ended: Vec<_> = of_one.iter().map(|opened| opened.task.is_finished()).collect();
        assert_eq!(ended[..1], [false]);
        assert_eq!(ended[2..], [true, true], "those that waited longest");
        let metrics = &connections.metrics;
        assert_eq!((metrics.connections.get(), metrics.connections_evicted.get()), (4, 3));
        assert_eq!(connections.lock().count, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn connections_of_a_trusted_proxy_are_not_ended_for_others() {
        let connections = limited_to(4, "10.0.0.1");
        let of_proxy: Vec<_> = (0..3).filter_map(|_| open(&connections, 1)).collect();
        assert!(open(&connections, 2).is_some());
        assert!(open(&connections, 3).is_none(), "one each is a fair share");
        of_proxy[0].task.abort();
        tokio::task::yield_now().await;
        assert!(open(&connections, 2).is_some());
        assert!(open(&connections, 1).is_some(), "in the place of one of a peer that has two");
        assert!(open(&connections, 1).is_none());
        assert_eq!(of_proxy[1..].iter().filter(|opened| opened.task.is_finished()).count(), 0);
    }
}
