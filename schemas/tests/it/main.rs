//! Every example of every event, run through verification, decoding and the fold, and snapshotted.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a property that does not hold panics"
)]

mod fold_version;
mod properties;

use hookline_schemas::envelope;
use hookline_schemas::facts::Facts;
use hookline_schemas::ids::{EventType, KeyName};
use hookline_schemas::outcome::Derived;
use hookline_schemas::record::DeliveryMetadata;
use hookline_schemas::signature::{NamedKey, SigningKey, Unverified};
use hookline_schemas::time::ReceivedAt;

#[test]
fn every_example_gives_the_same_facts() {
    let keys = [NamedKey { name: KeyName::new("default").unwrap(), key: SigningKey::new("mhw_live_example") }];
    // Seventy seconds after the examples' creation, and 250 ms on the way.
    let (signed_at, received_at) = ("1786699683", ReceivedAt(1_786_699_683_250));
    for event_type in EventType::all() {
        let path = format!("{}/examples/{event_type}.json", env!("CARGO_MANIFEST_DIR"));
        let body = std::fs::read(path).unwrap();
        let signature = keys[0].key.sign(signed_at, &body).to_hex();
        let unverified = Unverified::new(signed_at.as_bytes(), signature.as_str().as_bytes(), &body).unwrap();
        let verified = unverified.verify(&keys).unwrap();
        let event = envelope::decode(verified.body()).unwrap();
        assert_eq!((event.event_type, event.invalid_fields), (event_type, 0));
        let facts = Facts::of(
            &event,
            &DeliveryMetadata {
                source: "magichour",
                received_at,
                signed_at: verified.signed_at(),
                signed_at_text: verified.timestamp(),
                signature,
                key_name: verified.key().as_str(),
                first_signed_at: None,
            },
        );
        insta::assert_debug_snapshot!(event_type.as_str(), (&event, &facts, Derived::from(&facts)));
    }
}
