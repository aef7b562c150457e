//! The body of a webhook, with its fields in the order in which the provider sends them.

use std::borrow::Cow;
use std::time::Duration;

use hookline_schemas::ids::{Action, Resource};
use serde::Serialize;

use crate::job::{Ending, Job, Medium};
use crate::provider_time::ProviderTime;

/// The URL of a download expires a day after the event.
const DOWNLOAD_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// What stands before the signature in the URL of a download.
const URL_SIGNATURE: &str = "?signature=";

#[derive(Serialize)]
struct Envelope<P> {
    #[serde(rename = "type")]
    event_type: String,
    payload: P,
}

#[derive(Serialize)]
struct Video<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    width: i64,
    height: i64,
    enabled: bool,
    start_seconds: f64,
    end_seconds: f64,
    total_frame_cost: i64,
    credits_charged: i64,
    fps: f64,
    error: Option<JobError>,
    download: Option<Download>,
    downloads: Vec<Download>,
}

#[derive(Serialize)]
struct Image<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    image_count: i64,
    enabled: bool,
    total_frame_cost: i64,
    credits_charged: i64,
    downloads: Vec<Download>,
    error: Option<JobError>,
}

#[derive(Serialize)]
struct Audio<'a> {
    #[serde(flatten)]
    head: Head<'a>,
    enabled: bool,
    credits_charged: i64,
    downloads: Vec<Download>,
    error: Option<JobError>,
}

#[derive(Serialize)]
struct Head<'a> {
    id: &'a str,
    name: Option<&'static str>,
    status: &'static str,
    #[serde(rename = "type")]
    job_type: &'static str,
    created_at: String,
}

#[derive(Clone, Serialize)]
struct Download {
    url: String,
    expires_at: String,
}

#[derive(Serialize)]
struct JobError {
    code: &'static str,
    message: &'static str,
}

/// Writes the body of the event `action` of a job.
pub fn body(job: &Job, id: &str, created_at: ProviderTime, action: Action, event_at: ProviderTime) -> Vec<u8> {
    let resource = job.job_type.resource;
    let head = Head {
        id,
        name: job.named.then_some(job.job_type.title),
        status: match action {
            Action::Started => "rendering",
            Action::Completed => "complete",
            Action::Errored => "error",
        },
        job_type: job.job_type.name,
        created_at: created_at.rfc3339(!job.rounds_created_at || action != Action::Started),
    };
    let credits_charged = match action {
        Action::Started => job.credits_estimated,
        Action::Completed => job.credits_completed,
        Action::Errored => 0,
    };
    let downloads = |count| if action == Action::Completed { downloads(id, resource, count, event_at) } else { vec![] };
    let error = match (action, job.ending) {
        (Action::Errored, Ending::Errored(error)) => Some(JobError { code: error.code, message: error.message }),
        _ => None,
    };
    let event_type = format!("{resource}.{action}");
    let written = match job.medium {
        Medium::Video { width, height, start_seconds, end_seconds, fps_estimated, fps } => {
            let downloads = downloads(1);
            serde_json::to_vec(&Envelope {
                event_type,
                payload: Video {
                    head,
                    width,
                    height,
                    enabled: true,
                    start_seconds,
                    end_seconds,
                    total_frame_cost: job.credits_estimated,
                    credits_charged,
                    fps: if action == Action::Started { fps_estimated } else { fps },
                    error,
                    download: downloads.first().cloned(),
                    downloads,
                },
            })
        }
        Medium::Image { image_count } => serde_json::to_vec(&Envelope {
            event_type,
            payload: Image {
                head,
                image_count,
                enabled: true,
                total_frame_cost: job.credits_estimated,
                credits_charged,
                downloads: downloads(image_count),
                error,
            },
        }),
        Medium::Audio => serde_json::to_vec(&Envelope {
            event_type,
            payload: Audio { head, enabled: true, credits_charged, downloads: downloads(1), error },
        }),
    };
    // It can fail only for maps whose keys are no strings, and for writers that fail; there is neither.
    written.unwrap_or_default()
}

/// Renders a body as the provider does for a later attempt: it signs the download URLs anew each time, so that the bytes
/// differ and the event is the same. The first attempt sends the body as it was planned.
pub fn rendered(body: &[u8], attempt: u32) -> Cow<'_, [u8]> {
    match std::str::from_utf8(body) {
        Ok(text) if attempt > 1 => {
            Cow::Owned(text.replace(URL_SIGNATURE, &format!("{URL_SIGNATURE}{attempt}-")).into_bytes())
        }
        Ok(_) | Err(_) => Cow::Borrowed(body),
    }
}

fn downloads(id: &str, resource: Resource, count: i64, event_at: ProviderTime) -> Vec<Download> {
    let expires_at = event_at.after(DOWNLOAD_LIFE).rfc3339(true);
    (0..count)
        .map(|number| Download {
            url: format!("https://media.example/{resource}/{id}/output-{number}{URL_SIGNATURE}{id}{number}"),
            expires_at: expires_at.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hookline_schemas::envelope;
    use rand::SeedableRng as _;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;

    #[test]
    fn every_body_is_processable_and_of_the_expected_types() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let created_at = ProviderTime(1_786_699_613_589);
        for _ in 0..2_000 {
            let job = Job::draw(&mut rng, 1.0);
            let id = job.id(created_at);
            for action in Action::ALL {
                let bytes = body(&job, &id, created_at, action, created_at.after(job.total));
                let event = envelope::decode(&bytes).unwrap();
                assert_eq!((event.job_id.as_str(), event.event_type.action, event.invalid_fields), (&*id, action, 0));
                assert_eq!(event.job_type, job.job_type.name);
                assert!((200..12_000).contains(&bytes.len()), "{}", bytes.len());
            }
        }
    }

    #[test]
    fn a_video_has_the_fields_of_the_providers_documentation() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let job = std::iter::repeat_with(|| Job::draw(&mut rng, 1.0))
            .find(|job| matches!(job.medium, Medium::Video { .. }))
            .unwrap();
        let bytes = body(&job, "cmk3v9s0a0001jx08h2q7d4bn", ProviderTime(0), Action::Completed, ProviderTime(0));
        let keys = [
            "id",
            "name",
            "status",
            "type",
            "created_at",
            "width",
            "height",
            "enabled",
            "start_seconds",
            "end_seconds",
            "total_frame_cost",
            "credits_charged",
            "fps",
            "error",
            "download",
            "downloads",
        ];
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let payload = value["payload"].as_object().unwrap();
        assert_eq!(payload.len(), keys.len());
        for key in keys {
            assert!(payload.contains_key(key), "{key}");
        }
    }

    #[test]
    fn an_attempt_signs_its_download_urls_anew_and_is_the_same_event() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(2);
        let at = ProviderTime(1_786_699_613_589);
        for _ in 0..100 {
            let job = Job::draw(&mut rng, 1.0);
            for action in [Action::Started, Action::Completed] {
                let first = body(&job, "j1", at, action, at.after(job.total));
                let (second, third) = (rendered(&first, 2), rendered(&first, 3));
                assert_eq!(rendered(&first, 1), &*first);
                // While a job is rendering there is nothing to download.
                assert_eq!(second == first && second == third, action == Action::Started);
                assert_eq!(envelope::decode(&second), envelope::decode(&first));
            }
        }
    }
}
