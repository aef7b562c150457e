//! The part of a webhook that is HTTP: its connection and body, what each peer may hold of both, the response, and the
//! description of the API.

pub mod body;
pub mod connections;
pub mod fair_share;
pub mod openapi;
pub mod peer;
pub mod response;
pub mod timeouts;
