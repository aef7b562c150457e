//! The dashboard in a browser, on the whole pipeline. The tests themselves are in `analytics/web/tests`.

mod stage;

use std::path::Path;
use std::process::Command;

use self::stage::{LOGIN, Stage};

const WEB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web");
const BROWSER: &str = "/usr/bin/chromium";
/// A command for the stage other than the tests, such as `npx vite` or `npx playwright test --grep keyboard`.
const COMMAND: &str = "HOOKLINE_DASHBOARD_COMMAND";

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_do_what_they_should() {
    assert!(Path::new(BROWSER).exists(), "{BROWSER} is missing: `make packages` installs it, as root");
    for (made, what) in [("node_modules/.bin/playwright", "the tools"), ("dist/index.html", "the page")] {
        assert!(Path::new(WEB).join(made).exists(), "{WEB}/{made} is missing: `make web` makes {what}");
    }
    let stage = Stage::set().await;
    let (user, password) = LOGIN.split_once(':').unwrap();
    let command = std::env::var(COMMAND).unwrap_or_else(|_| "npx playwright test".to_owned());
    let status = Command::new("sh")
        .args(["-c", &command])
        .current_dir(WEB)
        .envs([
            ("HOOKLINE_ANALYTICS_URL", stage.url.as_str()),
            ("HOOKLINE_GUARDED_URL", &stage.guarded_url),
            ("HOOKLINE_CONTROL_URL", &stage.control_url),
            ("HOOKLINE_USER", user),
            ("HOOKLINE_PASSWORD", password),
        ])
        .status()
        .unwrap();
    assert!(status.success(), "`{command}`: see what it says above");
}
