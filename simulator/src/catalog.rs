//! The job types of the provider, with the median durations that it published for the 30 days to 2026-07-20, and the errors of
//! each resource. How often a type or an error occurs is published nowhere; the weights are ours.

use hookline_schemas::ids::Resource;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JobType {
    /// Sent as `payload.type` of every event.
    pub name: &'static str,
    /// Sent as `payload.name` by jobs that have one.
    pub title: &'static str,
    pub resource: Resource,
    /// The median of the time from creation to end.
    pub median_seconds: f64,
    /// How often the type occurs, relative to the others.
    pub weight: u32,
}

/// An error that a job ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorKind {
    /// Sent as `payload.error.code` of `errored`.
    pub code: &'static str,
    /// Sent as `payload.error.message` of `errored`.
    pub message: &'static str,
    /// How often the error occurs, relative to the others of the resource.
    pub weight: u32,
}

macro_rules! job_types {
    ($($resource:ident { $($name:literal $title:literal $median:literal $weight:literal;)* })*) => {
        &[$($(JobType {
            name: $name,
            title: $title,
            resource: Resource::$resource,
            median_seconds: $median,
            weight: $weight,
        },)*)*]
    };
}

pub const JOB_TYPES: &[JobType] = job_types! {
    Video {
        "TEXT_TO_VIDEO" "Text to video" 51.0 70;
        "AUTO_SUBTITLE" "Auto subtitle" 45.0 25;
        "IMAGE_TO_VIDEO" "Image to video" 74.0 90;
        "VIDEO_EDITOR" "Video editor" 85.0 20;
        "FACE_SWAP" "Face swap" 96.0 80;
        "AUDIO_TO_VIDEO" "Audio to video" 117.0 10;
        "TALKING_PHOTO" "Talking photo" 174.0 30;
        "LIP_SYNC" "Lip sync" 229.0 25;
        "CHARACTER_REPLACE" "Character replace" 446.0 6;
        "ANIMATION" "Animation" 596.0 6;
        "VIDEO_TO_VIDEO" "Video to video" 772.0 8;
    }
    Image {
        "FACE_EDITOR" "Face editor" 3.0 30;
        "FACE_SWAP" "Face swap" 4.0 110;
        "BACKGROUND_REMOVER" "Background remover" 4.0 40;
        "AI_IMAGE_GENERATOR" "Image generator" 5.0 150;
        "QR_CODE" "QR code" 7.0 10;
        "AI_IMAGE_EDITOR" "Image editor" 9.0 70;
        "PHOTO_COLORIZER" "Photo colorizer" 9.0 10;
        "CLOTHES_CHANGER" "Clothes changer" 13.0 30;
        "HEADSHOT" "Headshot" 14.0 20;
        "HEAD_SWAP" "Head swap" 18.0 15;
        "IMAGE_UPSCALER" "Image upscaler" 22.0 40;
        "AI_GIF" "GIF" 23.0 10;
        "BODY_SWAP" "Body swap" 38.0 10;
    }
    Audio {
        "VOICE_GENERATOR" "Voice generator" 21.0 60;
        "VOICE_CLONER" "Voice cloner" 21.0 40;
    }
};

/// The share of a resource's jobs that end with an error.
pub const fn error_share(resource: Resource) -> f64 {
    match resource {
        Resource::Video => 0.06,
        Resource::Image => 0.03,
        Resource::Audio => 0.02,
    }
}

/// The one error whose jobs take longer than those that complete.
pub const TIMEOUT_CODE: &str = "processing_timeout";

macro_rules! errors {
    ($($code:literal $message:literal $weight:literal;)*) => {
        &[$(ErrorKind { code: $code, message: $message, weight: $weight },)*]
    };
}

/// The errors that jobs of a resource end with.
pub const fn errors(resource: Resource) -> &'static [ErrorKind] {
    match resource {
        Resource::Video => errors! {
            "no_source_face" "No face was found in the source image" 30;
            "no_target_face" "No face was found in the video" 20;
            "invalid_video_file" "The video could not be read" 15;
            "invalid_youtube_url" "The address is not a video that can be downloaded" 6;
            "invalid_audio_file" "The audio track could not be read" 6;
            "file_too_large" "The file is larger than the plan allows" 5;
            "content_policy_violation" "The request is against the content policy" 8;
            "processing_timeout" "The job took too long and was stopped" 6;
            "unknown_error" "Something went wrong; please try again" 10;
        },
        Resource::Image => errors! {
            "no_source_face" "No face was found in the source image" 45;
            "no_target_face" "No face was found in the target image" 15;
            "invalid_image_file" "The image could not be read" 15;
            "invalid_parameters" "The image count must be between 1 and 16" 4;
            "insufficient_credits" "There are not enough credits left" 6;
            "content_policy_violation" "The request is against the content policy" 12;
            "unknown_error" "Something went wrong; please try again" 5;
        },
        Resource::Audio => errors! {
            "text_too_long" "The text is longer than 1000 characters" 40;
            "invalid_voice" "There is no such voice" 25;
            "invalid_audio_file" "The sample could not be read" 20;
            "content_policy_violation" "The request is against the content policy" 8;
            "unknown_error" "Something went wrong; please try again" 7;
        },
    }
}
