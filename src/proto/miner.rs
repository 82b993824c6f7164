//! The state of a miner's link, and which of its requests need the exchange.
//!
//! ```text
//!           subscribe                authorize
//!   new ───────────────▶ subscribed ───────────▶ mining
//!    │                                             ▲
//!    └───── authorize ──▶ authorized ── subscribe ─┘
//! ```
//!
//! Some firmware authorizes before it subscribes. We remember the worker and answer at once; waiting
//! for the order of the specification would leave such a miner idle until it reconnects. Both may be
//! repeated, and are answered again with the same data.

use crate::proto::dialect::{Dialect, Granted, MinerRequest};
use crate::proto::share::Reject;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::Message;
use crate::wire::request_id::{REQUEST_ID_LEN_MAX, RequestId};

/// What a miner may cost us.
#[derive(Clone, Copy, Debug)]
pub struct MinerLimits {
    /// Workers that one connection may authorize.
    pub workers_max: usize,
    /// Bytes of a worker's name.
    pub worker_len_max: usize,
    /// Lines that can't be read, or unknown methods before a subscribe, until the link is closed.
    pub protocol_errors_max: u8,
}

/// A request that the exchange must decide; everything else is answered by the session itself.
#[derive(Debug)]
pub enum MinerEvent<'a> {
    /// Nothing is left to do.
    Answered,
    /// The session refused it, and has said so.
    Refused(Reject),
    /// A submit that can't be read as one: to be refused like this, and counted as any other.
    BadSubmit(RequestId, Reject),
    /// The session refused it as well, and the link has now sent too much that can't be read.
    Violation(Reject),
    /// A request with its id.
    Request(RequestId, MinerRequest<'a>),
}

/// What is known of one miner's link.
#[derive(Debug, Default)]
pub struct MinerSession {
    /// The first worker, and the others of the few miners that have some.
    worker: Option<Box<str>>,
    #[expect(
        clippy::box_collection,
        reason = "one word in each of 65,536 miners, of which few have a second worker"
    )]
    more_workers: Option<Box<Vec<Box<str>>>>,
    subscribed: bool,
    takes_extranonce: bool,
    protocol_errors: u8,
    /// The version bits that it can roll; none until it asks to.
    version_mask: VersionMask,
    /// Those of them that it was told it may.
    told_version_mask: VersionMask,
}

impl MinerSession {
    /// Whether it was given its part of the nonce space.
    #[must_use]
    pub const fn is_subscribed(&self) -> bool {
        self.subscribed
    }

    /// Whether it named a worker.
    #[must_use]
    pub const fn is_authorized(&self) -> bool {
        self.worker.is_some()
    }

    /// Whether it is to be sent jobs.
    #[must_use]
    pub const fn is_mining(&self) -> bool {
        self.subscribed && self.worker.is_some()
    }

    /// Whether it said that it can take another extranonce1 without a reconnect.
    #[must_use]
    pub const fn takes_extranonce(&self) -> bool {
        self.takes_extranonce
    }

    /// What its configure was answered, where its pool grants these version bits.
    pub const fn grant(&mut self, granted: Granted, pool: VersionMask) {
        self.takes_extranonce |= granted.takes_extranonce;
        if let Some(mask) = granted.version_mask {
            self.version_mask = mask;
            self.told_version_mask = mask.and(pool);
        }
    }

    /// The version bits that it may roll where its pool grants these: its own and the pool's.
    #[must_use]
    pub const fn version_mask(&self, pool: VersionMask) -> VersionMask {
        self.version_mask.and(pool)
    }

    /// The version bits that it may roll where its pool grants these, if they are others than it was told;
    /// from now on it knows.
    pub fn retell_version_mask(&mut self, pool: VersionMask) -> Option<VersionMask> {
        let mask = self.version_mask(pool);
        let told = std::mem::replace(&mut self.told_version_mask, mask);
        (told != mask).then_some(mask)
    }

    /// The worker that it named first.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    /// All workers that it named.
    pub fn workers(&self) -> impl Iterator<Item = &str> {
        let more = self.more_workers.iter().flat_map(|more| more.iter());
        self.worker.iter().chain(more).map(|worker| &**worker)
    }

    /// Marks it as subscribed.
    pub const fn subscribe(&mut self) {
        self.subscribed = true;
    }

    /// Adds a worker; again is no error.
    ///
    /// # Errors
    ///
    /// A reject where it has as many as one connection may have, or the name is too long.
    pub fn authorize(&mut self, worker: &str, limits: &MinerLimits) -> Result<(), Reject> {
        self.may_authorize(worker, limits)?;
        if self.knows(worker) {
            return Ok(());
        }
        if self.worker.is_none() {
            self.worker = Some(worker.into());
            // What it did while it was nobody is no reason to close it later.
            self.protocol_errors = 0;
            return Ok(());
        }
        let more = self.more_workers.get_or_insert_default();
        more.push(worker.into());
        Ok(())
    }

    /// Whether there is room for this worker, or it is known already.
    ///
    /// # Errors
    ///
    /// A reject where it has as many as one connection may have, or the name is too long.
    pub fn may_authorize(&self, worker: &str, limits: &MinerLimits) -> Result<(), Reject> {
        if worker.is_empty() {
            return Err(Reject::Malformed("the worker's name is empty"));
        }
        if worker.len() > limits.worker_len_max {
            return Err(Reject::TooLong("the worker's name is too long"));
        }
        let more = self.more_workers.as_ref().map_or(0, |more| more.len());
        let count = usize::from(self.worker.is_some()) + more;
        if count >= limits.workers_max && !self.knows(worker) {
            return Err(Reject::TooManyWorkers);
        }
        Ok(())
    }

    /// Whether just one worker was authorized.
    #[must_use]
    pub fn has_one_worker(&self) -> bool {
        self.worker.is_some() && self.more_workers.is_none()
    }

    /// The place of a share's worker among those of this connection; of the first one where the share names
    /// none. `None` where it may not submit here.
    #[must_use]
    pub fn place_of(&self, worker: Option<&str>) -> Option<u16> {
        let (Some(first), Some(worker)) = (self.worker.as_deref(), worker) else {
            return self.worker.is_some().then_some(0);
        };
        if first == worker {
            return Some(0);
        }
        let mut more = self.more_workers.as_deref()?.iter();
        let behind = more.position(|known| **known == *worker)?;
        u16::try_from(behind + 1).ok()
    }

    /// The worker at this place.
    #[must_use]
    pub fn worker_at(&self, place: u16) -> Option<&str> {
        match usize::from(place).checked_sub(1) {
            None => self.worker(),
            Some(behind) => self
                .more_workers
                .as_deref()?
                .get(behind)
                .map(|name| &**name),
        }
    }

    /// Takes what says all at once: it can be moved by any job.
    pub const fn log_in(&mut self) {
        self.takes_extranonce = true;
    }

    /// Whether this worker was authorized on this connection.
    #[must_use]
    pub fn knows(&self, worker: &str) -> bool {
        self.place_of(Some(worker)).is_some()
    }

    /// Counts a line that can't be read, or a try that led to no worker. Returns whether there were too many
    /// of them now.
    pub fn protocol_error(&mut self, limits: &MinerLimits) -> bool {
        self.protocol_errors = self.protocol_errors.saturating_add(1);
        self.protocol_errors > limits.protocol_errors_max
    }

    /// Reads one message, and answers what needs nobody else.
    ///
    /// A message without a method is somebody's reply to nothing we asked: it is passed over, so that
    /// no miner can answer in a pool's name.
    pub fn handle_message<'a>(
        &mut self,
        dialect: &dyn Dialect,
        message: &Message<'a>,
        limits: &MinerLimits,
        out: &mut Vec<u8>,
    ) -> MinerEvent<'a> {
        let id = match message.id {
            Some(id) => RequestId::parse(id.bytes()),
            None => Some(RequestId::NULL),
        };
        let Some(method) = message.method else {
            if message.result.is_some() || message.error.is_some() {
                return MinerEvent::Answered;
            }
            let id = id.unwrap_or(RequestId::NULL);
            let reject = Reject::Malformed("a line without a method");
            return self.refuse(dialect, out, &id, reject, limits);
        };
        let Some(id) = id else {
            let is_long = message
                .id
                .is_some_and(|id| id.bytes().len() > REQUEST_ID_LEN_MAX);
            let reject = if is_long {
                Reject::TooLong("an id has at most 64 bytes")
            } else {
                Reject::Malformed("an id is a number, a string or null")
            };
            return self.refuse(dialect, out, &RequestId::NULL, reject, limits);
        };
        let Some(name) = method.as_str() else {
            let reject = Reject::Malformed("a method is a string");
            return self.refuse(dialect, out, &id, reject, limits);
        };
        match dialect.read_miner_request(name, message.params) {
            Ok(MinerRequest::Polite(result)) => {
                dialect.write_result(out, id.as_bytes(), result.as_bytes());
                MinerEvent::Answered
            }
            Ok(MinerRequest::ExtranonceSubscribe) => {
                self.takes_extranonce = true;
                dialect.write_accepted(out, id.as_bytes());
                MinerEvent::Answered
            }
            Ok(MinerRequest::Ignored) => MinerEvent::Answered,
            Ok(request) => MinerEvent::Request(id, request),
            // A bad share is judged as one, by whoever counts them.
            Err(reject) if self.subscribed && dialect.is_submit(name) => {
                MinerEvent::BadSubmit(id, reject)
            }
            // Firmware asks for many a thing that we don't know: it is told so, and lives on.
            Err(reject) if self.subscribed => {
                dialect.write_error(out, id.as_bytes(), reject.code(), reject.text());
                MinerEvent::Refused(reject)
            }
            Err(reject) => self.refuse(dialect, out, &id, reject, limits),
        }
    }

    fn refuse<'a>(
        &mut self,
        dialect: &dyn Dialect,
        out: &mut Vec<u8>,
        id: &RequestId,
        reject: Reject,
        limits: &MinerLimits,
    ) -> MinerEvent<'a> {
        dialect.write_error(out, id.as_bytes(), reject.code(), reject.text());
        if self.protocol_error(limits) {
            MinerEvent::Violation(reject)
        } else {
            MinerEvent::Refused(reject)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::dialect::Equihash;
    use crate::proto::dialect::equihash::Parameters;
    use crate::wire::json::Reader;

    const LIMITS: MinerLimits = MinerLimits {
        workers_max: 2,
        worker_len_max: 16,
        protocol_errors_max: 2,
    };

    fn answer(session: &mut MinerSession, line: &str) -> (String, bool) {
        let dialect = Equihash::new(Parameters::new(200, 9).unwrap());
        let mut reader = Reader::new();
        let mut out = Vec::new();
        let message = reader.read(line.as_bytes()).unwrap();
        let event = session.handle_message(&dialect, &message, &LIMITS, &mut out);
        let open = !matches!(event, MinerEvent::Violation(_));
        (String::from_utf8(out).unwrap(), open)
    }

    #[test]
    fn what_firmware_asks_for_is_answered_politely_with_its_id() {
        let mut session = MinerSession::default();
        session.subscribe();
        for (asked, answered) in [
            (
                r#"{"id":"a\u0041","method":"mining.multi_version","params":[1]}"#,
                r#"{"id":"a\u0041","result":true,"error":null}"#,
            ),
            (
                r#"{"id":1.50,"method":"mining.suggest_target","params":["00ff"]}"#,
                r#"{"id":1.50,"result":true,"error":null}"#,
            ),
            (
                r#"{"id":null,"method":"mining.capabilities","params":null}"#,
                r#"{"id":null,"result":null,"error":[-3,"Method not found",null]}"#,
            ),
        ] {
            assert_eq!(answer(&mut session, asked), (format!("{answered}\n"), true));
        }
        assert!(!session.takes_extranonce());
        answer(
            &mut session,
            r#"{"id":8,"method":"mining.extranonce.subscribe","params":[]}"#,
        );
        assert!(session.takes_extranonce());
    }

    #[test]
    fn a_miner_rolls_the_bits_that_it_can_and_its_pool_grants() {
        let mut session = MinerSession::default();
        let all = VersionMask::ALL;
        assert_eq!(session.version_mask(all), VersionMask::NONE);
        assert_eq!(session.retell_version_mask(all), None, "it never asked");
        let granted = Granted {
            takes_extranonce: false,
            version_mask: Some(VersionMask::new(0xff00)),
        };
        session.grant(granted, VersionMask::new(0x0ff0));
        assert_eq!(session.version_mask(all), VersionMask::new(0xff00));
        assert_eq!(session.retell_version_mask(VersionMask::new(0x0f00)), None);
        let narrower = VersionMask::new(0x0800);
        assert_eq!(session.retell_version_mask(narrower), Some(narrower));
        assert_eq!(session.retell_version_mask(narrower), None, "told once");
    }

    #[test]
    fn a_reply_to_nothing_is_passed_over() {
        let mut session = MinerSession::default();
        for _ in 0..100 {
            let line = r#"{"id":3,"result":true,"error":null}"#;
            assert_eq!(answer(&mut session, line), (String::new(), true));
        }
    }

    #[test]
    fn a_link_that_never_makes_sense_is_closed() {
        let mut session = MinerSession::default();
        let line = r#"{"id":3,"method":5}"#;
        assert!(answer(&mut session, line).1);
        assert!(answer(&mut session, line).1);
        assert!(!answer(&mut session, line).1);
    }

    #[test]
    fn a_worker_is_known_by_its_whole_name() {
        let mut session = MinerSession::default();
        assert_eq!(session.authorize("a.rig1", &LIMITS), Ok(()));
        assert_eq!(session.authorize("a.rig1", &LIMITS), Ok(()));
        assert_eq!(session.authorize("a.rig2", &LIMITS), Ok(()));
        let refused = session.authorize("a.rig3", &LIMITS);
        assert_eq!(refused, Err(Reject::TooManyWorkers));
        assert!(session.authorize("", &LIMITS).is_err());
        let refused = session.authorize("a.rig4567890123456789", &LIMITS);
        assert_eq!(refused.unwrap_err().reason(), "too_long");
        assert!(session.knows("a.rig1") && session.knows("a.rig2"));
        assert!(!session.knows("a.rig") && !session.knows("a.rig3"));
        for (worker, place) in [
            (None, Some(0)),
            (Some("a.rig1"), Some(0)),
            (Some("a.rig2"), Some(1)),
            (Some("a.rig3"), None),
        ] {
            assert_eq!(session.place_of(worker), place, "{worker:?}");
        }
        assert_eq!(session.worker_at(0), Some("a.rig1"));
        assert_eq!(session.worker_at(1), Some("a.rig2"));
        assert_eq!(session.worker_at(2), None);
        assert_eq!(MinerSession::default().place_of(None), None);
    }

    #[test]
    fn a_share_that_can_not_be_read_is_told_apart_from_other_requests() {
        let dialect = Equihash::new(Parameters::new(200, 9).unwrap());
        let mut reader = Reader::new();
        let mut session = MinerSession::default();
        let line = br#"{"id":7,"method":"mining.submit","params":[]}"#;
        let mut out = Vec::new();
        let message = reader.read(line).unwrap();
        let event = session.handle_message(&dialect, &message, &LIMITS, &mut out);
        assert!(matches!(event, MinerEvent::Refused(_)), "{event:?}");
        session.subscribe();
        out.clear();
        let event = session.handle_message(&dialect, &message, &LIMITS, &mut out);
        let MinerEvent::BadSubmit(id, reject) = event else {
            panic!("{event:?}");
        };
        assert_eq!((id.as_bytes(), reject.reason()), (&b"7"[..], "malformed"));
        assert!(out.is_empty(), "whoever counts it answers it");
    }
}
