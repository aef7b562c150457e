//! Lists the dashboard's files for the binary, which embeds them in release builds and reads them from `web/dist` in others. Without
//! `make web` there is a page alone that says so: neither the API nor `cargo build` needs Node.

fn main() {
    memory_serve::load_directory("web/dist");
}
