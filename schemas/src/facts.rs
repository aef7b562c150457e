//! The facts of a job: a join-semilattice. An event says something that stays true; joining what is known from any
//! events, in any order, any number of times, gives the same facts.

use std::borrow::Cow;

use serde::Deserialize;

use crate::envelope::Event;
use crate::ids::Action;
use crate::record::DeliveryMetadata;
use crate::time::{CreatedAt, OccurredAt, ReceivedAt, occurred_at};

/// The version of [`Facts::of`]. It grows with every change that makes the same event give other facts.
pub const FOLD_VERSION: u16 = 1;

/// The one list of the facts and of the columns of `jobs` that hold them, in the table's order. Each is `name: type, kind,
/// join`: `kind` is `numbers`, `nullable` (numbers that may be missing), `texts` or `low_cardinality` (texts with few
/// different values), and `join`, `min` or `max`, says which value stays when two are known. The list is handed to the
/// macro that is named; in `schemas/tables/` the columns are written out, and a test compares.
#[macro_export]
macro_rules! fact_columns {
    ($then:ident) => {
        $then! {
            /// The earliest creation time given.
            created_at: CreatedAt, numbers, min;
            /// The greatest job type given; empty where none was given.
            job_type: Cow<'a, str>, low_cardinality, max;
            /// Width of the media in pixels.
            width: Option<i64>, nullable, max;
            /// Height of the media in pixels.
            height: Option<i64>, nullable, max;
            /// Length of the media clip in seconds.
            media_seconds: Option<f64>, nullable, max;
            /// How many images the job makes.
            image_count: Option<i64>, nullable, max;
            /// When the earliest `started` happened.
            started_at: Option<OccurredAt>, nullable, min;
            /// When the earliest `completed` happened.
            completed_at: Option<OccurredAt>, nullable, min;
            /// When the earliest `errored` happened.
            errored_at: Option<OccurredAt>, nullable, min;
            /// Code and message together, `code\0message`, so that they stay a pair; empty where no `errored` was seen.
            error: Cow<'a, str>, texts, max;
            /// Credits that `started` says the job will cost.
            credits_estimated: Option<i64>, nullable, max;
            /// Credits that `completed` says the job cost.
            credits_completed: Option<i64>, nullable, max;
            /// Credits that `errored` says the job cost.
            credits_errored: Option<i64>, nullable, min;
            /// Frames per second, from terminal events only: `started` carries an estimate.
            fps: Option<f64>, nullable, max;
            /// When the first webhook about the job came in.
            first_received_at: ReceivedAt, numbers, min;
            /// When the last webhook about the job came in.
            last_received_at: ReceivedAt, numbers, max;
            /// The oldest [`FOLD_VERSION`](crate::facts::FOLD_VERSION) that had a part in it.
            fold_version: u16, numbers, min;
        }
    };
}

/// Whether the other value stays when both are known. A missing value is "not known yet", so it loses against everything;
/// a missing value is the least one, which a maximum needs no rule for.
macro_rules! gains {
    (nullable, min, $known:expr, $other:expr) => {
        $other.is_some() && ($known.is_none() || $other < $known)
    };
    ($kind:ident, min, $known:expr, $other:expr) => {
        $other < $known
    };
    ($kind:ident, max, $known:expr, $other:expr) => {
        $other > $known
    };
}

macro_rules! define_facts {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $kind:ident, $join:ident;)*) => {
        /// What is known of a job. Every field joins by its own minimum or maximum.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        pub struct Facts<'a> {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Facts<'_> {
            /// Name and join, `min` or `max`, of the column of each field.
            pub const COLUMNS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), stringify!($join))),*];

            /// Learns what `other` knows of the same job.
            pub fn join(&mut self, other: Self) {
                $(if gains!($kind, $join, self.$name, other.$name) {
                    self.$name = other.$name;
                })*
            }

            /// Whether [`Facts::join`] with `other` would change anything.
            pub fn would_learn_from(&self, other: &Self) -> bool {
                $(gains!($kind, $join, self.$name, other.$name))||*
            }
        }
    };
}

fact_columns!(define_facts);

impl<'a> Facts<'a> {
    /// What one delivery of an event says.
    pub fn of(event: &Event<'a>, metadata: &DeliveryMetadata<'_>) -> Self {
        let at = occurred_at(metadata.received_at, metadata.first_known_signed_at(), event.created_at);
        let action = event.event_type.action;
        let only = |wanted: Action| (action == wanted).then_some(());
        let credits = event.credits_charged;
        Self {
            created_at: event.created_at,
            job_type: event.job_type.clone(),
            width: event.width,
            height: event.height,
            media_seconds: event.media_seconds,
            image_count: event.image_count,
            started_at: only(Action::Started).map(|()| at),
            completed_at: only(Action::Completed).map(|()| at),
            errored_at: only(Action::Errored).map(|()| at),
            error: if action == Action::Errored { error_pair(event) } else { Cow::Borrowed("") },
            credits_estimated: only(Action::Started).and(credits),
            credits_completed: only(Action::Completed).and(credits),
            credits_errored: only(Action::Errored).and(credits),
            fps: if action == Action::Started { None } else { event.fps },
            first_received_at: metadata.received_at,
            last_received_at: metadata.received_at,
            fold_version: FOLD_VERSION,
        }
    }

    /// The same facts with texts of their own, which outlive the body they were read from.
    pub fn into_owned(self) -> Facts<'static> {
        Facts { job_type: Cow::Owned(self.job_type.into_owned()), error: Cow::Owned(self.error.into_owned()), ..self }
    }
}

/// A NUL in the code would move the border between code and message.
fn error_pair(event: &Event<'_>) -> Cow<'static, str> {
    let (code, message) = event.error.as_ref().map_or(("", ""), |error| (&*error.code, &*error.message));
    Cow::Owned(format!("{}\0{message}", code.replace('\0', "\u{fffd}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::JobError;
    use crate::ids::{EventType, JobId};
    use crate::signature::HexSignature;
    use crate::time::SignedAt;

    prop_compose! {
        fn event()(
            event_type in prop::sample::select(EventType::all().collect::<Vec<_>>()),
            created_at in 0_i64..3,
            job_type in "[AB]{0,2}",
            numbers in prop::array::uniform5(prop::option::of(-2_i64..3)),
            error in prop::option::of(("[ab\0]{0,2}", "[ab]{0,2}")),
        ) -> Event<'static> {
            let [width, height, image_count, credits_charged, float] = numbers;
            let float = float.map(|number| number as f64 / 2.0);
            Event {
                event_type,
                job_id: JobId::new("j1").unwrap(),
                created_at: CreatedAt(1_729_314_619_027 + created_at),
                job_type: job_type.into(),
                width,
                height,
                fps: float,
                media_seconds: float,
                image_count,
                credits_charged,
                error: error.map(|(code, message)| JobError { code: code.into(), message: message.into() }),
                invalid_fields: 0,
            }
        }
    }

    prop_compose! {
        fn facts()(event in event(), signed in 0_u32..4, first in prop::option::of(0_u32..4), received in 0_i64..4000)
            -> Facts<'static> {
            Facts::of(&event, &DeliveryMetadata {
                source: "magichour",
                received_at: ReceivedAt(1_729_314_619_000 + received),
                signed_at: SignedAt(1_729_314_619 + signed),
                signed_at_text: "",
                signature: HexSignature::parse(&[b'a'; 64]).unwrap(),
                key_name: "default",
                first_signed_at: first.map(|first| SignedAt(1_729_314_619 + first)),
            })
        }
    }

    fn joined(a: &Facts<'static>, b: &Facts<'static>) -> Facts<'static> {
        let mut a = a.clone();
        a.join(b.clone());
        a
    }

    proptest! {
        #[test]
        fn join_is_commutative(a in facts(), b in facts()) {
            prop_assert_eq!(joined(&a, &b), joined(&b, &a));
        }

        #[test]
        fn join_is_associative(a in facts(), b in facts(), c in facts()) {
            prop_assert_eq!(joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        }

        #[test]
        fn join_is_idempotent(a in facts(), b in facts()) {
            prop_assert_eq!(joined(&a, &a), a.clone());
            let both = joined(&a, &b);
            prop_assert_eq!(a.would_learn_from(&b), both != a);
            prop_assert_eq!(joined(&both, &b), both);
        }

        #[test]
        fn any_order_and_repetition_gives_the_same(
            (events, order) in prop::collection::vec(facts(), 1..8).prop_flat_map(|events| {
                let repeated: Vec<_> = (0..events.len() * 3).map(|index| index % events.len()).collect();
                (Just(events), Just(repeated).prop_shuffle())
            }),
        ) {
            let fold = |indices: &mut dyn Iterator<Item = usize>| {
                indices.map(|index| events[index].clone()).reduce(|a, b| joined(&a, &b)).unwrap()
            };
            prop_assert_eq!(fold(&mut order.into_iter()), fold(&mut (0..events.len())));
        }
    }

    #[test]
    fn the_laws_do_not_hold_for_last_writer_wins() {
        let last_wins = |_: i32, new: i32| new;
        assert_ne!(last_wins(1, 2), last_wins(2, 1), "the property tests can fail");
    }

    #[test]
    fn the_table_joins_each_column_as_the_fold_does() {
        let table = include_str!("../tables/1_jobs.sql");
        let joined = table.lines().filter_map(|line| {
            let (name, rest) = line.trim().split_once(" SimpleAggregateFunction(")?;
            Some((name, rest.split_once(',')?.0))
        });
        // It says who inserted a row, not what became of the job.
        let joined = joined.filter(|(name, _)| *name != "counted_ends");
        assert_eq!(joined.collect::<Vec<_>>(), Facts::COLUMNS);
    }

    #[test]
    fn code_and_message_stay_a_pair() {
        let error = |code: &'static str, message: &'static str| JobError { code: code.into(), message: message.into() };
        let pair = |error| {
            let event = crate::envelope::decode(
                br#"{"type":"video.errored","payload":{"id":"j1","created_at":"2024-10-19T05:10:19Z"}}"#,
            );
            error_pair(&Event { error, ..event.unwrap() })
        };
        assert_eq!(pair(Some(error("a\0b", "c"))), "a\u{fffd}b\0c");
        assert_eq!(pair(None), "\0", "an error was seen, though nothing is known of it");
    }
}
