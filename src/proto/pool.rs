//! The same conversation seen from the other end: our handshake with a pool, and what it says.
//!
//! ```text
//!   subscribing ──result──▶ authorizing ──true──▶ ready
//!        │  └─error─▶ refused    └──error or false──▶ refused
//!        └─where both are one: result──▶ ready
//! ```
//!
//! Replies are matched by our request id and by nothing else: 1 and 2 are the handshake, 3 is
//! `mining.extranonce.subscribe`, whose answer nobody needs, 4 is `mining.configure` in dialects that have
//! it, whose answer nobody waits for, and shares count up from 16.

use std::borrow::Cow;

use crate::proto::dialect::{Dialect, PoolFault, PoolMessage, Subscribe, Subscription};
use crate::wire::json::{Kind, Message, Raw};

/// The request id of the first share on a link.
pub const SHARE_ID_FIRST: u64 = 16;

const SUBSCRIBE_ID: u64 = 1;
const AUTHORIZE_ID: u64 = 2;
const EXTRANONCE_SUBSCRIBE_ID: u64 = 3;
const CONFIGURE_ID: u64 = 4;
const KEEPALIVE_ID: u64 = 5;

/// The longest text of a pool's error that is passed on, in bytes.
const ERROR_TEXT_LEN_MAX: usize = 256;

/// How far the handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolState {
    /// Our subscribe is on its way.
    Subscribing,
    /// Our authorize is on its way.
    Authorizing,
    /// Shares may be sent.
    Ready,
}

/// What the session needs to know of the pool that it talks to.
#[derive(Clone, Copy)]
pub struct PoolLogin<'a> {
    /// The worker that is paid.
    pub worker: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Whether to ask that extranonce1 may change without a reconnect.
    pub extranonce_subscribe: bool,
}

impl std::fmt::Debug for PoolLogin<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolLogin")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// What a pool makes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It is content.
    Accepted,
    /// It is not.
    Rejected {
        /// The pool's code; 20 where it gave none.
        code: i64,
        /// The pool's text.
        text: Cow<'a, str>,
    },
}

/// What a pool's line means to the exchange.
#[derive(Debug, PartialEq)]
pub enum PoolEvent<'a> {
    /// Nothing.
    Nothing,
    /// It gave us a nonce space; authorize is on its way, unless that was part of it.
    Subscribed(Subscription),
    /// It authorized our worker.
    Ready,
    /// It refused the handshake; which step, and what it said.
    Refused(PoolState, Verdict<'a>),
    /// It answered a share, or something else that we asked after the handshake.
    Answer(u64, Verdict<'a>),
    /// It sent a message of its own.
    Message(PoolMessage<'a>),
}

/// The pure state of a link to a pool.
#[derive(Debug)]
pub struct PoolSession {
    state: PoolState,
}

impl PoolSession {
    /// Begins the handshake: appends our configure, where the dialect has one, and our subscribe.
    pub fn start(dialect: &dyn Dialect, subscribe: Subscribe<'_>, out: &mut Vec<u8>) -> Self {
        if subscribe.introduction.version_rolling {
            dialect.write_configure(out, CONFIGURE_ID);
        }
        dialect.write_subscribe(out, SUBSCRIBE_ID, subscribe);
        Self {
            state: PoolState::Subscribing,
        }
    }

    /// How far the handshake has come.
    #[must_use]
    pub const fn state(&self) -> PoolState {
        self.state
    }

    /// Appends what tells the pool that we are still there, where the dialect has it.
    pub fn keep_alive(dialect: &dyn Dialect, share_session: &[u8], out: &mut Vec<u8>) {
        dialect.write_keepalive(out, KEEPALIVE_ID, share_session);
    }

    /// Reads one message, and goes on with the handshake.
    ///
    /// # Errors
    ///
    /// A fault where the message can't be right; the link is then of no use.
    pub fn handle_message<'a>(
        &mut self,
        dialect: &dyn Dialect,
        message: &Message<'a>,
        login: PoolLogin<'_>,
        out: &mut Vec<u8>,
    ) -> Result<PoolEvent<'a>, PoolFault> {
        if let Some(method) = message.method.and_then(Raw::as_str) {
            let event = dialect.read_pool_message(method, message.params)?;
            // What the answer to subscribe gives is not there yet to be changed.
            let is_early = self.state == PoolState::Subscribing;
            if is_early && matches!(event, PoolMessage::Extranonce { .. }) {
                return Ok(PoolEvent::Nothing);
            }
            return Ok(PoolEvent::Message(event));
        }
        // An answer to nothing, `{"id":null,"result":[],"error":true}` among them, is passed over.
        let Some(id) = message.id.and_then(own_id) else {
            return Ok(PoolEvent::Nothing);
        };
        let verdict = verdict(message);
        match (id, self.state) {
            (SUBSCRIBE_ID, PoolState::Subscribing) => {
                if let Verdict::Rejected { .. } = verdict
                    && message
                        .result
                        .is_none_or(|result| !matches!(result.kind(), Kind::Array | Kind::Object))
                {
                    return Ok(PoolEvent::Refused(self.state, verdict));
                }
                let result = message
                    .result
                    .ok_or(PoolFault("the answer to subscribe has no result"))?;
                let subscription = dialect.read_subscription(result)?;
                if dialect.logs_in() {
                    self.state = PoolState::Ready;
                    return Ok(PoolEvent::Subscribed(subscription));
                }
                dialect.write_authorize(out, AUTHORIZE_ID, login.worker, login.password);
                if login.extranonce_subscribe {
                    dialect.write_extranonce_subscribe(out, EXTRANONCE_SUBSCRIBE_ID);
                }
                self.state = PoolState::Authorizing;
                Ok(PoolEvent::Subscribed(subscription))
            }
            (AUTHORIZE_ID, PoolState::Authorizing) => match verdict {
                Verdict::Accepted => {
                    self.state = PoolState::Ready;
                    Ok(PoolEvent::Ready)
                }
                refused => Ok(PoolEvent::Refused(self.state, refused)),
            },
            (CONFIGURE_ID, _) => Ok(match (verdict, message.result) {
                (Verdict::Accepted, Some(result)) => {
                    PoolEvent::Message(PoolMessage::VersionMask(dialect.read_configured(result)))
                }
                _ => PoolEvent::Nothing,
            }),
            (0..SHARE_ID_FIRST, _) => Ok(PoolEvent::Nothing),
            _ => Ok(PoolEvent::Answer(id, verdict)),
        }
    }
}

/// An id of ours in a reply: a number, or the same digits as a string.
fn own_id(id: Raw<'_>) -> Option<u64> {
    id.as_u64()
        .or_else(|| std::str::from_utf8(id.as_str()?).ok()?.parse().ok())
}

/// Reads `result` and `error` together, then decides.
///
/// Errors come as ZIP 301's array, an array of two, an object (Miningcore), a string, a string with a
/// code in front (`-1:params not found`), `true`, or only as `reject-reason`. `null` for both is no
/// acceptance: ZIP 301 answers true.
fn verdict<'a>(message: &Message<'a>) -> Verdict<'a> {
    let error = message
        .error
        .filter(|error| !error.is_null() && error.as_bool() != Some(false));
    if let Some(error) = error {
        return rejection(error);
    }
    let refused = message
        .result
        .is_none_or(|result| result.is_null() || result.as_bool() == Some(false));
    if !refused {
        return Verdict::Accepted;
    }
    let text = message.reject_reason.and_then(Raw::as_text);
    Verdict::Rejected {
        code: 20,
        text: bounded(text.unwrap_or(Cow::Borrowed("Rejected by the pool"))),
    }
}

fn rejection(error: Raw<'_>) -> Verdict<'_> {
    let mut code = None;
    let mut text = None;
    match error.kind() {
        Kind::Array => {
            for value in error.elements().take(2) {
                match value.kind() {
                    Kind::Number => code = code.or_else(|| whole_number(value)),
                    Kind::String => text = text.or_else(|| value.as_text()),
                    _ => {}
                }
            }
        }
        Kind::Object => {
            for (key, value) in error.members() {
                match key.as_str() {
                    Some(b"code") => code = whole_number(value),
                    Some(b"message") => text = value.as_text(),
                    _ => {}
                }
            }
        }
        Kind::String => {
            text = error.as_text();
            let split = text.as_deref().and_then(|text| text.split_once(':'));
            if let Some((number, rest)) = split
                && let Ok(number) = number.parse()
            {
                code = Some(number);
                text = Some(Cow::Owned(rest.to_owned()));
            }
        }
        Kind::Number => code = whole_number(error),
        Kind::Null | Kind::Bool => {}
    }
    Verdict::Rejected {
        code: code.unwrap_or(20),
        text: bounded(text.unwrap_or(Cow::Borrowed("Rejected by the pool"))),
    }
}

fn whole_number(value: Raw<'_>) -> Option<i64> {
    std::str::from_utf8(value.bytes()).ok()?.parse().ok()
}

/// The text, cut where a pool sends a novel.
fn bounded(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.len() <= ERROR_TEXT_LEN_MAX {
        return text;
    }
    let mut end = ERROR_TEXT_LEN_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(text.get(..end).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dialect::Equihash;
    use crate::proto::dialect::equihash::Parameters;
    use crate::wire::json::Reader;

    const LOGIN: PoolLogin<'_> = PoolLogin {
        worker: "w",
        password: "x",
        extranonce_subscribe: false,
    };

    fn with_session<T>(
        line: &str,
        session: &mut PoolSession,
        check: impl FnOnce(Result<PoolEvent<'_>, PoolFault>) -> T,
    ) -> T {
        let dialect = Equihash::new(Parameters::new(200, 9).unwrap());
        let mut reader = Reader::new();
        let message = reader.read(line.as_bytes()).unwrap();
        check(session.handle_message(&dialect, &message, LOGIN, &mut Vec::new()))
    }

    fn in_state(state: PoolState) -> PoolSession {
        PoolSession { state }
    }

    #[test]
    fn other_bytes_before_the_answer_to_subscribe_change_nothing() {
        const LINE: &str = r#"{"id":null,"method":"mining.set_extranonce","params":["c1c2c3c4"]}"#;
        let is_told = |state| {
            with_session(LINE, &mut in_state(state), |event| {
                event != Ok(PoolEvent::Nothing)
            })
        };
        assert!(!is_told(PoolState::Subscribing));
        assert!(is_told(PoolState::Authorizing));
        assert!(is_told(PoolState::Ready));
    }

    #[test]
    fn every_error_shape_of_real_pools_is_understood() {
        for (line, id, code, text) in [
            (
                r#"{"id":4,"result":null,"error":[21,"Job not found",""]}"#,
                4,
                21,
                "Job not found",
            ),
            (
                r#"{"reject-reason":"Above target 2","result":false,"error":null,"id":8}"#,
                8,
                20,
                "Above target 2",
            ),
            (
                r#"{"result":false,"error":"Stale","id":618}"#,
                618,
                20,
                "Stale",
            ),
            (
                r#"{"jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null},"id":42}"#,
                42,
                22,
                "duplicate share",
            ),
            (
                r#"{"id":18,"error":"-1:params not found"}"#,
                18,
                -1,
                "params not found",
            ),
            (
                r#"{"error":[-3,"Method not found",null],"id":19,"result":null}"#,
                19,
                -3,
                "Method not found",
            ),
            (
                r#"{"id":20,"result":[],"error":true}"#,
                20,
                20,
                "Rejected by the pool",
            ),
            (
                r#"{"id":20,"result":null,"error":null}"#,
                20,
                20,
                "Rejected by the pool",
            ),
            (
                r#"{"id":20,"result":false,"error":[23,"low difficulty"]}"#,
                20,
                23,
                "low difficulty",
            ),
            (
                r#"{"id":20,"result":false,"error":[23]}"#,
                20,
                23,
                "Rejected by the pool",
            ),
        ] {
            let id = if id < SHARE_ID_FIRST { continue } else { id };
            with_session(line, &mut in_state(PoolState::Ready), |event| {
                let rejected = Verdict::Rejected {
                    code,
                    text: text.into(),
                };
                assert_eq!(event, Ok(PoolEvent::Answer(id, rejected)), "{line}");
            });
        }
    }

    #[test]
    fn acceptance_is_true_with_no_error() {
        for line in [
            r#"{"id":32769,"error":null,"result":true}"#,
            r#"{"id":"32769","result":true}"#,
            r#"{"id":32769,"error":false,"result":true,"jsonrpc":"2.0"}"#,
        ] {
            with_session(line, &mut in_state(PoolState::Ready), |event| {
                assert_eq!(event, Ok(PoolEvent::Answer(32769, Verdict::Accepted)));
            });
        }
    }

    #[test]
    fn an_answer_to_nothing_is_passed_over() {
        for line in [
            r#"{"id":null,"result":[],"error":true}"#,
            r#"{"id":"","error":"-1:params not found"}"#,
            r#"{"id":3,"result":false,"error":[20,"Not supported.",null]}"#,
            r#"{"id":2,"result":true,"error":null}"#,
            r#"{"result":true}"#,
        ] {
            with_session(line, &mut in_state(PoolState::Ready), |event| {
                assert_eq!(event, Ok(PoolEvent::Nothing), "{line}");
            });
        }
    }

    #[test]
    fn every_shape_of_a_subscribe_result_is_read() {
        for (result, session_id, nonce_1) in [
            (r#"[null,"c2fd607c"]"#, None, 4),
            (
                r#"["0HL9EDAPSR3RH","000001"]"#,
                Some("\"0HL9EDAPSR3RH\""),
                3,
            ),
            (
                r#"[[["mining.notify","id1"],["mining.set_difficulty","id2"]],"a1b2c3d4",28]"#,
                Some("\"id1\""),
                4,
            ),
            (
                r#"[["mining.notify","id1"],"a1b2c3d4e5"]"#,
                Some("\"id1\""),
                5,
            ),
            (r#"[null,"00000000000000000000000004d166e0"]"#, None, 16),
        ] {
            let line = format!(r#"{{"id":1,"result":{result},"error":null}}"#);
            let mut session = in_state(PoolState::Subscribing);
            with_session(&line, &mut session, |event| {
                let Ok(PoolEvent::Subscribed(subscription)) = event else {
                    panic!("{line}: {event:?}");
                };
                assert_eq!(
                    subscription.session_id.as_deref(),
                    session_id.map(str::as_bytes)
                );
                assert_eq!(subscription.extranonce1.len(), nonce_1);
                assert_eq!(subscription.extranonce2_len, 32 - nonce_1);
            });
            assert_eq!(session.state(), PoolState::Authorizing);
        }
    }

    #[test]
    fn a_refused_handshake_says_which_step_and_why() {
        with_session(
            r#"{"id":1,"result":null,"error":[20,"closed",null]}"#,
            &mut in_state(PoolState::Subscribing),
            |event| {
                let why = Verdict::Rejected {
                    code: 20,
                    text: "closed".into(),
                };
                assert_eq!(event, Ok(PoolEvent::Refused(PoolState::Subscribing, why)));
            },
        );
        with_session(
            r#"{"id":2,"result":false}"#,
            &mut in_state(PoolState::Authorizing),
            |event| {
                assert!(matches!(
                    event,
                    Ok(PoolEvent::Refused(PoolState::Authorizing, _))
                ));
            },
        );
        with_session(
            r#"{"id":1,"result":[null,"xyz"]}"#,
            &mut in_state(PoolState::Subscribing),
            |event| assert!(event.is_err()),
        );
    }
}
