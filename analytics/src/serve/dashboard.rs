//! The dashboard: what `make web` made of `analytics/web`, or a page that says so where it was not made.

use axum::Router;
use axum::http::{HeaderValue, header};
use memory_serve::{CacheControl, MemoryServe};
use tower_http::set_header::SetResponseHeaderLayer;
use tracing::subscriber::NoSubscriber;

/// The pages beside `/`. Each lies one level deep, so that relative addresses work under any base path.
const PAGES: [&str; 5] = ["/errors", "/durations", "/jobs", "/job", "/pipeline"];

/// A page may load its own script and style and ask this API; nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

#[expect(unused_qualifications, reason = "what the build script writes names the crate")]
pub fn dashboard() -> Router {
    // It would log a line for each of its files.
    let files = tracing::subscriber::with_default(NoSubscriber::default(), || {
        let files: MemoryServe = memory_serve::load!();
        let is_built = files.manifest().get("/index.html").is_some();
        let index = if is_built { "/index.html" } else { "/unbuilt.html" };
        let files = files.index_file(Some(index));
        let files = PAGES.into_iter().fold(files, |files, page| files.add_alias(page, index));
        files.html_cache_control(CacheControl::NoCache).cache_control(CacheControl::NoCache).into_router()
    });
    files.layer(SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, POLICY))
}
