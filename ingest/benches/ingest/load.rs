//! Generates load on one thread, with requests made beforehand, so that it takes little of the machine from the server.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::connection::Connection;
use crate::webhooks::{Webhooks, scatter};

/// When the next webhook is sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As soon as the connection has the previous answer.
    Closed,
    /// At its time, whether those before it are answered or not, as from many senders who know nothing of each other (a
    /// Poisson process). Its latency counts from then on, even if no connection is free.
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
    Open { began: Instant, times: Arc<Vec<Duration>>, due: Arc<Semaphore> },
}

impl Clock {
    /// An open loop has a thread that releases the webhooks that are due: tokio's timer would round to milliseconds.
    fn start(pace: Pace, webhooks: usize, connections: usize) -> Self {
        let Pace::Open { per_second } = pace else { return Self::Closed };
        let times = Arc::new(arrivals(per_second, webhooks));
        let due = Arc::new(Semaphore::new(0));
        let began = Instant::now();
        thread::spawn({
            let (times, due) = (Arc::clone(&times), Arc::clone(&due));
            move || {
                let mut released = 0;
                while let Some(next) = times.get(released) {
                    thread::sleep((began + *next).saturating_duration_since(Instant::now()));
                    let elapsed = began.elapsed();
                    let now_due = times.partition_point(|time| *time <= elapsed);
                    due.add_permits(now_due - released);
                    released = now_due;
                }
                // Each connection waits once more before it finds that no webhook is left.
                due.add_permits(connections);
            }
        });
        Self::Open { began, times, due }
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
            Self::Open { began, times, .. } => *began + times.get(index).copied().unwrap_or_default(),
        }
    }
}

/// When the webhooks of a Poisson process arrive, the same ones each time.
fn arrivals(per_second: f64, webhooks: usize) -> Vec<Duration> {
    let mut at = 0.0;
    let gap = |number: u64| {
        // In (0, 1]: the upper 53 bits, and one more so that the logarithm is finite.
        let share = ((scatter(number) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -share.ln() / per_second
    };
    (0..webhooks as u64)
        .map(|number| {
            at += gap(number);
            Duration::from_secs_f64(at)
        })
        .collect()
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
