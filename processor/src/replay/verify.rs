//! Checks the signatures of what is replayed, for `--verify`.

use hookline_sources::{Sources, signature_headers};

use super::progress::LeftOut;
use crate::batch::{Batch, BatchRecord};

#[derive(Clone, Debug)]
pub struct Verifier(Sources);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Valid,
    Invalid,
    /// No secret confirms it, and the one that did so once is not configured any more.
    KeyNotConfigured,
}

impl Verifier {
    pub fn new(sources: Sources) -> Self {
        Self(sources)
    }

    /// Any secret of the source may confirm a record, because a secret may have another name today.
    fn verdict(&self, batch: &Batch, row: &BatchRecord) -> Verdict {
        let Some(source) = self.0.get(batch.source(row)) else { return Verdict::KeyNotConfigured };
        let headers = signature_headers([batch.signed_at_text(row)], [row.signature.as_str().as_bytes()]);
        let key_name = batch.key_name(row);
        match headers.and_then(|headers| source.verify(headers, batch.body(row)).map(drop)) {
            Ok(()) => Verdict::Valid,
            Err(_) if source.keys.iter().any(|key| key.name.as_str() == key_name) => Verdict::Invalid,
            Err(_) => Verdict::KeyNotConfigured,
        }
    }

    /// Takes the deliveries out of a batch that no secret confirms.
    pub fn retain_valid(&self, batch: &mut Batch) -> LeftOut {
        let verdicts: Vec<_> = batch.rows.iter().map(|row| self.verdict(batch, row)).collect();
        let mut left_out = LeftOut::default();
        for (row, verdict) in batch.rows.iter().zip(&verdicts) {
            match verdict {
                Verdict::Valid => {}
                Verdict::Invalid => {
                    let (topic, partition, offset) = (row.position.topic, row.position.partition, row.position.offset);
                    tracing::error!(%topic, partition = partition.0, offset = offset.0, "the signature of a record is wrong, and it is left out");
                    left_out.signature_invalid += 1;
                }
                Verdict::KeyNotConfigured => {
                    let key = format!("{}/{}", batch.source(row), batch.key_name(row));
                    *left_out.key_not_configured.entry(key).or_default() += 1;
                }
            }
        }
        let mut verdicts = verdicts.into_iter();
        batch.rows.retain(|_| verdicts.next() == Some(Verdict::Valid));
        left_out
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hookline_schemas::ids::Resource;
    use hookline_schemas::record::DeliveryMetadata;
    use hookline_schemas::signature::SigningKey;
    use hookline_schemas::time::{AppendedAt, ReceivedAt, SignedAt};
    use hookline_schemas::topics::{Offset, Partition, Topic};
    use hookline_sources::{KeyConfig, SourceConfig};

    use super::*;
    use crate::batch::position::RecordPosition;

    const SECRET: &str = "mhw_test_0123456789abcdef";

    fn verifier() -> Verifier {
        let key = KeyConfig { env: Some("SECRET".into()), file: None };
        let source = SourceConfig { keys: [("new".to_owned(), key)].into() };
        Verifier::new(Sources::read(&[("prod".to_owned(), source)].into(), |_| Some(SECRET.into())).unwrap())
    }

    #[test]
    fn only_what_a_secret_confirms_stays() {
        let mut batch = Batch::default();
        let records = [
            ("prod", "new", SECRET, "a"),
            ("prod", "renamed", SECRET, "b"),
            ("prod", "new", "another secret 42", "c"),
            ("prod", "old", "another secret 42", "d"),
            ("gone", "new", SECRET, "e"),
        ];
        for (offset, (source, key_name, secret, body)) in records.into_iter().enumerate() {
            let metadata = DeliveryMetadata {
                source,
                received_at: ReceivedAt(1),
                signed_at: SignedAt(7),
                signed_at_text: "007",
                signature: SigningKey::new(secret).sign("007", body.as_bytes()).to_hex(),
                key_name,
                first_signed_at: None,
            };
            let position = RecordPosition {
                topic: Topic::Resource(Resource::Video),
                partition: Partition(0),
                offset: Offset(offset as i64),
                appended_at: AppendedAt(0),
            };
            batch.push_delivery(position, &metadata, 0, body.as_bytes());
        }
        let left_out = verifier().retain_valid(&mut batch);
        let bodies: Vec<_> = batch.rows.iter().map(|row| batch.body(row)).collect();
        assert_eq!(bodies, [b"a", b"b"]);
        assert_eq!(left_out.signature_invalid, 1);
        let keys = [("gone/new".to_owned(), 1), ("prod/old".to_owned(), 1)];
        assert_eq!(left_out.key_not_configured, BTreeMap::from(keys));
    }
}
