//! Where the time goes: seconds that each stage took, so that its share of the wall clock says which one holds the others up. Clocks
//! are read for each batch and never for each record; a stage that has not ended counts, too, so that one that hangs shows at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, Opts};
use strum::IntoEnumIterator as _;

/// `Read` and `Commit` are the consuming thread's; the others are the writing thread's and add up to its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::EnumIter, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Stage {
    Read,
    Wait,
    Decode,
    Fold,
    ReloadJobs,
    CheckOffsets,
    VerifyLogs,
    InsertJobs,
    InsertDeliveries,
    InsertDeadLetters,
    Publish,
    Refresh,
    Commit,
}

#[derive(Clone, Debug)]
pub struct Stages {
    /// Made anew for each page.
    options: Opts,
    family: CounterVec,
    times: Arc<Mutex<Times>>,
}

#[derive(Debug, Default)]
struct Times {
    ended: BTreeMap<Stage, Duration>,
    running: BTreeMap<u64, (Stage, Instant)>,
    last: u64,
}

impl Stages {
    pub fn new(options: Opts) -> prometheus::Result<Self> {
        let family = CounterVec::new(options.clone(), &["stage"])?;
        Ok(Self { options, family, times: Arc::default() })
    }

    pub fn time<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T {
        let _running = self.begin(stage);
        work()
    }

    /// The time counts also where the work is dropped before its end.
    pub async fn time_async<T>(&self, stage: Stage, work: impl Future<Output = T>) -> T {
        let _running = self.begin(stage);
        work.await
    }

    pub fn add(&self, stage: Stage, time: Duration) {
        *self.times().ended.entry(stage).or_default() += time;
    }

    fn begin(&self, stage: Stage) -> Running<'_> {
        let mut times = self.times();
        times.last += 1;
        let number = times.last;
        times.running.insert(number, (stage, Instant::now()));
        Running { stages: self, number }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Stages {
    fn desc(&self) -> Vec<&Desc> {
        self.family.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(family) = CounterVec::new(self.options.clone(), &["stage"]) else { return Vec::new() };
        let times = self.times();
        for stage in Stage::iter() {
            let running = times.running.values().filter(|(of, _)| *of == stage).map(|(_, began)| began.elapsed());
            let time = times.ended.get(&stage).copied().unwrap_or_default() + running.sum::<Duration>();
            family.with_label_values(&[<&str>::from(stage)]).inc_by(time.as_secs_f64());
        }
        family.collect()
    }
}

struct Running<'s> {
    stages: &'s Stages,
    number: u64,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut times = self.stages.times();
        if let Some((stage, began)) = times.running.remove(&self.number) {
            *times.ended.entry(stage).or_default() += began.elapsed();
        }
    }
}
