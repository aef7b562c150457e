//! Generates load on one thread, with requests made beforehand, so that it takes little of the machine from the server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::connection::Connection;
use crate::webhooks::Webhooks;

/// When the next webhook is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as the connection has the previous answer.
    Closed,
    /// At its time, whether those before it are answered or not. Its latency counts from then on, even if no connection
    /// is free.
    Open { per_second: f64 },
}

pub struct LoadResult {
    /// The connections of before, still open.
    pub connections: Vec<Connection>,
    pub per_second: f64,
    pub latencies: Latencies,
}

/// Sends every webhook over whichever connection is free.
pub async fn run(connections: Vec<Connection>, webhooks: Webhooks, pace: Pace) -> anyhow::Result<LoadResult> {
    let run = Rc::new(Run {
        latencies: RefCell::new(Vec::with_capacity(webhooks.len())),
        next: Cell::new(0),
        clock: Clock::start(pace, webhooks.len(), connections.len()),
        webhooks,
    });
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    let local = LocalSet::new();
    for connection in connections {
        tasks.spawn_local_on(Rc::clone(&run).drive(connection), &local);
    }
    let connections = local
        .run_until(async {
            let mut connections = Vec::new();
            while let Some(connection) = tasks.join_next().await {
                connections.push(connection??);
            }
            anyhow::Ok(connections)
        })
        .await?;
    let per_second = run.webhooks.len() as f64 / began.elapsed().as_secs_f64();
    Ok(LoadResult { connections, per_second, latencies: Latencies::new(run.latencies.take()) })
}

struct Run {
    webhooks: Webhooks,
    next: Cell<usize>,
    clock: Clock,
    latencies: RefCell<Vec<Duration>>,
}

impl Run {
    async fn drive(self: Rc<Self>, mut connection: Connection) -> anyhow::Result<Connection> {
        loop {
            self.clock.tick().await?;
            let index = self.next.replace(self.next.get() + 1);
            let Some(request) = self.webhooks.request(index) else { return Ok(connection) };
            let due = self.clock.time_of(index);
            connection.exchange(request).await?;
            self.latencies.borrow_mut().push(due.elapsed());
        }
    }
}

enum Clock {
    Closed,
    Open { began: Instant, interval: Duration, due: Arc<Semaphore> },
}

impl Clock {
    /// An open loop has a thread that releases the webhooks that are due: tokio's timer would round to milliseconds.
    fn start(pace: Pace, webhooks: usize, connections: usize) -> Self {
        let Pace::Open { per_second } = pace else { return Self::Closed };
        let (began, interval) = (Instant::now(), Duration::from_secs_f64(1.0 / per_second));
        let due = Arc::new(Semaphore::new(0));
        thread::spawn({
            let due = Arc::clone(&due);
            move || {
                let mut released = 0;
                while released < webhooks {
                    let elapsed = began.elapsed().as_secs_f64() * per_second;
                    let now_due = (elapsed as usize + 1).min(webhooks);
                    due.add_permits(now_due - released);
                    released = now_due;
                    thread::sleep(
                        (began + interval.mul_f64(released as f64)).saturating_duration_since(Instant::now()),
                    );
                }
                // Each connection waits once more before it finds that no webhook is left.
                due.add_permits(connections);
            }
        });
        Self::Open { began, interval, due }
    }

    async fn tick(&self) -> anyhow::Result<()> {
        if let Self::Open { due, .. } = self {
            due.acquire().await?.forget();
        }
        Ok(())
    }

    fn time_of(&self, index: usize) -> Instant {
        match self {
            Self::Closed => Instant::now(),
            Self::Open { began, interval, .. } => *began + interval.mul_f64(index as f64),
        }
    }
}

/// Sorted.
pub struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    /// The smallest latency that `share` of all do not exceed.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }
}
