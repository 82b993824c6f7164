//! The Monero dialect: JSON-RPC with named params, as xmrig and the pools of CryptoNote coins have it.
//!
//! A miner says one thing only, `login`, and the answer holds its first job. A job is a blob, whose four
//! bytes of nonce the miner rolls. There is no extranonce: the last byte of the nonce is the slot
//! (`NiceHash_CryptoNight_modification`), so a link has room for 256 miners, and each of them is sent the
//! job with another byte in it. What a pool calls the session stands in each share.

use std::borrow::Cow;
use std::ops::Range;

use crate::proto::dialect::common::{self, member};
use crate::proto::dialect::{
    Dialect, Granted, MinerRequest, PoolFault, PoolMessage, ShareParts, ShareTerms, Subscribe,
    Subscription,
};
use crate::proto::extranonce::{Extranonce1, SlotPlan, SlotWidth};
use crate::proto::job::{Job, JobId};
use crate::proto::share::{Reject, Submit};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::{Kind, Raw};
use crate::wire::request_id::RequestId;
use crate::wire::{encode, hex};

/// Bytes of the nonce.
const NONCE_LEN: usize = 4;

/// Where it stands in a blob.
const NONCE_AT: usize = 39;

/// Where its last byte stands in a blob's digits: the slot.
const SLOT_AT: usize = 2 * (NONCE_AT + NONCE_LEN - 1);

/// Bytes of the nonce that a miner needs: 16.7 million hashes, some minutes of a fast machine.
const NONCE_LEN_MIN: usize = 3;

/// Longest blob: xmrig has room for 408 bytes.
const BLOB_LEN_MAX: usize = 408;

/// Longest job, without its id. The rest of it is a hash or two, a height and the name of an algorithm.
const JOB_LEN_MAX: usize = 4 * 1024;

/// Longest job id and session id of a pool, as JSON text.
const POOL_ID_LEN_MAX: usize = 130;

/// What a job's line begins with: the blob follows.
const JOB_START: &[u8] = br#"{"jsonrpc":"2.0","method":"job","params":{"blob":""#;

/// Where the job itself begins in that.
const JOB_OBJECT_AT: usize = 41;

/// What miners log in with is no secret from us, so any name does for them.
const MINER_SESSION: &str = "1";

/// Texts at whose sight xmrig closes the connection, in lower case.
const FATAL_TEXTS: [&str; 4] = [
    "unauthenticated",
    "your ip is banned",
    "ip address currently banned",
    "invalid job id",
];

/// Texts that say that a share itself is wrong, in lower case; the code is -1 whatever it was. The first two
/// are of every pool that grew out of node-cryptonote-pool (MoneroOcean, SupportXMR: `lib/pool.js`) and of
/// Miningcore, the third is Miningcore's (`CryptonoteJob.cs`), the fourth xmrig-proxy's.
const FAULT_TEXTS: [&str; 4] = [
    "low difficulty share",
    "duplicate share",
    "bad hash",
    "invalid nonce",
];

/// The dialect. It has no settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Monero;

impl Dialect for Monero {
    fn logs_in(&self) -> bool {
        true
    }

    fn slot_in_job(&self) -> Option<usize> {
        Some(JOB_START.len() + SLOT_AT)
    }

    fn write_subscribe(&self, out: &mut Vec<u8>, request_id: u64, subscribe: Subscribe<'_>) {
        append_start(out, request_id);
        out.extend_from_slice(b"\"method\":\"login\",\"params\":{\"login\":");
        encode::append_string(out, subscribe.worker);
        out.extend_from_slice(b",\"pass\":");
        encode::append_string(out, subscribe.password);
        out.extend_from_slice(b",\"agent\":");
        encode::append_string(out, &subscribe.introduction.agent);
        for (index, algorithm) in subscribe.introduction.algorithms.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b",\"algo\":[" } else { b"," });
            encode::append_string(out, algorithm);
        }
        if !subscribe.introduction.algorithms.is_empty() {
            out.push(b']');
        }
        out.extend_from_slice(b"}}\n");
    }

    /// As xmrig does: pools of CryptoNote coins close a link on which nobody found a share for some
    /// minutes (MoneroOcean after 900 s).
    fn write_keepalive(&self, out: &mut Vec<u8>, request_id: u64, share_session: &[u8]) {
        append_start(out, request_id);
        out.extend_from_slice(b"\"method\":\"keepalived\",\"params\":{\"id\":");
        out.extend_from_slice(share_session);
        out.extend_from_slice(b"}}\n");
    }

    /// The login said it all.
    fn write_authorize(&self, _: &mut Vec<u8>, _: u64, _: &str, _: &str) {}

    /// Other bytes come with each job anyway.
    fn write_extranonce_subscribe(&self, _: &mut Vec<u8>, _: u64) {}

    /// `{"id": session, "job": {…}, "extensions": […], "status": "OK"}`.
    fn read_subscription(&self, result: Raw<'_>) -> Result<Subscription, PoolFault> {
        let id = member(result, b"id").filter(|id| is_id(*id));
        let id = id.ok_or(PoolFault("the login result has no session"))?;
        let job = member(result, b"job").ok_or(PoolFault("the login result has no job"))?;
        let job = read_job(job)?;
        let extensions = member(result, b"extensions").into_iter();
        let nicehash = extensions
            .flat_map(Raw::elements)
            .any(|name| name.as_str() == Some(b"nicehash"));
        // A pool that fixes a byte of the nonce itself leaves none for us.
        let nonce = job.body.get(2 * NONCE_AT..2 * (NONCE_AT + NONCE_LEN));
        let fixed = nicehash || nonce.is_none_or(|digits| digits != b"00000000");
        Ok(Subscription {
            session_id: None,
            share_session: Some(id.bytes().into()),
            extranonce1: Extranonce1::default(),
            extranonce2_len: NONCE_LEN - usize::from(fixed),
            job: Some(Box::new(job)),
        })
    }

    fn plan(&self, width: SlotWidth, extranonce2_len: usize, _: VersionMask) -> Option<SlotPlan> {
        let widest = match width {
            SlotWidth::Auto => 1,
            SlotWidth::Fixed(len) => len.min(1),
        };
        SlotPlan::new(extranonce2_len, widest, NONCE_LEN_MIN, NONCE_LEN_MIN)
    }

    fn read_pool_message<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<PoolMessage<'a>, PoolFault> {
        Ok(match (method, params) {
            (b"job", Some(params)) => PoolMessage::Job(read_job(params)?),
            (b"job", None) => return Err(PoolFault("a job without params")),
            _ => PoolMessage::Unknown,
        })
    }

    fn read_miner_request<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<MinerRequest<'a>, Reject> {
        let text = |name: &[u8]| {
            let value = params.and_then(|params| member(params, name));
            value.and_then(Raw::as_text)
        };
        Ok(match method {
            b"submit" => MinerRequest::Submit(read_submit(params)?),
            b"login" => MinerRequest::Login {
                worker: text(b"login").ok_or(Reject::Malformed("login names no account"))?,
                password: params
                    .and_then(|params| member(params, b"pass"))
                    .and_then(common::password)
                    .unwrap_or_default(),
                agent: text(b"agent").unwrap_or_default(),
            },
            b"getjob" | b"getjobtemplate" => MinerRequest::GetJob,
            b"keepalived" | b"keepalive" => MinerRequest::Polite(r#"{"status":"KEEPALIVED"}"#),
            _ => return Err(Reject::UnknownMethod),
        })
    }

    fn is_submit(&self, method: &[u8]) -> bool {
        method == b"submit"
    }

    fn is_own_fault(&self, _: i64, text: &str) -> bool {
        common::says_one_of(text, &FAULT_TEXTS)
    }

    fn configure(
        &self,
        _: Option<Raw<'_>>,
        _: Option<VersionMask>,
        _: &mut Vec<u8>,
    ) -> Option<Granted> {
        Some(Granted::default())
    }

    /// The answer to a login, with the job that is the miner's own already. It is told that its byte of
    /// the nonce is fixed, also where that is zero, which nobody could see; and of algorithms only where
    /// the pool names them.
    fn write_subscription(
        &self,
        out: &mut Vec<u8>,
        id: &RequestId,
        _: &Extranonce1,
        extranonce2_len: usize,
        job: &[u8],
    ) {
        let object = object_of(job);
        append_answer(out, id.as_bytes());
        out.extend_from_slice(b"\"error\":null,\"result\":{\"id\":");
        encode::append_string(out, MINER_SESSION);
        out.extend_from_slice(b",\"job\":");
        out.extend_from_slice(object);
        out.extend_from_slice(b",\"extensions\":[");
        if memchr::memmem::find(object, b",\"algo\":").is_some() {
            out.extend_from_slice(b"\"algo\",");
        }
        if extranonce2_len < NONCE_LEN {
            out.extend_from_slice(b"\"nicehash\",");
        }
        out.extend_from_slice(b"\"keepalive\"],\"status\":\"OK\"}}\n");
    }

    fn write_requested_job(&self, out: &mut Vec<u8>, id: &RequestId, job: &[u8]) {
        self.write_result(out, id.as_bytes(), object_of(job));
    }

    fn write_job(&self, out: &mut Vec<u8>, job: &Job, id: JobId, _: bool) {
        out.extend_from_slice(JOB_START);
        out.extend_from_slice(&job.body);
        out.extend_from_slice(b"\",\"job_id\":\"");
        out.extend_from_slice(id.to_string().as_bytes());
        out.extend_from_slice(b"\",\"target\":\"");
        append_target(out, &job.target.unwrap_or(Target::from_bytes([0xff; 32])));
        out.push(b'"');
        out.extend_from_slice(&job.extra);
        out.extend_from_slice(b"}}\n");
    }

    /// It stands in each job.
    fn write_target(&self, _: &mut Vec<u8>, _: &Target) {}

    /// It stands in each job.
    fn write_extranonce(&self, _: &mut Vec<u8>, _: &Extranonce1, _: usize) {}

    fn job_time(&self, _: &Job) -> u64 {
        0
    }

    fn oddity(&self, _: &Job) -> Option<String> {
        None
    }

    fn check_share(&self, submit: &Submit<'_>, terms: ShareTerms<'_>) -> Result<(), Reject> {
        let [nonce, result, ..] = submit.fields;
        let nonce: [u8; NONCE_LEN] = hex::decode_to_array(nonce)
            .map_err(|_| Reject::Malformed("nonce is not 8 hex digits"))?;
        let [.., last] = nonce;
        if terms.slot.first().is_some_and(|&slot| slot != last) {
            return Err(Reject::Malformed(
                "Invalid nonce; is miner not compatible with NiceHash?",
            ));
        }
        if result.len() != 64 || !hex::is_hex(result) {
            return Err(Reject::Malformed("result is not 64 hex digits"));
        }
        Ok(())
    }

    fn write_share(&self, out: &mut Vec<u8>, share: ShareParts<'_>) -> Range<usize> {
        let [nonce, result, algo, signature, commitment] = share.submit.fields;
        append_start(out, share.request_id);
        out.extend_from_slice(b"\"method\":\"submit\",\"params\":{\"id\":");
        out.extend_from_slice(share.share_session);
        out.extend_from_slice(b",\"job_id\":");
        out.extend_from_slice(share.pool_job_id);
        out.extend_from_slice(b",\"nonce\":\"");
        // A nonce has one hash: another result for it is the same share, and wrong.
        let start = out.len();
        hex::append_lower(out, nonce);
        let identity = start..out.len();
        out.extend_from_slice(b"\",\"result\":\"");
        hex::append_lower(out, result);
        out.push(b'"');
        for (name, value) in [
            (&b",\"algo\":"[..], algo),
            (b",\"sig\":", signature),
            (b",\"commitment\":", commitment),
        ] {
            if !value.is_empty() {
                out.extend_from_slice(name);
                out.extend_from_slice(value);
            }
        }
        out.extend_from_slice(b"}}\n");
        identity
    }

    fn write_result(&self, out: &mut Vec<u8>, id: &[u8], result: &[u8]) {
        append_answer(out, id);
        out.extend_from_slice(b"\"error\":null,\"result\":");
        out.extend_from_slice(result);
        out.extend_from_slice(b"}\n");
    }

    fn write_accepted(&self, out: &mut Vec<u8>, id: &[u8]) {
        self.write_result(out, id, br#"{"status":"OK"}"#);
    }

    /// The code is always -1. xmrig closes the connection at the sight of some texts, which a pool may
    /// mean for us, and never for all of a farm.
    fn write_error(&self, out: &mut Vec<u8>, id: &[u8], _: i64, text: &str) {
        let lower = text.to_ascii_lowercase();
        let text = if lower.starts_with("invalid job id") {
            Cow::Borrowed(Reject::UnknownJob.text())
        } else if FATAL_TEXTS.iter().any(|fatal| lower.starts_with(fatal)) {
            Cow::Owned(format!("the pool says: {text}"))
        } else {
            Cow::Borrowed(text)
        };
        append_answer(out, id);
        out.extend_from_slice(b"\"error\":{\"code\":-1,\"message\":");
        encode::append_string(out, &text);
        out.extend_from_slice(b"}}\n");
    }
}

fn append_start(out: &mut Vec<u8>, request_id: u64) {
    out.extend_from_slice(b"{\"id\":");
    encode::append_u64(out, request_id);
    out.extend_from_slice(b",\"jsonrpc\":\"2.0\",");
}

fn append_answer(out: &mut Vec<u8>, id: &[u8]) {
    out.extend_from_slice(b"{\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"jsonrpc\":\"2.0\",");
}

/// The job itself in its line.
fn object_of(job: &[u8]) -> &[u8] {
    job.strip_suffix(b"}\n")
        .and_then(|line| line.get(JOB_OBJECT_AT..))
        .unwrap_or(b"null")
}

/// An id that goes back to the pool as it is.
fn is_id(value: Raw<'_>) -> bool {
    matches!(value.kind(), Kind::String | Kind::Number) && value.bytes().len() <= POOL_ID_LEN_MAX
}

/// `{"blob", "job_id", "target", …}` in any order; what else there is goes on as it is.
fn read_job(params: Raw<'_>) -> Result<Job, PoolFault> {
    let (mut blob, mut pool_id, mut target) = (None, None, None);
    let mut extra = Vec::new();
    for (key, value) in params.members() {
        match key.as_str().unwrap_or_default() {
            b"blob" => blob = value.as_str(),
            b"job_id" => pool_id = Some(value).filter(|id| is_id(*id)),
            b"target" => target = value.as_str().and_then(read_target),
            // The pool's name for our session is not the miner's.
            b"id" => {}
            _ => {
                extra.push(b',');
                extra.extend_from_slice(key.bytes());
                extra.push(b':');
                extra.extend_from_slice(value.bytes());
            }
        }
    }
    let blob = blob
        .filter(|blob| blob.len().is_multiple_of(2) && hex::is_hex(blob))
        .filter(|blob| (NONCE_AT + NONCE_LEN..=BLOB_LEN_MAX).contains(&(blob.len() / 2)))
        .ok_or(PoolFault("a job's blob is not 43 to 408 bytes of hex"))?;
    if extra.len() > JOB_LEN_MAX {
        return Err(PoolFault("a job is longer than any miner takes"));
    }
    Ok(Job {
        pool_id: pool_id
            .ok_or(PoolFault("a job has no short job_id"))?
            .bytes()
            .into(),
        clean: true,
        body: blob.into(),
        extra: extra.into(),
        target: Some(target.ok_or(PoolFault(
            "a job's target is not 8 or 16 hex digits above zero",
        ))?),
    })
}

/// `{"id", "job_id", "nonce", "result", "algo"?, "sig"?, "commitment"?}`: the id is the session that we
/// gave, and needs no look.
fn read_submit(params: Option<Raw<'_>>) -> Result<Submit<'_>, Reject> {
    const SHAPE: Reject = Reject::Malformed("submit wants {id, job_id, nonce, result}");
    let params = params.ok_or(SHAPE)?;
    let text = |name: &[u8]| member(params, name).and_then(Raw::as_str).ok_or(SHAPE);
    let raw = |name: &[u8]| {
        let value = member(params, name);
        value
            .filter(|value| value.kind() == Kind::String)
            .map_or(&b""[..], Raw::bytes)
    };
    Ok(Submit {
        worker: None,
        job_id: text(b"job_id")?,
        fields: [
            text(b"nonce")?,
            text(b"result")?,
            raw(b"algo"),
            raw(b"sig"),
            raw(b"commitment"),
        ],
        extra: b"",
    })
}

/// A threshold for the highest eight bytes of a hash, in 16 digits; or in 8 one for its highest four,
/// which stands for a difficulty. Both with the lowest byte first.
fn read_target(digits: &[u8]) -> Option<Target> {
    let highest = if digits.len() == 8 {
        let compact = u32::from_le_bytes(hex::decode_to_array(digits).ok()?);
        expanded(compact)?
    } else {
        u64::from_le_bytes(hex::decode_to_array(digits).ok()?)
    };
    if highest == 0 {
        return None;
    }
    let mut bytes = [0xff; 32];
    bytes
        .first_chunk_mut()
        .map(|first| *first = highest.to_be_bytes())?;
    Some(Target::from_bytes(bytes))
}

/// What a compact target stands for.
fn expanded(compact: u32) -> Option<u64> {
    let difficulty = u32::MAX.checked_div(compact)?;
    u64::MAX.checked_div(difficulty.into())
}

/// In 8 digits where these mean the same.
fn append_target(out: &mut Vec<u8>, target: &Target) {
    let highest = target
        .as_bytes()
        .first_chunk()
        .map_or(u64::MAX, |first| u64::from_be_bytes(*first));
    let difficulty = u64::MAX.checked_div(highest).unwrap_or(u64::MAX);
    let compact = u32::try_from(difficulty)
        .ok()
        .and_then(|difficulty| u32::MAX.checked_div(difficulty))
        .filter(|&compact| expanded(compact) == Some(highest));
    match compact {
        Some(compact) => hex::append_encoded(out, &compact.to_le_bytes()),
        None => hex::append_encoded(out, &highest.to_le_bytes()),
    }
}

#[cfg(test)]
mod tests;
