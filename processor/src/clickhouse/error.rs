//! What an error of ClickHouse means, and what is done about it: [`Cause::remedy`] is the only place that decides.

use clickhouse::error::Error;

use crate::clickhouse::code;

/// Why a statement failed. Numbers are ClickHouse's codes of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// There was no answer: the connection was refused or cut, or a gateway answered instead.
    Network,
    Timeout,
    /// The server has too much to do, or is not ready.
    Busy(u32),
    Memory,
    /// Tables, rights or settings are not what they should be.
    Configuration(u32),
    /// Client and server do not agree on the columns: their versions do not go together.
    SchemaMismatch,
    /// The server read the block and refuses it.
    Refused(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Insert { rows: usize },
    Refresh { hours: usize },
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same again, without limit: the server recovers, or an operator puts it right.
    Retry,
    Halve,
    /// The only row of the block is refused for its content; its record becomes a dead letter.
    Reject {
        code: u32,
    },
    /// Report the error: trying again changes nothing, and nothing is lost without the answer.
    Fail,
}

impl Cause {
    /// Every one, as metrics call it.
    pub const NAMES: [&'static str; 7] =
        ["network", "timeout", "busy", "memory", "configuration", "schema_mismatch", "refused"];

    pub const fn remedy(self, operation: Operation) -> Remedy {
        match (operation, self) {
            (Operation::Insert { rows: 2.. }, Self::Memory | Self::Refused(_))
            | (Operation::Refresh { hours: 2.. }, Self::Memory | Self::Timeout) => Remedy::Halve,
            (Operation::Insert { .. }, Self::Refused(code)) => Remedy::Reject { code },
            // No record causes a wrong configuration, so none becomes a dead letter: only an operator can put it right.
            (_, Self::Network | Self::Timeout | Self::Busy(_))
            | (
                Operation::Insert { .. } | Operation::Refresh { .. },
                Self::Memory | Self::Configuration(_) | Self::SchemaMismatch,
            )
            | (Operation::Refresh { .. }, Self::Refused(_)) => Remedy::Retry,
            (Operation::Read, Self::Memory | Self::Configuration(_) | Self::SchemaMismatch | Self::Refused(_)) => {
                Remedy::Fail
            }
        }
    }

    pub fn as_str(self) -> &'static str {
        self.into()
    }

    // Each line is one group of codes; formatted, it would be one line for each code.
    #[rustfmt::skip]
    const fn of_code(code: u32) -> Self {
        match code {
            code::TOO_MANY_PARTS | code::TOO_MANY_SIMULTANEOUS_QUERIES | code::RECEIVED_ERROR_TOO_MANY_REQUESTS
            | code::QUOTA_EXCEEDED | code::SERVER_OVERLOADED | code::CANNOT_SCHEDULE_TASK | code::NOT_ENOUGH_SPACE
            | code::QUERY_WAS_CANCELLED | code::ABORTED | code::TABLE_IS_READ_ONLY | code::ALL_CONNECTION_TRIES_FAILED
            | code::KEEPER_EXCEPTION | code::NO_ZOOKEEPER | code::TOO_FEW_LIVE_REPLICAS
            | code::UNKNOWN_STATUS_OF_INSERT | code::UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE => Self::Busy(code),
            code::TIMEOUT_EXCEEDED | code::SOCKET_TIMEOUT | code::DEADLOCK_AVOIDED => Self::Timeout,
            // The block did not arrive as it was sent, so its records do not cause these.
            code::NETWORK_ERROR | code::ATTEMPT_TO_READ_AFTER_EOF | code::CANNOT_READ_ALL_DATA
            | code::CHECKSUM_DOESNT_MATCH => Self::Network,
            code::MEMORY_LIMIT_EXCEEDED => Self::Memory,
            code::UNKNOWN_DATABASE | code::UNKNOWN_TABLE | code::TABLE_IS_DROPPED | code::NO_SUCH_COLUMN_IN_TABLE
            | code::NOT_FOUND_COLUMN_IN_BLOCK | code::THERE_IS_NO_COLUMN | code::UNKNOWN_IDENTIFIER
            | code::UNKNOWN_SETTING | code::READONLY | code::ACCESS_DENIED | code::UNKNOWN_USER | code::WRONG_PASSWORD
            | code::REQUIRED_PASSWORD | code::AUTHENTICATION_FAILED => Self::Configuration(code),
            other => Self::Refused(other),
        }
    }
}

impl From<&Error> for Cause {
    fn from(error: &Error) -> Self {
        if let Error::TimedOut = error {
            return Self::Timeout;
        }
        if let Error::SchemaMismatch(_) | Error::InvalidColumnsHeader(_) | Error::InvalidParams(_) | Error::Custom(_) =
            error
        {
            return Self::SchemaMismatch;
        }
        // The crate's enum is non-exhaustive; its other errors arise between the client and the network.
        let code = if let Error::BadResponse(text) = error { exception_code(text) } else { None };
        code.map_or(Self::Network, Self::of_code)
    }
}

/// Says for [`crate::retry::until_cancelled`] whether a query is run again, and logs that it is.
pub fn retries_read(error: &Error) -> bool {
    let retries = Cause::from(error).remedy(Operation::Read) == Remedy::Retry;
    if retries {
        tracing::warn!(%error, "a query of ClickHouse failed, trying again");
    }
    retries
}

/// Reads the number in `Code: 241. DB::Exception: …`.
fn exception_code(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("Code: ")?;
    let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_the_answer() {
        let answer = |text: &str| Cause::from(&Error::BadResponse(text.into()));
        assert_eq!(answer("Code: 241. DB::Exception: (total) memory limit exceeded"), Cause::Memory);
        assert_eq!(answer("Code: 252. DB::Exception: Too many parts"), Cause::Busy(252));
        assert_eq!(answer("Code: 60. DB::Exception: Table x does not exist"), Cause::Configuration(60));
        assert_eq!(answer("Code: 469. DB::Exception: Constraint"), Cause::Refused(469));
        assert_eq!(answer("502 Bad Gateway"), Cause::Network);
        assert_eq!(Cause::from(&Error::SchemaMismatch("a column".into())), Cause::SchemaMismatch);
    }

    #[test]
    fn every_cause_is_among_the_names() {
        use Cause::{Busy, Configuration, Memory, Network, Refused, SchemaMismatch, Timeout};
        let causes = [Network, Timeout, Busy(0), Memory, Configuration(0), SchemaMismatch, Refused(0)];
        assert_eq!(causes.map(Cause::as_str), Cause::NAMES);
    }

    #[test]
    fn only_a_record_whose_block_was_read_is_rejected() {
        for code in 0..2_000 {
            let cause = Cause::of_code(code);
            let remedy = cause.remedy(Operation::Insert { rows: 1 });
            assert_eq!(remedy == Remedy::Reject { code }, matches!(cause, Cause::Refused(_)), "{code}");
            assert_ne!(cause.remedy(Operation::Refresh { hours: 1 }), Remedy::Reject { code }, "{code}");
            assert_ne!(cause.remedy(Operation::Read), Remedy::Reject { code }, "{code}");
        }
    }

    #[test]
    fn the_operation_and_its_size_decide() {
        let insert = |cause: Cause| [1, 2].map(|rows| cause.remedy(Operation::Insert { rows }));
        assert_eq!(insert(Cause::Memory), [Remedy::Retry, Remedy::Halve]);
        assert_eq!(insert(Cause::Refused(469)), [Remedy::Reject { code: 469 }, Remedy::Halve]);
        assert_eq!(insert(Cause::Timeout), [Remedy::Retry; 2]);
        assert_eq!(insert(Cause::Configuration(60)), [Remedy::Retry; 2], "no record causes it");
        assert_eq!(insert(Cause::SchemaMismatch), [Remedy::Retry; 2]);
        let refresh = |cause: Cause| [1, 2].map(|hours| cause.remedy(Operation::Refresh { hours }));
        assert_eq!(refresh(Cause::Timeout), [Remedy::Retry, Remedy::Halve]);
        assert_eq!(refresh(Cause::Refused(469)), [Remedy::Retry; 2]);
        assert_eq!(Cause::Network.remedy(Operation::Read), Remedy::Retry);
        assert_eq!(Cause::Memory.remedy(Operation::Read), Remedy::Fail);
    }
}
