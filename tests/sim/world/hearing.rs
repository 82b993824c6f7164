//! What a miner makes of the lines that it is sent.

use super::*;

impl World {
    pub(super) fn miner_hears(&mut self, miner: usize) {
        let mut inbox = std::mem::take(&mut self.miners[miner].socket.inbox);
        while let Some(end) = inbox.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = inbox.drain(..=end).collect();
            let line = String::from_utf8(line).expect("text");
            self.miner_hears_line(miner, line.trim_end_matches('\n'));
        }
        self.miners[miner].socket.inbox = inbox;
    }

    pub(super) fn miner_hears_line(&mut self, miner: usize, line: &str) {
        self.tell(|| format!("miner {miner} < {line}"));
        assert!(
            line.starts_with('{') && line.ends_with('}'),
            "WHAT REACHES A MINER IS WHOLE LINES: {line:?}"
        );
        let mut reader = Reader::new();
        let message = reader.read(line.as_bytes());
        let Ok(message) = message else {
            panic!("WHAT REACHES A MINER IS WHOLE LINES: {line:?}: {message:?}");
        };
        let params: Vec<String> = message
            .params
            .map(|params| params.elements().map(plain_text).collect())
            .unwrap_or_default();
        match message.method.and_then(Raw::as_str) {
            Some(b"mining.set_target") => self.miners[miner].target = Some(params[0].clone()),
            Some(b"mining.notify") => self.miner_hears_job(miner, &params, line),
            Some(b"mining.set_extranonce") => {
                let miner = &mut self.miners[miner];
                assert!(miner.takes_extranonce, "ONLY WHO ASKED IS MOVED: {miner:?}");
                self.totals.extranonce_sent += 1;
                miner.nonce_1 = Some(params[0].clone());
                miner.stranded = false;
                miner.job = None;
                miner.first_job_due = true;
            }
            Some(method) => panic!("a miner hears {method:?}"),
            None => self.miner_hears_reply(miner, &message, line),
        }
    }

    pub(super) fn miner_hears_job(&mut self, place: usize, params: &[String], line: &str) {
        let miner = &mut self.miners[place];
        assert!(
            miner.is_mining(),
            "A JOB IS FOR WHO MINES: {line} {miner:?}"
        );
        let (id, content, clean) = (&params[0], &params[3], params[7] == "true");
        let meaning = (content.clone(), miner.shard);
        if let Some(other) = self.our_jobs.insert(id.clone(), meaning.clone()) {
            assert_eq!(other, meaning, "A JOB ID MEANS ONE JOB");
        } else {
            self.our_job_ids.push(id.clone());
        }
        self.totals.jobs += 1;
        if miner.first_job_due {
            assert!(clean, "THE FIRST JOB IS CLEAN: {line} {miner:?}");
            self.totals.first_jobs += 1;
            miner.first_job_due = false;
        }
        self.totals.clean_jobs += u64::from(clean);
        let feeds = &self.shards[miner.shard].feeds;
        let place_of = |content: &str| self.contents[content].on_link_of(miner, feeds);
        let before = miner.job.as_ref();
        let was_early = before.is_some_and(|job| job.early);
        let before = before.and_then(|job| place_of(&job.content));
        let at = place_of(content);
        let is_early = at.is_none();
        if is_early {
            self.starts_early(place, content, line);
        } else if was_early && before.is_none() {
            assert!(clean, "A MINER IS BROUGHT BACK CLEAN: {line} {miner:?}");
            self.totals.early_brought_back += 1;
        } else if let Some((link_before, before)) = before
            && let Some((link, at)) = at
            && link_before == link
            && !was_early
        {
            let places = (before.last(), at.first());
            let (Some(&before_last), Some(&at_first)) = places else {
                unreachable!("it was heard");
            };
            assert!(
                at.last() >= before.first(),
                "NO OLDER JOB FOLLOWS A NEWER: {line} {miner:?}"
            );
            let skipped = feeds[link]
                .jobs
                .get(before_last + 1..at_first)
                .unwrap_or_default();
            if skipped.iter().any(|job| job.clean) {
                assert!(
                    clean,
                    "A SKIPPED CLEAN JOB IS MADE UP FOR: {line} {miner:?}"
                );
                self.totals.clean_made_up_for += 1;
            }
            let flagged = at.iter().all(|&at| feeds[link].jobs[at].clean);
            // It was begun early, and has another id since its own link said clean: the line is older.
            let older = || {
                let mut known = self.our_jobs.iter();
                known.any(|(other, its)| *its == meaning && counted(other) > counted(id))
            };
            assert!(
                clean || !flagged || at == before || older(),
                "A CLEAN JOB STAYS CLEAN: {line}"
            );
        }
        let miner = &mut self.miners[place];
        miner.job = Some(HeardJob {
            id: id.clone(),
            content: content.clone(),
            target: miner.target.clone(),
            early: is_early,
        });
    }

    pub(super) fn miner_hears_reply(&mut self, place: usize, message: &Message<'_>, line: &str) {
        let id = id_of(message);
        let miner = &mut self.miners[place];
        if id == "null" {
            assert!(
                miner.null_due > 0,
                "NO MINER GETS ANOTHER'S ANSWER: {line} {miner:?}"
            );
            miner.null_due -= 1;
            return;
        }
        let Some(request) = miner.waiting.remove(&id) else {
            panic!("EVERY REQUEST GETS ONE ANSWER, AND NO MINER ANOTHER'S: {line} {miner:?}");
        };
        if miner.due.contains(&id) {
            let first = miner.due.pop_front();
            assert_eq!(
                first,
                Some(id),
                "REPLIES COME IN THE ORDER IN WHICH THEY WERE GIVEN: {miner:?}"
            );
        }
        let accepted = message.error.is_none_or(Raw::is_null);
        let error: Vec<String> = message
            .error
            .map(|error| error.elements().map(plain_text).collect())
            .unwrap_or_default();
        match request {
            Request::Subscribe => {
                if let Some(nonce_1) = message.result.and_then(|result| result.elements().nth(1)) {
                    let nonce_1 = plain_text(nonce_1);
                    if miner.nonce_1.as_deref() != Some(&nonce_1) {
                        miner.first_job_due = true;
                        miner.stranded = false;
                        miner.job = None;
                    }
                    miner.nonce_1 = Some(nonce_1);
                }
            }
            Request::Authorize { worker } => {
                assert!(accepted || !error.is_empty(), "a no has a reason: {line}");
                self.hears_of_worker(place, &worker, &error);
            }
            Request::Polite => {}
            Request::Submit { solution, .. } => {
                self.share_is_answered(place, &solution, accepted, &error)
            }
        }
    }

    pub(super) fn share_is_answered(
        &mut self,
        miner: usize,
        solution: &str,
        accepted: bool,
        error: &[String],
    ) {
        // One that waited for its worker or its name is taken when it goes out.
        let may_wait = self.asks_for_workers();
        let share = self.shares.get_mut(solution);
        let Some(share) = share.filter(|share| share.miner == miner) else {
            assert!(!accepted, "a submit without a solution was accepted");
            return;
        };
        if accepted {
            self.totals.accepted += 1;
            share.answers_true += 1;
            assert_eq!(share.answers_true, 1, "A SHARE COUNTS ONCE: {share:?}");
            if !share.accepted_by_pool && !share.called_duplicate {
                assert_eq!(
                    self.shards[0].settings.share_reply,
                    ShareReply::Immediate,
                    "ONLY WHAT THE POOL ACCEPTED IS ACCEPTED: {share:?}"
                );
                assert!(
                    (share.link_was_up || may_wait) && !share.must_not,
                    "A SHARE IS TAKEN AT ONCE ONLY BY A LINK THAT IS UP: {share:?}"
                );
                self.totals.taken_at_once += 1;
            }
        } else if let Some(number) = error[1].strip_prefix("sim ") {
            self.totals.rejected_by_pools += 1;
            let own = share.number.to_string();
            assert_eq!(number, own, "NO MINER GETS ANOTHER'S ANSWER: {share:?}");
        } else {
            self.totals.refused_here += 1;
        }
    }
}

/// An id of ours as the number that rises from job to job of a shard.
fn counted(id: &str) -> u32 {
    u32::from_str_radix(id, 16).expect("up to eight digits")
}
