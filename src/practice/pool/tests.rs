use std::{fmt::Write, num::NonZero};

use super::*;
use crate::{
    practice::{
        settings::{ErrorShape, Refusal},
        solver::Solver,
    },
    proto::dialect::equihash::Parameters,
};

const NOW: u64 = 1_790_000_000;

/// A pool with one link, read like a script: what is said and what comes back.
struct Script {
    pool: PracticePool,
    link: LinkId,
    solver: Solver,
}

/// A job as a miner knows it.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    header: [u8; 108],
    clean: bool,
}

fn settings() -> PracticeSettings {
    PracticeSettings {
        shares_remembered_max: 1000,
        ..PracticeSettings::default()
    }
}

fn shape(n: u32, k: u32) -> PracticeSettings {
    PracticeSettings {
        coin: PracticeCoin::Equihash(Parameters::new(n, k).unwrap()),
        judge: Judge::Shape,
        ..settings()
    }
}

fn refusal(code: i32, text: &str) -> Refusal {
    Refusal {
        code,
        text: text.to_owned(),
    }
}

fn nth(number: u64) -> NonZero<u64> {
    NonZero::new(number).unwrap()
}

fn encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        write!(digits, "{byte:02x}").unwrap();
        digits
    })
}

fn decoded(digits: &str) -> Vec<u8> {
    let mut bytes = vec![0; digits.len() / 2];
    hex::decode_into(digits.as_bytes(), &mut bytes).unwrap();
    bytes
}

/// The strings of a line, in their order; JSON enough for lines without escapes.
fn strings(line: &str) -> Vec<&str> {
    line.split('"').skip(1).step_by(2).collect()
}

impl Script {
    fn new(settings: PracticeSettings) -> Self {
        let mut pool = PracticePool::new(settings, 7).unwrap();
        let link = pool.connect();
        Self {
            pool,
            link,
            solver: Solver::new(),
        }
    }

    /// A link that subscribed and authorized `a.rig1`, its nonce_1, and its first job.
    fn ready(settings: PracticeSettings) -> (Self, Vec<u8>, Known) {
        let mut script = Self::new(settings);
        let nonce_1 = script.subscribe();
        let job = script.authorize("a.rig1");
        (script, nonce_1, job)
    }

    fn say_at(&mut self, now: u64, line: &str) -> (String, Fate) {
        let mut out = Vec::new();
        let fate = self
            .pool
            .handle_line(now, self.link, line.as_bytes(), &mut out);
        (String::from_utf8(out).unwrap(), fate)
    }

    fn say(&mut self, line: &str) -> String {
        let (answer, fate) = self.say_at(NOW, line);
        assert_eq!(fate, Fate::Stays);
        answer
    }

    fn subscribe(&mut self) -> Vec<u8> {
        let answer = self.say(r#"{"id":1,"method":"mining.subscribe","params":["test/1.0",null]}"#);
        decoded(strings(&answer)[3])
    }

    fn authorize(&mut self, worker: &str) -> Known {
        let line = format!(r#"{{"id":2,"method":"mining.authorize","params":["{worker}","x"]}}"#);
        let answer = self.say(&line);
        assert!(
            answer.starts_with("{\"id\":2,\"result\":true,\"error\":null}\n"),
            "{answer}"
        );
        job_in(&answer)
    }

    fn next_job(&mut self) -> (String, Known) {
        let mut out = Vec::new();
        self.pool.next_job(NOW);
        self.pool.announce(self.link, &mut out);
        let lines = String::from_utf8(out).unwrap();
        let job = job_in(&lines);
        (lines, job)
    }

    /// A submit of a real solution, which counts through the nonces from `start`.
    fn mined(&mut self, nonce_1: &[u8], job: &Known, start: u32) -> String {
        for number in start.. {
            let mut nonce = [0; NONCE_LEN];
            nonce[..nonce_1.len()].copy_from_slice(nonce_1);
            nonce[28..].copy_from_slice(&number.to_be_bytes());
            if let Some(solution) = self.solver.solve(&job.header, &nonce).first() {
                let time = &job.header[Job::TIME];
                return submit("a.rig1", &job.id, time, &nonce[nonce_1.len()..], solution);
            }
        }
        unreachable!("a nonce has a solution in most cases")
    }
}

fn submit(worker: &str, job: &str, time: &[u8], nonce_2: &[u8], solution: &[u8]) -> String {
    format!(
        r#"{{"id":4,"method":"mining.submit","params":["{worker}","{job}","{}","{}","24{}"]}}"#,
        encoded(time),
        encoded(nonce_2),
        encoded(solution)
    )
}

/// A share of filler bytes.
fn filler(job: &Known, number: u8) -> String {
    let mut nonce_2 = [0; 28];
    nonce_2[27] = number;
    submit(
        "a.rig1",
        &job.id,
        &job.header[Job::TIME],
        &nonce_2,
        &[number; 36],
    )
}

fn job_in(lines: &str) -> Known {
    let line = lines.lines().find(|line| line.contains("mining.notify"));
    let fields = strings(line.expect("a job"));
    // The keys id, method, params, and the method's name stand before the parameters.
    let [_, _, _, _, id, fields @ ..] = &fields[..] else {
        panic!("{lines}")
    };
    assert_eq!(fields.len(), 6, "{lines}");
    Known {
        id: (*id).to_owned(),
        header: decoded(&fields.concat()).try_into().unwrap(),
        clean: line.unwrap().ends_with(",true]}"),
    }
}

const TRUE: &str = "{\"id\":4,\"result\":true,\"error\":null}\n";

fn error(code: i32, text: &str) -> String {
    format!("{{\"id\":4,\"result\":null,\"error\":[{code},\"{text}\",null]}}\n")
}

#[test]
fn a_session_goes_as_with_a_real_pool() {
    let mut script = Script::new(settings());
    let subscribed = script.say(
        r#"{"id":1,"method":"mining.subscribe","params":["EWBF 0.3.4b",null,"127.0.0.1","3096"]}"#,
    );
    let fields = strings(&subscribed);
    assert_eq!(
        subscribed,
        format!(
            "{{\"id\":1,\"result\":[\"{}\",\"{}\"],\"error\":null}}\n",
            fields[2], fields[3]
        )
    );
    assert_eq!(fields[3].len(), 8);

    let authorized =
        script.say(r#"{"id":"two","method":"mining.authorize","params":["t1.rig","x"]}"#);
    let lines: Vec<_> = authorized.lines().collect();
    assert_eq!(lines[0], r#"{"id":"two","result":true,"error":null}"#);
    let target = "f".repeat(64);
    assert_eq!(
        lines[1],
        format!(r#"{{"id":null,"method":"mining.set_target","params":["{target}"]}}"#)
    );
    let job = job_in(lines[2]);
    assert_eq!(lines.len(), 3);
    assert_eq!(job.id, "cccd");
    assert!(job.clean);
    assert_eq!(job.header[..4], [4, 0, 0, 0]);
    assert_eq!(
        u64::from(u32::from_le_bytes(
            job.header[Job::TIME].try_into().unwrap()
        )),
        NOW
    );

    let more = script.say(r#"{"id":3,"method":"mining.authorize","params":["t1.two"]}"#);
    assert_eq!(
        more, "{\"id\":3,\"result\":true,\"error\":null}\n",
        "the link has its job"
    );
}

#[test]
fn real_solutions_pass_the_full_judge() {
    let (mut script, nonce_1, job) = Script::ready(settings());
    script.pool.knobs_mut().record = true;
    for number in 0..20 {
        let share = script.mined(&nonce_1, &job, number * 1000);
        assert_eq!(script.say(&share), TRUE);
    }
    assert_eq!(script.pool.counters().shares_accepted, 20);
    let shares = script.pool.accepted_shares();
    assert_eq!(shares.len(), 20);
    for share in shares {
        assert_eq!((&*share.worker, &*share.job), ("a.rig1", "cccd"));
        assert_eq!(share.nonce[..4], nonce_1);
        assert_eq!((share.link, u64::from(share.time)), (script.link, NOW));
    }
}

#[test]
fn filler_is_no_solution_but_has_its_shape() {
    let (mut script, _, job) = Script::ready(settings());
    assert_eq!(script.say(&filler(&job, 1)), error(20, "invalid solution"));
    let (mut script, _, job) = Script::ready(shape(48, 5));
    assert_eq!(script.say(&filler(&job, 1)), TRUE);
}

#[test]
fn the_target_is_that_of_the_job() {
    let (mut script, nonce_1, easy) = Script::ready(settings());
    script.pool.set_target([0; 32]);
    let share = script.mined(&nonce_1, &easy, 0);
    assert_eq!(script.say(&share), TRUE, "announced with the target before");
    let (lines, hard) = script.next_job();
    let target = format!(
        r#""method":"mining.set_target","params":["{}"]"#,
        "0".repeat(64)
    );
    assert!(lines.lines().next().unwrap().contains(&target), "{lines}");
    let share = script.mined(&nonce_1, &hard, 0);
    assert_eq!(script.say(&share), error(23, "low difficulty share"));
    let share = script.mined(&nonce_1, &easy, 5000);
    assert_eq!(script.say(&share), TRUE);
    assert_eq!(
        script.next_job().0.lines().count(),
        1,
        "the target is known"
    );
}

#[test]
fn a_share_needs_a_subscribed_link_and_an_authorized_worker() {
    let mut script = Script::new(shape(48, 5));
    let job = Known {
        id: "cccd".to_owned(),
        header: [0; 108],
        clean: true,
    };
    assert_eq!(script.say(&filler(&job, 1)), error(25, "not subscribed"));
    let early = script.say(r#"{"id":4,"method":"mining.authorize","params":["a.rig1","x"]}"#);
    assert_eq!(early, error(25, "not subscribed"));
    script.subscribe();
    assert_eq!(
        script.say(&filler(&job, 1)),
        error(24, "unauthorized worker")
    );
    let job = script.authorize("a.rig2");
    assert_eq!(
        script.say(&filler(&job, 1)),
        error(24, "unauthorized worker")
    );
    let rejected = script.pool.counters().shares_rejected;
    assert_eq!((rejected.not_subscribed, rejected.unauthorized), (1, 2));
}

#[test]
fn a_new_block_makes_jobs_stale_and_another_job_does_not() {
    let (mut script, _, first) = Script::ready(shape(48, 5));
    let never = filler(&first, 1).replace(&first.id, "ffff");
    assert_eq!(script.say(&never), error(21, "job not found"));
    for number in 2..=4 {
        let (_, job) = script.next_job();
        assert!(!job.clean);
        assert_eq!(job.header[4..36], first.header[4..36]);
        assert_eq!(script.say(&filler(&first, number)), TRUE);
        assert_eq!(script.say(&filler(&job, number)), TRUE);
    }
    let (_, fifth) = script.next_job();
    assert!(fifth.clean);
    assert_ne!(fifth.header[4..36], first.header[4..36]);
    assert_eq!(script.say(&filler(&first, 9)), error(21, "stale job"));
    assert_eq!(script.say(&filler(&fifth, 9)), TRUE);
    assert_eq!(script.pool.counters().blocks, 2);
}

#[test]
fn lengths_hex_and_prefix_must_be_right() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    let good = filler(&job, 1);
    let time = encoded(&job.header[Job::TIME]);
    let nonce_2 = format!("{}01", "00".repeat(27));
    let solution = format!("24{}", "01".repeat(36));
    let wrong = [
        (&time, "6a00", "incorrect size of ntime"),
        (&time, "6a0000zz", "incorrect size of ntime"),
        (&nonce_2, "", "incorrect size of nonce_2"),
        (&nonce_2, &nonce_2[2..], "incorrect size of nonce_2"),
        (&nonce_2, &nonce_2[1..], "incorrect size of nonce_2"),
        (&solution, &solution[2..], "incorrect size of solution"),
        (
            &solution,
            &solution.replacen("24", "25", 1),
            "incorrect size of solution",
        ),
        (
            &solution,
            &solution.replacen("24", "fd2400", 1),
            "incorrect size of solution",
        ),
        (
            &solution,
            &solution.replace("01", "0g"),
            "incorrect size of solution",
        ),
    ];
    for (right, wrong, text) in wrong {
        let share = good.replace(&format!("\"{right}\""), &format!("\"{wrong}\""));
        assert_ne!(share, good);
        assert_eq!(script.say(&share), error(20, text), "{share}");
    }
    let short = r#"{"id":4,"method":"mining.submit","params":["a.rig1","cccd"]}"#;
    assert_eq!(
        script.say(short),
        error(20, "incorrect number of parameters")
    );
    assert_eq!(script.say(&good), TRUE);
}

#[test]
fn the_time_window_is_from_the_job_to_two_hours_ahead() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    let made = u32::from_le_bytes(job.header[Job::TIME].try_into().unwrap());
    for (number, (time, good)) in (1u8..).zip([
        (made, true),
        (made - 1, false),
        (made + 7210, true),
        (made + 7211, false),
    ]) {
        let share = submit(
            "a.rig1",
            &job.id,
            &time.to_le_bytes(),
            &[number; 28],
            &[1; 36],
        );
        let expected = if good {
            TRUE
        } else {
            &error(20, "ntime out of range")
        };
        assert_eq!(script.say_at(NOW + 10, &share).0, expected, "{number}");
    }
}

#[test]
fn the_same_share_in_other_letters_is_a_duplicate() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    let share = filler(&job, 0xab);
    assert_eq!(script.say(&share), TRUE);
    assert_eq!(script.say(&share), error(22, "duplicate share"));
    let upper = share.replace(&"ab".repeat(36), &"aB".repeat(36));
    assert_ne!(upper, share);
    assert_eq!(script.say(&upper), error(22, "duplicate share"));
    assert_eq!(script.pool.counters().shares_rejected.duplicate, 2);
}

#[test]
fn all_parameters_can_be_judged_by_shape() {
    for set in Parameters::ALL {
        let (mut script, nonce_1, job) = Script::ready(shape(set.n(), set.k()));
        let solution = format!(
            "{}{}",
            set.solution_prefix_hex(),
            "5a".repeat(set.solution_len())
        );
        let share = format!(
            r#"{{"id":4,"method":"mining.submit","params":["a.rig1","{}","{}","{}","{solution}"]}}"#,
            job.id,
            encoded(&job.header[Job::TIME]),
            "00".repeat(NONCE_LEN - nonce_1.len()),
        );
        assert_eq!(script.say(&share), TRUE, "{set:?}");
    }
}

#[test]
fn a_session_is_resumed_only_when_its_link_is_gone() {
    let mut script = Script::new(settings());
    let answer = script.say(r#"{"id":1,"method":"mining.subscribe","params":["a",null]}"#);
    let (session, nonce_1) = (
        strings(&answer)[2].to_owned(),
        strings(&answer)[3].to_owned(),
    );
    let again = format!(r#"{{"id":1,"method":"mining.subscribe","params":["a","{session}"]}}"#);
    assert_eq!(script.say(&again), answer, "the same link");

    let first = script.link;
    script.link = script.pool.connect();
    let other = script.say(&again);
    assert_ne!(strings(&other)[3], nonce_1, "the other link is alive");

    script.pool.disconnect(first);
    script.link = script.pool.connect();
    assert_eq!(script.say(&again), answer);
    assert_eq!(script.pool.counters().resumes, 1);

    script.link = script.pool.connect();
    let host =
        r#"{"id":1,"method":"mining.subscribe","params":["lolMiner","pool.host","3333",null]}"#;
    assert_eq!(
        strings(&script.say(host))[3].len(),
        8,
        "a host's name is no session"
    );
}

#[test]
fn a_pool_without_sessions_says_null_and_resumes_nothing() {
    let mut script = Script::new(PracticeSettings {
        sessions: false,
        ..settings()
    });
    let answer = script.say(r#"{"id":1,"method":"mining.subscribe","params":[]}"#);
    assert!(
        answer.starts_with("{\"id\":1,\"result\":[null,\""),
        "{answer}"
    );
}

#[test]
fn no_two_links_share_a_nonce_1_and_too_many_are_refused() {
    let mut script = Script::new(PracticeSettings {
        nonce_1_bytes: 1,
        ..settings()
    });
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..256 {
        assert!(seen.insert(script.subscribe()));
        script.link = script.pool.connect();
    }
    let refused = script.say(r#"{"id":4,"method":"mining.subscribe","params":[]}"#);
    assert_eq!(refused, error(20, "no nonce space left"));
}

#[test]
fn another_nonce_1_holds_from_the_next_job_on() {
    let (mut script, old, first) = Script::ready(settings());
    let mut out = Vec::new();
    assert!(script.pool.set_extranonce(script.link, &mut out));
    let line = String::from_utf8(out).unwrap();
    let fields = strings(&line);
    assert_eq!(fields[2], "mining.set_extranonce");
    let new = decoded(fields[4]);
    assert_ne!(new, old);
    let (_, second) = script.next_job();
    assert!(second.clean, "miners must leave the old nonce");
    let share = script.mined(&old, &first, 0);
    assert_eq!(script.say(&share), TRUE);
    let share = script.mined(&new, &second, 0);
    assert_eq!(script.say(&share), TRUE);
    let share = script.mined(&old, &second, 0);
    assert_eq!(script.say(&share), error(20, "invalid solution"));
    assert!(!script.pool.set_extranonce(LinkId(99), &mut Vec::new()));
}

#[test]
fn other_methods_are_answered_like_by_pools() {
    let mut script = Script::new(settings());
    let subscribe = r#"{"id":3,"method":"mining.extranonce.subscribe","params":[]}"#;
    assert_eq!(
        script.say(subscribe),
        "{\"id\":3,\"result\":true,\"error\":null}\n"
    );
    script.pool.settings.extranonce_subscribe = ExtranonceSubscribe::Refuse;
    assert!(
        script
            .say(subscribe)
            .contains("[20,\"Not supported.\",null]")
    );
    script.pool.settings.extranonce_subscribe = ExtranonceSubscribe::Ignore;
    assert_eq!(script.say(subscribe), "");
    let suggested = script.say(r#"{"id":5,"method":"mining.suggest_target","params":["00ff"]}"#);
    assert!(
        suggested.starts_with("{\"id\":5,\"result\":true"),
        "{suggested}"
    );
    assert!(suggested.contains("mining.set_target"), "{suggested}");
    let version = script.say(r#"{"id":6,"method":"mining.multi_version","params":[1]}"#);
    assert_eq!(version, "{\"id\":6,\"result\":true,\"error\":null}\n");
    let unknown = script.say(r#"{"id":4,"method":"mining.dance","params":[]}"#);
    assert_eq!(unknown, error(20, "unknown method"));
    assert_eq!(script.say(r#"{"id":7,"result":true,"error":null}"#), "");
    let rubbish = script.say("Invalid JSON, disconnecting");
    assert!(
        rubbish.contains("\"id\":null,\"result\":null,\"error\":[20,"),
        "{rubbish}"
    );
    let counters = script.pool.counters();
    assert_eq!(
        (counters.methods_unknown, counters.lines_unreadable),
        (1, 1)
    );
}

#[test]
fn a_suggestion_before_authorize_does_not_keep_the_job_back() {
    let mut script = Script::new(settings());
    script.subscribe();
    script.say(r#"{"id":5,"method":"mining.suggest_target","params":["00ff"]}"#);
    assert!(script.authorize("a.rig1").clean);
}

#[test]
fn knobs_refuse_and_leave_unanswered_every_nth_share() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    script.pool.knobs_mut().reject_every_nth = Some((nth(3), refusal(34, "no \\\"luck\\\"")));
    script.pool.knobs_mut().never_reply_every_nth = Some(nth(4));
    let answers: Vec<_> = (1..=8)
        .map(|number| script.say(&filler(&job, number)))
        .collect();
    let kind = |answer: &String| match &**answer {
        TRUE => 't',
        "" => '-',
        _ => 'e',
    };
    let kinds: String = answers.iter().map(kind).collect();
    assert_eq!(kinds, "tte-tet-");
    assert!(answers[2].contains("[34,"), "{}", answers[2]);
    let counters = script.pool.counters();
    assert_eq!(counters.shares(), 8);
    assert_eq!(
        (counters.shares_rejected_by_knob, counters.shares_unanswered),
        (2, 2)
    );
    assert_eq!(counters.shares_accepted, 6);
}

#[test]
fn a_link_that_the_knob_ends_has_its_last_share_judged() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    script.pool.knobs_mut().close_after_shares = Some(nth(2));
    assert_eq!(script.say(&filler(&job, 1)), TRUE);
    assert_eq!(
        script.say_at(NOW, &filler(&job, 2)),
        (String::new(), Fate::Ends)
    );
    assert_eq!(script.pool.counters().shares_accepted, 2);
    script.pool.disconnect(script.link);
    script.link = script.pool.connect();
    script.subscribe();
    script.authorize("a.rig1");
    assert_eq!(script.pool.counters().links_closed, 1);
}

#[test]
fn a_silent_pool_says_nothing_at_all() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    script.pool.knobs_mut().silent = true;
    assert_eq!(script.say(&filler(&job, 1)), "");
    assert_eq!(script.say("rubbish"), "");
    let mut out = Vec::new();
    script.pool.next_job(NOW);
    script.pool.announce(script.link, &mut out);
    assert!(out.is_empty());
}

#[test]
fn knobs_refuse_subscribe_and_authorize_in_any_shape() {
    let mut script = Script::new(settings());
    script.pool.knobs_mut().refuse_subscribe = Some(refusal(20, "full"));
    let subscribe = r#"{"id":4,"method":"mining.subscribe","params":[]}"#;
    assert_eq!(script.say(subscribe), error(20, "full"));
    script.pool.knobs_mut().refuse_subscribe = None;
    script.subscribe();
    script.pool.knobs_mut().refuse_authorize = Some(refusal(24, "who?"));
    script.pool.knobs_mut().error_shape = ErrorShape::Object;
    let refused = script.say(r#"{"id":4,"method":"mining.authorize","params":["a"]}"#);
    assert!(
        refused.contains(r#"{"code":24,"message":"who?","data":null}"#),
        "{refused}"
    );
    assert_eq!(script.pool.counters().authorizes, 0);
}

#[test]
fn a_pool_that_always_says_true_still_counts_the_truth() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    script.pool.knobs_mut().always_true = true;
    assert_eq!(script.say(&filler(&job, 1)), TRUE);
    assert_eq!(script.say(&filler(&job, 1)), TRUE);
    assert_eq!(script.pool.counters().shares_rejected.duplicate, 1);
}

#[test]
fn garbage_stands_before_answers_and_not_in_them() {
    let (mut script, _, job) = Script::ready(shape(48, 5));
    script.pool.knobs_mut().garbage = true;
    for number in 1..=16 {
        let mut out = Vec::new();
        let line = filler(&job, number);
        let fate = script
            .pool
            .handle_line(NOW, script.link, line.as_bytes(), &mut out);
        assert_eq!(fate, Fate::Stays);
        assert!(
            out.ends_with(format!("\n{TRUE}").as_bytes()),
            "{}",
            out.escape_ascii()
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_pool() {
    let (mut one, nonce_1, job) = Script::ready(settings());
    let (mut two, same_nonce_1, same_job) = Script::ready(settings());
    assert_eq!((nonce_1, job.header), (same_nonce_1, same_job.header));
    assert_eq!(one.next_job().0, two.next_job().0);
}

#[test]
fn settings_that_contradict_each_other_make_no_pool() {
    let unverifiable = PracticeSettings {
        coin: PracticeCoin::Equihash(Parameters::new(125, 4).unwrap()),
        ..settings()
    };
    assert!(PracticePool::new(unverifiable, 1).is_err());
}
