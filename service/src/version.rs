//! The version that a binary shows, with the commit that it was built from.

use std::sync::OnceLock;

use prometheus::{IntGauge, Opts};

/// The version of the crate that calls it, and the commit in the variable `HOOKLINE_COMMIT` at build time. It is a macro so that
/// another commit means to build the binaries anew and no library.
#[macro_export]
macro_rules! version {
    () => {
        $crate::version::text(env!("CARGO_PKG_VERSION"), option_env!("HOOKLINE_COMMIT"))
    };
}

struct Build {
    version: &'static str,
    commit: Option<&'static str>,
    text: String,
}

/// A process has one version.
static BUILD: OnceLock<Build> = OnceLock::new();

fn build(version: &'static str, commit: Option<&'static str>) -> &'static Build {
    let commit = commit.filter(|commit| !commit.is_empty());
    BUILD.get_or_init(|| Build { version, commit, text: joined(version, commit) })
}

/// Joins the two for [`version!`](crate::version!).
pub fn text(version: &'static str, commit: Option<&'static str>) -> &'static str {
    &build(version, commit).text
}

fn joined(version: &str, commit: Option<&str>) -> String {
    match commit {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

/// The gauge `hookline_build_info`: 1, with what was built as labels, and `more` of them. `commit` is empty where it is not known.
pub(crate) fn info(more: &[(&str, String)]) -> prometheus::Result<IntGauge> {
    // All crates of the workspace have one version; a process that has not said its own is a test.
    let Build { version, commit, .. } = build(env!("CARGO_PKG_VERSION"), None);
    let help = "Always 1; its labels say which version of the program runs";
    let options = Opts::new("hookline_build_info", help)
        .const_label("version", *version)
        .const_label("commit", commit.unwrap_or_default());
    let options = more.iter().fold(options, |options, (label, value)| options.const_label(*label, value));
    let gauge = IntGauge::with_opts(options)?;
    gauge.set(1);
    Ok(gauge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_shown_where_it_is_known() {
        assert_eq!(joined("0.1.0", Some("1a2b3c")), "0.1.0 (1a2b3c)");
        assert_eq!(joined("0.1.0", None), "0.1.0");
    }
}
