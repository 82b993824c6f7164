use std::time::Duration;

use stratum_uring::practice::PracticeCoin;
use stratum_uring::practice::monero::is_stand_in;
use stratum_uring::wire::{Reader, hex};

use super::*;
use crate::miner::First;
use crate::shares::ShareMaker;

/// A miner and what it hears.
struct Scene {
    miner: Miner,
    jobs: JobBook,
    reader: Reader,
}

impl Scene {
    /// The third kind writes its ids as strings, and the first sends `keepalived`.
    fn new(number: u32) -> Self {
        Self {
            miner: Miner::of(PracticeCoin::Monero, number),
            jobs: JobBook::of(PracticeCoin::Monero),
            reader: Reader::new(),
        }
    }

    fn connected(&mut self) -> String {
        let mut out = Vec::new();
        self.miner.handle_connected(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn hears(&mut self, line: &str) -> (Event, String) {
        let mut out = Vec::new();
        let message = self.reader.read(line.as_bytes()).unwrap();
        let event = self
            .miner
            .handle_message(&message, &mut self.jobs, &mut out);
        (event, String::from_utf8(out).unwrap())
    }

    fn submits(&mut self) -> String {
        let mut maker = ShareMaker::new(PracticeCoin::Monero);
        let share = maker.attempt(&self.miner.work().unwrap()).unwrap();
        let mut out = Vec::new();
        let (due, sent) = (Duration::ZERO, Duration::ZERO);
        self.miner
            .submit(&share, None, Times { due, sent }, &mut out);
        String::from_utf8(out).unwrap()
    }
}

/// A job with this byte at the end of its nonce, and this one everywhere else.
fn job(id: &str, slot: &str, byte: &str) -> String {
    let (head, tail, seed) = (byte.repeat(39), byte.repeat(33), "5e".repeat(32));
    format!(
        r#"{{"blob":"{head}000000{slot}{tail}","job_id":"{id}","target":"b88d0600","seed_hash":"{seed}"}}"#
    )
}

fn logged_in(number: u32, slot: &str, extensions: &str) -> (Scene, Event, String) {
    let mut scene = Scene::new(number);
    scene.connected();
    let job = job("a", slot, "11");
    let quote = if number % 4 > 1 { "\"" } else { "" };
    let (event, said) = scene.hears(&format!(
        r#"{{"id":{quote}{number}000001{quote},"result":{{"id":"s1","job":{job},"extensions":[{extensions}],"status":"OK"}},"error":null}}"#
    ));
    (scene, event, said)
}

#[test]
fn a_login_is_all_that_a_miner_says_before_it_mines() {
    let mut scene = Scene::new(2);
    assert_eq!(
        scene.connected(),
        "{\"id\":\"2000001\",\"method\":\"login\",\"params\":{\"login\":\"farm.rig2\",\"pass\":\"x\",\
         \"agent\":\"loadgen-strings/1\",\"algo\":[\"rx/0\"]}}\n"
    );
    let (mut scene, event, said) = logged_in(3, "00", "\"algo\",\"nicehash\"");
    let Event::LoggedIn(first) = event else {
        panic!("{event:?}");
    };
    assert_eq!(*first.id, *b"\"a\"");
    assert!(scene.miner.is_mining());
    assert_eq!(
        said,
        "{\"id\":\"3000002\",\"method\":\"keepalived\",\"params\":{\"id\":\"s1\"}}\n"
    );
    let answer = r#"{"id":"3000002","result":{"status":"OK"},"error":null}"#;
    assert_eq!(scene.hears(answer).0, Event::Wrong(Wrong::Unreadable));
}

#[test]
fn a_share_is_for_the_blob_that_the_miner_was_told() {
    let (mut scene, ..) = logged_in(4, "2a", "");
    let line = scene.submits();
    let mut reader = Reader::new();
    let message = reader.read(line.trim_end().as_bytes()).unwrap();
    let text = |name: &[u8]| member(message.params?, name)?.as_str();
    assert_eq!(text(b"id"), Some(&b"s1"[..]));
    assert_eq!(text(b"job_id"), Some(&b"a"[..]));
    let nonce: [u8; 4] = hex::decode_to_array(text(b"nonce").unwrap()).unwrap();
    let result: [u8; 32] = hex::decode_to_array(text(b"result").unwrap()).unwrap();
    assert_eq!(nonce[3], 0x2a, "a blob shows whose byte that is");
    let mut blob = [0x11; 76];
    blob[39..43].copy_from_slice(&nonce);
    assert!(is_stand_in(&result, &blob));
    let highest = u64::from_le_bytes(*result.last_chunk().unwrap());
    assert!(highest < u64::MAX / 10_000);
    let event = scene
        .hears(r#"{"id":4000003,"result":{"status":"OK"},"error":null}"#)
        .0;
    assert_eq!(event, Event::Share(Duration::ZERO, Verdict::Accepted));
    let event = scene
        .hears(r#"{"id":4000003,"result":{"status":"OK"},"error":null}"#)
        .0;
    assert_eq!(event, Event::Wrong(Wrong::SecondAnswer));
}

#[test]
fn a_byte_of_zero_is_the_servers_only_if_it_says_so() {
    for (extensions, fixed) in [("\"algo\"", None), ("\"nicehash\"", Some(0))] {
        let (scene, ..) = logged_in(4, "00", extensions);
        assert_eq!(scene.miner.work().unwrap().nonce_end, fixed);
    }
}

#[test]
fn what_xmrig_would_leave_for_is_wrong() {
    let (mut scene, ..) = logged_in(4, "01", "");
    let mut told = |job: &str| {
        let line = format!(r#"{{"jsonrpc":"2.0","method":"job","params":{job}}}"#);
        scene.hears(&line).0
    };
    assert_eq!(told(&job("a", "01", "11")), Event::Wrong(Wrong::JobTwice));
    let event = told(&job("b", "01", "22"));
    assert!(matches!(event, Event::Job(_, First::No)), "{event:?}");
    let harder = job("b", "01", "22").replace("b88d0600", "b88d0500");
    assert!(matches!(told(&harder), Event::Job(..)), "another target");
    assert_eq!(told(&job("b", "01", "33")), Event::Wrong(Wrong::JobIdTwice));
    let event = told(&job("c", "01", "44").replace("seed_hash", "seed"));
    assert_eq!(event, Event::Wrong(Wrong::Unreadable));
    let event = told(&job("c", "02", "33"));
    assert!(matches!(event, Event::Job(..)), "another link: {event:?}");
    assert_eq!(scene.miner.work().unwrap().nonce_end, Some(2));
}

#[test]
fn a_login_that_is_refused_ends_the_connection() {
    let mut scene = Scene::new(0);
    scene.connected();
    let (event, _) = scene.hears(r#"{"id":1,"error":{"code":-1,"message":"proxy full"}}"#);
    assert_eq!(event, Event::Refused("login: -1 proxy full".to_owned()));
    scene.connected();
    let (event, _) = scene.hears(r#"{"id":2,"result":{"id":"s1","status":"OK"},"error":null}"#);
    assert_eq!(event, Event::Wrong(Wrong::Unreadable), "a job is missing");
    assert!(!scene.miner.is_mining());
}
