//! A miner's lines, through the session and the dialect.
//!
//! Each request has at most one answer, under its own id; and a share that passes our checks is written
//! for the pool so that a pool which checks as we do takes it too.

use stratum_uring::proto::dialect::{Coin, Dialect, MinerRequest, ShareParts, ShareTerms};
use stratum_uring::proto::extranonce::{Extranonce1, SlotBytes};
use stratum_uring::proto::miner::{MinerEvent, MinerLimits, MinerSession};
use stratum_uring::proto::share::Submit;
use stratum_uring::proto::version_mask::VersionMask;
use stratum_uring::wire::{Message, Raw, Reader, RequestId};

use super::input::Input;
use super::written;

const LIMITS: MinerLimits = MinerLimits {
    workers_max: 3,
    worker_len_max: 40,
    protocol_errors_max: 4,
};

/// The first byte chooses how the nonce is divided; then come lines.
pub(crate) fn run(coin: Coin, data: &[u8]) {
    let mut input = Input::new(data);
    let choice = input.byte();
    let slot = SlotBytes::new(0x0a0b, choice & 3);
    let extranonce2_len = match coin {
        Coin::Equihash(_) => [26, 28, 8, 7][usize::from(choice >> 4) & 3],
        _ => [4, 2, 6, 8][usize::from(choice >> 4) & 3],
    };
    let terms = ShareTerms {
        extranonce2_len,
        slot: slot.as_bytes(),
        version_mask: VersionMask::new(if choice & 4 == 0 { 0x1fff_e000 } else { 0 }),
        time_max: u64::from(u32::MAX) - 1,
    };
    let dialect = coin.dialect();
    let mut session = MinerSession::default();
    let mut reader = Reader::new();
    for line in input.rest().split(|&byte| byte == b'\n') {
        let Ok(message) = reader.read(line) else {
            continue;
        };
        if !handle(dialect.as_ref(), &mut session, &message, terms) {
            break;
        }
    }
    assert_eq!(session.is_authorized(), session.worker().is_some());
}

/// Handles a message; says whether the link goes on.
fn handle(
    dialect: &dyn Dialect,
    session: &mut MinerSession,
    message: &Message<'_>,
    terms: ShareTerms<'_>,
) -> bool {
    let own_id = match message.id {
        None => Some(RequestId::NULL),
        Some(id) => RequestId::parse(id.bytes()),
    };
    let mut out = Vec::new();
    match session.handle_message(dialect, message, &LIMITS, &mut out) {
        MinerEvent::Answered => {
            if !out.is_empty() {
                written::answer(&out, &own_id.unwrap_or(RequestId::NULL));
            }
        }
        MinerEvent::Refused(_) => {
            written::answer(&out, &own_id.unwrap_or(RequestId::NULL));
        }
        MinerEvent::BadSubmit(id, reject) => {
            assert!(out.is_empty() && session.is_subscribed());
            assert_eq!(Some(&id), own_id.as_ref());
            dialect.write_error(&mut out, id.as_bytes(), reject.code(), reject.text());
            written::answer(&out, &id);
        }
        MinerEvent::Violation(_) => {
            written::answer(&out, &own_id.unwrap_or(RequestId::NULL));
            return false;
        }
        MinerEvent::Request(id, request) => {
            assert!(out.is_empty(), "it is not answered yet");
            assert_eq!(Some(&id), own_id.as_ref());
            answer(dialect, session, &id, &request, terms);
        }
    }
    true
}

fn answer(
    dialect: &dyn Dialect,
    session: &mut MinerSession,
    id: &RequestId,
    request: &MinerRequest<'_>,
    terms: ShareTerms<'_>,
) {
    let mut out = Vec::new();
    match request {
        MinerRequest::Subscribe { .. } => {
            session.subscribe();
            let extranonce1 = Extranonce1::parse(b"a1b2c3d4").expect("hex");
            dialect.write_subscription(&mut out, id, &extranonce1, terms.extranonce2_len, b"");
            written::answer(&out, id);
        }
        MinerRequest::Authorize { worker, .. } | MinerRequest::Login { worker, .. } => {
            match session.authorize(worker, &LIMITS) {
                Ok(()) => {
                    assert!(session.knows(worker) && session.place_of(Some(worker)).is_some());
                    assert!((1..=LIMITS.worker_len_max).contains(&worker.len()));
                    dialect.write_accepted(&mut out, id.as_bytes());
                }
                Err(reject) => {
                    dialect.write_error(&mut out, id.as_bytes(), reject.code(), reject.text());
                }
            }
            written::answer(&out, id);
        }
        MinerRequest::Configure { params } => {
            let mut result = Vec::new();
            let pool = Some(terms.version_mask);
            let granted = dialect.configure(*params, pool, &mut result);
            let granted = granted.expect("what the pool grants is known");
            session.grant(granted, terms.version_mask);
            let rolled = session.version_mask(terms.version_mask);
            assert_eq!(
                rolled.and(terms.version_mask),
                rolled,
                "no bit but the pool's"
            );
            if !result.is_empty() {
                dialect.write_result(&mut out, id.as_bytes(), &result);
                written::answer(&out, id);
            }
        }
        MinerRequest::Submit(submit) => match dialect.check_share(submit, terms) {
            Ok(()) => forward(dialect, submit, terms),
            Err(reject) => {
                dialect.write_error(&mut out, id.as_bytes(), reject.code(), reject.text());
                written::answer(&out, id);
            }
        },
        MinerRequest::GetJob => {
            dialect.write_requested_job(&mut out, id, b"");
            written::answer(&out, id);
        }
        MinerRequest::ExtranonceSubscribe | MinerRequest::Polite(_) | MinerRequest::Ignored => {
            panic!("the session answers {request:?} itself");
        }
    }
}

/// Writes a share for the pool, and reads it there.
fn forward(dialect: &dyn Dialect, submit: &Submit<'_>, terms: ShareTerms<'_>) {
    let parts = ShareParts {
        request_id: 16,
        worker: "t1account.\"farm\"",
        pool_job_id: b"\"j-7\"",
        share_session: b"\"s-1\"",
        slot: terms.slot,
        submit,
    };
    let mut out = b"what stood there before\n".to_vec();
    let before = out.len();
    let identity = dialect.write_share(&mut out, parts);
    assert!(before < identity.start && identity.start < identity.end && identity.end < out.len());
    let line = &out[before..];
    written::answer(line, &RequestId::from(16));

    let mut reader = Reader::new();
    let line = &line[..line.len() - 1];
    let Ok(message) = reader.read(line) else {
        panic!("we can't read our own share: {}", line.escape_ascii());
    };
    let method = message.method.and_then(Raw::as_str).expect("a method");
    let request = dialect.read_miner_request(method, message.params);
    let Ok(MinerRequest::Submit(at_pool)) = request else {
        panic!(
            "a pool finds no share in {}: {request:?}",
            line.escape_ascii()
        );
    };
    assert_eq!(at_pool.job_id, b"j-7");
    assert!(
        at_pool
            .worker
            .as_deref()
            .is_none_or(|worker| worker == parts.worker)
    );
    let pools = ShareTerms {
        extranonce2_len: terms.extranonce2_len + terms.slot.len(),
        ..terms
    };
    assert_eq!(dialect.check_share(&at_pool, pools), Ok(()));
    // Spelled in other letters it is the same share.
    let upper: Vec<Vec<u8>> = submit
        .fields
        .iter()
        .map(|field| spelled_high(field))
        .collect();
    let mut fields = submit.fields;
    for (field, upper) in fields.iter_mut().zip(&upper) {
        *field = upper;
    }
    let again = Submit {
        worker: None,
        fields,
        ..*submit
    };
    let mut other = Vec::new();
    let parts = ShareParts {
        submit: &again,
        ..parts
    };
    let found = dialect.write_share(&mut other, parts);
    assert_eq!(
        out[identity], other[found],
        "a duplicate is found in any letters"
    );
}

/// Hex digits in capitals; what is none, as JSON with escapes may be, stays.
fn spelled_high(field: &[u8]) -> Vec<u8> {
    let digits = field
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    if digits.unwrap_or(field).iter().all(u8::is_ascii_hexdigit) {
        field.to_ascii_uppercase()
    } else {
        field.to_vec()
    }
}
