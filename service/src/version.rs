//! The version that a binary shows, with the commit that it was built from.

use std::sync::OnceLock;

/// The version of the crate that calls it, and the commit in the variable `HOOKLINE_COMMIT` at build time. It is a macro so that
/// another commit means to build the binaries anew and no library.
#[macro_export]
macro_rules! version {
    () => {
        $crate::version::text(env!("CARGO_PKG_VERSION"), option_env!("HOOKLINE_COMMIT"))
    };
}

/// Joins the two for [`version!`](crate::version!); a process has one version.
pub fn text(version: &str, commit: Option<&str>) -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| joined(version, commit))
}

fn joined(version: &str, commit: Option<&str>) -> String {
    match commit.filter(|commit| !commit.is_empty()) {
        Some(commit) => format!("{version} ({commit})"),
        None => version.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_shown_where_it_is_known() {
        assert_eq!(joined("0.1.0", Some("1a2b3c")), "0.1.0 (1a2b3c)");
        assert_eq!([joined("0.1.0", None), joined("0.1.0", Some(""))], ["0.1.0", "0.1.0"]);
    }
}
