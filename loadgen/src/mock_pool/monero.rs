//! The mock pool's links of Monero. Pure.
//!
//! A share says by its result which blob it was found for: simulated miners put the SHA-256 of it there. So
//! this pool finds out what no pool does for a real farm without hashing: whether each miner was told the
//! blob of this link and job with nothing but its own nonce in it.

use std::collections::{HashSet, VecDeque};

use stratum_uring::practice::monero::{
    BLOB_LEN, NONCE, NONCE_LEN, Work, claims_target, is_stand_in,
};
use stratum_uring::wire::{Message, Raw, encode, hex};

use crate::monero::member;

/// Jobs of a link that stay good. Longer than a proxy keeps any.
const JOBS_GOOD: usize = 64;

/// The time of the first job. It is no part of what is judged, and rises with each job.
const TIME: u32 = 1_790_000_000;

/// A difficulty of 10,000.
const TARGET: [u8; 32] = {
    let mut target = [0xff; 32];
    let highest = (u64::MAX / 10_000).to_be_bytes();
    let mut place = 0;
    while place < highest.len() {
        target[place] = highest[place];
        place += 1;
    }
    target
};

/// What a line was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Answered as any pool would, also with a no.
    Given,
    /// A share that no honest miner sends, nor a proxy that mixes nothing up.
    Wrong,
}

/// One link.
#[derive(Debug)]
pub(super) struct Session {
    link: u32,
    has_login: bool,
    told: VecDeque<Told>,
}

/// A job that the link was told.
#[derive(Debug)]
struct Told {
    id: String,
    blob: [u8; BLOB_LEN],
    taken: HashSet<[u8; NONCE_LEN]>,
}

impl Session {
    /// The link of this number; no two have the same blobs.
    pub(super) fn new(link: u32) -> Self {
        Self {
            link,
            has_login: false,
            told: VecDeque::new(),
        }
    }

    /// Whether it wants jobs.
    pub(super) fn has_login(&self) -> bool {
        self.has_login
    }

    /// Appends the job of this number as an announcement.
    pub(super) fn announce(&mut self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":");
        self.append_job(number, out);
        out.extend_from_slice(b"}\n");
    }

    /// Appends what there is to say to a line, at the time of the job of this number.
    pub(super) fn handle(
        &mut self,
        message: &Message<'_>,
        number: u64,
        out: &mut Vec<u8>,
    ) -> Reply {
        let Some(id) = message.id else {
            return Reply::Given;
        };
        out.extend_from_slice(b"{\"id\":");
        out.extend_from_slice(id.bytes());
        out.extend_from_slice(b",\"jsonrpc\":\"2.0\",");
        let method = message.method.and_then(Raw::as_str).unwrap_or_default();
        let verdict = match method {
            b"login" if !self.has_login => {
                self.has_login = true;
                out.extend_from_slice(b"\"error\":null,\"result\":{\"id\":");
                encode::append_string(out, &self.name());
                out.extend_from_slice(b",\"job\":");
                self.append_job(number, out);
                out.extend_from_slice(b",\"extensions\":[\"keepalive\"],\"status\":\"OK\"}}\n");
                return Reply::Given;
            }
            b"submit" => self.judge(message.params),
            b"keepalived" => Ok("KEEPALIVED"),
            _ => Err(Fault::Method),
        };
        match verdict {
            Ok(status) => {
                out.extend_from_slice(b"\"error\":null,\"result\":{\"status\":");
                encode::append_string(out, status);
            }
            Err(fault) => {
                out.extend_from_slice(b"\"error\":{\"code\":-1,\"message\":");
                encode::append_string(out, fault.text());
            }
        }
        out.extend_from_slice(b"}}\n");
        match verdict {
            Err(Fault::Session | Fault::Shape | Fault::Target | Fault::Blob) => Reply::Wrong,
            _ => Reply::Given,
        }
    }

    /// What the link must call itself in each share.
    fn name(&self) -> String {
        format!("link-{}", self.link)
    }

    fn append_job(&mut self, number: u64, out: &mut Vec<u8>) {
        let mut root = [0x5a; 32];
        root[24..].copy_from_slice(&number.to_be_bytes());
        let seconds = u32::try_from(number).unwrap_or_default();
        let work = Work::new([0xb1; 32], root, TIME.wrapping_add(seconds), number);
        // Links have the same ids for other work: a proxy that mixes links up is found out by the blob.
        let (id, own) = (format!("{number:x}"), self.link.to_be_bytes());
        work.append(&id, &own, &TARGET, out);
        if self.told.len() == JOBS_GOOD {
            self.told.pop_front();
        }
        self.told.push_back(Told {
            id,
            blob: work.blob(&own),
            taken: HashSet::new(),
        });
    }

    fn judge(&mut self, params: Option<Raw<'_>>) -> Result<&'static str, Fault> {
        let text = |name: &[u8]| member(params?, name)?.as_str();
        if text(b"id") != Some(self.name().as_bytes()) {
            return Err(Fault::Session);
        }
        let id = text(b"job_id").ok_or(Fault::Shape)?;
        let mut told = self.told.iter_mut().rev();
        let job = told
            .find(|job| job.id.as_bytes() == id)
            .ok_or(Fault::Stale)?;
        let nonce = hex::decode_to_array(text(b"nonce").unwrap_or_default());
        let result = hex::decode_to_array(text(b"result").unwrap_or_default());
        let (Ok(nonce), Ok(result)) = (nonce, result) else {
            return Err(Fault::Shape);
        };
        if !job.taken.insert(nonce) {
            return Err(Fault::Duplicate);
        }
        if !claims_target(&result, &TARGET) {
            return Err(Fault::Target);
        }
        let mut blob = job.blob;
        blob[NONCE].copy_from_slice(&nonce);
        if is_stand_in(&result, &blob) {
            Ok("OK")
        } else {
            Err(Fault::Blob)
        }
    }
}

/// Why there is no yes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Method,
    Session,
    Stale,
    Duplicate,
    Shape,
    Target,
    Blob,
}

impl Fault {
    fn text(self) -> &'static str {
        match self {
            Self::Method => "Method not found",
            Self::Session => "Unauthenticated",
            Self::Stale => "Invalid job id",
            Self::Duplicate => "Duplicate share",
            Self::Shape => "Malformed share",
            Self::Target => "Low difficulty share",
            Self::Blob => "Bad hash",
        }
    }
}

#[cfg(test)]
mod tests;
