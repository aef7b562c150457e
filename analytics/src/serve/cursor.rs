//! Cursors of pages: where the next page begins, in the range of the first one, for the same parameters alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::problem::Problem;
use crate::query::range::{Moment, Range};

#[derive(Deserialize, Serialize)]
struct Cursor<P> {
    /// The parameters as they were given: a relative range means the same on every page.
    parameters: String,
    from: i64,
    to: i64,
    position: P,
}

/// Writes the cursor of the page after `position`. `parameters` is whatever must not change from page to page.
pub fn write<P: Serialize>(parameters: &str, range: Range, position: P) -> String {
    let cursor = Cursor { parameters: digest(parameters), from: range.from.0, to: range.to.0, position };
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&cursor).unwrap_or_default())
}

/// Reads a cursor: the range of the first page, and where this one begins.
pub fn read<P: DeserializeOwned>(text: &str, parameters: &str) -> Result<(Range, P), Problem> {
    let unknown =
        || Problem::parameter("cursor", "this is no cursor of this path: give `next` of the page before, or none");
    let cursor = URL_SAFE_NO_PAD.decode(text).map_err(|_| unknown())?;
    let cursor: Cursor<P> = serde_json::from_slice(&cursor).map_err(|_| unknown())?;
    if cursor.parameters != digest(parameters) {
        return Err(Problem::parameter(
            "cursor",
            "the cursor was made for other parameters: give those of the first page again, or no cursor",
        ));
    }
    let range = Range::new(cursor.from, cursor.to).map_err(|_| unknown())?;
    let same = range == Range { from: Moment(cursor.from), to: Moment(cursor.to) };
    same.then_some((range, cursor.position)).ok_or_else(unknown)
}

fn digest(parameters: &str) -> String {
    Sha256::digest(parameters.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_for_the_parameters_it_was_made_for() {
        let range = Range::new(0, 120).unwrap();
        let cursor = write("a", range, 7_u8);
        assert_eq!(read::<u8>(&cursor, "a").unwrap(), (range, 7));
        assert!(read::<u8>(&cursor, "b").is_err());
        for bad in ["", "x", "e30", "====", &cursor[1..]] {
            assert!(read::<u8>(bad, "a").is_err(), "{bad}");
        }
    }
}
