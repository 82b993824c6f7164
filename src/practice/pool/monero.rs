//! How the practice pool speaks Monero: params with names, and a login whose answer holds a job.

use std::sync::Arc;

use super::{AcceptedShare, LinkId, PracticePool, SHARES_RECORDED_MAX};
use crate::practice::equihash::NONCE_LEN;
use crate::practice::jobs::{Job, Work};
use crate::practice::monero::{self, claims_target};
use crate::practice::shares::Fault;
use crate::wire::{Raw, encode, hex};

impl PracticePool {
    /// Subscribes and authorizes in one: the answer holds the session and the newest job.
    pub(super) fn handle_login(
        &mut self,
        now: u64,
        link_id: LinkId,
        id: &[u8],
        params: Option<Raw<'_>>,
        out: &mut Vec<u8>,
    ) {
        let refusal = self.knobs.refuse_subscribe.as_ref();
        if let Some(refusal) = refusal.or(self.knobs.refuse_authorize.as_ref()).cloned() {
            return self.refuse(id, refusal.code, &refusal.text, out);
        }
        if self.jobs.newest().is_none() {
            self.next_job(now);
        }
        let (Some(link), Some(job)) = (self.links.get_mut(&link_id), self.jobs.newest()) else {
            return;
        };
        if link.session.is_some() {
            return self.refuse(id, 20, "already logged in", out);
        }
        let worker = member(params, b"login").and_then(Raw::as_text);
        let Some(worker) = worker else {
            return self.refuse(id, 20, "a worker name is missing", out);
        };
        let session = self.sessions.open();
        let nonce_1 = session.and_then(|session| self.sessions.nonce_1(session, job.number));
        let (Some(session), Some(nonce_1)) = (session, nonce_1) else {
            return self.refuse(id, 20, "no nonce space left", out);
        };
        link.session = Some(session);
        link.workers.insert(Arc::from(&*worker));
        link.clean_due = false;
        self.counters.subscribes += 1;
        self.counters.authorizes += 1;
        let mut result = b"{\"id\":".to_vec();
        encode::append_string(&mut result, &session.text());
        result.extend_from_slice(b",\"job\":");
        append_job(&mut result, job, nonce_1);
        result.extend_from_slice(b",\"extensions\":[\"algo\",\"keepalive\"],\"status\":\"OK\"}");
        self.before_answer(out);
        append_result(out, id, &result);
    }

    /// Judges a share: the params id, job_id, nonce and result.
    pub(super) fn judge_monero(
        &mut self,
        link_id: LinkId,
        params: Option<Raw<'_>>,
    ) -> Result<(), Fault> {
        let link = self.links.get(&link_id).ok_or(Fault::NotSubscribed)?;
        let session = link.session.ok_or(Fault::NotSubscribed)?;
        let worker = link.workers.iter().next().ok_or(Fault::Unauthorized)?;
        let text = |name: &[u8]| member(params, name).and_then(Raw::as_str);
        if text(b"id") != Some(session.text().as_bytes()) {
            return Err(Fault::Unauthorized);
        }
        let job = self.jobs.find(text(b"job_id").unwrap_or_default())?;
        let own: [u8; monero::NONCE_LEN] =
            hex::decode_to_array(text(b"nonce").unwrap_or_default()).map_err(|_| Fault::Nonce)?;
        let result = hex::decode_to_array(text(b"result").unwrap_or_default());
        let result: [u8; 32] = result.map_err(|_| Fault::Result)?;
        let nonce_1 = self.sessions.nonce_1(session, job.number);
        let nonce_1 = nonce_1.ok_or(Fault::NotSubscribed)?;
        let mut nonce = [0; NONCE_LEN];
        let bytes = nonce.iter_mut().zip(nonce_1.iter().chain(&own));
        bytes.for_each(|(to, from)| *to = *from);
        // A nonce has one hash, so another result for it is no other share.
        if !self.remembered.insert(job.number, &nonce, &[]) {
            return Err(Fault::Duplicate);
        }
        if !claims_target(&result, &job.target) {
            return Err(Fault::LowDifficulty);
        }
        if self.knobs.record && self.recorded.len() < SHARES_RECORDED_MAX {
            self.recorded.push(AcceptedShare {
                link: link_id,
                worker: Arc::clone(worker),
                job: job.id(),
                nonce,
                hash: None,
                time: job.time,
            });
        }
        Ok(())
    }
}

/// Appends a job as an announcement.
pub(super) fn notify(out: &mut Vec<u8>, job: &Job, nonce_1: &[u8]) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":");
    append_job(out, job, nonce_1);
    out.extend_from_slice(b"}\n");
}

/// Appends the answer to a request that was granted.
pub(super) fn append_result(out: &mut Vec<u8>, id: &[u8], result: &[u8]) {
    let pieces = [
        b"{\"id\":",
        id,
        b",\"jsonrpc\":\"2.0\",\"error\":null,\"result\":",
        result,
    ];
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out.extend_from_slice(b"}\n");
}

/// Appends the answer to one that was not, whose code is always the same.
pub(super) fn append_error(out: &mut Vec<u8>, id: &[u8], text: &str) {
    let pieces = [
        b"{\"id\":",
        id,
        b",\"jsonrpc\":\"2.0\",\"error\":{\"code\":-1,\"message\":",
    ];
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    encode::append_string(out, text);
    out.extend_from_slice(b"}}\n");
}

fn append_job(out: &mut Vec<u8>, job: &Job, nonce_1: &[u8]) {
    if let Work::Monero(work) = &job.work {
        work.append(&job.id(), nonce_1, &job.target, out);
    }
}

fn member<'a>(params: Option<Raw<'a>>, name: &[u8]) -> Option<Raw<'a>> {
    let mut members = params?.members();
    members.find_map(|(key, value)| (key.as_str() == Some(name)).then_some(value))
}
