//! The Equihash dialect: ZIP 301, and what pools and firmware made of it.
//!
//! The header's 32-byte nonce is nonce_1, fixed by the server, and nonce_2, the miner's. Ours fixes
//! some bytes of the pool's nonce_2, the slot, so a miner's nonce_1 is the pool's and its slot. All hex
//! fields stand in header byte order. The names of ZIP 301 (`nonce_1`, `nonce_2`) are used in this
//! file and nowhere else.

use std::ops::Range;

use crate::proto::dialect::common::{
    self, agent_of, read_authorize, read_job_id, read_reconnect, rest_of, session_text,
};
use crate::proto::dialect::{
    AGENT_JSON, Dialect, Granted, MinerRequest, PoolFault, PoolMessage, ShareParts, ShareTerms,
    Subscribe, Subscription,
};
use crate::proto::extranonce::{Extranonce1, SLOT_LEN_MAX, SlotPlan, SlotWidth};
use crate::proto::job::{Job, JobId};
use crate::proto::share::{Reject, Submit};
use crate::proto::target::Target;
use crate::proto::version_mask::VersionMask;
use crate::wire::json::Raw;
use crate::wire::request_id::RequestId;
use crate::wire::{encode, hex};

/// Bytes of a header's nonce: nonce_1 and nonce_2 together.
pub const NONCE_LEN: usize = 32;

/// Bytes that every miner needs for itself, for comfort: five last an Antminer Z15 Pro 28 days.
const NONCE_2_LEN_COMFORT: usize = 8;

/// Bytes without which a fast machine runs out within minutes: four last a Z15 Pro 2.7 hours.
const NONCE_2_LEN_MIN: usize = 4;

/// Hex digits of `mining.notify`'s params 1 to 6: version, prevhash, merkle root, reserved, time, bits.
const HEADER_FIELD_DIGITS: [usize; 6] = [8, 64, 64, 64, 8, 8];

/// Where the digits of its time stand in a job's body: behind four fields, each with quotes and comma.
const JOB_TIME: Range<usize> = {
    let [version, previous, merkle, reserved, time, _] = HEADER_FIELD_DIGITS;
    let start = version + previous + merkle + reserved + 4 * 3 + 1;
    start..start + time
};

/// The dialect, for one set of parameters.
#[derive(Clone, Copy, Debug)]
pub struct Equihash {
    parameters: Parameters,
}

impl Equihash {
    /// The dialect of a coin that uses these parameters.
    #[must_use]
    pub const fn new(parameters: Parameters) -> Self {
        Self { parameters }
    }

    /// Time, nonce_2 and solution: their lengths, their digits, the canonical length prefix.
    fn check_fields(self, fields: &[&[u8]; 3], nonce_2_len: usize) -> Result<(), Reject> {
        let [time, nonce_2, solution] = fields;
        if time.len() != 8 || !hex::is_hex(time) {
            return Err(Reject::Malformed("time is not 8 hex digits"));
        }
        if nonce_2.len() != 2 * nonce_2_len {
            return Err(Reject::Malformed("nonce_2 has the wrong length"));
        }
        if !hex::is_hex(nonce_2) {
            return Err(Reject::Malformed("nonce_2 is not hex"));
        }
        if solution.len() != self.parameters.solution_hex_len() {
            return Err(Reject::Malformed("the solution has the wrong length"));
        }
        if !hex::is_hex(solution) {
            return Err(Reject::Malformed("the solution is not hex"));
        }
        // Another spelling of the length would make a second share of the same solution.
        let prefix = self.parameters.solution_prefix_hex().as_bytes();
        let canonical = solution
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if !canonical {
            return Err(Reject::Malformed("the solution's length prefix is wrong"));
        }
        Ok(())
    }
}

impl Dialect for Equihash {
    fn rate_unit(&self) -> &'static str {
        "Sol/s"
    }

    fn write_subscribe(&self, out: &mut Vec<u8>, request_id: u64, subscribe: Subscribe<'_>) {
        encode::request(out, request_id, "mining.subscribe", |out| {
            encode::append_string(out, &subscribe.introduction.agent);
            out.push(b',');
            out.extend_from_slice(subscribe.session_id.unwrap_or(b"null"));
            out.push(b',');
            encode::append_string(out, subscribe.host);
            out.push(b',');
            encode::append_u64(out, u64::from(subscribe.port));
        });
    }

    fn write_authorize(&self, out: &mut Vec<u8>, request_id: u64, worker: &str, password: &str) {
        common::write_authorize(out, request_id, worker, password);
    }

    fn write_extranonce_subscribe(&self, out: &mut Vec<u8>, request_id: u64) {
        encode::request(out, request_id, "mining.extranonce.subscribe", |_| {});
    }

    /// ZIP 301's `[session, nonce_1]`, and Bitcoin's `[[["mining.notify", id], …], nonce_1, size]`
    /// with one pair or many, with or without the size.
    fn read_subscription(&self, result: Raw<'_>) -> Result<Subscription, PoolFault> {
        let mut elements = result.elements();
        let (Some(session), Some(nonce_1)) = (elements.next(), elements.next()) else {
            return Err(PoolFault("the subscribe result has no nonce_1"));
        };
        let extranonce1 = nonce_1
            .as_str()
            .and_then(Extranonce1::parse)
            .ok_or(PoolFault("nonce_1 is not up to 32 bytes of hex"))?;
        let extranonce2_len = NONCE_LEN - extranonce1.len();
        Ok(Subscription {
            session_id: session_text(session).map(|id| id.bytes().into()),
            extranonce1,
            extranonce2_len,
            share_session: None,
            job: None,
        })
    }

    fn plan(&self, width: SlotWidth, extranonce2_len: usize, _: VersionMask) -> Option<SlotPlan> {
        let (widest, needed) = match width {
            SlotWidth::Auto => (SLOT_LEN_MAX, NONCE_2_LEN_COMFORT),
            SlotWidth::Fixed(len) => (len, NONCE_2_LEN_MIN),
        };
        SlotPlan::new(extranonce2_len, widest, needed, NONCE_2_LEN_MIN)
    }

    fn read_pool_message<'a>(
        &self,
        method: &[u8],
        params: Option<Raw<'a>>,
    ) -> Result<PoolMessage<'a>, PoolFault> {
        let mut values = params.into_iter().flat_map(Raw::elements);
        Ok(match method {
            b"mining.notify" => PoolMessage::Job(read_job(values)?),
            b"mining.set_target" => PoolMessage::Target(
                values
                    .next()
                    .and_then(Raw::as_str)
                    .and_then(Target::parse)
                    .ok_or(PoolFault("set_target is not 1 to 64 hex digits above zero"))?,
            ),
            b"mining.set_extranonce" => {
                let extranonce1 = values
                    .next()
                    .and_then(Raw::as_str)
                    .and_then(Extranonce1::parse)
                    .ok_or(PoolFault("set_extranonce is not up to 32 bytes of hex"))?;
                PoolMessage::Extranonce {
                    extranonce1,
                    extranonce2_len: NONCE_LEN - extranonce1.len(),
                }
            }
            b"client.reconnect" => read_reconnect(values)?,
            b"client.show_message" => {
                PoolMessage::Text(values.next().and_then(Raw::as_text).unwrap_or_default())
            }
            b"client.get_version" => PoolMessage::Request(AGENT_JSON),
            // Miningcore sends a difficulty ahead of the target that it means (equihash.md section 2).
            b"mining.set_difficulty" | b"mining.ping" | b"client.add_peers" => PoolMessage::Ignored,
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
            // The order differs between firmwares, and all but the agent is of no use to us. In the
            // draft's order (host, port, agent, session) the third value is the agent.
            b"mining.subscribe" => MinerRequest::Subscribe {
                agent: agent_of(params),
            },
            b"mining.authorize" => read_authorize(params)?,
            b"mining.extranonce.subscribe" => MinerRequest::ExtranonceSubscribe,
            b"mining.configure" => MinerRequest::Configure { params },
            b"mining.suggest_target" | b"mining.suggest_difficulty" | b"mining.multi_version" => {
                MinerRequest::Polite("true")
            }
            b"mining.ping" => MinerRequest::Polite("\"pong\""),
            _ => return Err(Reject::UnknownMethod),
        })
    }

    /// Of all extensions a miner can have one: to be told of another nonce_1.
    fn configure(
        &self,
        params: Option<Raw<'_>>,
        _: Option<VersionMask>,
        result: &mut Vec<u8>,
    ) -> Option<Granted> {
        let mut granted = Granted::default();
        common::configure(params, result, |name, out| {
            let known = name == b"subscribe-extranonce";
            granted.takes_extranonce |= known;
            out.extend_from_slice(if known { b"true" } else { b"false" });
        });
        Some(granted)
    }

    fn write_subscription(
        &self,
        out: &mut Vec<u8>,
        id: &RequestId,
        extranonce1: &Extranonce1,
        _: usize,
        _: &[u8],
    ) {
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(b",\"result\":[null,\"");
        hex::append_encoded(out, extranonce1.as_bytes());
        out.extend_from_slice(b"\"],\"error\":null}\n");
    }

    fn write_job(&self, out: &mut Vec<u8>, job: &Job, id: JobId, clean: bool) {
        common::write_job(out, job, id, clean);
    }

    fn write_target(&self, out: &mut Vec<u8>, target: &Target) {
        encode::notification(out, "mining.set_target", |out| {
            out.push(b'"');
            target.append_hex(out);
            out.push(b'"');
        });
    }

    fn write_extranonce(&self, out: &mut Vec<u8>, extranonce1: &Extranonce1, _: usize) {
        encode::notification(out, "mining.set_extranonce", |out| {
            out.push(b'"');
            hex::append_encoded(out, extranonce1.as_bytes());
            out.push(b'"');
        });
    }

    fn job_time(&self, job: &Job) -> u64 {
        job.body.get(JOB_TIME).map_or(0, read_time)
    }

    /// s-nomp and NiceHash name the parameters behind the clean flag: `"144_5"`.
    fn oddity(&self, job: &Job) -> Option<String> {
        let tag = job.extra.strip_prefix(b",")?;
        let tag = tag.split(|&byte| byte == b',').next()?;
        let tag = std::str::from_utf8(tag).ok()?.trim().trim_matches('"');
        let (n, k) = tag.split_once('_')?;
        let (n, k): (u32, u32) = (n.parse().ok()?, k.parse().ok()?);
        let own = (self.parameters.n(), self.parameters.k());
        ((n, k) != own).then(|| {
            let (own_n, own_k) = own;
            format!(
                "its jobs are for {n},{k} and the config says {own_n},{own_k}; shares of other lengths \
                 are refused: mend `equihash:` in the config"
            )
        })
    }

    fn check_share(&self, submit: &Submit<'_>, terms: ShareTerms<'_>) -> Result<(), Reject> {
        let [time, nonce_2, solution, ..] = submit.fields;
        self.check_fields(&[time, nonce_2, solution], terms.extranonce2_len)?;
        if read_time(time) > terms.time_max {
            return Err(Reject::Malformed("ntime out of range"));
        }
        Ok(())
    }

    fn write_share(&self, out: &mut Vec<u8>, share: ShareParts<'_>) -> Range<usize> {
        let [time, nonce_2, solution, ..] = share.submit.fields;
        let mut identity = 0..0;
        encode::request(out, share.request_id, "mining.submit", |out| {
            encode::append_string(out, share.worker);
            out.push(b',');
            out.extend_from_slice(share.pool_job_id);
            out.extend_from_slice(b",\"");
            hex::append_lower(out, time);
            out.extend_from_slice(b"\",\"");
            // One nonce has about 1.9 solutions: the nonce alone is no identity.
            identity.start = out.len();
            hex::append_encoded(out, share.slot);
            hex::append_lower(out, nonce_2);
            out.extend_from_slice(b"\",\"");
            hex::append_lower(out, solution);
            identity.end = out.len();
            out.push(b'"');
            out.extend_from_slice(share.submit.extra);
        });
        identity
    }
}

/// A time in header byte order: the digits are the little-endian number's. They were checked before.
fn read_time(digits: &[u8]) -> u64 {
    hex::parse_u32_be(digits).map_or(0, |time| u64::from(time.swap_bytes()))
}

/// `[job id, version, prevhash, merkle root, reserved, time, bits, clean, …]`.
///
/// s-nomp and NiceHash add a parameter tag and a personalisation behind the flag; VDS has more fields
/// in front of it. So the flag is the first boolean behind the six fields of a header.
fn read_job<'a>(mut params: impl Iterator<Item = Raw<'a>>) -> Result<Job, PoolFault> {
    let pool_id = read_job_id(&mut params)?.into();
    let mut body = Vec::with_capacity(256);
    let mut clean = None;
    for (place, value) in params.by_ref().enumerate() {
        if let Some(&digits) = HEADER_FIELD_DIGITS.get(place) {
            let text = value.as_str().unwrap_or_default();
            if text.len() != digits || !hex::is_hex(text) {
                return Err(PoolFault("notify has a header field of the wrong form"));
            }
        } else if let Some(flag) = value.as_bool() {
            clean = Some(flag);
            break;
        }
        if !body.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(value.bytes());
    }
    let clean = clean.ok_or(PoolFault("notify has fewer than 8 params or no clean flag"))?;
    Ok(Job {
        pool_id,
        clean,
        body: body.into(),
        extra: rest_of(params).into(),
        target: None,
    })
}

/// `[worker, job id, time, nonce_2, solution, …]`: time stands before the nonce, unlike Bitcoin's.
fn read_submit(params: Option<Raw<'_>>) -> Result<Submit<'_>, Reject> {
    const SHAPE: Reject =
        Reject::Malformed("submit wants [worker, job, time, nonce_2, solution] as strings");
    let mut values = params.into_iter().flat_map(Raw::elements);
    let worker = values.next().and_then(Raw::as_text).ok_or(SHAPE)?;
    // A string with an escape is neither a job id of ours nor hex: `as_str` gives none of it.
    let mut text = || values.next().and_then(Raw::as_str).ok_or(SHAPE);
    let (job_id, fields) = (text()?, [text()?, text()?, text()?, b"", b""]);
    let extra = common::rest_as_written(params, values.next());
    Ok(Submit {
        worker: Some(worker),
        job_id,
        fields,
        extra,
    })
}

/// The parameters `n` and `k` of Equihash, of a set that a coin uses.
///
/// A solution has 2^k indices of n/(k+1)+1 bits, and stands in a share behind its length as a
/// canonical compactSize (1 byte below 253, else `fd` and two bytes, little-endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parameters {
    n: u32,
    k: u32,
}

impl Parameters {
    /// Every set that can be configured.
    pub const ALL: [Self; 6] = [
        Self { n: 200, k: 9 },
        Self { n: 144, k: 5 },
        Self { n: 192, k: 7 },
        Self { n: 125, k: 4 },
        Self { n: 96, k: 5 },
        Self { n: 48, k: 5 },
    ];

    /// The set of these two numbers, or `None` where no coin of ours uses it.
    #[must_use]
    pub fn new(n: u32, k: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.n == n && set.k == k)
    }

    /// The number of bits that collide.
    #[must_use]
    pub const fn n(self) -> u32 {
        self.n
    }

    /// The number of rounds.
    #[must_use]
    pub const fn k(self) -> u32 {
        self.k
    }

    /// Length of a solution in bytes, without its length prefix: 1,344 for 200,9.
    #[must_use]
    pub const fn solution_len(self) -> usize {
        ((1usize << self.k) * (self.n as usize / (self.k as usize + 1) + 1)) / 8
    }

    /// The canonical compactSize in front of a solution, as lower-case hex digits: `fd4005` for 200,9.
    #[must_use]
    pub const fn solution_prefix_hex(self) -> &'static str {
        match (self.n, self.k) {
            (200, _) => "fd4005",
            (144, _) => "64",
            (192, _) => "fd9001",
            (125, _) => "34",
            (96, _) => "44",
            _ => "24",
        }
    }

    /// Hex digits of the fifth parameter of a submit, the prefix included: 2,694 for 200,9.
    #[must_use]
    pub const fn solution_hex_len(self) -> usize {
        self.solution_prefix_hex().len() + 2 * self.solution_len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_job_is_found_in_its_body() {
        let mut reader = crate::wire::json::Reader::new();
        let zeros = "0".repeat(64);
        let line = format!(
            r#"{{"params":["1","04000000","{zeros}","{zeros}","{zeros}","a8becc5b","e1ab031c",true]}}"#
        );
        let message = reader.read(line.as_bytes()).unwrap();
        let job = read_job(message.params.unwrap().elements()).unwrap();
        let dialect = Equihash::new(Parameters::ALL[0]);
        assert_eq!(dialect.job_time(&job), 0x5bcc_bea8);
    }

    #[test]
    fn the_plan_leaves_a_miner_eight_bytes_or_four_where_the_operator_insists() {
        let dialect = Equihash::new(Parameters::ALL[0]);
        let plan = |width, len| {
            let plan = dialect.plan(width, len, VersionMask::NONE);
            plan.map(|plan| plan.slot_len)
        };
        for (nonce_2_len, slot_len) in [
            (28, Some(2)),
            (10, Some(2)),
            (9, Some(1)),
            (8, Some(0)),
            (4, Some(0)),
            (3, None),
            (0, None),
        ] {
            assert_eq!(plan(SlotWidth::Auto, nonce_2_len), slot_len);
        }
        assert_eq!(plan(SlotWidth::Fixed(0), 28), Some(0));
        assert_eq!(plan(SlotWidth::Fixed(1), 28), Some(1));
        assert_eq!(plan(SlotWidth::Fixed(2), 6), Some(2));
        assert_eq!(plan(SlotWidth::Fixed(2), 5), Some(1));
    }

    #[test]
    fn a_tag_of_other_parameters_is_told() {
        let dialect = Equihash::new(Parameters::ALL[0]);
        let oddity = |extra: &[u8]| {
            dialect.oddity(&Job {
                pool_id: Box::default(),
                clean: true,
                body: Box::default(),
                extra: extra.into(),
                target: None,
            })
        };
        assert!(
            oddity(b",\"144_5\",\"BgoldPoW\"")
                .unwrap()
                .contains("144,5")
        );
        for right in [
            &b""[..],
            b",\"200_9\"",
            b",\"ZcashPoW\"",
            b",[1,2]",
            b",null",
        ] {
            assert_eq!(oddity(right), None);
        }
    }

    #[test]
    fn lengths_and_prefixes_are_those_of_the_coins() {
        let hex_len = [2694, 202, 806, 106, 138, 74];
        for (set, digits) in Parameters::ALL.into_iter().zip(hex_len) {
            assert_eq!(set.solution_hex_len(), digits, "{set:?}");
            let len = u16::try_from(set.solution_len()).unwrap();
            let prefix = if len < 253 {
                format!("{len:02x}")
            } else {
                let [low, high] = len.to_le_bytes();
                format!("fd{low:02x}{high:02x}")
            };
            assert_eq!(set.solution_prefix_hex(), prefix);
        }
    }
}
