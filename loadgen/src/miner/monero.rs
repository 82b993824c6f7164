//! How a miner of Monero talks: its params have names, and the answer to its login holds a job.

use std::rc::Rc;

use stratum_uring::practice::monero::NONCE_LEN;
use stratum_uring::wire::{Message, Raw, encode};

use super::{Asked, Event, Miner, Times, Wrong, append_worker};
use crate::job::JobBook;
use crate::monero::{Told, member};
use crate::shares::Share;
use crate::verdict::{Verdict, verdict};

/// What a miner knows since its login.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// What the server calls the session, as JSON.
    session: Rc<[u8]>,
    /// What stood in the newest blob in place of the nonce.
    nonce: [u8; NONCE_LEN],
    /// The last byte of the nonce is the server's. As with xmrig, either the server says so, or a blob
    /// shows it.
    is_fixed: bool,
}

impl Login {
    /// The last byte of the nonce, where it is not the miner's.
    pub(super) fn nonce_end(&self) -> Option<u8> {
        let [.., last] = self.nonce;
        self.is_fixed.then_some(last)
    }
}

impl Miner {
    pub(super) fn log_in(&mut self, out: &mut Vec<u8>) {
        let (agent, number) = (self.habits.agent, self.number);
        self.ask(out, Asked::Login, "login", |out| {
            out.extend_from_slice(b"\"login\":");
            append_worker(out, number);
            out.extend_from_slice(b",\"pass\":\"x\",\"agent\":");
            encode::append_string(out, agent);
            out.extend_from_slice(b",\"algo\":[\"rx/0\"]");
        });
    }

    pub(super) fn handle_login(
        &mut self,
        message: &Message<'_>,
        jobs: &mut JobBook,
        out: &mut Vec<u8>,
    ) -> Event {
        let result = message.result.filter(|result| !result.is_null());
        let part = |name: &[u8]| member(result?, name);
        let session = part(b"id").filter(|id| id.as_str().is_some());
        let (Some(session), Some(login)) = (session, &mut self.login) else {
            return Event::Refused(match verdict(message) {
                Verdict::Rejected(reason) => format!("login: {reason}"),
                Verdict::Accepted => "login: a result without a session".to_owned(),
            });
        };
        let mut extensions = part(b"extensions").into_iter().flat_map(Raw::elements);
        login.is_fixed = extensions.any(|name| name.as_str() == Some(b"nicehash"));
        login.session = session.bytes().into();
        self.authorized = true;
        let event = match self.handle_blob(part(b"job"), jobs) {
            Event::Job(job, _) => Event::LoggedIn(job),
            other => other,
        };
        if self.habits.keeps_alive {
            self.ask_session(out, Asked::KeepAlive, "keepalived", |_| {});
        }
        event
    }

    pub(super) fn handle_named_call(
        &mut self,
        method: &[u8],
        params: Option<Raw<'_>>,
        jobs: &mut JobBook,
    ) -> Event {
        match method {
            b"job" => self.handle_blob(params, jobs),
            b"client.reconnect" => Event::Reconnect,
            _ => Event::Nothing,
        }
    }

    /// Appends a share, under the next id.
    pub(super) fn submit_to_session(&mut self, share: &Share, times: Times, out: &mut Vec<u8>) {
        self.ask_session(out, Asked::Share(times), "submit", |out| {
            share.write_params(out);
        });
    }

    fn ask_session(
        &mut self,
        out: &mut Vec<u8>,
        what: Asked,
        method: &str,
        params: impl FnOnce(&mut Vec<u8>),
    ) {
        let session = self.login.as_ref().map(|login| Rc::clone(&login.session));
        self.ask(out, what, method, |out| {
            out.extend_from_slice(b"\"id\":");
            out.extend_from_slice(&session.unwrap_or_default());
            params(out);
        });
    }

    fn handle_blob(&mut self, job: Option<Raw<'_>>, jobs: &mut JobBook) -> Event {
        let told = job.and_then(Told::read);
        let (Some(told), Some(login)) = (told, &mut self.login) else {
            return Event::Wrong(Wrong::Unreadable);
        };
        let Some(space) = told.space() else {
            return Event::Wrong(Wrong::Unreadable);
        };
        login.is_fixed |= told.nonce != [0; NONCE_LEN];
        // Another byte of the nonce is other work, and comes with another link. All else of a blob is
        // another one with each job.
        if std::mem::replace(&mut login.nonce, told.nonce) == told.nonce {
            self.extranonce1 = Some(space);
        } else {
            self.next_extranonce1 = Some((space, 0));
        }
        self.next_target = Some(told.target).filter(|target| self.target.as_ref() != Some(target));
        let job = jobs.of_blob(&told);
        self.handle_job(job, jobs)
    }
}

/// What comes for a `keepalived`.
pub(super) fn handle_kept_alive(message: &Message<'_>) -> Event {
    let status = message.result.and_then(|result| member(result, b"status"));
    if status.and_then(Raw::as_str) == Some(b"KEEPALIVED") {
        Event::Nothing
    } else {
        Event::Wrong(Wrong::Unreadable)
    }
}

#[cfg(test)]
mod tests;
