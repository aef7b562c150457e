//! What librdkafka reports beside the results of calls: the lines of its log, and errors of its connections. Every client
//! has a [`KafkaContext`], or embeds one and delegates to it: rdkafka's own contexts drop all of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};

use super::errors;

/// A line of a kind is logged once within this time, with the number of those that were left out since. librdkafka itself
/// repeats an identical error every 30 s.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// An error that is older is no longer given as the cause of another.
const CAUSE_WINDOW: Duration = Duration::from_secs(60);
/// How long a client that nothing else polls is served after each question.
const SERVE: Duration = Duration::from_millis(2);

/// Logs what librdkafka reports about one client, and keeps what explains its trouble. Clones belong to the same client.
#[derive(Clone, Debug)]
pub struct KafkaContext(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    client: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    thinning: Thinning,
    cause: Option<Cause>,
    /// How often librdkafka has reported something.
    reports: u64,
}

/// Why brokers cannot be used, from what explains least to what explains most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Other,
    Unreachable,
    UnknownHost,
    Certificate,
    Authentication,
    Authorization,
    Fenced,
}

#[derive(Clone, Debug)]
struct Cause {
    trouble: Trouble,
    at: Instant,
    reason: String,
}

/// Lines of one kind replace each other in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Trouble(Trouble),
    /// librdkafka's facility, such as `OFFSET`, or the code of an error.
    Facility(String),
}

impl Kind {
    fn of(trouble: Trouble, facility: &str) -> Self {
        if trouble == Trouble::Other { Self::Facility(facility.to_owned()) } else { Self::Trouble(trouble) }
    }
}

/// Decides which lines are logged.
#[derive(Debug, Default)]
struct Thinning(BTreeMap<Kind, (Instant, u64)>);

impl Thinning {
    /// Returns how many lines of this kind were left out before this one, or `None` where this one is left out, too.
    fn admit(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        let is_new = !self.0.contains_key(&kind);
        let (last, left_out) = self.0.entry(kind).or_insert((now, 0));
        if is_new || now.saturating_duration_since(*last) >= LOG_INTERVAL {
            *last = now;
            return Some(std::mem::take(left_out));
        }
        *left_out += 1;
        None
    }
}

impl Trouble {
    pub const ALL: [Self; 7] = [
        Self::Other,
        Self::Unreachable,
        Self::UnknownHost,
        Self::Certificate,
        Self::Authentication,
        Self::Authorization,
        Self::Fenced,
    ];

    /// The label `kind` in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Unreachable => "unreachable",
            Self::UnknownHost => "unknown_host",
            Self::Certificate => "certificate",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Fenced => "fenced",
        }
    }

    /// Reads the reason, because the lines of the log have no code.
    fn of_text(text: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if has(&["fenced", "Fenced", "FENCED"]) {
            Self::Fenced
        } else if has(&["uthorization failed", "not authorized"]) {
            Self::Authorization
        } else if has(&["uthentication", "SASL mechanism"]) {
            Self::Authentication
        } else if has(&["certificate", "SSL handshake", "ssl."]) {
            Self::Certificate
        } else if has(&["Failed to resolve"]) {
            Self::UnknownHost
        } else if has(&["Connect to", "Connection ", "Disconnected", "disconnected", "timed out", "transport failure"])
        {
            Self::Unreachable
        } else {
            Self::Other
        }
    }

    fn of_error(code: Option<RDKafkaErrorCode>, reason: &str) -> Self {
        use RDKafkaErrorCode as Code;
        match (code, Self::of_text(reason)) {
            (Some(Code::FencedInstanceId | Code::Fenced), _) => Self::Fenced,
            (Some(Code::Authentication | Code::SaslAuthenticationFailed), _) => Self::Authentication,
            (Some(Code::SSL), _) => Self::Certificate,
            (Some(Code::Resolve), _) => Self::UnknownHost,
            (Some(Code::BrokerTransportFailure), Self::Other) => Self::Unreachable,
            (_, of_text) => of_text,
        }
    }
}

impl KafkaContext {
    /// `client` names the client in the log, such as `consumer`.
    pub fn new(client: &'static str) -> Self {
        Self(Arc::new(Shared { client, state: Mutex::default() }))
    }

    /// The error of the last minute that explains most: a refused login, a bad certificate, an unknown host.
    pub fn cause(&self) -> Option<String> {
        let state = self.state();
        state.cause.as_ref().filter(|cause| cause.at.elapsed() < CAUSE_WINDOW).map(|cause| cause.reason.clone())
    }

    /// Says what an error of this client means, with its cause where that is known.
    pub fn explain(&self, error: &KafkaError) -> String {
        let code = error.rdkafka_error_code();
        let what = code.map_or_else(|| error.to_string(), |code| code.to_string());
        if !code.is_some_and(is_unanswered) {
            return what;
        }
        match self.cause() {
            Some(cause) => format!("no broker answers ({what}): {cause}"),
            None => format!("no broker answers ({what})"),
        }
    }

    fn keep_cause(&self, trouble: Trouble, reason: &str, now: Instant) {
        // What follows differs from one attempt to the next, and would make a new reason of the same.
        let (reason, _) = reason.split_once(" (after ").unwrap_or((reason, ""));
        let mut state = self.state();
        let tells_less = state
            .cause
            .as_ref()
            .is_some_and(|cause| cause.trouble > trouble && now.saturating_duration_since(cause.at) < CAUSE_WINDOW);
        if !tells_less {
            state.cause = Some(Cause { trouble, at: now, reason: reason.to_owned() });
        }
    }

    fn log_thinned(&self, level: RDKafkaLogLevel, kind: Kind, facility: &str, message: &str) {
        let Some(left_out) = self.state().thinning.admit(kind, Instant::now()) else { return };
        let (client, left_out) = (self.0.client, (left_out > 0).then_some(left_out));
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "rdkafka", client, facility, left_out, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "rdkafka", client, facility, left_out, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "rdkafka", client, facility, left_out, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "rdkafka", client, facility, left_out, "librdkafka: {message}");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.state().reports += 1;
        let kind = Kind::of(Trouble::of_text(message), facility);
        self.log_thinned(level, kind, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.state().reports += 1;
        let code = error.rdkafka_error_code();
        // The end of a partition is no error, and that all brokers are down follows the errors that say why.
        if matches!(code, Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown)) {
            return;
        }
        let trouble = Trouble::of_error(code, reason);
        errors::count(self.0.client, trouble);
        self.keep_cause(trouble, reason, Instant::now());
        let name = code.map_or_else(|| error.to_string(), |code| format!("{code:?}"));
        let kind = Kind::of(trouble, &name);
        self.log_thinned(RDKafkaLogLevel::Error, kind, &name, reason);
    }
}

impl ConsumerContext for KafkaContext {}

/// Whether the code says only that there was no answer, and not why.
fn is_unanswered(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::TimedOutQueue
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::WaitingForCoordinator
    )
}

/// The brokers did not answer a question, and as far as librdkafka knows, why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// Asks the brokers by a consumer that nothing else polls and that has no assignment: serves what librdkafka reported
/// meanwhile, and adds the cause to an error.
pub fn ask<T>(
    consumer: &BaseConsumer<KafkaContext>,
    question: impl FnOnce(&BaseConsumer<KafkaContext>) -> KafkaResult<T>,
) -> Result<T, NoAnswer> {
    let answer = question(consumer);
    // A poll that served a report late returns as one that found none: only one that nothing was reported in has served all.
    let context = consumer.context();
    loop {
        let reports = context.state().reports;
        if consumer.poll(SERVE).is_none() && context.state().reports == reports {
            break;
        }
    }
    answer.map_err(|error| NoAnswer(context.explain(&error)))
}

/// Asks for the id of the cluster.
pub fn ask_cluster_id(consumer: &BaseConsumer<KafkaContext>, timeout: Duration) -> Result<String, NoAnswer> {
    let unanswered = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
    ask(consumer, |consumer| consumer.client().fetch_cluster_id(timeout).ok_or(unanswered))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::KafkaConfig;

    const REFUSED: &str =
        "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)";
    const LOGIN: &str = "sasl_ssl://h:1/bootstrap: SASL authentication error: Authentication failed: Invalid username or password (after 5ms in state AUTH_REQ)";

    fn report(context: &KafkaContext, code: RDKafkaErrorCode, reason: &str) {
        context.error(KafkaError::Global(code), reason);
    }

    #[test]
    fn an_outage_is_a_line_a_minute_and_counts_the_others() {
        let (mut thinning, began) = (Thinning::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let unreachable = || Kind::Trouble(Trouble::Unreachable);
        let lines: Vec<_> = (0..390).filter_map(|second| thinning.admit(unreachable(), at(second))).collect();
        assert_eq!(lines, [0, 59, 59, 59, 59, 59, 59], "a line for each minute that began");
        assert_eq!(thinning.admit(Kind::Trouble(Trouble::Authentication), at(1)), Some(0), "another kind has its own");
        assert_eq!(thinning.admit(Kind::Facility("OFFSET".into()), at(1)), Some(0));
    }

    #[test]
    fn a_line_and_the_error_that_says_the_same_are_one_kind() {
        for reason in [REFUSED, LOGIN, "h:1/bootstrap: Failed to resolve 'h:1': Name or service not known"] {
            let code = RDKafkaErrorCode::BrokerTransportFailure;
            assert_eq!(Trouble::of_text(&format!("[thrd:h:1]: {reason}")), Trouble::of_error(Some(code), reason));
        }
        assert_eq!(Trouble::of_text("video [0]: offset reset (at offset 100)"), Trouble::Other);
    }

    #[test]
    fn what_explains_most_is_kept_and_does_not_change_with_each_attempt() {
        let context = KafkaContext::new("test");
        assert_eq!(context.cause(), None);
        report(&context, RDKafkaErrorCode::BrokerTransportFailure, REFUSED);
        let refused = "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused";
        assert_eq!(context.cause().as_deref(), Some(refused));
        report(&context, RDKafkaErrorCode::Authentication, LOGIN);
        report(&context, RDKafkaErrorCode::BrokerTransportFailure, REFUSED);
        report(&context, RDKafkaErrorCode::AllBrokersDown, "1/1 brokers are down");
        let cause = context.cause().unwrap();
        assert!(cause.ends_with("Authentication failed: Invalid username or password"), "{cause}");

        let unanswered = context.explain(&KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        assert!(unanswered.starts_with("no broker answers (") && unanswered.ends_with(&cause), "{unanswered}");
        let answered = context.explain(&KafkaError::MetadataFetch(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(!answered.contains("no broker") && !answered.contains("password"), "{answered}");
    }

    /// What a client of these brokers says when it is asked for metadata.
    fn complaint(config: &KafkaConfig) -> String {
        let client = config.client().unwrap();
        let consumer: BaseConsumer<_> = client.create_with_context(KafkaContext::new("test")).unwrap();
        ask(&consumer, |consumer| consumer.fetch_metadata(None, Duration::from_secs(2))).unwrap_err().to_string()
    }

    #[test]
    fn a_closed_port_and_an_unknown_host_are_named() {
        let brokers = |servers: &str| KafkaConfig { bootstrap_servers: servers.into(), ..KafkaConfig::default() };
        let closed = complaint(&brokers("127.0.0.1:1"));
        assert!(closed.contains("127.0.0.1:1") && closed.contains("Connection refused"), "{closed}");
        let unknown = complaint(&brokers("no-such-host.invalid:9092"));
        assert!(unknown.contains("Failed to resolve 'no-such-host.invalid:9092'"), "{unknown}");
    }
}
