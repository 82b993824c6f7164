use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::wire::Reader;

use super::*;
use crate::job::JobBook;
use crate::miner::{Event, Miner, Times};
use crate::mock_pool::number_of;
use crate::shares::ShareMaker;

/// A link, and a miner that is on it without a proxy in between.
struct Scene {
    session: Session,
    miner: Miner,
    jobs: JobBook,
    maker: ShareMaker,
    reader: Reader,
}

impl Scene {
    fn new(link: u32) -> Self {
        let mut scene = Self {
            session: Session::new(link),
            miner: Miner::of(PracticeCoin::Monero, 1),
            jobs: JobBook::of(PracticeCoin::Monero),
            maker: ShareMaker::new(PracticeCoin::Monero),
            reader: Reader::new(),
        };
        let mut line = Vec::new();
        scene.miner.handle_connected(&mut line);
        let (reply, answer) = scene.says(line.trim_ascii_end(), 7);
        assert_eq!(reply, Reply::Given);
        let event = scene.hears(answer.as_bytes());
        let Event::LoggedIn(job) = event else {
            panic!("{event:?}");
        };
        assert_eq!(number_of(&job.header), 7);
        scene
    }

    fn says(&mut self, line: &[u8], number: u64) -> (Reply, String) {
        let mut out = Vec::new();
        let message = self.reader.read(line).unwrap();
        let reply = self.session.handle(&message, number, &mut out);
        (reply, String::from_utf8(out).unwrap())
    }

    fn hears(&mut self, line: &[u8]) -> Event {
        let message = self.reader.read(line.trim_ascii_end()).unwrap();
        let mut out = Vec::new();
        self.miner
            .handle_message(&message, &mut self.jobs, &mut out)
    }

    fn share(&mut self) -> String {
        let share = self.maker.attempt(&self.miner.work().unwrap()).unwrap();
        let (due, sent) = (Duration::ZERO, Duration::ZERO);
        let times = Times { due, sent };
        let mut out = Vec::new();
        self.miner.submit(&share, None, times, &mut out);
        String::from_utf8(out).unwrap().trim_end().to_owned()
    }

    /// What becomes of a share after this was done to its line.
    fn judged(&mut self, change: impl Fn(&str) -> String) -> (Reply, String) {
        let line = change(&self.share());
        let (reply, answer) = self.says(line.as_bytes(), 7);
        let said = if answer.contains("\"OK\"") {
            "OK"
        } else {
            answer.split('"').rev().nth(1).unwrap()
        };
        (reply, said.to_owned())
    }
}

fn wrong(text: &str) -> (Reply, String) {
    (Reply::Wrong, text.to_owned())
}

fn given(text: &str) -> (Reply, String) {
    (Reply::Given, text.to_owned())
}

#[test]
fn a_share_is_good_only_for_the_blob_it_was_found_for() {
    let mut scene = Scene::new(3);
    assert_eq!(scene.judged(str::to_owned), given("OK"));
    // Another nonce than was hashed, as where a slot's byte is written over.
    let nonce_at = |line: &str| line.find("\"nonce\":\"").unwrap() + 9;
    let moved = scene.judged(|line| {
        let at = nonce_at(line);
        let last = if &line[at + 6..at + 8] == "00" {
            "01"
        } else {
            "00"
        };
        format!("{}{last}{}", &line[..at + 6], &line[at + 8..])
    });
    assert_eq!(moved, wrong("Bad hash"));
    // The job of another link, or one that came later.
    let other = Scene::new(4).share().replace("link-4", "link-3");
    assert_eq!(scene.judged(|_| other.clone()), wrong("Bad hash"));
    scene.session.announce(8, &mut Vec::new());
    let later = scene.judged(|line| line.replace("\"job_id\":\"7\"", "\"job_id\":\"8\""));
    assert_eq!(later, wrong("Bad hash"));
    assert_eq!(
        scene.judged(str::to_owned),
        given("OK"),
        "the job before is good"
    );
}

#[test]
fn what_no_miner_should_send_is_told_from_what_may_happen() {
    let mut scene = Scene::new(3);
    let twice = scene.share();
    assert_eq!(scene.judged(|_| twice.clone()), given("OK"));
    assert_eq!(scene.judged(|_| twice.clone()), given("Duplicate share"));
    let stale = scene.judged(|line| line.replace("\"job_id\":\"7\"", "\"job_id\":\"6\""));
    assert_eq!(stale, given("Invalid job id"));
    let session = scene.judged(|line| line.replace("link-3", "link-4"));
    assert_eq!(session, wrong("Unauthenticated"));
    let shape = scene.judged(|line| line.replace("\"nonce\":\"", "\"nonce\":\"00"));
    assert_eq!(shape, wrong("Malformed share"));
    let easy = scene.judged(|line| format!("{}ffff\"}}}}", &line[..line.len() - 7]));
    assert_eq!(easy, wrong("Low difficulty share"));
    let unknown = scene.judged(|_| r#"{"id":1,"method":"mining.submit"}"#.to_owned());
    assert_eq!(unknown, given("Method not found"));
}

#[test]
fn jobs_are_forgotten_at_last() {
    let mut scene = Scene::new(3);
    for number in 8..1000 {
        scene.session.announce(number, &mut Vec::new());
    }
    assert_eq!(scene.session.told.len(), JOBS_GOOD);
    assert_eq!(scene.judged(str::to_owned), given("Invalid job id"));
}
