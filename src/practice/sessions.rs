//! Who has which nonce_1, now and for the jobs before.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{jobs::Random, settings::NONCE_1_BYTES_MAX};

/// Sessions without a link that can still be resumed. The oldest is forgotten first.
const IDLE_SESSIONS_MAX: usize = 1024;

/// Odd, so that counting in steps of it meets each number once before it comes around.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A session's id; as text, 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(u64);

impl SessionId {
    pub(super) fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

/// All sessions of a pool.
///
/// Invariant: no two sessions hold the same nonce_1, and `in_use` are those that are held.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions whose link is gone, the one that went first at the front.
    idle: VecDeque<SessionId>,
    in_use: BTreeSet<Nonce1>,
    nonce_1_len: usize,
    /// The next nonce_1, which may be in use.
    next: u64,
    /// What stands in front of the counted bytes of a long nonce_1.
    fill: [u8; 32],
    random: Random,
}

#[derive(Debug)]
struct Session {
    /// Each nonce_1 with the number of the first job that it is for; the newest last.
    nonces: Vec<(u64, Nonce1)>,
}

/// The bytes, and behind them zeros. All of a pool have one length.
type Nonce1 = [u8; NONCE_1_BYTES_MAX];

impl Sessions {
    pub(super) fn new(nonce_1_len: usize, mut random: Random) -> Self {
        debug_assert!((1..=NONCE_1_BYTES_MAX).contains(&nonce_1_len));
        Self {
            sessions: BTreeMap::new(),
            idle: VecDeque::new(),
            in_use: BTreeSet::new(),
            nonce_1_len,
            next: random.next(),
            fill: random.bytes(),
            random,
        }
    }

    /// Begins a session with a nonce_1 of its own. `None`: all of them are in use.
    pub(super) fn open(&mut self) -> Option<SessionId> {
        let nonce_1 = self.take_nonce_1()?;
        let mut id = SessionId(self.random.next());
        while self.sessions.contains_key(&id) {
            id = SessionId(self.random.next());
        }
        let nonces = vec![(0, nonce_1)];
        self.sessions.insert(id, Session { nonces });
        Some(id)
    }

    /// Goes on with the session of this id, if it is known and has no link.
    pub(super) fn resume(&mut self, text: &str) -> Option<SessionId> {
        let id = SessionId(u64::from_str_radix(text, 16).ok()?);
        let place = self.idle.iter().position(|idle| *idle == id)?;
        (id.text() == text).then(|| self.idle.remove(place))?
    }

    /// The link of a session is gone. Its nonce_1 stays reserved for it while there is room.
    pub(super) fn leave(&mut self, id: SessionId) {
        debug_assert!(self.sessions.contains_key(&id) && !self.idle.contains(&id));
        self.idle.push_back(id);
        if self.idle.len() > IDLE_SESSIONS_MAX {
            self.forget_oldest_idle();
        }
    }

    /// Ends a session that will not be resumed.
    pub(super) fn forget(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.remove(&id) {
            for (_, nonce_1) in session.nonces {
                self.in_use.remove(&nonce_1);
            }
        }
    }

    /// Gives a session another nonce_1 from job `first_job` on. What was for jobs before
    /// `oldest_job` is let go. `None`: all of them are in use, or there is no such session.
    pub(super) fn change(
        &mut self,
        id: SessionId,
        first_job: u64,
        oldest_job: u64,
    ) -> Option<&[u8]> {
        let nonce_1 = self.take_nonce_1()?;
        let Some(session) = self.sessions.get_mut(&id) else {
            self.in_use.remove(&nonce_1);
            return None;
        };
        session.nonces.push((first_job, nonce_1));
        while let [(_, oldest), (until, _), ..] = session.nonces[..]
            && until <= oldest_job.min(first_job - 1)
        {
            self.in_use.remove(&oldest);
            session.nonces.remove(0);
        }
        self.nonce_1(id, first_job)
    }

    /// The nonce_1 of a session for this job.
    pub(super) fn nonce_1(&self, id: SessionId, job: u64) -> Option<&[u8]> {
        let nonces = &self.sessions.get(&id)?.nonces;
        let (_, nonce_1) = nonces.iter().rev().find(|(first, _)| *first <= job)?;
        nonce_1.get(..self.nonce_1_len)
    }

    fn take_nonce_1(&mut self) -> Option<Nonce1> {
        let counted = self.nonce_1_len.min(8);
        let capacity = 1u128 << (8 * counted);
        if self.in_use.len() as u128 >= capacity {
            self.forget_oldest_idle();
        }
        // Among one more value than are in use there is a free one, if there is any.
        for _ in 0..=self.in_use.len() {
            let mut nonce_1 = [0; NONCE_1_BYTES_MAX];
            nonce_1[..self.nonce_1_len].copy_from_slice(&self.fill[..self.nonce_1_len]);
            let number = self.next.wrapping_mul(STEP).to_le_bytes();
            nonce_1[self.nonce_1_len - counted..self.nonce_1_len]
                .copy_from_slice(&number[..counted]);
            self.next = self.next.wrapping_add(1);
            if self.in_use.insert(nonce_1) {
                return Some(nonce_1);
            }
        }
        None
    }

    fn forget_oldest_idle(&mut self) {
        if let Some(id) = self.idle.pop_front() {
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(nonce_1_len: usize) -> Sessions {
        Sessions::new(nonce_1_len, Random::new(3))
    }

    #[test]
    fn every_session_has_its_own_nonce_1() {
        for len in [1, 2, 3, 4, 8, 17, NONCE_1_BYTES_MAX] {
            let mut sessions = sessions(len);
            let mut seen = BTreeSet::new();
            for _ in 0..256 {
                let id = sessions.open().unwrap();
                let nonce_1 = sessions.nonce_1(id, 1).unwrap().to_vec();
                assert_eq!(nonce_1.len(), len);
                assert!(seen.insert(nonce_1));
            }
        }
    }

    #[test]
    fn when_all_are_in_use_nobody_gets_one_until_a_session_is_left() {
        let mut sessions = sessions(1);
        let ids: Vec<_> = (0..256).map(|_| sessions.open().unwrap()).collect();
        assert_eq!(sessions.open(), None);
        let freed = sessions.nonce_1(ids[7], 1).unwrap().to_vec();
        sessions.leave(ids[7]);
        let id = sessions.open().unwrap();
        assert_eq!(sessions.nonce_1(id, 1).unwrap(), freed);
        assert_eq!(sessions.resume(&ids[7].text()), None, "its nonce_1 is gone");
    }

    #[test]
    fn a_session_is_resumed_once_and_only_without_a_link() {
        let mut sessions = sessions(4);
        let id = sessions.open().unwrap();
        let nonce_1 = sessions.nonce_1(id, 1).unwrap().to_vec();
        assert_eq!(sessions.resume(&id.text()), None, "its link is alive");
        sessions.leave(id);
        assert_eq!(sessions.resume(&id.text().to_uppercase()), None);
        for unknown in ["", "+1", "pool.example", "00000000000000001"] {
            assert_eq!(sessions.resume(unknown), None);
        }
        assert_eq!(sessions.resume(&id.text()), Some(id));
        assert_eq!(sessions.resume(&id.text()), None);
        assert_eq!(sessions.nonce_1(id, 1).unwrap(), nonce_1);
    }

    #[test]
    fn a_changed_nonce_1_is_for_the_jobs_from_then_on() {
        let mut sessions = sessions(4);
        let id = sessions.open().unwrap();
        let before = sessions.nonce_1(id, 5).unwrap().to_vec();
        let after = sessions.change(id, 6, 2).unwrap().to_vec();
        assert_ne!(before, after);
        assert_eq!(sessions.nonce_1(id, 5).unwrap(), before);
        assert_eq!(sessions.nonce_1(id, 6).unwrap(), after);
        let last = sessions.change(id, 9, 6).unwrap().to_vec();
        assert_eq!(sessions.in_use.len(), 2, "no job before 6 is known");
        assert_eq!(sessions.nonce_1(id, 6).unwrap(), after);
        assert_eq!(sessions.nonce_1(id, 9).unwrap(), last);
    }

    #[test]
    fn idle_sessions_are_bounded() {
        let mut sessions = sessions(4);
        for _ in 0..IDLE_SESSIONS_MAX + 10 {
            let id = sessions.open().unwrap();
            sessions.leave(id);
        }
        assert_eq!(sessions.idle.len(), IDLE_SESSIONS_MAX);
        assert_eq!(sessions.sessions.len(), IDLE_SESSIONS_MAX);
        assert_eq!(sessions.in_use.len(), IDLE_SESSIONS_MAX);
    }
}
