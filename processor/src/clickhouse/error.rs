//! What a refusal of ClickHouse means. Decided here and nowhere else.

use clickhouse::error::Error;

/// Why an insert did not go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No answer: connection refused, cut, or a gateway's error page.
    Network,
    /// No answer in time.
    Timeout,
    /// The server is there and has too much to do, or is not ready: its code.
    Busy(u32),
    /// The query needs more memory than there is.
    Memory,
    /// Tables, rights or settings are not what they should be: its code.
    Configuration(u32),
    /// Client and server do not mean the same columns: versions that do not go together.
    SchemaMismatch,
    /// The server read the block and refuses it: its code.
    Refused(u32),
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Wait and send the same again, without limit.
    Retry,
    /// Send halves; a single row waits.
    Halve,
    /// Wait for an operator, asking again now and then: no record is to blame.
    Wait,
    /// Send halves; a single row is guilty and becomes a dead letter.
    Bisect,
}

impl Cause {
    /// Every one, as metrics call it.
    pub const NAMES: [&'static str; 7] =
        ["network", "timeout", "busy", "memory", "setup", "schema_mismatch", "refused"];

    /// The one place that decides.
    pub const fn remedy(self) -> Remedy {
        match self {
            Self::Network | Self::Timeout | Self::Busy(_) => Remedy::Retry,
            Self::Memory => Remedy::Halve,
            Self::Configuration(_) | Self::SchemaMismatch => Remedy::Wait,
            Self::Refused(_) => Remedy::Bisect,
        }
    }

    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Timeout => "timeout",
            Self::Busy(_) => "busy",
            Self::Memory => "memory",
            Self::Configuration(_) => "setup",
            Self::SchemaMismatch => "schema_mismatch",
            Self::Refused(_) => "refused",
        }
    }

    /// ClickHouse's number of the exception, where it gave one.
    pub const fn code(self) -> Option<u32> {
        match self {
            Self::Network | Self::Timeout | Self::SchemaMismatch => None,
            Self::Memory => Some(241),
            Self::Busy(code) | Self::Configuration(code) | Self::Refused(code) => Some(code),
        }
    }

    /// The cause behind the exception's number.
    pub const fn of_code(code: u32) -> Self {
        match code {
            // TOO_MANY_PARTS, TOO_MANY_SIMULTANEOUS_QUERIES, RECEIVED_ERROR_TOO_MANY_REQUESTS,
            // QUERY_WAS_CANCELLED, ABORTED, TABLE_IS_READ_ONLY, KEEPER_EXCEPTION, NO_ZOOKEEPER,
            // NOT_ENOUGH_SPACE, CANNOT_SCHEDULE_TASK, UNKNOWN_STATUS_OF_INSERT, TOO_FEW_LIVE_REPLICAS,
            // UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE, ALL_CONNECTION_TRIES_FAILED, SERVER_OVERLOADED, quotas.
            252 | 202 | 364 | 394 | 236 | 242 | 999 | 225 | 243 | 439 | 319 | 285 | 286 | 279 | 745 | 201 => {
                Self::Busy(code)
            }
            // TIMEOUT_EXCEEDED, SOCKET_TIMEOUT, DEADLOCK_AVOIDED.
            159 | 209 | 473 => Self::Timeout,
            // NETWORK_ERROR, ATTEMPT_TO_READ_AFTER_EOF, CANNOT_READ_ALL_DATA, CHECKSUM_DOESNT_MATCH: the bytes did not arrive.
            210 | 32 | 33 | 40 => Self::Network,
            241 => Self::Memory,
            // NO_SUCH_COLUMN_IN_TABLE, UNKNOWN_IDENTIFIER, UNKNOWN_TABLE, UNKNOWN_DATABASE, UNKNOWN_SETTING, READONLY,
            // UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, ACCESS_DENIED, AUTHENTICATION_FAILED,
            // TABLE_IS_DROPPED, NOT_FOUND_COLUMN_IN_BLOCK, THERE_IS_NO_COLUMN.
            16 | 47 | 60 | 81 | 115 | 164 | 192 | 193 | 194 | 497 | 516 | 218 | 10 | 8 => Self::Configuration(code),
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
        // The crate's list is open-ended: all the rest is between the client and the wire.
        let code = if let Error::BadResponse(text) = error { exception_code(text) } else { None };
        code.map_or(Self::Network, Self::of_code)
    }
}

/// `Code: 241. DB::Exception: …`.
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
        assert_eq!(Cause::from(&Error::SchemaMismatch("a column".into())).remedy(), Remedy::Wait);
    }

    #[test]
    fn every_cause_is_among_the_names() {
        use Cause::{Busy, Configuration, Memory, Network, Refused, SchemaMismatch, Timeout};
        let causes = [Network, Timeout, Busy(0), Memory, Configuration(0), SchemaMismatch, Refused(0)];
        assert_eq!(causes.map(Cause::as_str), Cause::NAMES);
    }

    #[test]
    fn only_a_block_that_was_read_makes_its_records_guilty() {
        for code in 0..2_000 {
            let cause = Cause::of_code(code);
            assert_eq!(cause.remedy() == Remedy::Bisect, matches!(cause, Cause::Refused(_)), "{code}");
        }
        assert_eq!(Cause::Memory.remedy(), Remedy::Halve);
        assert_eq!(Cause::Configuration(60).remedy(), Remedy::Wait);
        assert_eq!(Cause::Network.remedy(), Remedy::Retry);
    }
}
