//! Two exchanges of one proxy, each with a link to the same pool, and their letters carried by hand.
//!
//! The first shard's link is told of jobs first. The second one's miner is looked at.

use std::time::Duration;

use stratum_uring::exchange::{
    CloseReason, Counters, Fact, GuestSays, HeardJob, HostSays, JobExchange, Letter, Limits,
    LinkEnd, LinkKey, MinerToken, Settings, ShareReply, Standing, Terms,
};
use stratum_uring::proto::job::Job;
use stratum_uring::proto::share::Reject;

use crate::farm::{Farm, is_return};
use crate::scene::{AUTHORIZE, SUBSCRIBE, Scene, job_time};
use crate::warm::job_ids;

const MATCH_WITHIN: Duration = Duration::from_secs(2);
const HOLD: Duration = Duration::from_secs(10);
/// How much later the pool tells the second link.
const LEAD: Duration = Duration::from_millis(30);

/// The pool's target at first, and another one.
const TARGET: char = '1';
const OTHER_TARGET: char = '2';

struct Two {
    shards: [Scene; 2],
    links: [LinkKey; 2],
    miner: MinerToken,
    /// The number of the last job, which is also its content.
    job: u32,
}

/// A job of this content, under an id that the pool uses on this link alone.
fn job_line(shard: usize, number: u32, clean: bool) -> String {
    let (zeros, time) = ("0".repeat(64), job_time());
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["s{shard}-{number}","04000000","{number:064x}","{zeros}","{zeros}","{time}","1f07ffff",{clean}]}}"#
    )
}

/// A share for this job, with this number as id and nonce.
fn share(job: &str, number: u32) -> String {
    let (time, solution) = (job_time(), "0".repeat(72));
    format!(
        r#"{{"id":{number},"method":"mining.submit","params":["rig","{job}","{time}","{number:052x}","24{solution}"]}}"#
    )
}

/// What the pool is sent of that share: the request, its own id of the job, and the miner's slot.
fn sent(request: u32, number: u32, job: u32) -> String {
    let (time, solution) = (job_time(), "0".repeat(72));
    format!(
        "{{\"id\":{request},\"method\":\"mining.submit\",\"params\":[\"t1account.farm\",\"s1-{job}\",\
         \"{time}\",\"8000{number:052x}\",\"24{solution}\"]}}\n"
    )
}

fn is_job(told: &str, number: u32, clean: bool) -> bool {
    let job = format!("\"{number:064x}\"");
    let mut jobs = told.lines().filter(|line| line.contains("mining.notify"));
    let line = jobs.next().unwrap_or_default();
    jobs.next().is_none() && line.contains(&job) && line.ends_with(&format!(",{clean}]}}"))
}

impl Two {
    /// Both links are up, and the miner of the second one has its first job.
    fn with(change: impl Fn(&mut Settings)) -> Self {
        let shard = |number: u8| {
            Scene::with(&["a"], |settings| {
                settings.part = (number.into(), 2);
                settings.series = number;
                settings.job_exchange = Some(JobExchange {
                    match_within: MATCH_WITHIN,
                    hold: HOLD,
                });
                change(settings);
            })
        };
        let mut shards = [shard(0), shard(1)];
        let mut links = Vec::new();
        for (scene, nonce) in shards.iter_mut().zip(["a1b2c3d4", "b1b2c3d4"]) {
            let miner = scene.connect(0);
            let link = scene.expect_connected();
            welcome(scene, link, nonce);
            scene.miner_says(miner, SUBSCRIBE);
            scene.miner_says(
                miner,
                br#"{"id":9,"method":"mining.extranonce.subscribe","params":[]}"#,
            );
            scene.miner_says(miner, AUTHORIZE);
            links.push(link);
        }
        let mut two = Self {
            shards,
            links: [links[0], links[1]],
            miner: MinerToken {
                index: 0,
                generation: 0,
            },
            job: 0,
        };
        for shard in [0, 1] {
            two.target(shard, TARGET);
            two.announce(shard);
        }
        two.heard();
        for shard in [0, 1] {
            two.shards[shard].written(two.links[shard]);
        }
        two
    }

    /// The neighbour is believed: the links are old enough, and announced three jobs alike.
    fn believing_with(change: impl Fn(&mut Settings)) -> Self {
        let mut two = Self::with(change);
        two.pass(Duration::from_secs(5));
        two.match_jobs(3);
        two
    }

    fn believing() -> Self {
        Self::believing_with(|_| {})
    }

    /// Both links announce so many jobs.
    fn match_jobs(&mut self, count: u32) {
        for _ in 0..count {
            self.next_job();
            self.announce(1);
            assert!(is_job(&self.heard(), self.job, true), "{}", self.job);
        }
    }

    /// The first link announces another job. What the miner of the second one hears of it?
    fn next_job(&mut self) {
        self.job += 1;
        self.announce(0);
    }

    /// The miner of the second link is started on a job of the first. Returns the job's id.
    fn start_early(&mut self) -> String {
        self.next_job();
        let told = self.heard();
        assert!(is_job(&told, self.job, true), "{told}");
        job_ids(&told).remove(0)
    }

    /// The pool announces the last job on a link.
    fn announce(&mut self, shard: usize) {
        let line = job_line(shard, self.job, true);
        self.pool_says(shard, &line);
    }

    fn target(&mut self, shard: usize, digit: char) {
        let digits = format!("0{digit}").repeat(32);
        let line = format!(r#"{{"id":null,"method":"mining.set_target","params":["{digits}"]}}"#);
        self.pool_says(shard, &line);
    }

    fn pool_says(&mut self, shard: usize, line: &str) {
        self.shards[shard].pool_says(self.links[shard], line.as_bytes());
        self.deliver();
    }

    fn deliver(&mut self) {
        for from in [0, 1] {
            while let Some((to, letter)) = self.shards[from].exchange.poll_letter() {
                assert_eq!(to, 1 - from);
                let now = self.shards[to].now;
                self.shards[to].exchange.handle_letter(now, from, letter);
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        for scene in &mut self.shards {
            scene.pass(time);
            scene.exchange.handle_tick(scene.now);
        }
        self.deliver();
    }

    /// The second link announces the last job, as much later as it usually does. Returns what its miner
    /// is told.
    fn follow(&mut self) -> String {
        self.pass(LEAD);
        self.announce(1);
        self.heard()
    }

    /// What the miner of the second link is told.
    fn heard(&mut self) -> String {
        self.shards[0].flush();
        self.shards[1].flush().text
    }

    /// What the pool is told on the second link.
    fn written(&mut self) -> String {
        self.shards[1].written(self.links[1])
    }

    fn submits(&mut self, line: &str) {
        self.shards[1].miner_says(self.miner, line.as_bytes());
    }

    fn lose_link(&mut self, shard: usize) {
        let scene = &mut self.shards[shard];
        let key = self.links[shard];
        scene
            .exchange
            .handle_link_closed(scene.now, key, LinkEnd::Reset, "");
        self.deliver();
    }

    /// The lost link is dialled again, and given this nonce.
    fn come_back(&mut self, shard: usize, nonce: &str) {
        self.pass(Duration::from_millis(500));
        let scene = &mut self.shards[shard];
        let link = scene.expect_connected();
        welcome(scene, link, nonce);
        let handshake = scene.written(link);
        assert!(!handshake.contains("mining.submit"), "{handshake}");
        self.links[shard] = link;
        self.deliver();
    }

    fn counters(&self) -> Counters {
        self.shards[1].exchange.counters()
    }

    fn facts(&mut self) -> Vec<Fact> {
        let exchange = &mut self.shards[1].exchange;
        let facts = std::iter::from_fn(|| exchange.poll_fact());
        facts
            .filter(|fact| matches!(fact, Fact::JobsAlike { .. } | Fact::EarlyMissed { .. }))
            .collect()
    }
}

fn welcome(scene: &mut Scene, link: LinkKey, nonce: &str) {
    let line = format!(r#"{{"id":1,"result":["{nonce}","{nonce}"],"error":null}}"#);
    scene.pool_says(link, line.as_bytes());
    scene.pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
}

/// How many were refused with this, and the answer to a share of this number.
#[track_caller]
fn assert_refused(two: &Two, told: &str, number: u32, reject: Reject) {
    let (code, text) = (reject.code(), reject.text());
    let answer =
        format!("{{\"id\":{number},\"result\":null,\"error\":[{code},\"{text}\",null]}}\n");
    assert_eq!(told.matches(&answer).count(), 1, "{answer} in {told}");
    assert!(two.counters().refused[reject.index()] > 0);
}

#[test]
fn miners_start_on_what_a_neighbour_heard_first_once_three_jobs_were_alike() {
    let mut two = Two::with(|_| {});
    two.pass(Duration::from_secs(5));
    for _ in 0..3 {
        two.next_job();
        assert_eq!(two.heard(), "", "not believed yet");
        two.announce(1);
        two.heard();
    }
    assert_eq!(two.facts(), [Fact::JobsAlike { pool: 0, shard: 0 }]);
    let jobs = two.counters().jobs;
    two.start_early();
    assert_eq!(two.counters().jobs, jobs, "the own link sent none");
    assert_eq!(two.follow(), "", "the miner has it");
    let counters = two.counters();
    assert_eq!((counters.early_jobs, counters.early_confirmed()), (1, 1));
    assert_eq!((counters.early_missed, counters.jobs), (0, jobs + 1));
    assert_eq!(Duration::from_micros(counters.lead_micros), LEAD);
    assert_eq!(two.facts(), [], "told once");
}

#[test]
fn without_the_feature_nobody_is_told_of_a_job() {
    let mut two = Two::believing_with(|settings| settings.job_exchange = None);
    two.next_job();
    assert_eq!(two.heard(), "");
    two.submits(&share("1", 3));
    assert_eq!(two.counters().shares_held, 0);
}

#[test]
fn what_a_link_says_in_its_first_seconds_does_not_count() {
    let mut two = Two::with(|_| {});
    two.pass(Duration::from_millis(4999));
    two.match_jobs(3);
    two.pass(Duration::from_millis(1));
    two.match_jobs(2);
    two.next_job();
    assert_eq!(two.heard(), "", "two matches");
    two.announce(1);
    two.heard();
    two.start_early();
}

#[test]
fn a_share_for_an_early_job_is_sent_once_the_own_link_names_the_job() {
    let mut two = Two::believing();
    let job = two.start_early();
    two.submits(&share(&job, 7));
    two.submits(&share(&job, 8));
    two.submits(&share(&job, 7));
    assert_eq!(two.heard(), "", "nobody has judged it");
    assert_eq!(
        (two.written(), two.counters().shares_held),
        (String::new(), 3)
    );
    let told = two.follow();
    let number = two.job;
    assert_eq!(two.written(), sent(16, 7, number) + &sent(17, 8, number));
    assert_refused(&two, &told, 7, Reject::Duplicate);
    two.submits(&share(&job, 9));
    assert_eq!(two.written(), sent(18, 9, number), "as any other job's");
    two.pool_says(1, r#"{"id":17,"result":true,"error":null}"#);
    assert_eq!(two.heard(), "{\"id\":8,\"result\":true,\"error\":null}\n");
}

#[test]
fn a_share_of_the_wrong_shape_is_refused_and_not_held() {
    let mut two = Two::believing();
    let job = two.start_early();
    two.submits(&share(&job, 7).replace("\"24", "\"25"));
    assert!(two.heard().contains("[20,"));
    assert_eq!(two.counters().shares_held, 0);
}

#[test]
fn a_share_is_refused_when_its_job_is_not_named_in_time() {
    let mut two = Two::believing();
    let job = two.start_early();
    two.submits(&share(&job, 7));
    two.pass(HOLD - Duration::from_millis(1));
    let told = two.heard();
    assert!(!told.contains(r#""id":7"#), "{told}");
    two.pass(Duration::from_millis(1));
    let told = two.heard();
    assert_refused(&two, &told, 7, Reject::EarlyJob);
    assert!(told.contains("[21,"));
    // The pool is so late that the miner hears of the job again, but not of the share.
    two.announce(1);
    let told = two.heard();
    assert!(
        is_job(&told, two.job, true) && !told.contains("error"),
        "{told}"
    );
    assert_eq!(two.written(), "");
}

#[test]
fn a_share_that_waits_through_a_miss_is_sent_when_the_job_comes_after_all() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.pass(MATCH_WITHIN + Duration::from_millis(1));
    let told = two.heard();
    assert!(
        is_job(&told, two.job - 1, true),
        "back on the last one: {told}"
    );
    two.announce(1);
    let told = two.heard();
    assert!(is_job(&told, two.job, true), "{told}");
    let again = job_ids(&told).remove(0);
    assert_ne!(again, early);
    assert_eq!(two.written(), sent(16, 7, two.job));
    two.submits(&share(&again, 7));
    let told = two.heard();
    assert_refused(&two, &told, 7, Reject::Duplicate);
}

#[test]
fn a_miss_gives_miners_the_last_job_again_under_an_id_that_means_the_same() {
    let mut two = Two::with(|_| {});
    two.pass(Duration::from_secs(5));
    two.match_jobs(2);
    two.next_job();
    two.announce(1);
    let last = job_ids(&two.heard()).remove(0);
    two.submits(&share(&last, 5));
    assert_eq!(two.written(), sent(16, 5, two.job));
    two.start_early();
    two.pass(MATCH_WITHIN);
    assert_eq!(two.heard(), "", "it may still come");
    two.pass(Duration::from_millis(1));
    let told = two.heard();
    assert!(is_job(&told, two.job - 1, true), "{told}");
    assert_eq!(two.counters().early_missed, 1);
    assert_eq!(two.facts()[1..], [Fact::EarlyMissed { pool: 0, shard: 0 }]);
    let again = job_ids(&told).remove(0);
    assert_ne!(again, last);
    for job in [&last, &again] {
        two.submits(&share(job, 5));
        let told = two.heard();
        assert_refused(&two, &told, 5, Reject::Duplicate);
    }
    two.submits(&share(&last, 6));
    two.submits(&share(&again, 7));
    let before = two.job - 1;
    assert_eq!(two.written(), sent(17, 6, before) + &sent(18, 7, before));
}

#[test]
fn another_job_of_the_own_link_is_a_miss_and_the_neighbour_is_not_believed_for_twenty_jobs() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.pool_says(1, &job_line(1, 0xffff, false));
    let told = two.heard();
    assert!(
        is_job(&told, 0xffff, true),
        "clean, though the pool did not say so: {told}"
    );
    assert_eq!(two.counters().early_missed, 1);
    assert_eq!(two.written(), "", "the share is another job's");
    for number in 0..20 {
        two.next_job();
        assert_eq!(two.heard(), "", "{number}");
        two.announce(1);
        two.heard();
    }
    two.start_early();
}

#[test]
fn misses_are_told_once_a_minute() {
    let mut two = Two::believing();
    let mut told = Vec::new();
    for _ in 0..4 {
        two.start_early();
        two.pass(MATCH_WITHIN + Duration::from_millis(1));
        two.heard();
        two.match_jobs(20);
        told.extend(two.facts());
        two.pass(Duration::from_secs(25));
        two.heard();
    }
    let misses = told
        .iter()
        .filter(|fact| matches!(fact, Fact::EarlyMissed { .. }));
    assert_eq!((misses.count(), two.counters().early_missed), (2, 4));
}

#[test]
fn an_own_link_that_is_more_than_one_job_behind_disturbs_nobody() {
    let mut two = Two::believing();
    let first = two.start_early();
    let second = two.start_early();
    two.submits(&share(&first, 7));
    two.submits(&share(&second, 8));
    let number = two.job;
    two.pass(LEAD);
    two.pool_says(1, &job_line(1, number - 1, true));
    assert_eq!(two.heard(), "");
    assert_eq!(two.written(), sent(16, 7, number - 1));
    assert_eq!(two.follow(), "");
    assert_eq!(two.written(), sent(17, 8, number));
    let counters = two.counters();
    assert_eq!((counters.early_confirmed(), counters.early_missed), (2, 0));
}

#[test]
fn what_the_own_link_announced_long_ago_is_no_early_job() {
    let mut two = Two::believing_with(|settings| {
        settings.limits.jobs_kept = 1;
        settings.limits.job_kept = Duration::from_secs(1);
    });
    two.job += 1;
    let late = two.job;
    two.announce(1);
    two.pass(Duration::from_millis(1200));
    two.job += 1;
    two.announce(1);
    two.heard();
    // By now the own link's is forgotten, and the neighbour's link hears of it.
    two.pool_says(0, &job_line(0, late, true));
    let told = two.heard();
    assert!(!told.contains("mining.notify"), "{told}");
}

#[test]
fn a_job_that_was_not_believed_is_known_and_not_told_when_miners_are_ahead_of_it() {
    let mut two = Two::with(|_| {});
    two.pass(Duration::from_secs(5));
    two.match_jobs(2);
    // The third match comes only after the neighbour's next job.
    two.next_job();
    let third = two.job;
    two.pass(LEAD);
    two.next_job();
    assert_eq!(two.heard(), "");
    two.pool_says(1, &job_line(1, third, true));
    assert!(is_job(&two.heard(), third, true));
    // And now a job that is not clean replaces one that is, which no miner heard of.
    let skipped = two.job;
    two.job += 1;
    two.pool_says(0, &job_line(0, two.job, false));
    let told = two.heard();
    assert!(is_job(&told, two.job, true), "{told}");
    two.pool_says(1, &job_line(1, skipped, true));
    assert_eq!(two.heard(), "", "miners are on a newer one");
    two.pool_says(1, &job_line(1, two.job, false));
    assert_eq!(two.heard(), "");
    assert_eq!(two.counters().early_missed, 0);
}

#[test]
fn a_target_that_comes_with_the_job_sends_it_again_and_both_ids_are_one_job() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.target(1, OTHER_TARGET);
    let told = two.heard();
    assert!(told.contains("mining.set_target"), "{told}");
    let told = two.follow();
    assert!(is_job(&told, two.job, true), "{told}");
    let again = job_ids(&told).remove(0);
    assert_ne!(again, early);
    assert_eq!(two.written(), sent(16, 7, two.job));
    for job in [&early, &again] {
        two.submits(&share(job, 7));
        let told = two.heard();
        assert_refused(&two, &told, 7, Reject::Duplicate);
    }
    two.submits(&share(&early, 8));
    two.submits(&share(&again, 9));
    assert_eq!(two.written(), sent(17, 8, two.job) + &sent(18, 9, two.job));
}

#[test]
fn a_target_that_came_before_is_in_force_with_the_early_job() {
    let mut two = Two::believing();
    two.target(1, OTHER_TARGET);
    two.start_early();
    assert_eq!(two.follow(), "", "nothing changed since");
}

#[test]
fn a_target_that_came_into_force_too_early_is_taken_back_with_its_job() {
    let mut two = Two::believing();
    let digits = |digit| format!("0{digit}").repeat(32);
    two.target(1, OTHER_TARGET);
    two.start_early();
    two.pass(MATCH_WITHIN + Duration::from_millis(1));
    let told = two.heard();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].contains(&digits(TARGET)), "{told}");
    assert!(is_job(lines[1], two.job - 1, true), "{told}");
    assert!(lines[2].contains(&digits(OTHER_TARGET)), "{told}");
}

#[test]
fn a_target_that_came_behind_a_wrong_job_is_not_in_force_with_the_right_one() {
    let mut two = Two::believing();
    let digits = |digit| format!("0{digit}").repeat(32);
    two.start_early();
    two.target(1, OTHER_TARGET);
    assert!(two.heard().contains(&digits(OTHER_TARGET)));
    two.pass(MATCH_WITHIN + Duration::from_millis(1));
    let told = two.heard();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].contains(&digits(TARGET)), "{told}");
    assert!(is_job(lines[1], two.job - 1, true), "{told}");
    assert!(lines[2].contains(&digits(OTHER_TARGET)), "{told}");
}

#[test]
fn another_nonce_space_ends_an_early_job_and_refuses_its_shares() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.pool_says(
        1,
        r#"{"id":null,"method":"mining.set_extranonce","params":["c1c2c3c4"]}"#,
    );
    assert_eq!(two.heard(), "", "it holds from the next job on");
    two.next_job();
    assert_eq!(two.heard(), "", "the own link's next job is another one's");
    two.job -= 1;
    let told = two.follow();
    assert_refused(&two, &told, 7, Reject::EarlyJob);
    assert!(
        told.contains("mining.set_extranonce") && is_job(&told, two.job, true),
        "{told}"
    );
    two.submits(&share(&early, 8));
    let told = two.heard();
    assert_refused(&two, &told, 8, Reject::UnknownJob);
    let shards = &mut two.shards;
    assert!(shards[1].exchange.is_drained());
}

#[test]
fn the_same_nonce_space_again_leaves_early_jobs_alone() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.pool_says(
        1,
        r#"{"id":null,"method":"mining.set_extranonce","params":["b1b2c3d4"]}"#,
    );
    assert_eq!(two.follow(), "");
    assert_eq!(two.written(), sent(16, 7, two.job));
}

#[test]
fn a_held_share_outlives_its_link_where_the_session_goes_on() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.lose_link(1);
    two.submits(&share(&early, 8));
    two.pass(Duration::from_secs(2));
    two.come_back(1, "b1b2c3d4");
    two.pass(Duration::from_millis(500));
    assert_eq!(
        two.heard(),
        "",
        "the miner works on, and nothing was missed"
    );
    assert_eq!(two.follow(), "");
    assert_eq!(two.written(), sent(16, 7, two.job) + &sent(17, 8, two.job));
    assert_eq!(two.counters().early_missed, 0);
}

#[test]
fn held_shares_are_answered_when_their_session_is_over() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    two.lose_link(1);
    two.submits(&share(&early, 8));
    two.pass(Duration::from_secs(3));
    let told = two.heard();
    for number in [7, 8] {
        assert_refused(&two, &told, number, Reject::LinkLost);
    }
    two.come_back(1, "c1c2c3c4");
    two.announce(1);
    let told = two.heard();
    assert!(
        is_job(&told, two.job, true) && !told.contains("error"),
        "{told}"
    );
    assert!(!two.written().contains("mining.submit"));
}

#[test]
fn a_link_that_is_just_back_starts_nobody_early() {
    let mut two = Two::believing();
    two.lose_link(1);
    two.come_back(1, "b1b2c3d4");
    two.pass(Duration::from_millis(4999));
    two.heard();
    two.next_job();
    assert_eq!(two.heard(), "");
    two.announce(1);
    assert!(is_job(&two.heard(), two.job, true));
    two.pass(Duration::from_millis(1));
    two.start_early();
}

#[test]
fn what_only_one_side_announces_while_the_other_ones_link_is_lost_is_no_miss() {
    for (lost, nonce) in [(0, "a1b2c3d4"), (1, "b1b2c3d4")] {
        for before in [true, false] {
            let mut two = Two::believing();
            two.job += 1;
            if before {
                // The pool tells the link that stays, and the other one is lost before its turn.
                two.announce(1 - lost);
                two.lose_link(lost);
            } else {
                two.lose_link(lost);
                two.announce(1 - lost);
            }
            two.pass(Duration::from_millis(500));
            two.come_back(lost, nonce);
            // It is told what it missed as a greeting, or not at all.
            two.pass(Duration::from_secs(6));
            two.heard();
            two.job += 1;
            two.announce(0);
            let told = two.heard();
            if (lost, before) == (1, true) {
                // Miners were started on the job that the lost link never announced.
                assert_eq!(two.counters().early_missed, 1);
            } else {
                assert!(is_job(&told, two.job, true), "{lost} {before} {told}");
            }
        }
    }
}

#[test]
fn what_a_link_could_not_announce_since_it_was_lost_breaks_no_row() {
    let mut two = Two::with(|_| {});
    two.pass(Duration::from_secs(5));
    two.match_jobs(2);
    two.next_job();
    two.lose_link(1);
    two.come_back(1, "b1b2c3d4");
    two.pass(Duration::from_secs(6));
    two.heard();
    two.match_jobs(1);
    two.start_early();
}

/// A farm that the second pool serves and whose neighbour's link is believed. When the first pool is well
/// again, and about to have the miners back, they are on an early job of the second one. Returns the link
/// to the second pool and the job's id.
fn early_job_before_a_return(moves: bool) -> (Farm, LinkKey, String) {
    let (mut farm, miner) = Farm::on_the_second(moves, |settings| {
        settings.part = (1, 2);
        settings.job_exchange = Some(JobExchange {
            match_within: MATCH_WITHIN,
            hold: Duration::from_secs(100),
        });
    });
    let link = farm.link_to("b");
    let hear = |farm: &mut Farm, number: u32| {
        let line = job_line(0, number, true);
        // The body is all between the id and the flag.
        let (_, body) = line.split_once(&format!("\"s0-{number}\",")).unwrap();
        let (body, _) = body.rsplit_once(",true").unwrap();
        let heard = HeardJob {
            pool: 1,
            at: farm.scene.now.since_start,
            link_age: Duration::from_secs(60),
            job: Job {
                pool_id: Box::from(&b"\"s0\""[..]),
                clean: true,
                body: body.as_bytes().into(),
                extra: Box::default(),
                target: None,
            },
        };
        let now = farm.scene.now;
        let exchange = &mut farm.scene.exchange;
        exchange.handle_letter(now, 0, Letter::JobHeard(Box::new(heard)));
    };
    farm.pass(5);
    let (now, standing) = (farm.scene.now, Standing::Up);
    let up = Letter::Standing { pool: 1, standing };
    farm.scene.exchange.handle_letter(now, 0, up);
    for number in 1..=3 {
        hear(&mut farm, number);
        farm.scene
            .pool_says(link, job_line(1, number, true).as_bytes());
    }
    farm.recovers("a");
    while farm.count(|fact| matches!(fact, Fact::SpareUp { .. })) == 0 {
        farm.step();
    }
    farm.pass(29);
    farm.heard();
    hear(&mut farm, 4);
    let early = farm.heard().0.expect("an early job");
    farm.scene.miner_says(miner, share(&early, 7).as_bytes());
    while farm.count(is_return) == 0 {
        farm.step();
    }
    assert!(!farm.heard().1.contains("\"id\":7"), "it waits");
    (farm, link, early)
}

#[test]
fn the_held_share_of_a_miner_that_was_moved_goes_where_its_job_came_from() {
    let (mut farm, link, _) = early_job_before_a_return(true);
    farm.pass(20);
    assert!(
        farm.scene.exchange.is_current(link),
        "it is not let go before"
    );
    farm.scene.pool_says(link, job_line(1, 4, true).as_bytes());
    assert_eq!(farm.scene.written(link), sent(16, 7, 4));
    let accepted = r#"{"id":16,"result":true,"error":null}"#;
    farm.scene.pool_says(link, accepted.as_bytes());
    assert!(farm.heard().1.contains("{\"id\":7,\"result\":true"));
    farm.pass(1);
    assert!(!farm.scene.exchange.is_current(link));
}

#[test]
fn a_miner_that_is_to_reconnect_is_not_kept_by_a_held_share_for_ever() {
    let (mut farm, _, _) = early_job_before_a_return(false);
    let reply_timeout = Limits::default().reply_timeout;
    farm.pass(reply_timeout.as_secs() - 1);
    assert_eq!(farm.told.closed, 0);
    farm.pass(2);
    let (code, text) = (Reject::LinkLost.code(), Reject::LinkLost.text());
    let answer = format!("{{\"id\":7,\"result\":null,\"error\":[{code},\"{text}\",null]}}");
    assert!(farm.heard().1.contains(&answer));
    assert_eq!(farm.told.closed, 1);
}

#[test]
fn a_shutdown_waits_for_held_shares_and_answers_them_in_the_end() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    let exchange = &mut two.shards[1].exchange;
    exchange.begin_shutdown();
    assert!(!exchange.is_drained());
    let now = two.shards[1].now;
    two.shards[1].exchange.finish_shutdown(now);
    let told = two.heard();
    assert_refused(&two, &told, 7, Reject::LinkLost);
    assert!(two.shards[1].exchange.is_drained());
}

#[test]
fn nobody_is_started_early_once_the_shutdown_began() {
    let mut two = Two::believing();
    two.shards[1].exchange.begin_shutdown();
    two.next_job();
    assert_eq!(two.heard(), "");
}

#[test]
fn the_share_of_a_miner_that_left_is_sent_all_the_same() {
    let mut two = Two::believing();
    let early = two.start_early();
    two.submits(&share(&early, 7));
    let miner = two.miner;
    let exchange = &mut two.shards[1].exchange;
    exchange.handle_disconnect(miner, CloseReason::Reset);
    assert_eq!(two.follow(), "");
    assert_eq!(two.written(), sent(16, 7, two.job));
    two.pool_says(1, r#"{"id":16,"result":true,"error":null}"#);
    assert_eq!((two.heard(), two.counters().accepted), (String::new(), 1));
}

#[test]
fn a_held_share_is_answered_at_once_when_it_is_sent_and_not_before() {
    let mut two = Two::believing_with(|settings| settings.share_reply = ShareReply::Immediate);
    let early = two.start_early();
    two.submits(&share(&early, 7));
    assert_eq!(two.heard(), "");
    assert_eq!(two.follow(), "{\"id\":7,\"result\":true,\"error\":null}\n");
    let early = two.start_early();
    two.submits(&share(&early, 8));
    two.pass(HOLD);
    let told = two.heard();
    assert_refused(&two, &told, 8, Reject::EarlyJob);
    assert_eq!(two.counters().immediate_lost, 0, "it was told nothing else");
}

#[test]
fn held_shares_are_bounded_in_number_bytes_and_for_each_miner() {
    let limits = Limits::default();
    let cases = [
        (
            Limits {
                pending_shares_max: 2,
                ..limits
            },
            Reject::PoolBusy,
        ),
        (
            Limits {
                pool_outbox_bytes_max: 300,
                ..limits
            },
            Reject::PoolBusy,
        ),
        (
            Limits {
                pending_shares_per_miner_max: 2,
                ..limits
            },
            Reject::TooManyUnanswered,
        ),
    ];
    for (limits, reject) in cases {
        let mut two = Two::believing_with(|settings| settings.limits = limits);
        let early = two.start_early();
        for number in [7, 8, 9] {
            two.submits(&share(&early, number));
        }
        let told = two.heard();
        assert_refused(&two, &told, 9, reject);
        assert_eq!(two.counters().shares_held, 2);
        // What is refused counts no more.
        two.pass(HOLD);
        two.heard();
        two.submits(&share(&early, 10));
        assert_eq!(two.counters().shares_held, 3);
    }
}

#[test]
fn a_job_that_is_said_again_with_another_target_is_neither_match_nor_miss() {
    let mut two = Two::believing();
    two.target(1, OTHER_TARGET);
    two.announce(1);
    assert!(is_job(&two.heard(), two.job, true));
    two.pass(Duration::from_secs(5));
    two.start_early();
}

#[test]
fn a_guest_of_the_link_is_given_only_what_the_link_itself_announced() {
    let mut two = Two::believing();
    two.start_early();
    let (link, now) = (two.links[1], two.shards[1].now);
    let exchange = &mut two.shards[1].exchange;
    let borrows = GuestSays::Borrow {
        request: link,
        pool: None,
        slots: 1,
    };
    exchange.handle_letter(now, 0, Letter::Guest(borrows));
    let letters: Vec<_> = std::iter::from_fn(|| exchange.poll_letter()).collect();
    let [(0, Letter::Host(HostSays::Lent { terms, .. }))] = &letters[..] else {
        panic!("{letters:?}");
    };
    let Terms {
        job: Some((job, _)),
        ..
    } = &**terms
    else {
        panic!("{terms:?}");
    };
    let id = |number: u32| format!("\"s1-{number}\"").into_bytes();
    assert_eq!(*job.pool_id, *id(two.job - 1));
    let line = job_line(1, two.job, true);
    exchange.handle_link_line(now, link, line.as_bytes());
    let letters: Vec<_> = std::iter::from_fn(|| exchange.poll_letter()).collect();
    let told = letters.iter().any(|(_, letter)| {
        matches!(letter, Letter::Host(HostSays::Job { job, .. }) if *job.pool_id == *id(two.job))
    });
    assert!(told, "{letters:?}");
}

/// Two links, a miner and chance.
struct Game {
    two: Two,
    random: u64,
    /// The miner's nonce space, and the nonce that the pool gave its link last.
    space: u32,
    nonce: u32,
    /// What the miner was told: the job's id, its content and the space.
    jobs: Vec<(String, u32, u32)>,
    /// What its own link announced in this space.
    announced: Vec<u32>,
    /// The newest job that it announced.
    own: u32,
    /// The content and the space for which each nonce was found.
    found: Vec<(u32, u32)>,
    /// How often each submit was answered.
    answers: Vec<u32>,
    /// Requests that the pool has not answered.
    requests: Vec<String>,
}

impl Game {
    fn new(seed: u64) -> Self {
        let two = Two::believing_with(|settings| {
            settings.limits.no_job = Duration::from_secs(1_000_000);
            settings.limits.no_reply = Duration::from_secs(1_000_000);
        });
        let own = two.job;
        Self {
            two,
            random: seed,
            space: 0,
            nonce: 0xb1b2_c3d4,
            jobs: Vec::new(),
            announced: (0..=own).collect(),
            own,
            found: Vec::new(),
            answers: Vec::new(),
            requests: Vec::new(),
        }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.random >> 33).unwrap() % bound
    }

    fn announce_own(&mut self, content: u32) {
        self.announced.push(content);
        let line = job_line(1, content, true);
        self.two.pool_says(1, &line);
    }

    fn pass(&mut self, millis_max: u32) {
        for _ in 0..self.below(millis_max) / 250 + 1 {
            self.two.pass(Duration::from_millis(250));
        }
    }

    fn submit(&mut self) {
        let newest = self.jobs.len();
        if newest == 0 {
            return;
        }
        let age = self.below(4) as usize;
        let (job, content, space) = self.jobs[newest - 1 - age.min(newest - 1)].clone();
        let number = u32::try_from(self.found.len()).unwrap();
        self.found.push((content, space));
        for _ in 0..=self.below(4) / 3 {
            let request = self.answers.len();
            self.answers.push(0);
            let line = share(&job, number);
            let line = line.replacen(&format!("\"id\":{number}"), &format!("\"id\":{request}"), 1);
            self.two.submits(&line);
        }
    }

    fn answer(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            let line = format!(r#"{{"id":{request},"result":true,"error":null}}"#);
            self.two.pool_says(1, &line);
        }
    }

    fn change_nonce(&mut self) {
        // Sometimes the same bytes again.
        let step = self.below(3);
        self.nonce += step;
        let line = format!(
            r#"{{"id":null,"method":"mining.set_extranonce","params":["{:08x}"]}}"#,
            self.nonce
        );
        self.two.pool_says(1, &line);
        self.look();
        if step > 0 {
            self.announced.clear();
        }
        self.own = self.two.job;
        self.announce_own(self.own);
    }

    fn interrupt(&mut self) {
        // One that held for long is dialled at once, and is back before its miner goes elsewhere.
        self.two.pass(Duration::from_secs(11));
        self.look();
        self.answer();
        self.two.lose_link(1);
        self.submit();
        self.pass(1500);
        self.look();
        if self.below(2) == 0 {
            self.nonce += 1;
            self.announced.clear();
        }
        self.two.come_back(1, &format!("{:08x}", self.nonce));
        self.look();
        self.own = self.two.job;
        self.announce_own(self.own);
    }

    fn step(&mut self) {
        match self.below(24) {
            0..=3 => self.two.next_job(),
            4..=8 if self.own < self.two.job => {
                self.own += 1;
                self.announce_own(self.own);
            }
            // Now and then it says one again, or what no other link is told, or skips some.
            9 => self.announce_own(self.own),
            10 if self.below(8) == 0 => {
                let content = 10_000 + self.below(1000);
                match self.below(3) {
                    0 => self.announce_own(content),
                    1 => self.two.pool_says(0, &job_line(0, content, true)),
                    _ => self.own = self.two.job,
                }
            }
            11 => {
                let digit = [TARGET, OTHER_TARGET][self.below(2) as usize];
                self.two.target(1, digit);
            }
            12 if self.below(8) == 0 => self.change_nonce(),
            13 if self.below(8) == 0 => self.interrupt(),
            12..=17 => self.submit(),
            18..=20 => self.answer(),
            _ => self.pass(2000),
        }
        self.look();
    }

    /// Looks at all that the miner and the pool were told.
    fn look(&mut self) {
        for line in self.two.heard().lines() {
            let strings: Vec<&str> = line.split('"').collect();
            if line.contains("mining.set_extranonce") {
                self.space += 1;
            } else if line.contains("mining.notify") {
                let content = u32::from_str_radix(strings[13], 16).unwrap();
                self.jobs.push((strings[9].to_owned(), content, self.space));
            } else if let Some(id) = line.strip_prefix("{\"id\":")
                && line.contains("\"result\"")
            {
                let id: usize = id.split(',').next().unwrap().parse().unwrap();
                self.answers[id] += 1;
                assert_eq!(self.answers[id], 1, "{line}");
            }
        }
        for line in self.two.written().lines() {
            let strings: Vec<&str> = line.split('"').collect();
            let content: u32 = strings[11].strip_prefix("s1-").unwrap().parse().unwrap();
            let number = usize::from_str_radix(&strings[15][4..], 16).unwrap();
            assert_eq!(self.found[number], (content, self.space), "{line}");
            assert!(self.announced.contains(&content), "{line}");
            let request = strings[2].trim_matches([':', ',']);
            self.requests.push(request.to_owned());
        }
    }
}

#[test]
fn whatever_the_links_announce_each_share_goes_out_for_its_own_job_and_is_answered_once() {
    let mut sum = Counters::default();
    for seed in 0..200 {
        let mut game = Game::new(seed);
        for _ in 0..500 {
            game.step();
        }
        let exchange = &mut game.two.shards[1].exchange;
        exchange.begin_shutdown();
        exchange.finish_shutdown(game.two.shards[1].now);
        game.look();
        assert!(game.answers.iter().all(|&count| count == 1), "{seed}");
        sum.add(&game.two.counters());
    }
    // It was no idle game.
    let held_in_vain = sum.refused[Reject::EarlyJob.index()];
    assert!(
        sum.early_confirmed() > 200 && sum.early_missed > 200,
        "{sum:?}"
    );
    assert!(sum.shares_held > 500 && held_in_vain > 50, "{sum:?}");
    assert!(sum.shares_held > 2 * held_in_vain, "{sum:?}");
}

#[test]
fn miners_are_kept_warm_with_the_job_that_they_were_told_last_though_another_was_known_later() {
    let mut two = Two::believing_with(|settings| settings.keep_warm = true);
    two.start_early();
    let early = two.job;
    // Their own link announces another one first, and then that one after all.
    two.job += 100;
    two.announce(1);
    assert!(is_job(&two.heard(), two.job, true));
    two.job = early;
    assert!(is_job(&two.follow(), early, true));
    two.lose_link(0);
    two.lose_link(1);
    let mut told = String::new();
    while !told.contains("mining.notify") {
        two.pass(Duration::from_millis(250));
        while let Some((link, _)) = two.shards[1].poll_dial() {
            let (now, end) = (two.shards[1].now, LinkEnd::ConnectFailed);
            two.shards[1]
                .exchange
                .handle_link_closed(now, link, end, "");
        }
        told.push_str(&two.heard());
    }
    assert!(is_job(&told, early, true), "{told}");
}
