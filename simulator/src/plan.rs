//! Which webhooks to send, and when: the events of drawn jobs, some of them twice, late or never. The clock and the seed are
//! arguments, so that the same arguments always give the same plan.

use std::time::Duration;

use hookline_schemas::ids::Action;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt as _, SeedableRng as _};

use crate::body::body;
use crate::job::{Ending, Job};
use crate::provider_time::ProviderTime;

/// The longest time that a delivery is late which comes in after later events.
const LATEST: Duration = Duration::from_secs(30);
/// The longest time between the signed times of a delivery and of its repetition.
const REPEATED_WITHIN: Duration = Duration::from_secs(20);

/// What is simulated. Shares are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub jobs: usize,
    /// Everything that is drawn at random follows from it.
    pub seed: u64,
    pub timing: Timing,
    /// The share of events that are delivered twice, half of them signed anew.
    pub duplicates: f64,
    /// The share of deliveries that come in late, after later events.
    pub shuffle: f64,
    /// The share of jobs that never send `started`.
    pub missing_started: f64,
    /// The share of jobs that are followed by a delivery which is authentic, but not processable.
    pub foreign: f64,
}

/// When the events of the jobs happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timing {
    /// They happen from now on.
    Live {
        /// The average of webhooks per second.
        rate: f64,
        /// The durations of jobs are divided by it.
        speed: f64,
    },
    /// They have happened within a window of this length, which ends now.
    Past(Duration),
}

/// A webhook to be sent until it is acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The field `type` of the body.
    pub event_type: String,
    /// Empty where the body names no job.
    pub job_id: String,
    pub created_at: ProviderTime,
    pub event_at: ProviderTime,
    /// The signed time of the first attempt.
    pub signed_at: ProviderTime,
    /// When the first attempt is sent, unless the sender is behind.
    pub due: ProviderTime,
    pub body: Vec<u8>,
}

/// Plans every delivery, in the order in which they are due.
pub fn plan(settings: &Settings, now: ProviderTime) -> Vec<Delivery> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(settings.seed);
    let speed = match settings.timing {
        Timing::Live { speed, .. } => speed,
        Timing::Past(_) => 1.0,
    };
    let jobs: Vec<_> = (0..settings.jobs).map(|_| Job::draw(&mut rng, speed)).collect();
    let mut deliveries = Vec::with_capacity(jobs.len() * 2);
    for (index, job) in jobs.iter().enumerate() {
        let created_at = match settings.timing {
            Timing::Live { rate, .. } => {
                let webhooks_per_job =
                    (2.0 - settings.missing_started) * (1.0 + settings.duplicates) + settings.foreign;
                let place = index as f64 + rng.random_range(0.0..1.0);
                now.after(Duration::from_secs_f64(place * webhooks_per_job / rate))
            }
            Timing::Past(window) => created_in_the_past(&mut rng, job, now, window),
        };
        let earliest = match settings.timing {
            Timing::Live { .. } => created_at,
            Timing::Past(window) => now.before(window),
        };
        let mut planner = DeliveryPlanner { settings, rng: &mut rng, deliveries: &mut deliveries };
        planner.events(job, created_at, earliest);
        planner.foreign(job, created_at.after(job.total));
    }
    deliveries.sort_by_key(|delivery| delivery.due);
    deliveries
}

/// Places the last event of a job in the window. An event before the window cannot be delivered: its signature would be stale.
fn created_in_the_past(rng: &mut impl Rng, job: &Job, now: ProviderTime, window: Duration) -> ProviderTime {
    let last_event = now.before(window.mul_f64(rng.random_range(0.0..1.0)));
    last_event.before(match job.ending {
        Ending::Completed | Ending::Errored(_) => job.total,
        Ending::Canceled => job.queue,
    })
}

/// Plans the deliveries of events, some of them twice, late or not at all.
struct DeliveryPlanner<'a, R> {
    settings: &'a Settings,
    rng: &'a mut R,
    deliveries: &'a mut Vec<Delivery>,
}

impl<R: Rng> DeliveryPlanner<'_, R> {
    fn events(&mut self, job: &Job, created_at: ProviderTime, earliest: ProviderTime) {
        let id = job.id(created_at);
        let started_at = created_at.after(job.queue);
        if !self.rng.random_bool(self.settings.missing_started) && started_at >= earliest {
            self.event(job, &id, created_at, Action::Started, started_at);
        }
        let last = match job.ending {
            Ending::Completed => Action::Completed,
            Ending::Errored(_) => Action::Errored,
            Ending::Canceled => return,
        };
        self.event(job, &id, created_at, last, created_at.after(job.total));
    }

    fn event(&mut self, job: &Job, id: &str, created_at: ProviderTime, action: Action, event_at: ProviderTime) {
        let delivery = Delivery {
            event_type: format!("{}.{action}", job.job_type.resource),
            job_id: id.to_owned(),
            created_at,
            event_at,
            signed_at: event_at,
            due: event_at,
            body: body(job, id, created_at, action, event_at),
        };
        if self.rng.random_bool(self.settings.duplicates) {
            // Half of the repetitions are the same request, half are signed anew.
            let again = if self.rng.random_bool(0.5) { Duration::ZERO } else { self.up_to(REPEATED_WITHIN) };
            let signed_at = event_at.after(again);
            self.send(Delivery { signed_at, due: signed_at, ..delivery.clone() });
        }
        self.send(delivery);
    }

    /// An event that the provider may send one day, or the one that the test script of its documentation sends today.
    fn foreign(&mut self, job: &Job, at: ProviderTime) {
        if !self.rng.random_bool(self.settings.foreign) {
            return;
        }
        let id = format!("{}x", job.id(at));
        let (event_type, body) = match self.rng.random_range(0..3) {
            0 => ("test.event", r#"{"type":"test.event","payload":{"test":true}}"#.to_owned()),
            1 => ("video.canceled", format!(r#"{{"type":"video.canceled","payload":{{"id":"{id}"}}}}"#)),
            _ => ("image.completed", format!(r#"{{"type":"image.completed","payload":{{"id":"{id}"}}}}"#)),
        };
        self.send(Delivery {
            event_type: event_type.to_owned(),
            job_id: if event_type == "test.event" { String::new() } else { id },
            created_at: at,
            event_at: at,
            signed_at: at,
            due: at,
            body: body.into_bytes(),
        });
    }

    fn send(&mut self, mut delivery: Delivery) {
        if self.rng.random_bool(self.settings.shuffle) {
            delivery.due = delivery.due.after(self.up_to(LATEST));
        }
        self.deliveries.push(delivery);
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.rng.random_range(0.0..1.0))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const NOW: ProviderTime = ProviderTime(1_786_699_613_589);
    const WINDOW: Duration = Duration::from_secs(240);

    fn settings() -> Settings {
        Settings {
            jobs: 5_000,
            seed: 3,
            timing: Timing::Past(WINDOW),
            duplicates: 0.0,
            shuffle: 0.0,
            missing_started: 0.0,
            foreign: 0.0,
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan() {
        assert_eq!(plan(&settings(), NOW), plan(&settings(), NOW));
        assert_ne!(plan(&Settings { seed: 4, ..settings() }, NOW), plan(&settings(), NOW));
    }

    #[test]
    fn past_events_are_within_the_window() {
        for delivery in plan(&settings(), NOW) {
            assert!(delivery.event_at <= NOW && delivery.event_at.after(WINDOW) >= NOW, "{delivery:?}");
            assert!(delivery.created_at <= delivery.event_at);
        }
    }

    #[test]
    fn live_jobs_come_at_the_rate_and_at_the_speed_asked_for() {
        let live = |speed| plan(&Settings { timing: Timing::Live { rate: 100.0, speed }, ..settings() }, NOW);
        let last_created = live(1.0).iter().map(|delivery| delivery.created_at).max().unwrap();
        assert!((last_created.since(NOW).as_secs_f64() - 100.0).abs() < 1.0);
        let longest = |plan: Vec<Delivery>| {
            plan.iter().map(|delivery| delivery.event_at.since(delivery.created_at)).max().unwrap().as_secs_f64()
        };
        assert!((longest(live(1.0)) / longest(live(60.0)) - 60.0).abs() < 0.1);
    }

    #[test]
    fn shares_are_kept() {
        let count = |settings: &Settings, wanted: fn(&Delivery) -> bool| {
            plan(settings, NOW).iter().filter(|delivery| wanted(delivery)).count() as f64
        };
        let live = Settings { timing: Timing::Live { rate: 1e3, speed: 1.0 }, ..settings() };
        let all = count(&live, |_| true);
        let duplicates = Settings { duplicates: 0.2, ..live.clone() };
        assert!((count(&duplicates, |_| true) / all - 1.2).abs() < 0.02);
        let late = Settings { shuffle: 0.3, ..live.clone() };
        assert!((count(&late, |delivery| delivery.due > delivery.signed_at) / all - 0.3).abs() < 0.02);
        let missing = Settings { missing_started: 0.4, ..live.clone() };
        assert!((count(&missing, |delivery| delivery.event_type.ends_with("started")) / 5_000.0 - 0.6).abs() < 0.03);
        let foreign = Settings { foreign: 0.1, ..live };
        assert!((count(&foreign, |_| true) - all - 500.0).abs() < 80.0);
    }

    #[test]
    fn every_event_and_every_job_has_its_own_id() {
        let plan = plan(&settings(), NOW);
        let events: BTreeSet<_> = plan.iter().map(|delivery| (&delivery.job_id, &delivery.event_type)).collect();
        assert_eq!(events.len(), plan.len());
        let mut last = BTreeMap::<_, u32>::new();
        for delivery in &plan {
            *last.entry(&delivery.job_id).or_default() += u32::from(!delivery.event_type.ends_with("started"));
        }
        assert!(last.values().all(|count| *count <= 1));
    }
}
