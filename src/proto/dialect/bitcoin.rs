//! The Bitcoin dialect: Slush's Stratum with BIP 310, and what pools and firmware made of it.
//!
//! A block's coinbase has room for extranonce1, fixed by the server, and extranonce2, the miner's. Ours
//! fixes some bytes of the pool's extranonce2, the slot, so a miner's extranonce1 is the pool's and its
//! slot, and its extranonce2 is as much shorter. What the miner rolls besides (time, nonce, version bits)
//! goes to the pool as it is. Time, nonce, bits and version are hex of a number, the highest digit first.

mod difficulty;

use std::borrow::Cow;
use std::ops::Range;

pub use self::difficulty::target_of;

use self::difficulty::append_difficulty;
use crate::proto::dialect::common::{
    self, member, number, read_authorize, read_job_id, read_reconnect, rest_of, session_text,
};
use crate::proto::dialect::{
    AGENT_JSON, Dialect, Granted, MinerRequest, PoolFault, PoolMessage, ShareParts, ShareTerms,
    Subscribe, Subscription,
};
use crate::proto::extranonce::{
    EXTRANONCE1_LEN_MAX, Extranonce1, SLOT_LEN_MAX, SlotPlan, SlotWidth,
};
use crate::proto::job::{Job, JobId};
use crate::proto::share::{Reject, Submit};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::{Kind, Raw};
use crate::wire::request_id::RequestId;
use crate::wire::{encode, hex};

/// Bytes of extranonce2 that every miner must be left: cgminer takes 2 to 16.
const EXTRANONCE2_LEN_MIN: usize = 2;

/// Bytes that a large machine needs where it may not roll the version: it is through with two in a
/// second or so, and with three in some minutes.
const EXTRANONCE2_LEN_ALONE: usize = 3;

/// A pool that leaves more means something else: ESP-Miner cuts it here, and the script that holds it all
/// has 100 bytes.
const EXTRANONCE2_LEN_MAX: usize = 32;

/// Branches of a job's merkle tree; more are of no use, and ESP-Miner has room for no more.
const BRANCHES_MAX: usize = 32;

/// Longest job, without its id. A coinbase of 16 KB is the longest that any firmware takes (DATUM's
/// table), and takes 32 KB here.
const JOB_LEN_MAX: usize = 64 * 1024;

/// Digits of a job's time, which stand last in its body, in quotes.
const TIME_DIGITS: usize = 8;

/// The dialect. It has no settings: a coin that hashes otherwise but speaks alike needs none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bitcoin;

impl Dialect for Bitcoin {
    /// All the bits that there are: what a pool grants of them is for us to divide (BIP 310).
    fn write_configure(&self, out: &mut Vec<u8>, request_id: u64) {
        encode::request(out, request_id, "mining.configure", |out| {
            out.extend_from_slice(b"[\"version-rolling\"],{\"version-rolling.mask\":\"");
            VersionMask::ALL.append_hex(out);
            out.extend_from_slice(b"\",\"version-rolling.min-bit-count\":2}");
        });
    }

    fn read_configured(&self, result: Raw<'_>) -> VersionMask {
        let granted = member(result, b"version-rolling").and_then(Raw::as_bool);
        let mask = member(result, b"version-rolling.mask").and_then(Raw::as_str);
        match (granted, mask.and_then(VersionMask::parse)) {
            (Some(true), Some(mask)) => mask,
            _ => VersionMask::NONE,
        }
    }

    fn write_subscribe(&self, out: &mut Vec<u8>, request_id: u64, subscribe: Subscribe<'_>) {
        encode::request(out, request_id, "mining.subscribe", |out| {
            encode::append_string(out, &subscribe.introduction.agent);
            if let Some(id) = subscribe.session_id {
                out.push(b',');
                out.extend_from_slice(id);
            }
        });
    }

    fn write_authorize(&self, out: &mut Vec<u8>, request_id: u64, worker: &str, password: &str) {
        common::write_authorize(out, request_id, worker, password);
    }

    fn write_extranonce_subscribe(&self, out: &mut Vec<u8>, request_id: u64) {
        encode::request(out, request_id, "mining.extranonce.subscribe", |_| {});
    }

    /// `[[["mining.set_difficulty", id], ["mining.notify", id]], extranonce1, size]`, with one pair or
    /// many, flat, or null.
    fn read_subscription(&self, result: Raw<'_>) -> Result<Subscription, PoolFault> {
        let mut elements = result.elements();
        let session = elements.next();
        let (extranonce1, extranonce2_len) = read_extranonce(elements)?;
        Ok(Subscription {
            session_id: session.and_then(session_text).map(|id| id.bytes().into()),
            extranonce1,
            extranonce2_len,
            share_session: None,
            job: None,
        })
    }

    fn plan(
        &self,
        width: SlotWidth,
        extranonce2_len: usize,
        version_mask: VersionMask,
    ) -> Option<SlotPlan> {
        let starved = version_mask.is_none()
            && extranonce2_len < EXTRANONCE2_LEN_ALONE + usize::from(SLOT_LEN_MAX);
        let widest = match width {
            SlotWidth::Auto if starved => 1,
            SlotWidth::Auto => SLOT_LEN_MAX,
            SlotWidth::Fixed(len) => len,
        };
        let needed = EXTRANONCE2_LEN_MIN;
        SlotPlan::new(extranonce2_len, widest, needed, needed)
    }

    fn read_pool_message<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<PoolMessage<'a>, PoolFault> {
        let mut values = params.into_iter().flat_map(Raw::elements);
        Ok(match method {
            b"mining.notify" => PoolMessage::Job(read_job(values)?),
            b"mining.set_difficulty" => PoolMessage::Target(
                values
                    .next()
                    .and_then(decimal)
                    .and_then(target_of)
                    .ok_or(PoolFault("set_difficulty is no difficulty of a share"))?,
            ),
            b"mining.set_extranonce" => {
                let (extranonce1, extranonce2_len) = read_extranonce(values)?;
                PoolMessage::Extranonce {
                    extranonce1,
                    extranonce2_len,
                }
            }
            b"mining.set_version_mask" => PoolMessage::VersionMask(
                values
                    .next()
                    .and_then(Raw::as_str)
                    .and_then(VersionMask::parse)
                    .ok_or(PoolFault("set_version_mask is not 1 to 8 hex digits"))?,
            ),
            b"client.reconnect" => read_reconnect(values)?,
            b"client.show_message" => {
                PoolMessage::Text(values.next().and_then(Raw::as_text).unwrap_or_default())
            }
            b"client.get_version" => PoolMessage::Request(AGENT_JSON),
            // ckpool looks so whether an idle miner is alive.
            b"mining.ping" => PoolMessage::Request("\"pong\""),
            // Some pools send it back as a notification that they know it.
            b"mining.multi_version" => PoolMessage::Ignored,
            _ => PoolMessage::Unknown,
        })
    }

    fn read_miner_request<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<MinerRequest<'a>, Reject> {
        Ok(match method {
            b"mining.submit" => MinerRequest::Submit(read_submit(params)?),
            // Behind the agent may stand the session of another connection, or NiceHash's time stamp:
            // neither is of use to us.
            b"mining.subscribe" => MinerRequest::Subscribe {
                agent: agent_of(params),
            },
            b"mining.authorize" => read_authorize(params)?,
            b"mining.extranonce.subscribe" => MinerRequest::ExtranonceSubscribe,
            b"mining.configure" => MinerRequest::Configure { params },
            b"mining.suggest_difficulty" | b"mining.suggest_target" | b"mining.multi_version" => {
                MinerRequest::Polite("true")
            }
            // An old form has the number inside the method's name.
            _ if method.starts_with(b"mining.suggest_difficulty(") => MinerRequest::Polite("true"),
            b"mining.ping" => MinerRequest::Polite("\"pong\""),
            // ESP-Miner answers a ping with a method. Nobody answers capabilities.
            b"pong" | b"mining.capabilities" => MinerRequest::Ignored,
            b"mining.get_transactions" | b"mining.get_txnhashes" => {
                return Err(Reject::Malformed("transactions are not passed on"));
            }
            _ => return Err(Reject::UnknownMethod),
        })
    }

    fn configure(
        &self,
        params: Option<Raw<'_>>,
        pool: Option<VersionMask>,
        result: &mut Vec<u8>,
    ) -> Option<Granted> {
        let options = params.and_then(|params| params.elements().nth(1));
        // Some firmware sends no mask: then it can roll every bit.
        let wanted = options
            .and_then(|options| member(options, b"version-rolling.mask"))
            .and_then(Raw::as_str)
            .map_or(Some(VersionMask::ALL), VersionMask::parse);
        let mut granted = Granted::default();
        let mut unknown = false;
        common::configure(params, result, |name, out| match name {
            b"version-rolling" => {
                let mask = wanted.unwrap_or_default();
                granted.version_mask = Some(mask);
                unknown |= pool.is_none();
                let mask = mask.and(pool.unwrap_or_default());
                if mask.is_none() {
                    out.extend_from_slice(b"false");
                } else {
                    out.extend_from_slice(b"true,\"version-rolling.mask\":\"");
                    mask.append_hex(out);
                    out.push(b'"');
                }
            }
            b"subscribe-extranonce" => {
                granted.takes_extranonce = true;
                out.extend_from_slice(b"true");
            }
            b"info" => out.extend_from_slice(b"true"),
            // The pool's difficulty is everybody's, so none of its own can be promised to one miner.
            _ => out.extend_from_slice(b"false"),
        });
        (!unknown).then_some(granted)
    }

    fn write_version_mask(&self, out: &mut Vec<u8>, mask: VersionMask) {
        encode::notification(out, "mining.set_version_mask", |out| {
            out.push(b'"');
            mask.append_hex(out);
            out.push(b'"');
        });
    }

    /// NerdMiner looks for an id in the first pair, and cgminer for `mining.notify`: so both are there.
    fn write_subscription(
        &self,
        out: &mut Vec<u8>,
        id: &RequestId,
        extranonce1: &Extranonce1,
        extranonce2_len: usize,
        _: &[u8],
    ) {
        let append = |out: &mut Vec<u8>| hex::append_encoded(out, extranonce1.as_bytes());
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b",\"result\":[[[\"mining.set_difficulty\",\"");
        append(out);
        out.extend_from_slice(b"\"],[\"mining.notify\",\"");
        append(out);
        out.extend_from_slice(b"\"]],\"");
        append(out);
        out.extend_from_slice(b"\",");
        encode::append_u64(out, extranonce2_len as u64);
        out.extend_from_slice(b"],\"error\":null}\n");
    }

    fn write_job(&self, out: &mut Vec<u8>, job: &Job, id: JobId, clean: bool) {
        common::write_job(out, job, id, clean);
    }

    fn write_target(&self, out: &mut Vec<u8>, target: &Target) {
        encode::notification(out, "mining.set_difficulty", |out| {
            append_difficulty(out, target);
        });
    }

    /// With the size: ESP-Miner wants both.
    fn write_extranonce(
        &self,
        out: &mut Vec<u8>,
        extranonce1: &Extranonce1,
        extranonce2_len: usize,
    ) {
        encode::notification(out, "mining.set_extranonce", |out| {
            out.push(b'"');
            hex::append_encoded(out, extranonce1.as_bytes());
            out.extend_from_slice(b"\",");
            encode::append_u64(out, extranonce2_len as u64);
        });
    }

    fn job_time(&self, job: &Job) -> u64 {
        let end = job.body.len().saturating_sub(1);
        let digits = end
            .checked_sub(TIME_DIGITS)
            .and_then(|start| job.body.get(start..end));
        digits.and_then(hex::parse_u32_be).map_or(0, u64::from)
    }

    fn oddity(&self, _: &Job) -> Option<String> {
        None
    }

    fn check_share(&self, submit: &Submit<'_>, terms: ShareTerms<'_>) -> Result<(), Reject> {
        let [extranonce2, time, nonce, bits, _] = submit.fields;
        if extranonce2.len() != 2 * terms.extranonce2_len {
            return Err(Reject::Malformed("extranonce2 has the wrong length"));
        }
        if !hex::is_hex(extranonce2) {
            return Err(Reject::Malformed("extranonce2 is not hex"));
        }
        let time = word(time).ok_or(Reject::Malformed("ntime is not 8 hex digits"))?;
        if word(nonce).is_none() {
            return Err(Reject::Malformed("the nonce is not 8 hex digits"));
        }
        if u64::from(time) > terms.time_max {
            return Err(Reject::Malformed("ntime out of range"));
        }
        if bits.is_empty() {
            return Ok(());
        }
        let bits = word(bits).ok_or(Reject::Malformed("version bits are not 8 hex digits"))?;
        if !terms.version_mask.allows(bits) {
            return Err(Reject::VersionBits);
        }
        Ok(())
    }

    fn write_share(&self, out: &mut Vec<u8>, share: ShareParts<'_>) -> Range<usize> {
        let [extranonce2, time, nonce, bits, _] = share.submit.fields;
        let digits = |field| hex::encode_u32_be(word(field).unwrap_or_default());
        let mut identity = 0..0;
        encode::request(out, share.request_id, "mining.submit", |out| {
            encode::append_string(out, share.worker);
            out.push(b',');
            out.extend_from_slice(share.pool_job_id);
            out.extend_from_slice(b",\"");
            identity.start = out.len();
            hex::append_encoded(out, share.slot);
            hex::append_lower(out, extranonce2);
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(&digits(time));
            out.extend_from_slice(b"\",\"");
            out.extend_from_slice(&digits(nonce));
            identity.end = out.len();
            if !bits.is_empty() {
                let bits = digits(bits);
                out.extend_from_slice(b"\",\"");
                out.extend_from_slice(&bits);
                // No bits and none of them set are one share: ESP-Miner sends them always.
                if bits != *b"00000000" {
                    identity.end = out.len();
                }
            } else if !share.submit.extra.is_empty() {
                // What stands behind keeps its place, or its first value were taken for bits.
                out.extend_from_slice(b"\",null");
                out.extend_from_slice(share.submit.extra);
                return;
            }
            out.push(b'"');
            out.extend_from_slice(share.submit.extra);
        });
        identity
    }
}

/// `[extranonce1, size]`.
fn read_extranonce<'a>(
    mut values: impl Iterator<Item = Raw<'a>>,
) -> Result<(Extranonce1, usize), PoolFault> {
    let extranonce1 = values
        .next()
        .and_then(Raw::as_str)
        .and_then(Extranonce1::parse)
        // A miner's slot must fit behind it.
        .filter(|found| found.len() + usize::from(SLOT_LEN_MAX) <= EXTRANONCE1_LEN_MAX)
        .ok_or(PoolFault("extranonce1 is not up to 30 bytes of hex"))?;
    let size = values
        .next()
        .and_then(number)
        .and_then(|size| usize::try_from(size).ok())
        .filter(|&size| size <= EXTRANONCE2_LEN_MAX)
        .ok_or(PoolFault("extranonce2_size is not a number up to 32"))?;
    Ok((extranonce1, size))
}

/// `[job id, prevhash, coinbase 1, coinbase 2, [branches], version, bits, time, clean, …]`.
fn read_job<'a>(mut params: impl Iterator<Item = Raw<'a>>) -> Result<Job, PoolFault> {
    let pool_id = read_job_id(&mut params)?.into();
    let mut body = Vec::with_capacity(1024);
    let mut field = |fits: fn(Raw<'_>) -> bool, fault| {
        let value = params.next().filter(|value| fits(*value)).ok_or(fault)?;
        if !body.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(value.bytes());
        Ok(())
    };
    let is_coinbase = |value: Raw<'_>| {
        let digits = value.as_str();
        digits.is_some_and(|digits| digits.len().is_multiple_of(2) && hex::is_hex(digits))
    };
    field(
        |it| is_digits(it, 64),
        PoolFault("notify's prevhash is not 64 hex digits"),
    )?;
    field(
        is_coinbase,
        PoolFault("notify's coinbase is not hex of whole bytes"),
    )?;
    field(
        is_coinbase,
        PoolFault("notify's coinbase is not hex of whole bytes"),
    )?;
    field(
        are_branches,
        PoolFault("notify's merkle branches are not up to 32 of 64 hex digits"),
    )?;
    for _ in ["version", "bits", "time"] {
        field(
            |it| is_digits(it, 8),
            PoolFault("notify's version, bits or time is not 8 hex digits"),
        )?;
    }
    if body.len() > JOB_LEN_MAX {
        return Err(PoolFault("notify is longer than any miner takes"));
    }
    let clean = params
        .next()
        .and_then(Raw::as_bool)
        .ok_or(PoolFault("notify has no clean flag"))?;
    Ok(Job {
        pool_id,
        clean,
        body: body.into(),
        extra: rest_of(params).into(),
        target: None,
    })
}

fn is_digits(value: Raw<'_>, len: usize) -> bool {
    value
        .as_str()
        .is_some_and(|digits| digits.len() == len && hex::is_hex(digits))
}

fn are_branches(value: Raw<'_>) -> bool {
    value.kind() == Kind::Array
        && value.elements().count() <= BRANCHES_MAX
        && value.elements().all(|branch| is_digits(branch, 64))
}

/// `[worker, job id, extranonce2, time, nonce, version bits?, …]`. Time, nonce and bits are kept as JSON:
/// [`word`] reads them.
fn read_submit(params: Option<Raw<'_>>) -> Result<Submit<'_>, Reject> {
    const SHAPE: Reject =
        Reject::Malformed("submit wants [worker, job, extranonce2, ntime, nonce, version bits?]");
    let mut values = params.into_iter().flat_map(Raw::elements);
    let worker = values.next().and_then(Raw::as_text).ok_or(SHAPE)?;
    // A string with an escape is neither a job id of ours nor hex: `as_str` gives none of it.
    let job_id = values.next().and_then(Raw::as_str).ok_or(SHAPE)?;
    let extranonce2 = values.next().and_then(Raw::as_str).ok_or(SHAPE)?;
    let (time, nonce) = (values.next().ok_or(SHAPE)?, values.next().ok_or(SHAPE)?);
    let bits = values.next().filter(|bits| !bits.is_null());
    let bits = bits.map_or(&b""[..], Raw::bytes);
    Ok(Submit {
        worker: Some(worker),
        job_id,
        fields: [extranonce2, time.bytes(), nonce.bytes(), bits, b""],
        extra: common::rest_as_written(params, values.next()),
    })
}

/// A number of 32 bits from JSON: hex digits in quotes, of which NerdMiner leaves out leading zeros, or a
/// plain number, as a few send it.
fn word(json: &[u8]) -> Option<u32> {
    match json {
        [b'"', digits @ .., b'"'] => hex::parse_short_u32(digits),
        digits => std::str::from_utf8(digits).ok()?.parse().ok(),
    }
}

/// A number that may be written as a string.
fn decimal(value: Raw<'_>) -> Option<f64> {
    value
        .as_f64()
        .or_else(|| std::str::from_utf8(value.as_str()?).ok()?.parse().ok())
}

/// The user agent: the first param, if it is text.
fn agent_of(params: Option<Raw<'_>>) -> Cow<'_, str> {
    let first = params.and_then(|params| params.elements().next());
    first.and_then(Raw::as_text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
