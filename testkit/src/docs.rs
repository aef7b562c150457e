//! Pages in `docs/` with sections that the code generates.

use std::path::Path;

/// Set by `make docs`: sections are then written, not compared.
const UPDATE: &str = "HOOKLINE_UPDATE_DOCS";

/// Fails if the section `name` of `docs/{page}`, between `<!-- name -->` and `<!-- /name -->`, is not `generated`.
pub fn assert_section(page: &str, name: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{page} has no line {begin}"));
    let (committed, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{page} has no line {end}"));
    let generated = format!("\n{}\n\n", generated.trim());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, [before, &begin, &generated, &end, after].concat()).expect("docs can be written");
    } else {
        assert_eq!(committed, generated, "docs/{page} is not what the code says: run `make docs`");
    }
}
