//! What the dialects that grew out of Bitcoin's Stratum have in common.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::proto::dialect::{MinerRequest, PoolFault, PoolMessage};
use crate::proto::job::{Job, JobId};
use crate::proto::share::Reject;
use crate::wire::encode;
use crate::wire::json::{Kind, Raw};

/// Longest job id of a pool, as JSON text with its quotes. AntPool's have 15 characters.
const POOL_JOB_ID_LEN_MAX: usize = 130;

/// Codes by which a pool says that a share itself is wrong: 22, sent before, and 23, above its target, are
/// everybody's (ZIP 301, and Slush before it); 34, an invalid solution, and 35, other nonce bytes than it was
/// given, are BTCPool's (`src/Stratum.h`).
const FAULT_CODES: [i64; 4] = [22, 23, 34, 35];

/// Codes that say something else, whatever the text: late (21, and BTCPool's 36 and 37), not authorized,
/// not subscribed.
const OTHER_CODES: [i64; 5] = [21, 24, 25, 36, 37];

/// Texts that say it where the code does not, in lower case. ckpool and ESP-Miner's own tests have texts
/// alone ("Duplicate", "Above target"), Miningcore and nomp's kin 20 or -1 ("invalid solution", "low
/// difficulty share of 0.1"), DATUM "high-hash".
const FAULT_TEXTS: [&str; 5] = [
    "duplicate",
    "low difficulty",
    "above target",
    "high-hash",
    "invalid solution",
];

/// Whether a rejection with a code of Slush's Stratum says that the share itself is wrong. Some pools say 20
/// of everything.
pub(super) fn is_own_fault(code: i64, text: &str) -> bool {
    FAULT_CODES.contains(&code) || !OTHER_CODES.contains(&code) && says_one_of(text, &FAULT_TEXTS)
}

/// Whether one of these stands in a text, in letters of either case; they are in lower case.
pub(super) fn says_one_of(text: &str, wanted: &[&str]) -> bool {
    let text = text.as_bytes();
    let is_there = |wanted: &&str| {
        let mut windows = text.windows(wanted.len());
        windows.any(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
    };
    wanted.iter().any(is_there)
}

/// SHA-256 of the SHA-256 of all of it.
pub(super) fn sha256d(pieces: &[&[u8]]) -> [u8; 32] {
    let mut first = Sha256::new();
    for piece in pieces {
        first.update(piece);
    }
    Sha256::digest(first.finalize()).into()
}

/// The strings of a job's body, in its order, those of a list among them. They were found to be hex.
pub(super) fn strings_of(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&byte| byte == b'"').skip(1).step_by(2)
}

/// Appends `mining.authorize [worker, password]`.
pub(super) fn write_authorize(out: &mut Vec<u8>, request_id: u64, worker: &str, password: &str) {
    encode::request(out, request_id, "mining.authorize", |out| {
        encode::append_string(out, worker);
        out.push(b',');
        encode::append_string(out, password);
    });
}

/// `[worker, password?]`.
pub(super) fn read_authorize(params: Option<Raw<'_>>) -> Result<MinerRequest<'_>, Reject> {
    let mut values = params.into_iter().flat_map(Raw::elements);
    let worker = values
        .next()
        .and_then(Raw::as_text)
        .ok_or(Reject::Malformed("authorize names no worker"))?;
    let password = values.next().and_then(password).unwrap_or_default();
    Ok(MinerRequest::Authorize { worker, password })
}

/// A password. One of digits may come as a number: its letters, as they were sent, are meant.
pub(super) fn password(value: Raw<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::Number => std::str::from_utf8(value.bytes()).ok().map(Cow::Borrowed),
        _ => value.as_text(),
    }
}

/// `[host?, port?, wait?]`, the numbers as such or as text.
pub(super) fn read_reconnect<'a>(
    mut params: impl Iterator<Item = Raw<'a>>,
) -> Result<PoolMessage<'a>, PoolFault> {
    let host = params.next().and_then(Raw::as_text);
    let port = params.next().and_then(number).map(u16::try_from);
    let wait = params.next().and_then(number).unwrap_or(0);
    Ok(PoolMessage::Reconnect {
        host: host.filter(|host| !host.is_empty()),
        port: port
            .transpose()
            .map_err(|_| PoolFault("client.reconnect names no port"))?,
        wait_seconds: u32::try_from(wait).unwrap_or(u32::MAX),
    })
}

/// The first of a notify's params: the pool's own id, as it wrote it.
pub(super) fn read_job_id<'a>(
    params: &mut impl Iterator<Item = Raw<'a>>,
) -> Result<&'a [u8], PoolFault> {
    let id = params.next().ok_or(PoolFault("notify has no params"))?;
    if !matches!(id.kind(), Kind::String | Kind::Number) || id.bytes().len() > POOL_JOB_ID_LEN_MAX {
        return Err(PoolFault("notify's job id is no short string"));
    }
    Ok(id.bytes())
}

/// Appends `mining.notify` with our id in place of the pool's, and this clean flag in place of its.
pub(super) fn write_job(out: &mut Vec<u8>, job: &Job, id: JobId, clean: bool) {
    encode::notification(out, "mining.notify", |out| {
        out.push(b'"');
        out.extend_from_slice(id.to_string().as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&job.body);
        out.extend_from_slice(if clean { b",true" } else { b",false" });
        out.extend_from_slice(&job.extra);
    });
}

/// Appends the result of a miner's configure: an object with an entry for each extension that it names.
/// `answer` appends what stands behind the colon.
pub(super) fn configure(
    params: Option<Raw<'_>>,
    result: &mut Vec<u8>,
    mut answer: impl FnMut(&[u8], &mut Vec<u8>),
) {
    let names = params.and_then(|params| params.elements().next());
    result.push(b'{');
    let start = result.len();
    for name in names.into_iter().flat_map(Raw::elements) {
        if name.kind() != Kind::String {
            continue;
        }
        if result.len() > start {
            result.push(b',');
        }
        result.extend_from_slice(name.bytes());
        result.push(b':');
        answer(name.as_str().unwrap_or_default(), result);
    }
    result.push(b'}');
}

/// The elements of a miner's params from `first` on, as the miner wrote them, with the comma in front; none
/// of them where there is a control character between: JSON takes a CR for a space, and a pool may not.
pub(super) fn rest_as_written<'a>(params: Option<Raw<'a>>, first: Option<Raw<'a>>) -> &'a [u8] {
    let rest = match (params, first) {
        (Some(params), Some(first)) => behind_comma(params, first),
        _ => b"",
    };
    if rest.iter().any(|&byte| byte < b' ') {
        return b"";
    }
    rest
}

/// The text of an array from the comma in front of `first` to its last element.
fn behind_comma<'a>(array: Raw<'a>, first: Raw<'a>) -> &'a [u8] {
    let text = array.bytes();
    let offset = first.bytes().as_ptr() as usize - text.as_ptr() as usize;
    let start = text
        .get(..offset)
        .and_then(|before| memchr::memrchr(b',', before));
    start
        .and_then(|start| text.get(start..text.len() - 1))
        .unwrap_or_default()
}

/// The rest of an array's elements, each with a comma in front.
pub(super) fn rest_of<'a>(values: impl Iterator<Item = Raw<'a>>) -> Vec<u8> {
    let mut rest = Vec::new();
    for value in values {
        rest.push(b',');
        rest.extend_from_slice(value.bytes());
    }
    rest
}

/// The session id in the first element of a subscribe result: a string, or the second element of the
/// right pair in a list of pairs, or of one flat pair.
pub(super) fn session_text(value: Raw<'_>) -> Option<Raw<'_>> {
    match value.kind() {
        Kind::String => Some(value),
        Kind::Array => {
            // The one that cgminer looks for, or any.
            let mut pairs = value.elements().filter(|pair| pair.kind() == Kind::Array);
            let is_notify = |pair: &Raw<'_>| {
                let name = pair.elements().next().and_then(Raw::as_str);
                name == Some(b"mining.notify")
            };
            let pair = pairs.clone().find(is_notify).or_else(|| pairs.next());
            let pair = pair.unwrap_or(value);
            pair.elements()
                .nth(1)
                .filter(|id| id.kind() == Kind::String)
        }
        _ => None,
    }
}

/// A number that may be written as a string, as nheqminer's ports are.
pub(super) fn number(value: Raw<'_>) -> Option<u64> {
    value
        .as_u64()
        .or_else(|| std::str::from_utf8(value.as_str()?).ok()?.parse().ok())
}

/// The user agent: the first text that is neither a host and port pair's nor empty.
///
/// ZIP 301 has it first; the draft's order is host, port, agent, session. A port is a number, as text
/// or not, so a first value that is followed by a port is a host.
pub(super) fn agent_of(params: Option<Raw<'_>>) -> Cow<'_, str> {
    let mut values = params.into_iter().flat_map(Raw::elements);
    let (first, second, third) = (values.next(), values.next(), values.next());
    let draft = second.and_then(number).is_some();
    let agent = if draft { third } else { first };
    agent.and_then(Raw::as_text).unwrap_or_default()
}

/// The first of the object's members with this name.
pub(super) fn member<'a>(object: Raw<'a>, name: &[u8]) -> Option<Raw<'a>> {
    let mut members = object.members();
    members.find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_its_miners_fault_only_where_the_pool_says_so() {
        for (code, text) in [
            (22, "Duplicate share"),
            (23, "Low difficulty share"),
            (23, "high-hash"),
            (34, "Invalid solution"),
            (35, "Wrong nonce prefix"),
            (20, "invalid solution"),
            (20, "Duplicate"),
            (20, "Above target"),
            (-1, "low difficulty share of 0.25"),
        ] {
            assert!(is_own_fault(code, text), "{code} {text}");
        }
        for (code, text) in [
            (20, "Rejected by the pool"),
            (20, "unknown-work"),
            (20, "Invalid JobID"),
            (20, "Stale"),
            (20, "Job not found"),
            (20, "Internal error"),
            (21, "stale-prevblk"),
            (21, "Job not found (duplicate id)"),
            (24, "Unauthorized worker"),
            (30, "Internal error"),
            (36, "Job not found"),
            (37, "Stale share"),
            (-1, "params not found"),
            (20, ""),
        ] {
            assert!(!is_own_fault(code, text), "{code} {text}");
        }
    }
}
