#![no_main]

#[path = "../../schemas/tests/it/properties.rs"]
#[expect(dead_code, reason = "the other targets have their own")]
mod properties;

libfuzzer_sys::fuzz_target!(|data: &[u8]| properties::envelope(data));
