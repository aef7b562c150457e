//! A job as the provider would run it: its type, its cost, when it starts and how it ends. The random numbers are an argument, so
//! that a seed always gives the same jobs.

use std::time::Duration;

use rand::seq::IndexedRandom as _;
use rand::{Rng, RngExt as _};
use rand_distr::{Distribution as _, LogNormal};

use crate::catalog::{ErrorKind, JOB_TYPES, JobType, TIMEOUT_CODE, error_share, errors};
use crate::provider_time::ProviderTime;

/// The standard deviation of the logarithm of durations: one job in six takes 1.6 times the median or longer.
const SIGMA: f64 = 0.5;
/// The share of jobs that a user cancels, which send no last event.
const CANCELED_SHARE: f64 = 0.01;

/// A job whose times are relative to its creation.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    pub job_type: &'static JobType,
    /// Makes its id differ from those of other jobs created in the same millisecond.
    pub nonce: u64,
    /// Whether its events have a name.
    pub named: bool,
    /// Whether the first event gives its creation time in whole seconds, and only the last one in milliseconds.
    pub rounds_created_at: bool,
    /// The time from creation to `started`.
    pub queue: Duration,
    /// The time from creation to the last event.
    pub total: Duration,
    pub ending: Ending,
    pub medium: Medium,
    /// The cost that `started` announces.
    pub credits_estimated: i64,
    /// The cost that `completed` tells.
    pub credits_completed: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The last event has downloads.
    Completed,
    /// The last event has an error, and nothing is charged.
    Errored(&'static ErrorKind),
    /// There is no last event.
    Canceled,
}

/// The properties of the result, by resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Medium {
    Video {
        /// Pixels; −1 means that it is not set.
        width: i64,
        /// Pixels; −1 means that it is not set.
        height: i64,
        start_seconds: f64,
        end_seconds: f64,
        /// The frames per second that `started` announces.
        fps_estimated: f64,
        /// The frames per second that the last event tells.
        fps: f64,
    },
    Image {
        image_count: i64,
    },
    Audio,
}

impl Job {
    /// Draws a job at random; its durations are divided by `time_divisor`.
    pub fn draw(rng: &mut impl Rng, time_divisor: f64) -> Self {
        let job_type = weighted(rng, JOB_TYPES, |job_type| job_type.weight);
        let ending = draw_ending(rng, job_type);
        let success = log_normal(rng, job_type.median_seconds);
        let total = match ending {
            Ending::Errored(error) if error.code == TIMEOUT_CODE => success * 3.0,
            Ending::Errored(_) => success * rng.random_range(0.05..0.6),
            Ending::Completed | Ending::Canceled => success,
        };
        let queue = total * rng.random_range(0.02..0.25);
        let medium = draw_medium(rng, job_type);
        let (credits_estimated, credits_completed) = draw_credits(rng, medium);
        let seconds = |seconds: f64| Duration::from_millis((seconds / time_divisor * 1000.0) as u64);
        Self {
            job_type,
            nonce: rng.random(),
            named: rng.random_bool(0.7),
            rounds_created_at: rng.random_bool(0.1),
            queue: seconds(queue),
            total: seconds(total),
            ending,
            medium,
            credits_estimated,
            credits_completed,
        }
    }

    /// The id, of 25 characters like the provider's: `c`, eight of the creation time, sixteen of the nonce.
    pub fn id(&self, created_at: ProviderTime) -> String {
        let time = base36(created_at.0.unsigned_abs());
        let nonce = base36(self.nonce);
        format!("c{}{}", &time[time.len() - 8..], &nonce[nonce.len() - 16..])
    }
}

/// 20 digits, with leading zeros.
fn base36(mut number: u64) -> String {
    let mut digits = ['0'; 20];
    for digit in digits.iter_mut().rev() {
        *digit = char::from_digit((number % 36) as u32, 36).unwrap_or('0');
        number /= 36;
    }
    digits.iter().collect()
}

fn draw_ending(rng: &mut impl Rng, job_type: &JobType) -> Ending {
    if rng.random_bool(CANCELED_SHARE) {
        Ending::Canceled
    } else if rng.random_bool(error_share(job_type.resource)) {
        Ending::Errored(weighted(rng, errors(job_type.resource), |error| error.weight))
    } else {
        Ending::Completed
    }
}

fn draw_medium(rng: &mut impl Rng, job_type: &JobType) -> Medium {
    use hookline_schemas::ids::Resource;
    match job_type.resource {
        Resource::Video => {
            let (width, height) = pick(rng, &[(1280, 720), (720, 1280), (1920, 1080), (512, 512), (-1, -1)]);
            let start_seconds = pick(rng, &[0.0, 0.0, 0.0, 0.5, 2.0, 7.25]);
            let fps_estimated = pick(rng, &[24.0, 30.0]);
            Medium::Video {
                width,
                height,
                start_seconds,
                end_seconds: start_seconds + f64::from(rng.random_range(4..60)) / 2.0,
                fps_estimated,
                fps: if rng.random_bool(0.8) { fps_estimated } else { 29.97 },
            }
        }
        Resource::Image => Medium::Image { image_count: pick(rng, &[1, 1, 1, 1, 2, 2, 4, 16]) },
        Resource::Audio => Medium::Audio,
    }
}

fn draw_credits(rng: &mut impl Rng, medium: Medium) -> (i64, i64) {
    match medium {
        Medium::Video { start_seconds, end_seconds, fps_estimated, fps, .. } => {
            let frames = |fps: f64| ((end_seconds - start_seconds) * fps).ceil() as i64;
            (frames(fps_estimated), frames(fps))
        }
        Medium::Image { image_count } => (image_count * 5, image_count * 5),
        Medium::Audio => {
            let credits = rng.random_range(1..40);
            (credits, credits)
        }
    }
}

fn log_normal(rng: &mut impl Rng, median: f64) -> f64 {
    // It fails only where sigma is not finite.
    LogNormal::new(median.ln(), SIGMA).map_or(median, |distribution| distribution.sample(rng))
}

fn pick<T: Copy>(rng: &mut impl Rng, choices: &[T]) -> T {
    *weighted(rng, choices, |_| 1)
}

#[expect(clippy::expect_used, reason = "lists of choices are constants, none of them empty or without weight")]
fn weighted<'a, T>(rng: &mut impl Rng, choices: &'a [T], weight: impl Fn(&T) -> u32) -> &'a T {
    choices.choose_weighted(rng, weight).expect("a choice")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    fn draw(count: usize) -> Vec<Job> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(7);
        (0..count).map(|_| Job::draw(&mut rng, 1.0)).collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_jobs() {
        assert_eq!(draw(100), draw(100));
    }

    #[test]
    fn ids_look_like_the_providers() {
        let id = draw(1)[0].id(ProviderTime(1_786_699_613_589));
        assert_eq!(id.len(), 25);
        assert!(id.starts_with('c') && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }

    #[test]
    fn durations_keep_to_the_published_medians() {
        let jobs = draw(60_000);
        for job_type in JOB_TYPES {
            let mut totals: Vec<_> = jobs
                .iter()
                .filter(|job| job.job_type == job_type && job.ending == Ending::Completed)
                .map(|job| job.total.as_secs_f64())
                .collect();
            totals.sort_by(f64::total_cmp);
            let median = totals[totals.len() / 2];
            assert!((median / job_type.median_seconds - 1.0).abs() < 0.15, "{}: {median}", job_type.name);
        }
        assert!(jobs.iter().all(|job| job.queue < job.total));
    }

    #[test]
    fn each_resource_fails_as_often_as_it_should() {
        let jobs = draw(60_000);
        for resource in hookline_schemas::ids::Resource::ALL {
            let of_resource: Vec<_> = jobs.iter().filter(|job| job.job_type.resource == resource).collect();
            let errored = of_resource.iter().filter(|job| matches!(job.ending, Ending::Errored(_))).count();
            let share = errored as f64 / of_resource.len() as f64;
            assert!((share / error_share(resource) - 1.0).abs() < 0.3, "{resource}: {share}");
        }
    }
}
