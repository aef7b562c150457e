//! What a webhook meets of HTTP: limits, timeouts, the response, and the description of the API.

pub mod limits;
pub mod openapi;
pub mod response;
pub mod timeouts;
