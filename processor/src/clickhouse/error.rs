//! What an error of ClickHouse means, and what is done about it: [`Cause::remedy`] is the only place that decides.

use clickhouse::error::Error;
use hookline_service::clickhouse::exception_code;

use crate::clickhouse::{code, gateway};

/// An insert that is refused this often in a row by the network or a gateway is sent in halves: what lies between may not let
/// a block of this size through, or not within its time.
const HALVE_AFTER: u32 = 4;

/// Why a statement failed. Numbers are ClickHouse's codes of exceptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Cause {
    /// There was no answer: the connection was refused or cut, or a gateway answered instead.
    Network,
    Timeout,
    /// A gateway takes no request of this size.
    TooLarge,
    /// The server has too much to do, or is not ready.
    Busy(u32),
    Memory,
    /// Tables, rights or settings are not what they should be.
    Configuration(u32),
    /// Client and server do not agree on the columns: their versions do not go together.
    SchemaMismatch,
    /// The server failed for a reason that no record is known to cause, such as its files.
    Server(u32),
    /// The server read the block and refuses it with a code that a record can cause.
    Refused(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `attempts` counts how often the same block was sent, this time included.
    Insert {
        rows: usize,
        attempts: u32,
    },
    Refresh {
        hours: usize,
    },
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Try the same again, without limit: the server recovers, or an operator puts it right.
    Retry,
    Halve,
    /// The only row of the block is refused with a code that its content can cause. A witness says whether it is the row.
    Suspect {
        code: u32,
    },
    /// Report the error: trying again changes nothing, and nothing is lost without the answer.
    Fail,
}

impl Cause {
    /// Every one, as metrics call it.
    pub const NAMES: [&'static str; 9] =
        ["network", "timeout", "too_large", "busy", "memory", "configuration", "schema_mismatch", "server", "refused"];

    pub const fn remedy(self, operation: Operation) -> Remedy {
        match (operation, self) {
            (Operation::Insert { rows: 2.., .. }, Self::Memory | Self::TooLarge | Self::Refused(_))
            | (Operation::Insert { rows: 2.., attempts: HALVE_AFTER.. }, Self::Network | Self::Timeout)
            | (Operation::Refresh { hours: 2.. }, Self::Memory | Self::Timeout) => Remedy::Halve,
            (Operation::Insert { .. }, Self::Refused(code)) => Remedy::Suspect { code },
            // No record causes any of these, so none becomes a dead letter: the server recovers or an operator puts it right.
            (_, Self::Network | Self::Timeout | Self::Busy(_))
            | (
                Operation::Insert { .. } | Operation::Refresh { .. },
                Self::Memory | Self::TooLarge | Self::Configuration(_) | Self::SchemaMismatch | Self::Server(_),
            )
            | (Operation::Refresh { .. }, Self::Refused(_)) => Remedy::Retry,
            (
                Operation::Read,
                Self::Memory
                | Self::TooLarge
                | Self::Configuration(_)
                | Self::SchemaMismatch
                | Self::Server(_)
                | Self::Refused(_),
            ) => Remedy::Fail,
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
            // INCORRECT_DATA says that a column that is written is no longer there, and the next three that it is another one.
            code::UNKNOWN_DATABASE | code::UNKNOWN_TABLE | code::TABLE_IS_DROPPED | code::NO_SUCH_COLUMN_IN_TABLE
            | code::NOT_FOUND_COLUMN_IN_BLOCK | code::THERE_IS_NO_COLUMN | code::UNKNOWN_IDENTIFIER
            | code::INCORRECT_DATA | code::TYPE_MISMATCH | code::CANNOT_CONVERT_TYPE | code::NUMBER_OF_COLUMNS_DOESNT_MATCH
            | code::UNKNOWN_SETTING | code::READONLY | code::ACCESS_DENIED | code::UNKNOWN_USER | code::WRONG_PASSWORD
            | code::REQUIRED_PASSWORD | code::AUTHENTICATION_FAILED => Self::Configuration(code),
            // What a record can cause where the columns are right: constraints, and what a materialised view makes of a row.
            code::VIOLATED_CONSTRAINT | code::FUNCTION_THROW_IF_VALUE_IS_NON_ZERO | code::CANNOT_PARSE_TEXT
            | code::CANNOT_PARSE_ESCAPE_SEQUENCE | code::CANNOT_PARSE_QUOTED_STRING | code::CANNOT_PARSE_INPUT_ASSERTION_FAILED
            | code::CANNOT_PARSE_DATE | code::CANNOT_PARSE_DATETIME | code::CANNOT_PARSE_NUMBER | code::CANNOT_PARSE_UUID
            | code::CANNOT_PARSE_BOOL | code::CANNOT_PARSE_IPV4 | code::CANNOT_PARSE_IPV6 | code::ARGUMENT_OUT_OF_BOUND
            | code::TOO_LARGE_ARRAY_SIZE | code::TOO_LARGE_STRING_SIZE | code::ILLEGAL_DIVISION
            | code::VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE | code::DECIMAL_OVERFLOW => Self::Refused(code),
            unlisted => Self::Server(unlisted),
        }
    }

    /// Reads an answer that is no success: ClickHouse's own begins with the code, any other is a gateway's.
    fn of_answer(text: &str) -> Self {
        match (exception_code(text), gateway::status(text)) {
            (Some(code), _) => Self::of_code(code),
            (None, Some(413)) => Self::TooLarge,
            (None, Some(408 | 504)) => Self::Timeout,
            (None, _) => Self::Network,
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
        if let Error::BadResponse(text) = error { Self::of_answer(text) } else { Self::Network }
    }
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
        assert_eq!(answer("Code: 469"), Cause::Refused(469), "the crate makes it of a header");
        assert_eq!(answer("Poco::Exception. Code: 1000, e.code() = 28, No space left on device"), Cause::Server(1000));
        assert_eq!(answer("std::exception. Code: 1001, type: std::bad_alloc"), Cause::Server(1001));
        assert_eq!(Cause::from(&Error::SchemaMismatch("a column".into())), Cause::SchemaMismatch);
    }

    #[test]
    fn a_number_elsewhere_is_no_code() {
        let answer = |text: &str| Cause::from(&Error::BadResponse(text.into()));
        assert_eq!(answer("<html><body>Error Code: 469. Bad Gateway</body></html>"), Cause::Network);
        assert_eq!(answer("Code: 469 of your gateway"), Cause::Network);
        assert_eq!(answer("the server said: Code: 469. DB::Exception: Constraint"), Cause::Network);
        assert_eq!(answer("502 Bad Gateway"), Cause::Network);
        assert_eq!(answer("<head><title>413 Request Entity Too Large</title></head>"), Cause::TooLarge);
        assert_eq!(answer("<html><body><h1>504 Gateway Time-out</h1>"), Cause::Timeout);
    }

    #[test]
    fn every_cause_is_among_the_names() {
        use Cause::{Busy, Configuration, Memory, Network, Refused, SchemaMismatch, Server, Timeout, TooLarge};
        let causes =
            [Network, Timeout, TooLarge, Busy(0), Memory, Configuration(0), SchemaMismatch, Server(0), Refused(0)];
        assert_eq!(causes.map(Cause::as_str), Cause::NAMES);
    }

    #[test]
    fn only_listed_codes_make_a_row_suspect() {
        let suspect: Vec<u32> = (0..2_000)
            .filter(|code| {
                let cause = Cause::of_code(*code);
                assert_eq!(cause.remedy(Operation::Refresh { hours: 1 }), Remedy::Retry, "{code}");
                assert!(matches!(cause.remedy(Operation::Read), Remedy::Retry | Remedy::Fail), "{code}");
                cause.remedy(Operation::Insert { rows: 1, attempts: 99 }) == Remedy::Suspect { code: *code }
            })
            .collect();
        let listed = [6, 25, 26, 27, 38, 41, 69, 72, 128, 131, 153, 321, 376, 395, 407, 467, 469, 675, 676];
        assert_eq!(suspect, listed);
        // Files, object storage, memory, quotas, constraints of settings, columns, and what is unknown.
        for code in
            [20, 49, 53, 70, 74, 75, 76, 117, 173, 198, 203, 241, 243, 425, 452, 499, 722, 1000, 1001, 1002, 9_999]
        {
            assert_eq!(
                Cause::of_code(code).remedy(Operation::Insert { rows: 1, attempts: 99 }),
                Remedy::Retry,
                "{code}"
            );
        }
    }

    #[test]
    fn the_operation_and_its_size_decide() {
        let insert = |cause: Cause| [1, 2].map(|rows| cause.remedy(Operation::Insert { rows, attempts: 1 }));
        assert_eq!(insert(Cause::Memory), [Remedy::Retry, Remedy::Halve]);
        assert_eq!(insert(Cause::TooLarge), [Remedy::Retry, Remedy::Halve]);
        assert_eq!(insert(Cause::Refused(469)), [Remedy::Suspect { code: 469 }, Remedy::Halve]);
        assert_eq!(insert(Cause::Timeout), [Remedy::Retry; 2]);
        assert_eq!(insert(Cause::Configuration(60)), [Remedy::Retry; 2], "no record causes it");
        assert_eq!(insert(Cause::Server(76)), [Remedy::Retry; 2], "no record is known to cause it");
        assert_eq!(insert(Cause::SchemaMismatch), [Remedy::Retry; 2]);
        let often = |rows| Cause::Network.remedy(Operation::Insert { rows, attempts: HALVE_AFTER });
        assert_eq!([1, 2].map(often), [Remedy::Retry, Remedy::Halve]);
        let refresh = |cause: Cause| [1, 2].map(|hours| cause.remedy(Operation::Refresh { hours }));
        assert_eq!(refresh(Cause::Timeout), [Remedy::Retry, Remedy::Halve]);
        assert_eq!(refresh(Cause::Refused(469)), [Remedy::Retry; 2]);
        assert_eq!(Cause::Network.remedy(Operation::Read), Remedy::Retry);
        assert_eq!(Cause::Memory.remedy(Operation::Read), Remedy::Fail);
    }
}
