//! What a pool was asked for, name by name, and has not answered yet on this connection.
//!
//! Whoever authorizes is told after five seconds, but the question stays: some pools need longer for each
//! name, or for those that they deny. Shares wait for its answer. While the pool answers at all, questions
//! whose answers are late count among those that it has to answer, so a slow pool is sent no more than it can
//! bear. One is *passed over* where the pool answered another that was asked later; it may never be answered,
//! and counts no more. After a minute in which the pool could have answered a question it is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::exchange::accounts::AccountId;

/// How long whoever authorizes a name waits for the pool's answer. Shares under it wait for longer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// So long the pool may answer nothing, and what waits for it still counts among those that it was asked for.
/// At the pace of strangers that is less than it may be asked for, so they never stop the others.
const ANSWERS_LATELY: Duration = Duration::from_secs(10);

/// After so long in which the pool could have answered it, a question is given up.
const QUESTION_AGE_MAX: Duration = Duration::from_secs(60);

/// Questions whose answers are late; for one more the oldest is given up.
const LATE_MAX: usize = 1024;

/// A name that its pool was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) account: AccountId,
    /// The address of whose turn it was, for a newcomer's; it was paid for out of their credit.
    pub(super) home: Option<u64>,
    /// Whether the pool took it lately.
    pub(super) is_known: bool,
    /// Whether it was asked for with care.
    pub(super) is_careful: bool,
    /// Since when the pool knows of it.
    pub(super) since: Duration,
    /// When those are told that wait for a late answer; none where nobody does.
    tell_at: Option<Duration>,
}

impl Question {
    pub(super) const fn new(now: Duration, account: AccountId, home: Option<u64>) -> Self {
        Self {
            account,
            home,
            is_known: false,
            is_careful: false,
            since: now,
            tell_at: None,
        }
    }

    /// Its address, where it is a stranger's.
    pub(super) fn stranger(&self) -> Option<u64> {
        self.home.filter(|_| !self.is_known)
    }
}

/// Strangers of one address for whom the pool was asked, and has not answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) all: u32,
    /// Those of them whose answers are late.
    pub(super) late: u32,
}

/// The questions of one connection.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// By our request id, so in their order.
    asked: BTreeMap<u64, Question>,
    /// Those that the pool has not answered in time.
    late: BTreeMap<u64, Question>,
    /// How many of both are strangers' of an address.
    homes: BTreeMap<u64, Open>,
    /// The last of our requests that the pool has answered.
    answered: u64,
    /// When it answered last.
    answered_at: Duration,
    /// When it was asked for one while it had no other to answer.
    began: Duration,
    /// Whether it has answered for any name.
    has_answered: bool,
    /// Names in a row for which it did not, and since when the first of them had waited.
    silent: Option<(Duration, u32)>,
}

impl Unanswered {
    /// Names whose answers are not late yet.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// The names that the pool has to answer, as far as it seems to.
    pub(super) fn in_flight(&self, now: Duration) -> usize {
        if !self.answers_lately(now) {
            return self.asked.len();
        }
        self.asked.len() + self.late.range(self.answered..).count()
    }

    fn answers_lately(&self, now: Duration) -> bool {
        let spoke = self.answered_at.max(self.began);
        now.saturating_sub(spoke) < ANSWERS_LATELY
    }

    /// Whether the answer to this question is late, and the pool seems not to come to it: it answered another
    /// that was asked later, or none for a while.
    pub(super) fn is_left(&self, now: Duration, request: u64) -> bool {
        let is_passed_over = request < self.answered;
        self.late.contains_key(&request) && (is_passed_over || !self.answers_lately(now))
    }

    /// What is open for strangers of this address.
    pub(super) fn of_home(&self, home: u64) -> Open {
        self.homes.get(&home).copied().unwrap_or_default()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.late.is_empty()
    }

    /// Whether the pool has answered for any name.
    pub(super) const fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Whether the pool of this connection has no word for names: of several that it was asked for it has
    /// answered not one for this long. Some pools answer for those alone that they know, so one answer is
    /// enough.
    pub(super) fn is_silent(&self, now: Duration, no_reply: Duration) -> bool {
        let silent = self.silent.filter(|_| !self.has_answered);
        silent.is_some_and(|(since, names)| names > 1 && now.saturating_sub(since) >= no_reply)
    }

    /// All of them: at each the pool may close the connection, be it late.
    pub(super) fn all(&self) -> impl Iterator<Item = &Question> {
        self.asked.values().chain(self.late.values())
    }

    /// The account at which the connection has ended, of those that were asked for with care, where there is
    /// but one. Those whose answers are late come second: they have had five seconds, in which the connection
    /// did not end.
    pub(super) fn suspect(&self) -> Option<AccountId> {
        let suspects_of = |questions: &BTreeMap<u64, Question>| -> Vec<AccountId> {
            let careful = questions.values().filter(|question| question.is_careful);
            careful.map(|question| question.account).collect()
        };
        let mut suspects = suspects_of(&self.asked);
        if suspects.is_empty() {
            suspects = suspects_of(&self.late);
        }
        match suspects[..] {
            [suspect] => Some(suspect),
            _ => None,
        }
    }

    /// The pool was asked.
    pub(super) fn add(&mut self, request: u64, question: Question) {
        if self.asked.is_empty() {
            self.began = question.since;
        }
        if let Some(home) = question.stranger() {
            self.homes.entry(home).or_default().all += 1;
        }
        self.asked.insert(request, question);
    }

    /// Somebody waits for this one from now on.
    pub(super) fn wait(&mut self, now: Duration, request: u64) {
        if let Some(late) = self.late.get_mut(&request) {
            late.tell_at.get_or_insert(now + ANSWER_WAIT);
        }
    }

    /// The pool has answered one of our requests: for which name, if it was about one, and whether it was
    /// late.
    pub(super) fn take(&mut self, now: Duration, request: u64) -> Option<(Question, bool)> {
        let is_late = self.late.contains_key(&request);
        let question = self.remove(request)?;
        self.answered = self.answered.max(request);
        self.answered_at = now;
        self.has_answered = true;
        Some((question, is_late))
    }

    fn remove(&mut self, request: u64) -> Option<Question> {
        let late = self.late.remove(&request);
        let question = late.or_else(|| self.asked.remove(&request))?;
        if let Some(home) = question.stranger()
            && let Some(open) = self.homes.get_mut(&home)
        {
            open.all -= 1;
            open.late -= u32::from(late.is_some());
            if open.all == 0 {
                self.homes.remove(&home);
            }
        }
        Some(question)
    }

    /// The names that somebody has waited for too long: who waits is to be told.
    pub(super) fn overdue(&mut self, now: Duration) -> Vec<Question> {
        let mut told = Vec::new();
        for late in self.late.values_mut() {
            if late.tell_at.is_some_and(|at| now >= at) {
                late.tell_at = None;
                told.push(*late);
            }
        }
        // They stand in the order in which they were asked.
        while let Some(first) = self.asked.first_entry()
            && now.saturating_sub(first.get().since) >= ANSWER_WAIT
        {
            let (request, asked) = first.remove_entry();
            let (since, names) = self.silent.unwrap_or((asked.since, 0));
            self.silent = Some((since, names.saturating_add(1)));
            if let Some(home) = asked.stranger() {
                self.homes.entry(home).or_default().late += 1;
            }
            self.late.insert(request, asked);
            told.push(asked);
        }
        told
    }

    /// Takes out the questions for whose answers nobody need wait any more.
    pub(super) fn given_up(&mut self, now: Duration) -> Vec<Question> {
        let too_many = self.late.len().saturating_sub(LATE_MAX);
        let is_over = |(number, (&request, late)): (usize, (&u64, &Question))| {
            // Where it was not passed over the pool may just be on its way to it.
            let since = if request > self.answered {
                late.since.max(self.answered_at)
            } else {
                late.since
            };
            let is_over = number < too_many || now.saturating_sub(since) >= QUESTION_AGE_MAX;
            is_over.then_some(request)
        };
        let late = self.late.iter().enumerate();
        let over: Vec<u64> = late.filter_map(is_over).collect();
        let taken = over.into_iter();
        taken.filter_map(|request| self.remove(request)).collect()
    }

    /// The accounts of all of them.
    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        self.all().map(|question| question.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Asked at this second, each under its own request, for strangers of one address.
    fn ask(unanswered: &mut Unanswered, second: u64, requests: std::ops::Range<u32>) {
        for request in requests {
            let question = Question::new(seconds(second), AccountId::of_test(request), Some(7));
            unanswered.add(request.into(), question);
        }
    }

    #[test]
    fn what_is_late_counts_as_long_as_the_pool_answers_and_does_not_pass_it_over() {
        let mut unanswered = Unanswered::default();
        ask(&mut unanswered, 0, 0..100);
        assert_eq!(unanswered.overdue(seconds(4)).len(), 0);
        assert_eq!(unanswered.overdue(seconds(5)).len(), 100);
        let open = |unanswered: &Unanswered, second| unanswered.in_flight(seconds(second));
        assert_eq!((unanswered.asked(), open(&unanswered, 5)), (0, 100));
        assert_eq!(open(&unanswered, 10), 0, "it answers nothing");
        let (first, is_late) = unanswered.take(seconds(11), 40).unwrap();
        assert!(is_late && first.account == AccountId::of_test(40));
        assert_eq!(open(&unanswered, 11), 59, "those behind it");
        let open = Open { all: 99, late: 99 };
        assert_eq!(unanswered.of_home(7), open);
        assert!(unanswered.take(seconds(11), 40).is_none());
    }

    #[test]
    fn a_question_is_given_up_a_minute_after_the_pool_could_have_answered_it() {
        let mut unanswered = Unanswered::default();
        ask(&mut unanswered, 0, 0..3);
        unanswered.overdue(seconds(5));
        unanswered.take(seconds(30), 1);
        let given_up = |unanswered: &mut Unanswered, second| -> Vec<AccountId> {
            let given_up = unanswered.given_up(seconds(second));
            given_up.iter().map(|question| question.account).collect()
        };
        assert_eq!(given_up(&mut unanswered, 59), []);
        assert_eq!(given_up(&mut unanswered, 60), [AccountId::of_test(0)]);
        assert_eq!(given_up(&mut unanswered, 89), []);
        assert_eq!(given_up(&mut unanswered, 90), [AccountId::of_test(2)]);
        assert!(unanswered.is_empty() && unanswered.homes.is_empty());
    }

    #[test]
    fn of_too_many_late_ones_the_oldest_are_given_up() {
        let mut unanswered = Unanswered::default();
        ask(&mut unanswered, 0, 0..1030);
        unanswered.overdue(seconds(5));
        let given_up = unanswered.given_up(seconds(5));
        let given_up: Vec<AccountId> = given_up.iter().map(|it| it.account).collect();
        assert_eq!(given_up, [0, 1, 2, 3, 4, 5].map(AccountId::of_test));
        assert_eq!(unanswered.late.len(), LATE_MAX);
    }

    #[test]
    fn who_joins_a_late_question_is_told_five_seconds_later_and_only_then() {
        let mut unanswered = Unanswered::default();
        ask(&mut unanswered, 0, 0..2);
        assert_eq!(unanswered.overdue(seconds(5)).len(), 2);
        assert_eq!(unanswered.overdue(seconds(20)).len(), 0);
        unanswered.wait(seconds(20), 1);
        unanswered.wait(seconds(24), 1);
        assert_eq!(unanswered.overdue(seconds(24)).len(), 0);
        assert_eq!(unanswered.overdue(seconds(25)).len(), 1);
        assert_eq!(unanswered.overdue(seconds(40)).len(), 0);
    }
}
