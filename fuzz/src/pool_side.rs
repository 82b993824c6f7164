//! A pool's lines, through the session and the dialect.
//!
//! What a pool tells us is passed on so that it is read back as the same.

use stratum_uring::proto::dialect::{
    Coin, Dialect, Introduction, PoolMessage, Subscribe, Subscription,
};
use stratum_uring::proto::extranonce::{EXTRANONCE1_LEN_MAX, SlotBytes, SlotWidth};
use stratum_uring::proto::job::{Job, JobId};
use stratum_uring::proto::pool::{
    PoolEvent, PoolLogin, PoolSession, PoolState, SHARE_ID_FIRST, Verdict,
};
use stratum_uring::proto::version_mask::VersionMask;
use stratum_uring::wire::{Raw, Reader, RequestId};

use super::written;

/// The longest text of a pool that we pass on, with room for what an answer says around it.
const TEXT_LEN_MAX: usize = 256;

/// Lines of a pool, from the first behind our subscribe.
pub(crate) fn run(coin: Coin, data: &[u8]) {
    let dialect = coin.dialect();
    let dialect = dialect.as_ref();
    let mut out = Vec::new();
    let subscribe = Subscribe {
        session_id: Some(b"\"s-0\""),
        host: "pool.example",
        port: 3333,
        worker: "t1account.farm",
        password: "x",
        introduction: &Introduction::default(),
    };
    let mut session = PoolSession::start(dialect, subscribe, &mut out);
    assert!(!written::lines(&out).is_empty());
    let login = PoolLogin {
        worker: "t1account.farm",
        password: "x",
        extranonce_subscribe: true,
    };
    let mut reader = Reader::new();
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(message) = reader.read(line) else {
            continue;
        };
        let before = session.state();
        out.clear();
        let event = session.handle_message(dialect, &message, login, &mut out);
        written::lines(&out);
        let Ok(event) = event else {
            break;
        };
        let steps = [
            PoolState::Subscribing,
            PoolState::Authorizing,
            PoolState::Ready,
        ];
        let place = |state: PoolState| steps.iter().position(|step| *step == state);
        assert!(
            place(session.state()) >= place(before),
            "a handshake goes on"
        );
        let said = matches!(event, PoolEvent::Subscribed(_));
        assert!(out.is_empty() || said, "only the handshake makes us speak");
        match event {
            PoolEvent::Nothing | PoolEvent::Ready => {}
            PoolEvent::Subscribed(subscription) => check_subscription(dialect, &subscription),
            PoolEvent::Refused(state, verdict) => {
                assert_eq!(state, before);
                assert!(matches!(verdict, Verdict::Rejected { .. }));
                break;
            }
            PoolEvent::Answer(id, verdict) => {
                assert!(
                    id >= SHARE_ID_FIRST,
                    "the handshake's ids are not a share's"
                );
                check_verdict(dialect, &verdict);
            }
            PoolEvent::Message(message) => check_message(dialect, &message),
        }
    }
}

fn check_verdict(dialect: &dyn Dialect, verdict: &Verdict<'_>) {
    let Verdict::Rejected { code, text } = verdict else {
        return;
    };
    assert!(text.len() <= TEXT_LEN_MAX, "{} bytes of text", text.len());
    let mut out = Vec::new();
    let id = RequestId::from(7);
    dialect.write_error(&mut out, id.as_bytes(), *code, text);
    written::answer(&out, &id);
}

fn check_subscription(dialect: &dyn Dialect, subscription: &Subscription) {
    for width in [
        SlotWidth::Auto,
        SlotWidth::Fixed(0),
        SlotWidth::Fixed(1),
        SlotWidth::Fixed(2),
    ] {
        for mask in [VersionMask::NONE, VersionMask::ALL] {
            let Some(plan) = dialect.plan(width, subscription.extranonce2_len, mask) else {
                continue;
            };
            let used = usize::from(plan.slot_len) + plan.extranonce2_len;
            assert_eq!(used, subscription.extranonce2_len, "no byte is lost");
            assert!(!matches!(width, SlotWidth::Fixed(len) if plan.slot_len > len));
            // Where miners are told of no bytes in front, their slot stands in the job.
            let slot = SlotBytes::new(u16::MAX, plan.slot_len);
            let longer = subscription.extranonce1.with_slot(slot);
            let longer = longer.expect("what a plan fixes fits behind the pool's own bytes");
            assert!(longer.len() <= EXTRANONCE1_LEN_MAX);
            let mut out = Vec::new();
            let id = RequestId::from(1);
            dialect.write_subscription(&mut out, &id, &longer, plan.extranonce2_len, b"");
            written::answer(&out, &id);
        }
    }
    if let Some(id) = &subscription.session_id {
        let mut out = Vec::new();
        let subscribe = Subscribe {
            session_id: Some(id),
            host: "h",
            port: 1,
            worker: "w",
            password: "x",
            introduction: &Introduction::default(),
        };
        dialect.write_subscribe(&mut out, 1, subscribe);
        written::one_line(&out);
    }
    if let Some(job) = &subscription.job {
        check_job(dialect, job);
    }
}

fn check_message(dialect: &dyn Dialect, message: &PoolMessage<'_>) {
    let mut out = Vec::new();
    match message {
        PoolMessage::Job(job) => check_job(dialect, job),
        PoolMessage::Target(target) => {
            dialect.write_target(&mut out, target);
            if out.is_empty() {
                return;
            }
            // A difficulty is not exactly the target that it stands for; but its target is.
            let PoolMessage::Target(heard) = read_back(dialect, &out) else {
                panic!("no target: {}", out.escape_ascii());
            };
            let mut again = Vec::new();
            dialect.write_target(&mut again, &heard);
            assert_eq!(out, again);
        }
        PoolMessage::Extranonce {
            extranonce1,
            extranonce2_len,
        } => {
            dialect.write_extranonce(&mut out, extranonce1, *extranonce2_len);
            assert!(out.is_empty() || read_back(dialect, &out) == *message);
        }
        PoolMessage::VersionMask(mask) => {
            dialect.write_version_mask(&mut out, *mask);
            if let Some(heard) = (!out.is_empty()).then(|| read_back(dialect, &out)) {
                assert_eq!(heard, *message);
            }
        }
        PoolMessage::Request(answer) => {
            dialect.write_result(&mut out, b"1", answer.as_bytes());
            written::one_line(&out);
        }
        PoolMessage::Reconnect { port, .. } => assert_ne!(*port, Some(0), "nobody listens there"),
        PoolMessage::Text(_) | PoolMessage::Ignored | PoolMessage::Unknown => {}
    }
}

/// A job for miners is the pool's, but for its id; whether flagged clean or not.
fn check_job(dialect: &dyn Dialect, job: &Job) {
    dialect.job_time(job);
    dialect.oddity(job);
    for clean in [true, false] {
        let mut out = Vec::new();
        let id = JobId(0xa1b2c3);
        dialect.write_job(&mut out, job, id, clean);
        let PoolMessage::Job(heard) = read_back(dialect, &out) else {
            panic!("no job: {}", out.escape_ascii());
        };
        assert_eq!(heard.pool_id, format!("\"{id}\"").into_bytes().into());
        assert_eq!(heard.clean, clean || dialect.logs_in());
        assert_eq!((&heard.body, &heard.extra), (&job.body, &job.extra));
        assert_eq!(heard.target, job.target);
        if let Some(at) = dialect.slot_in_job() {
            let digits = out.get(at..at + 2).expect("a slot's digits");
            assert!(digits.iter().all(u8::is_ascii_hexdigit));
        }
    }
}

/// What a proxy like ours would make of our line.
fn read_back<'a>(dialect: &dyn Dialect, out: &'a [u8]) -> PoolMessage<'a> {
    written::one_line(out);
    let line = out.strip_suffix(b"\n").expect("a whole line");
    let Ok(message) = Reader::new().read(line) else {
        panic!("we can't read our own line: {}", line.escape_ascii());
    };
    let method = message.method.and_then(Raw::as_str).expect("a method");
    match dialect.read_pool_message(method, message.params) {
        Ok(message) => message,
        Err(fault) => panic!("{fault}: {}", line.escape_ascii()),
    }
}
