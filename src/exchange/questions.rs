//! Which names a link asks its pool for next, for which it has asked, and what the pool said.
//!
//! ```text
//! of miners that mine, of shares ──▶ returning ─┐
//! newcomers that the pool took ──▶ known ───────┤                ┌──▶ allowed | denied
//! other newcomers ──▶ strangers ────────────────┼──▶ asked ──────┴──▶ late, after 5 s ──▶ given up
//! names at which connections ended ──▶ careful ─┘    256 at the most
//! ```
//!
//! **The pace of newcomers.** A link has credit for 64 of them, and earns 8 in a second. A name that its pool
//! takes gives back what it cost and a quarter more. So a farm whose names are good comes in as fast as its
//! pool answers 256 at a time, up to a ceiling, also where one in five is set up wrongly; and those who
//! guess names, however many they are, are 8 requests in a second to a pool that may send us away for them.
//! However many it takes beside those, it denies 64 in a second. Addresses take turns, and of one it is asked
//! for none while too many of its names were denied (`repute.rs`).
//!
//! What the pool was asked for and has not answered is kept in `unanswered.rs`. Nothing here knows an
//! exchange: who waits for what is told to the caller.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::exchange::accounts::AccountId;
use crate::exchange::authorize::Waiter;
use crate::exchange::repute::{CAREFUL_ENDS, MayAsk};
use crate::exchange::turns::Turns;
use crate::exchange::unanswered::{Open, Question, Unanswered};

/// Names that one link asks its pool for at a time; the others wait for their turn.
const ASKED_MAX: usize = 256;

/// So many that were open at the ends of two connections are asked for in one round, and nothing else is. One
/// that was at more ends is a round of its own.
const CAREFUL_MAX: usize = 16;

/// What it costs to ask a pool for a newcomer's name.
const COST: usize = 4;

/// What a link has again when the pool takes that name.
const TAKEN: usize = 5;

/// What a link earns in each tick, of which there are four in a second.
const EARNED_PER_TICK: usize = 2 * COST;

/// What it has at most.
const CREDIT_MAX: usize = 64 * COST;

/// Strangers' names that a pool denies in each tick, whatever it takes; beyond these are the ones that it was
/// asked for by then.
const DENIED_PER_TICK: i32 = 16;

/// As many may be saved up.
const DENIED_SAVED_MAX: i32 = 64;

/// One in so many newcomers is a stranger, where enough known ones wait.
const STRANGERS_EVERY: u32 = 8;

/// The ceiling: names of newcomers for which the links of all shards ask in each tick, one link of each. So
/// 65,536 miners that come at once are all asked for in 17 seconds. A shard's part is [`PART_MIN`]
/// at least.
const NEWCOMERS_PER_TICK_MAX: usize = 1000;

/// See there.
const PART_MIN: usize = 125;

/// How long a name stays known that the pool took when nobody waited any more. Whoever was told to come again
/// finds it allowed then.
const KEPT: Duration = Duration::from_secs(120);

/// So many of them.
const KEPT_MAX: usize = 4096;

/// Who waits, and from which address, or /64, it asks.
pub(super) type Asker = (Waiter, u64);

/// When a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// As soon as one more may be asked.
    Returning,
    /// Behind those and at a pace, known or not.
    Newcomer(bool),
    /// With few others, or none.
    Careful,
    /// It was, under this request.
    Asked(u64),
}

/// A name that is not answered yet.
#[derive(Debug)]
struct Wait {
    place: Place,
    waiters: Vec<Asker>,
    /// The addresses under which it waits for its turn, where it is a newcomer's.
    homes: BTreeSet<u64>,
}

/// What a pool said of a name on this connection.
#[derive(Debug)]
enum Standing {
    Waits(Box<Wait>),
    Allowed,
}

/// What comes of one more who asks for a name of which something is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Joined {
    Allowed,
    /// It waits with the others.
    Waits,
    /// It does, and the name is to be asked for sooner than before.
    GoesAhead,
}

/// The names of one connection.
#[derive(Debug)]
pub(crate) struct Questions {
    names: BTreeMap<AccountId, Standing>,
    /// To be asked for, in this order. Some of all these may have been asked for since.
    returning: VecDeque<AccountId>,
    /// Newcomers' names that the pool took lately, and those that are new to it.
    newcomers: [Turns; 2],
    /// Each with how many may be asked for at the time.
    careful: VecDeque<(Question, usize)>,
    /// How many of those may be asked for beside the ones that are, while nothing else is.
    round: Option<usize>,
    /// Since when others wait for such a round, and until when none begins before them.
    round_since: Option<Duration>,
    round_after: Duration,
    /// What the pool was asked for.
    pub(super) unanswered: Unanswered,
    /// What there is to ask for newcomers, at [`COST`] each.
    credit: usize,
    /// How many may before the next tick, whatever becomes known.
    left: usize,
    /// How many of the strangers' may be denied.
    deniable: i32,
    /// Newcomers so far.
    turns: u32,
    /// Names that the pool took when nobody waited, since when.
    kept: VecDeque<(Duration, AccountId)>,
}

impl Default for Questions {
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            returning: VecDeque::new(),
            newcomers: [Turns::default(), Turns::default()],
            careful: VecDeque::new(),
            round: None,
            round_since: None,
            round_after: Duration::ZERO,
            unanswered: Unanswered::default(),
            credit: CREDIT_MAX,
            left: PART_MIN,
            deniable: DENIED_SAVED_MAX,
            turns: 0,
            kept: VecDeque::new(),
        }
    }
}

impl Questions {
    /// The connection is over: what its pool said of names is too. The pace goes on.
    pub(super) fn end_connection(&mut self) {
        *self = Self {
            credit: self.credit,
            left: self.left,
            deniable: self.deniable,
            ..Self::default()
        };
    }

    /// Whether a share may go out under this name.
    pub(super) fn allows(&self, id: AccountId) -> bool {
        matches!(self.names.get(&id), Some(Standing::Allowed))
    }

    /// How much is known, or to be known.
    pub(super) fn len(&self) -> usize {
        let newcomers: usize = self.newcomers.iter().map(Turns::len).sum();
        self.names.len() + self.returning.len() + newcomers + self.careful.len()
    }

    /// One more asks for a name. `None` where nothing is known of it.
    pub(super) fn join(
        &mut self,
        now: Duration,
        id: AccountId,
        asker: Option<Asker>,
    ) -> Option<Joined> {
        let wait = match self.names.get_mut(&id)? {
            Standing::Allowed => return Some(Joined::Allowed),
            Standing::Waits(wait) => wait,
        };
        wait.waiters.extend(asker);
        match (wait.place, asker) {
            // Who mines, and its shares, do not wait behind newcomers that came first.
            (Place::Newcomer(_), None) => {
                wait.place = Place::Returning;
                self.returning.push_back(id);
                return Some(Joined::GoesAhead);
            }
            // Nor does anybody wait behind what others have in the queue.
            (Place::Newcomer(is_known), Some((_, home))) if wait.homes.insert(home) => {
                self.newcomers[usize::from(!is_known)].push(home, id);
                return Some(Joined::GoesAhead);
            }
            (Place::Asked(request), _) => {
                self.unanswered.wait(now, request);
            }
            _ => {}
        }
        Some(Joined::Waits)
    }

    /// A name of which nothing is known is to be asked for: for a newcomer, or else for a miner that mines,
    /// or a share. So many connections have ended at it.
    pub(super) fn queue(&mut self, id: AccountId, asker: Option<Asker>, is_known: bool, ends: u8) {
        let home = asker.map(|(_, home)| home);
        let place = if ends >= CAREFUL_ENDS {
            let max = if ends > CAREFUL_ENDS { 1 } else { CAREFUL_MAX };
            let mut question = Question::new(Duration::ZERO, id, home);
            (question.is_known, question.is_careful) = (is_known, true);
            self.careful.push_back((question, max));
            Place::Careful
        } else if let Some(home) = home {
            self.newcomers[usize::from(!is_known)].push(home, id);
            Place::Newcomer(is_known)
        } else {
            self.returning.push_back(id);
            Place::Returning
        };
        let wait = Wait {
            place,
            waiters: asker.into_iter().collect(),
            homes: home.into_iter().collect(),
        };
        self.names.insert(id, Standing::Waits(Box::new(wait)));
    }

    /// The next name that may be asked for now. `may_ask` says it of an address for which so much is
    /// open; who may not is put into `refused`.
    pub(super) fn next(
        &mut self,
        now: Duration,
        may_ask: impl Fn(u64, Open) -> MayAsk,
        refused: &mut Vec<Waiter>,
    ) -> Option<Question> {
        let asked = self.unanswered.asked();
        if asked == 0 && self.round.take().is_some() {
            // Others have their turn for as long as they waited.
            let since = self.round_since.take().unwrap_or(now);
            self.round_after = now + now.saturating_sub(since);
        }
        if self.unanswered.in_flight(now) >= ASKED_MAX {
            return None;
        }
        if self.round.is_some() {
            return self.next_careful(now);
        }
        while let Some(id) = self.returning.pop_front() {
            if self.waits_at(id, Place::Returning) {
                return Some(Question::new(now, id, None));
            }
        }
        let others_wait = self.newcomers.iter().any(|turns| turns.len() > 0);
        if self.first_careful().is_none() {
            // Who waited for a round may have left.
            self.round_since = None;
        } else if now >= self.round_after || !others_wait {
            self.round_since.get_or_insert(now);
            // First those that are asked for are to be answered.
            return (asked == 0).then(|| self.next_careful(now)).flatten();
        }
        if self.credit < COST || self.left == 0 {
            return None;
        }
        let strangers_first = self.turns.is_multiple_of(STRANGERS_EVERY);
        for is_known in [!strangers_first, strangers_first] {
            if let Some((id, home)) = self.next_newcomer(is_known, &may_ask, refused) {
                self.turns = self.turns.wrapping_add(1);
                self.credit -= COST;
                self.left -= 1;
                let mut question = Question::new(now, id, Some(home));
                question.is_known = is_known;
                return Some(question);
            }
        }
        None
    }

    /// The first name that is to be asked for with care, and beside how many.
    fn first_careful(&mut self) -> Option<(Question, usize)> {
        while let Some(&(question, max)) = self.careful.front() {
            if self.waits_at(question.account, Place::Careful) {
                return Some((question, max));
            }
            self.careful.pop_front();
        }
        None
    }

    /// The next one of a round, which it may begin.
    fn next_careful(&mut self, now: Duration) -> Option<Question> {
        let (mut question, max) = self.first_careful()?;
        let left = match self.round {
            None => max,
            // One that is to be alone begins its own round.
            Some(left) => left.min(max - 1),
        };
        self.round = Some(left.checked_sub(1)?);
        self.careful.pop_front();
        self.credit = self.credit.saturating_sub(COST);
        question.since = now;
        Some(question)
    }

    fn next_newcomer(
        &mut self,
        is_known: bool,
        may_ask: impl Fn(u64, Open) -> MayAsk,
        refused: &mut Vec<Waiter>,
    ) -> Option<(AccountId, u64)> {
        if !is_known && self.deniable <= 0 {
            return None;
        }
        let lane = usize::from(!is_known);
        let mut looked_at = 0;
        while looked_at < self.newcomers[lane].homes() {
            let (home, id) = self.newcomers[lane].front()?;
            let open = self.unanswered.of_home(home);
            let may = match may_ask(home, open) {
                _ if is_known => MayAsk::Now,
                may => may,
            };
            match may {
                _ if !self.waits_at(id, Place::Newcomer(is_known)) => self.newcomers[lane].pop(),
                MayAsk::Now => {
                    let homes = self.newcomers[lane].homes();
                    self.newcomers[lane].pop();
                    if self.newcomers[lane].homes() == homes {
                        self.newcomers[lane].pass();
                    }
                    return Some((id, home));
                }
                MayAsk::Later => {
                    self.newcomers[lane].pass();
                    looked_at += 1;
                }
                MayAsk::No => {
                    self.newcomers[lane].pop();
                    self.refuse(id, home, refused);
                }
            }
        }
        None
    }

    /// A name is not asked for on behalf of this address; on behalf of others it still may be.
    fn refuse(&mut self, id: AccountId, home: u64, refused: &mut Vec<Waiter>) {
        let Some(Standing::Waits(wait)) = self.names.get_mut(&id) else {
            return;
        };
        let of_home = wait.waiters.extract_if(.., |(_, from)| *from == home);
        refused.extend(of_home.map(|(waiter, _)| waiter));
        wait.homes.remove(&home);
        if wait.homes.is_empty() {
            self.names.remove(&id);
        }
    }

    /// Whether a name waits for its turn there.
    fn waits_at(&self, id: AccountId, place: Place) -> bool {
        matches!(self.names.get(&id), Some(Standing::Waits(wait)) if wait.place == place)
    }

    /// See [`Unanswered::is_left`].
    pub(super) fn is_left(&self, now: Duration, id: AccountId) -> bool {
        match self.names.get(&id) {
            Some(Standing::Waits(wait)) => match wait.place {
                Place::Asked(request) => self.unanswered.is_left(now, request),
                _ => false,
            },
            _ => false,
        }
    }

    /// The name that is next was asked for.
    pub(super) fn asked(&mut self, request: u64, question: Question) {
        if let Some(Standing::Waits(wait)) = self.names.get_mut(&question.account) {
            wait.place = Place::Asked(request);
        }
        self.unanswered.add(request, question);
    }

    /// The pool has answered one of our requests: which name, if it was about one.
    pub(super) fn take_answered(
        &mut self,
        now: Duration,
        request: u64,
        is_allowed: bool,
    ) -> Option<Question> {
        let (question, is_late) = self.unanswered.take(now, request)?;
        if is_late && is_allowed {
            self.kept.push_back((now, question.account));
        }
        if question.home.is_some() && is_allowed {
            self.credit = (self.credit + TAKEN).min(CREDIT_MAX);
        } else if question.stranger().is_some() {
            self.deniable -= 1;
        }
        Some(question)
    }

    /// It is known what becomes of a name. Gives those who wait for that.
    pub(super) fn settle(&mut self, id: AccountId, is_allowed: bool) -> Vec<Waiter> {
        let standing = if is_allowed {
            self.names.insert(id, Standing::Allowed)
        } else {
            self.names.remove(&id)
        };
        match standing {
            Some(Standing::Waits(wait)) => wait.waiters.iter().map(|(waiter, _)| *waiter).collect(),
            _ => Vec::new(),
        }
    }

    /// What is waited for takes too long. Gives those who do; whoever comes now waits with the next ones.
    pub(super) fn take_waiters(&mut self, id: AccountId) -> Vec<Waiter> {
        let Some(Standing::Waits(wait)) = self.names.get_mut(&id) else {
            return Vec::new();
        };
        let waiters = wait.waiters.drain(..);
        waiters.map(|(waiter, _)| waiter).collect()
    }

    /// A tick earns newcomers their pace; `parts` shards have a part of the ceiling each.
    pub(super) fn tick(&mut self, now: Duration, parts: u32) {
        self.credit = (self.credit + EARNED_PER_TICK).min(CREDIT_MAX);
        self.deniable = (self.deniable + DENIED_PER_TICK).min(DENIED_SAVED_MAX);
        let part = NEWCOMERS_PER_TICK_MAX / parts.max(1) as usize;
        self.left = part.max(PART_MIN);
        let is_old = |since: Duration| now.saturating_sub(since) >= KEPT;
        while self.kept.len() > KEPT_MAX || self.kept.front().is_some_and(|kept| is_old(kept.0)) {
            self.kept.pop_front();
        }
    }

    /// The accounts that are named here, whoever has them.
    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        let kept = self.kept.iter().map(|(_, id)| *id);
        self.unanswered.accounts().chain(kept)
    }

    /// Of those who wait for this name some may be gone.
    pub(super) fn retain_waiters(&mut self, id: AccountId, is_there: impl Fn(&Waiter) -> bool) {
        if let Some(Standing::Waits(wait)) = self.names.get_mut(&id) {
            wait.waiters.retain(|(waiter, _)| is_there(waiter));
        }
    }

    /// An account is nobody's any more.
    pub(super) fn forget(&mut self, id: AccountId) {
        self.names.remove(&id);
    }

    /// Drops from the queues what is not to be asked for any more, or was.
    pub(super) fn sweep(&mut self) {
        let place = |id: AccountId| match self.names.get(&id) {
            Some(Standing::Waits(wait)) => Some(wait.place),
            _ => None,
        };
        self.returning
            .retain(|&id| place(id) == Some(Place::Returning));
        self.careful
            .retain(|(question, _)| place(question.account) == Some(Place::Careful));
        for (turns, is_known) in self.newcomers.iter_mut().zip([true, false]) {
            turns.retain(|_, id| place(id) == Some(Place::Newcomer(is_known)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::MinerToken;

    const fn waiter(number: u32) -> Waiter {
        let index = number;
        let generation = 0;
        (MinerToken { index, generation }, number)
    }

    fn next(
        questions: &mut Questions,
        may_ask: impl Fn(u64, Open) -> MayAsk,
    ) -> (Option<Question>, Vec<Waiter>) {
        let mut refused = Vec::new();
        let next = questions.next(Duration::ZERO, may_ask, &mut refused);
        (next, refused)
    }

    #[test]
    fn who_may_not_be_asked_for_takes_nobody_else_along() {
        let id = AccountId::of_test(1);
        let mut questions = Questions::default();
        questions.queue(id, Some((waiter(1), 7)), false, 0);
        // Two of the same address, and one of another.
        for (number, home, joined) in [
            (2, 7, Joined::Waits),
            (3, 8, Joined::GoesAhead),
            (4, 8, Joined::Waits),
        ] {
            let asker = Some((waiter(number), home));
            assert_eq!(questions.join(Duration::ZERO, id, asker), Some(joined));
        }
        let may_ask = |home, _| if home == 7 { MayAsk::No } else { MayAsk::Now };
        let (question, refused) = next(&mut questions, may_ask);
        assert_eq!(refused, [waiter(1), waiter(2)]);
        let question = question.unwrap();
        assert_eq!((question.account, question.home), (id, Some(8)));
        questions.asked(1, question);
        assert_eq!(questions.settle(id, true), [waiter(3), waiter(4)]);
        assert!(questions.allows(id));
        // And where no address is left nothing is.
        let other = AccountId::of_test(2);
        questions.queue(other, Some((waiter(5), 7)), false, 0);
        let (question, refused) = next(&mut questions, |_, _| MayAsk::No);
        assert!(question.is_none() && refused == [waiter(5)]);
        assert_eq!(questions.join(Duration::ZERO, other, None), None);
    }

    #[test]
    fn known_names_go_ahead_of_strangers_but_for_one_in_eight() {
        let mut questions = Questions::default();
        for number in 0..40 {
            let id = AccountId::of_test(number);
            let asker = Some((waiter(number), u64::from(number % 3)));
            questions.queue(id, asker, number < 20, 0);
        }
        let mut strangers = Vec::new();
        for turn in 0..20 {
            let (question, _) = next(&mut questions, |_, _| MayAsk::Now);
            let question = question.unwrap();
            if !question.is_known {
                strangers.push(turn);
            }
            questions.asked(turn, question);
        }
        assert_eq!(strangers, [0, 8, 16]);
    }

    #[test]
    fn names_at_which_connections_ended_are_asked_for_a_few_at_a_time_and_alone_at_last() {
        let mut questions = Questions::default();
        for number in 0..40 {
            let ends = [2, 3][usize::from(number >= 20)];
            questions.queue(AccountId::of_test(number), None, false, ends);
        }
        for number in 100..110 {
            questions.queue(AccountId::of_test(number), None, false, 1);
        }
        let mut asked = 0;
        let mut rounds = Vec::new();
        loop {
            let before = asked;
            while let (Some(question), _) = next(&mut questions, |_, _| MayAsk::Now) {
                asked += 1;
                questions.asked(asked, question);
            }
            if asked == before {
                break;
            }
            rounds.push(asked - before);
            for request in before + 1..=asked {
                questions.take_answered(Duration::ZERO, request, true);
            }
        }
        // The others come first.
        let mut wanted = vec![10, 16, 4];
        wanted.extend([1; 20]);
        assert_eq!(rounds, wanted);
    }

    #[test]
    fn a_round_that_never_began_gives_others_no_time_behind_a_later_one() {
        let mut questions = Questions::default();
        let may_ask = |_, _| MayAsk::Now;
        let at = Duration::from_secs;
        let next = |questions: &mut Questions, second| {
            questions.next(at(second), may_ask, &mut Vec::new())
        };
        let [open, leaves, later] = [1, 2, 3].map(AccountId::of_test);
        questions.queue(open, None, false, 0);
        let question = next(&mut questions, 0).unwrap();
        questions.asked(1, question);
        // Its miner leaves while the round waits for the answer to another.
        questions.queue(leaves, None, false, 3);
        assert!(next(&mut questions, 0).is_none());
        questions.forget(leaves);
        questions.take_answered(at(1), 1, true);
        assert!(next(&mut questions, 1).is_none());
        // Hours later there is a round, of five seconds.
        questions.queue(later, None, false, 3);
        let question = next(&mut questions, 9000).unwrap();
        questions.asked(2, question);
        questions.unanswered.overdue(at(9005));
        assert!(next(&mut questions, 9005).is_none());
        assert_eq!(questions.round_after, at(9010));
    }
}
