//! Makes webhooks like the provider signs and sends them.

use std::sync::atomic::{AtomicU64, Ordering};

use hookline_schemas::provider::{SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hookline_schemas::signature::SigningKey;
use hookline_service::clock::unix_now;

/// The source of webhooks unless a test names another.
pub const SOURCE: &str = "magichour";
/// The secret of [`SOURCE`].
pub const SECRET: &str = "mhw_test_0123456789abcdef";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Webhook {
    pub timestamp: String,
    pub signature: String,
    pub body: String,
}

impl Webhook {
    /// A webhook of a job of its own, signed now.
    pub fn new() -> Self {
        Self::with_name("")
    }

    /// A webhook of a job of its own, signed now, with a field that makes its body as long as wanted.
    pub fn with_name(name: &str) -> Self {
        static JOBS: AtomicU64 = AtomicU64::new(0);
        let job = JOBS.fetch_add(1, Ordering::Relaxed);
        Self::signed(
            now(),
            format!(
                r#"{{"type":"video.started","payload":{{"id":"job{job:08}","name":"{name}","created_at":"2024-10-19T05:10:19.027Z"}}}}"#
            ),
        )
    }

    /// The body of a job's completion, with a download of that URL.
    pub fn of_job_with_download(job: &str, url: &str) -> String {
        format!(
            r#"{{"type":"video.completed","payload":{{"id":"{job}","created_at":"2024-10-19T05:10:19.027Z","downloads":[{{"url":"https://media.example/{job}?signature={url}"}}]}}}}"#
        )
    }

    pub fn signed(timestamp: u64, body: impl Into<String>) -> Self {
        Self::signed_with(SECRET, timestamp, body)
    }

    pub fn signed_with(secret: &str, timestamp: u64, body: impl Into<String>) -> Self {
        let (timestamp, body) = (timestamp.to_string(), body.into());
        let signature = SigningKey::new(secret).sign(&timestamp, body.as_bytes()).to_hex().to_string();
        Self { timestamp, signature, body }
    }

    /// The two headers of a signature, each with its line end.
    pub fn headers(&self) -> String {
        let Self { timestamp, signature, .. } = self;
        format!("{TIMESTAMP_HEADER}: {timestamp}\r\n{SIGNATURE_HEADER}: {signature}\r\n")
    }

    pub fn request(&self) -> String {
        self.request_to(SOURCE)
    }

    pub fn request_to(&self, source: &str) -> String {
        post(source, &format!("{}content-length: {}\r\n", self.headers(), self.body.len()), &self.body)
    }
}

/// A request; each of `headers` comes with its line end.
pub fn post(source: &str, headers: &str, body: &str) -> String {
    format!("POST /webhooks/{source} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}")
}

/// Unix seconds.
pub fn now() -> u64 {
    unix_now().as_secs()
}

/// Characters that LZ4 cannot compress to less than half, different at each call.
pub fn noise(characters: usize) -> String {
    static BLOCKS: AtomicU64 = AtomicU64::new(0);
    let key = SigningKey::new("noise");
    let mut noise = String::new();
    while noise.len() < characters {
        let block = BLOCKS.fetch_add(1, Ordering::Relaxed).to_string();
        noise.push_str(key.sign(&block, b"").to_hex().as_str());
    }
    noise.truncate(characters);
    noise
}
