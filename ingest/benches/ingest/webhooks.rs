//! Makes webhooks like those of the provider, signed and laid out as bytes before the measurement starts.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use hookline_schemas::provider;
use hookline_schemas::signature::SigningKey;
use hookline_service::clock::unix_now;

pub const SOURCE: &str = "bench";
pub const SECRET: &str = "mhw_live_bench_4c1f0a9e7d2b4f6a";

const BODY_BYTES: usize = 900;

/// The three events of each resource: a job starts, and then it completes or fails.
const EVENTS: [[&str; 3]; 3] = [
    [
        include_str!("../../../schemas/examples/video.started.json"),
        include_str!("../../../schemas/examples/video.completed.json"),
        include_str!("../../../schemas/examples/video.errored.json"),
    ],
    [
        include_str!("../../../schemas/examples/image.started.json"),
        include_str!("../../../schemas/examples/image.completed.json"),
        include_str!("../../../schemas/examples/image.errored.json"),
    ],
    [
        include_str!("../../../schemas/examples/audio.started.json"),
        include_str!("../../../schemas/examples/audio.completed.json"),
        include_str!("../../../schemas/examples/audio.errored.json"),
    ],
];
/// One job in twenty errors.
const JOBS_PER_ERROR: usize = 20;

/// The events of the webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Events {
    /// Those of jobs of all resources, so that they go to three topics.
    #[default]
    Mixed,
    /// Only `video.completed`, so that all go to one topic.
    Video,
}

impl Events {
    /// What the webhooks say, one after the other, until it begins anew.
    fn examples(self) -> Vec<&'static str> {
        let [[_, video_completed, _], ..] = EVENTS;
        match self {
            Self::Video => vec![video_completed],
            Self::Mixed => (0..JOBS_PER_ERROR)
                .flat_map(|job| {
                    EVENTS.map(|[started, completed, errored]| [started, if job == 0 { errored } else { completed }])
                })
                .flatten()
                .collect(),
        }
    }
}

/// Whole requests, one after the other.
pub struct Webhooks {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Webhooks {
    /// Requests of `count` new jobs, signed now.
    pub fn signed(events: Events, count: usize) -> Self {
        let templates: Vec<_> = events.examples().into_iter().map(Template::new).collect();
        let key = SigningKey::new(SECRET);
        let now = unix_now().as_secs().to_string();
        let mut webhooks = Self { bytes: Vec::with_capacity(count * 1200), ends: vec![0] };
        for template in templates.iter().cycle().take(count) {
            let body = template.body();
            webhooks.push(&now, &key.sign(&now, body.as_bytes()).to_hex().to_string(), &body);
        }
        webhooks
    }

    fn push(&mut self, timestamp: &str, signature: &str, body: &str) {
        // Writing to a vector cannot fail.
        let _ = write!(
            self.bytes,
            "POST /webhooks/{SOURCE} HTTP/1.1\r\nhost: localhost\r\nuser-agent: bench\r\naccept: */*\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n{}: {timestamp}\r\n{}: {signature}\r\n\r\n{body}",
            body.len(),
            provider::TIMESTAMP_HEADER,
            provider::SIGNATURE_HEADER,
        );
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    pub fn request(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(*self.ends.get(index)?..*self.ends.get(index + 1)?)
    }
}

/// An example whose job id can be changed, and which is filled up to the size of the bench's bodies: with signed URLs
/// where there are URLs, as storage services make them, else with a longer name.
struct Template(Vec<Piece>);

enum Piece {
    Text(String),
    JobId,
    /// So many hex digits, which differ from body to body but not within one.
    Filling(usize),
}

impl Template {
    fn new(example: &str) -> Self {
        const ID_BYTES: usize = 25;
        let id = example.split_once(r#""id":""#).and_then(|(_, rest)| rest.get(..ID_BYTES)).unwrap_or_default();
        let marked = if example.contains("/output-") {
            example.replace("/output-", "/\0-")
        } else {
            let (before, rest) = example.split_once(r#""name":"#).unwrap_or_default();
            let (_, after) = rest.split_once(',').unwrap_or_default();
            format!("{before}\"name\":\"\0\",{after}")
        };
        let places = marked.matches('\0').count();
        let missing = BODY_BYTES - (marked.len() - places);
        let mut pieces = Vec::new();
        for (index, part) in marked.split('\0').enumerate() {
            if index > 0 {
                let rest = if index == places { missing % places } else { 0 };
                pieces.push(Piece::Filling(missing / places + rest));
            }
            for (index, text) in part.split(id).enumerate() {
                if index > 0 {
                    pieces.push(Piece::JobId);
                }
                pieces.push(Piece::Text(text.to_owned()));
            }
        }
        Self(pieces)
    }

    fn body(&self) -> String {
        static JOBS: AtomicU64 = AtomicU64::new(0);
        let job = JOBS.fetch_add(1, Ordering::Relaxed);
        // `scatter` is a bijection, so ids are distinct; and they spread over the partitions like the provider's.
        let scattered = scatter(job);
        let mut body = String::with_capacity(BODY_BYTES);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => body.push_str(text),
                Piece::JobId => body.push_str(&format!("cm{:07}{scattered:016x}", job % 10_000_000)),
                Piece::Filling(digits) => {
                    let end = body.len() + digits;
                    for block in 1.. {
                        if body.len() >= end {
                            break;
                        }
                        body.push_str(&format!("{:016x}", scatter(scattered ^ (block << 32))));
                    }
                    body.truncate(end);
                }
            }
        }
        body
    }
}

/// The finaliser of SplitMix64.
pub fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
