//! The part of a webhook that is HTTP: its body, the time limits of its connection, the response, and the description
//! of the API.

pub mod body;
pub mod openapi;
pub mod response;
pub mod timeouts;
