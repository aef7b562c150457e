//! Deliveries as a few days of live traffic bring them: jobs of all kinds run at the same time, each event comes at its time,
//! and some are sent again. The same seed gives the same traffic up to the time it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::rc::Rc;

use hookline_schemas::ids::{Action, EventType, Resource};
use hookline_schemas::time::{ReceivedAt, SignedAt};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, LogNormal};

/// Jobs created in a second where the topics are filled beforehand: 971 thousand in two days.
const JOBS_PER_SECOND: f64 = 5.62;
/// Live traffic has jobs under way from so long before it.
const BEFORE_MS: i64 = 10 * 60_000;
/// Deliveries of a job on the average, those sent again included.
const DELIVERIES_PER_JOB: f64 = 2.06;

/// A verified webhook, ready to be signed and put into its topic.
pub struct Delivery {
    pub event_type: EventType,
    pub job_id: String,
    pub signed_at: SignedAt,
    pub received_at: ReceivedAt,
    pub body: String,
}

/// Endless traffic, in the order of its signed times.
pub struct Traffic {
    random: SmallRng,
    jobs_per_second: f64,
    /// When the next job is created, Unix milliseconds: at thousands of jobs a second a gap is less than one.
    clock: f64,
    under_way: BinaryHeap<Reverse<Due>>,
    jobs: u64,
}

impl Traffic {
    /// Traffic whose `deliveries` end at about `end`, Unix milliseconds.
    pub fn ending_at(end: i64, deliveries: u64) -> Self {
        let span_ms = deliveries as f64 / DELIVERIES_PER_JOB / JOBS_PER_SECOND * 1000.0;
        Self::new(JOBS_PER_SECOND, end - span_ms as i64)
    }

    /// Traffic from `begin` on, Unix milliseconds, with so many deliveries a second.
    pub fn live(begin: i64, per_second: u32) -> impl Iterator<Item = Delivery> {
        let traffic = Self::new(f64::from(per_second) / DELIVERIES_PER_JOB, begin - BEFORE_MS);
        traffic.skip_while(move |delivery| i64::from(delivery.signed_at.0) * 1000 < begin)
    }

    fn new(jobs_per_second: f64, begin: i64) -> Self {
        let (random, clock) = (SmallRng::seed_from_u64(4), begin as f64);
        Self { random, jobs_per_second, clock, under_way: BinaryHeap::new(), jobs: 0 }
    }

    pub fn jobs(&self) -> u64 {
        self.jobs
    }

    fn create_job(&mut self) {
        let random = &mut self.random;
        self.clock += -random.random::<f64>().max(f64::MIN_POSITIVE).ln() / self.jobs_per_second * 1000.0;
        self.jobs += 1;
        let job = Rc::new(Job::create(random, self.jobs, self.clock as i64));
        let terminal = match random.random_range(0..100) {
            0..2 => None,
            2..8 => Some(Action::Errored),
            _ => Some(Action::Completed),
        };
        let silent = job.kind.resource == Resource::Image && random.random_bool(0.15);
        let queued = random.random_range(0.02..0.3) * (job.ends_at - job.created_at) as f64;
        let started = (!silent).then_some((Action::Started, job.created_at + queued as i64));
        let ended = terminal.map(|action| (action, job.ends_at));
        for (action, at) in started.into_iter().chain(ended) {
            let mut again = 0;
            loop {
                self.under_way.push(Reverse(Due { at: at + again, job: Rc::clone(&job), action }));
                if !random.random_bool(0.068) {
                    break;
                }
                again += random.random_range(1000..9000);
            }
        }
    }
}

impl Iterator for Traffic {
    type Item = Delivery;

    fn next(&mut self) -> Option<Delivery> {
        while self.under_way.peek().is_none_or(|Reverse(due)| due.at > self.clock as i64) {
            self.create_job();
        }
        let Reverse(Due { at, job, action }) = self.under_way.pop()?;
        Some(Delivery {
            event_type: EventType { resource: job.kind.resource, action },
            job_id: job.id.clone(),
            signed_at: SignedAt(u32::try_from(at / 1000).ok()?),
            received_at: ReceivedAt(at + self.random.random_range(20..400)),
            body: job.body(action),
        })
    }
}

/// A webhook that will be sent.
struct Due {
    at: i64,
    job: Rc<Job>,
    action: Action,
}

impl Due {
    fn order(&self) -> (i64, &str, Action) {
        (self.at, &self.job.id, self.action)
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}

struct Kind {
    resource: Resource,
    job_type: &'static str,
    /// How many of a hundred jobs are of this kind.
    share: u32,
    median_seconds: f64,
    error: (&'static str, &'static str),
}

const fn kind(
    resource: Resource,
    job_type: &'static str,
    share: u32,
    median_seconds: f64,
    error: (&'static str, &'static str),
) -> Kind {
    Kind { resource, job_type, share, median_seconds, error }
}

const NO_FACE: (&str, &str) = ("no_source_face", "No face was found in the source image");
const POLICY: (&str, &str) = ("content_policy_violation", "The prompt does not meet the content policy");
const TIMEOUT: (&str, &str) = ("processing_timeout", "The job took longer than it may");

const KINDS: [Kind; 13] = [
    kind(Resource::Video, "TEXT_TO_VIDEO", 10, 51.0, POLICY),
    kind(Resource::Video, "IMAGE_TO_VIDEO", 14, 74.0, POLICY),
    kind(Resource::Video, "FACE_SWAP", 12, 96.0, NO_FACE),
    kind(Resource::Video, "LIP_SYNC", 6, 229.0, ("invalid_audio_file", "The audio track could not be read")),
    kind(Resource::Video, "ANIMATION", 2, 596.0, TIMEOUT),
    kind(Resource::Video, "VIDEO_TO_VIDEO", 2, 772.0, TIMEOUT),
    kind(Resource::Image, "AI_IMAGE_GENERATOR", 16, 5.0, POLICY),
    kind(Resource::Image, "FACE_SWAP", 12, 4.0, NO_FACE),
    kind(Resource::Image, "AI_HEADSHOT", 5, 14.0, NO_FACE),
    kind(Resource::Image, "IMAGE_UPSCALER", 4, 22.0, ("file_too_large", "The file is larger than 50 MB")),
    kind(Resource::Image, "CLOTHES_CHANGER", 3, 13.0, ("invalid_image_file", "The image could not be read")),
    kind(Resource::Audio, "VOICE_GENERATOR", 9, 21.0, ("text_too_long", "The text is longer than 1000 characters")),
    kind(Resource::Audio, "VOICE_CLONER", 5, 21.0, ("invalid_voice", "The voice does not exist")),
];

struct Job {
    id: String,
    kind: &'static Kind,
    name: u32,
    created_at: i64,
    ends_at: i64,
    credits: u32,
    images: u32,
    seconds: u32,
    portrait: bool,
    /// The unguessable part of its URLs.
    token: u128,
}

impl Job {
    fn create(random: &mut SmallRng, number: u64, created_at: i64) -> Self {
        let mut place = random.random_range(0..KINDS.iter().map(|kind| kind.share).sum());
        let kind = KINDS.iter().find(|kind| place.checked_sub(kind.share).map(|rest| place = rest).is_none());
        let kind = kind.unwrap_or(&KINDS[0]);
        // A spread of 0.35 around the median: one job in forty takes twice as long.
        let seconds = LogNormal::new(kind.median_seconds.ln(), 0.35).map_or(kind.median_seconds, |d| d.sample(random));
        let seed = random.random::<u64>();
        Self {
            id: format!("c{}{}jx08{}", base36::<8>(created_at as u64), base36::<4>(number), base36::<8>(seed)),
            kind,
            name: random.random_range(1..10_000),
            created_at,
            ends_at: created_at + (seconds * 1000.0) as i64,
            credits: random.random_range(1..600),
            images: if random.random_bool(0.8) { 1 } else { random.random_range(2..5) },
            seconds: random.random_range(2..30),
            portrait: random.random(),
            token: random.random(),
        }
    }

    fn body(&self, action: Action) -> String {
        let Self { id, kind, name, credits, images, .. } = self;
        let resource = kind.resource;
        let (status, charged) = match action {
            Action::Started => ("rendering", *credits),
            Action::Completed => ("complete", credits + 3 * u32::from(resource == Resource::Video)),
            Action::Errored => ("error", 0),
        };
        let mut body = String::with_capacity(1024);
        // Writing into a String cannot fail.
        let _ = write!(
            body,
            r#"{{"type":"{resource}.{action}","payload":{{"id":"{id}","name":"Autumn campaign, draft {name}, second cut","status":"{status}","#,
        );
        let _ = write!(body, r#""type":"{}","created_at":"{}","#, kind.job_type, rfc3339(self.created_at));
        match resource {
            Resource::Video => {
                let (width, height) = if self.portrait { (720, 1280) } else { (1280, 720) };
                let frames = self.seconds * 30;
                let _ = write!(
                    body,
                    r#""width":{width},"height":{height},"enabled":true,"start_seconds":0,"end_seconds":{},"total_frame_cost":{frames},"fps":{},"#,
                    self.seconds,
                    if action == Action::Started { "24" } else { "29.97" },
                );
            }
            Resource::Image => {
                let _ = write!(body, r#""image_count":{images},"enabled":true,"total_frame_cost":{credits},"#);
            }
            Resource::Audio => body.push_str(r#""enabled":true,"#),
        }
        let _ = write!(body, r#""credits_charged":{charged},"#);
        match action {
            Action::Errored => {
                let (code, message) = kind.error;
                let _ = write!(body, r#""error":{{"code":"{code}","message":"{message}"}},"#);
            }
            Action::Started | Action::Completed => body.push_str(r#""error":null,"#),
        }
        body.push_str(r#""downloads":["#);
        if action == Action::Completed {
            let count = if resource == Resource::Image { *images } else { 1 };
            for index in 0..count {
                body.push_str(if index == 0 { "" } else { "," });
                self.write_download(&mut body, index);
            }
        }
        body.push(']');
        if resource == Resource::Video {
            body.push_str(r#","download":"#);
            match action {
                Action::Completed => self.write_download(&mut body, 0),
                Action::Started | Action::Errored => body.push_str("null"),
            }
        }
        body.push_str("}}");
        body
    }

    fn write_download(&self, body: &mut String, index: u32) {
        let Self { id, kind, token, .. } = self;
        let expires = rfc3339(self.ends_at + 86_400_000);
        let _ = write!(
            body,
            r#"{{"url":"https://media.magichour.example/{}/{id}/output-{index}?expires=86400&credential=hookline-bench%2Fmedia%2Fread&signature={:064x}","expires_at":"{expires}"}}"#,
            kind.resource,
            token.rotate_left(index),
        );
    }
}

fn rfc3339(milliseconds: i64) -> String {
    let seconds = SignedAt(u32::try_from(milliseconds / 1000).unwrap_or_default()).to_string();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), milliseconds % 1000)
}

/// The last `N` digits of `number` in base 36.
fn base36<const N: usize>(mut number: u64) -> String {
    let mut digits = ['0'; N];
    for digit in digits.iter_mut().rev() {
        *digit = char::from_digit((number % 36) as u32, 36).unwrap_or('0');
        number /= 36;
    }
    digits.iter().collect()
}
