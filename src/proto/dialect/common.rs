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
    let password = values.next().and_then(Raw::as_text).unwrap_or_default();
    Ok(MinerRequest::Authorize { worker, password })
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
