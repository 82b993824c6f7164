use stratum_uring::practice::PracticeCoin;
use stratum_uring::proto::dialect::equihash::Parameters;
use stratum_uring::wire::Reader;

use super::*;
use crate::shares::ShareMaker;

/// A miner and what it said.
struct Scene {
    miner: Miner,
    jobs: JobBook,
    reader: Reader,
}

impl Scene {
    fn new(number: u32) -> Self {
        Self {
            miner: Miner::new(number),
            jobs: JobBook::default(),
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

    /// A miner of the second kind, which pipelines, in the middle of its work.
    fn mining() -> Self {
        let mut scene = Self::new(1);
        scene.connected();
        scene.hears(r#"{"id":1000001,"result":[null,"0a0b0c0d0e0f"],"error":null}"#);
        scene.hears(r#"{"id":1000002,"result":true,"error":null}"#);
        scene.hears(&notify("1"));
        scene
    }

    fn submits(&mut self, due: Duration) -> String {
        let mut maker = ShareMaker::new(PracticeCoin::Equihash(Parameters::new(96, 5).unwrap()));
        let share = maker.attempt(&self.miner.work().unwrap()).unwrap();
        let mut out = Vec::new();
        let times = Times { due, sent: due };
        self.miner.submit(&share, None, times, &mut out);
        String::from_utf8(out).unwrap()
    }
}

fn notify(id: &str) -> String {
    let (four, long) = ("04000000", "ab".repeat(32));
    format!(
        r#"{{"id":null,"method":"mining.notify","params":["{id}","{four}","{long}","{long}","{long}","{four}","{four}",true]}}"#
    )
}

#[test]
fn a_miner_that_waits_asks_one_thing_after_the_other() {
    let mut scene = Scene::new(4);
    assert_eq!(
        scene.connected(),
        "{\"id\":4000001,\"method\":\"mining.subscribe\",\"params\":[\"loadgen-waits/1\",null,\"pool.example\",3333]}\n"
    );
    let (event, said) = scene.hears(r#"{"id":4000001,"result":["s","0a0b"],"error":null}"#);
    assert_eq!(event, Event::Subscribed);
    assert_eq!(
        said,
        "{\"id\":4000002,\"method\":\"mining.authorize\",\"params\":[\"farm.rig4\",\"x\"]}\n"
    );
    let (event, said) = scene.hears(r#"{"id":4000002,"result":true,"error":null}"#);
    assert_eq!(event, Event::Nothing);
    assert_eq!(
        said,
        "{\"id\":4000003,\"method\":\"mining.extranonce.subscribe\",\"params\":[]}\n"
    );
    assert!(!scene.miner.is_mining());
    let (event, said) = scene.hears(&notify("a"));
    assert!(matches!(event, Event::Job(_, First::Yes)));
    assert!(said.is_empty() && scene.miner.is_mining());
}

#[test]
fn a_miner_that_pipelines_asks_all_at_once_with_string_ids() {
    let mut scene = Scene::new(7);
    let said = scene.connected();
    assert_eq!(said.lines().count(), 3);
    assert!(said.contains("\"id\":\"7000002\",\"method\":\"mining.authorize\""));
    let (event, said) = scene.hears(r#"{"id":"7000001","result":[null,"0a0b"],"error":null}"#);
    assert_eq!((event, said.as_str()), (Event::Subscribed, ""));
    let (event, _) = scene.hears(r#"{"id":7000002,"result":true,"error":null}"#);
    assert_eq!(event, Event::Wrong(Wrong::UnknownId), "not as it was asked");
}

#[test]
fn a_refusal_says_why() {
    let mut scene = Scene::new(1);
    scene.connected();
    let (event, _) =
        scene.hears(r#"{"id":1000001,"result":null,"error":[20,"The proxy is full",null]}"#);
    assert_eq!(
        event,
        Event::Refused("subscribe: 20 The proxy is full".to_owned())
    );
}

#[test]
fn a_share_is_answered_once() {
    let mut scene = Scene::mining();
    let due = Duration::from_secs(3);
    let said = scene.submits(due);
    assert!(said.starts_with(
        r#"{"id":1000003,"method":"mining.submit","params":["farm.rig1","1","04000000",""#
    ));
    assert_eq!(scene.miner.unanswered(), 1);
    let answer = r#"{"id":1000003,"result":true,"error":null}"#;
    let (event, _) = scene.hears(answer);
    assert_eq!(event, Event::Share(due, Verdict::Accepted));
    assert_eq!(scene.miner.unanswered(), 0);
    assert_eq!(scene.hears(answer).0, Event::Wrong(Wrong::SecondAnswer));
    let (event, _) = scene.hears(r#"{"id":1000004,"result":true,"error":null}"#);
    assert_eq!(event, Event::Wrong(Wrong::UnknownId));
}

#[test]
fn a_job_comes_once_unless_the_work_is_another() {
    let mut scene = Scene::mining();
    let first = scene.miner.work().unwrap();
    assert_eq!(scene.hears(&notify("1")).0, Event::Wrong(Wrong::JobTwice));
    let (event, _) = scene.hears(&notify("2"));
    assert!(matches!(event, Event::Job(_, First::No)));
    scene.hears(r#"{"id":null,"method":"mining.set_extranonce","params":["0a0b0c0d0e10"]}"#);
    assert_eq!(
        scene.miner.extranonce1(),
        Some(first.extranonce1),
        "not yet"
    );
    let (event, _) = scene.hears(&notify("2"));
    assert!(matches!(event, Event::Job(_, First::No)));
    assert_ne!(scene.miner.extranonce1(), Some(first.extranonce1));
}

#[test]
fn an_answer_to_another_miner_is_known_as_such() {
    for (id, wrong) in [
        (3, Wrong::ForeignId),
        (2_000_001, Wrong::ForeignId),
        (1_000_003, Wrong::UnknownId),
        (1_000_001, Wrong::SecondAnswer),
    ] {
        let mut scene = Scene::mining();
        let (event, _) = scene.hears(&format!(r#"{{"id":{id},"result":true,"error":null}}"#));
        assert_eq!(event, Event::Wrong(wrong), "{id}");
    }
    let mut scene = Scene::mining();
    scene.submits(Duration::ZERO);
    scene.miner.handle_ended();
    scene.connected();
    let (event, _) = scene.hears(r#"{"id":1000003,"result":true,"error":null}"#);
    assert_eq!(
        event,
        Event::Wrong(Wrong::UnknownId),
        "of the connection before"
    );
}

#[test]
fn a_job_out_of_order_is_wrong_unless_the_nonce_is_another() {
    let mut scene = Scene::mining();
    let mut other = Scene::mining();
    scene.hears(&notify("2"));
    std::mem::swap(&mut scene.jobs, &mut other.jobs);
    other.miner.handle_ended();
    other.connected();
    other.hears(&notify("2"));
    assert_eq!(
        other.hears(&notify("1")).0,
        Event::Wrong(Wrong::JobOutOfOrder)
    );
    other.miner.handle_ended();
    other.connected();
    other.hears(&notify("2"));
    other.hears(r#"{"id":null,"method":"mining.set_extranonce","params":["0a0b0c0d0e10"]}"#);
    assert!(matches!(
        other.hears(&notify("1")).0,
        Event::Job(_, First::No)
    ));
}

#[test]
fn a_job_by_the_id_of_another_is_wrong() {
    let mut scene = Scene::mining();
    let (event, _) = scene.hears(&notify("1").replace("abab", "cdcd"));
    assert_eq!(event, Event::Wrong(Wrong::JobIdTwice));
}

#[test]
fn a_target_counts_from_the_next_job_on() {
    let mut scene = Scene::mining();
    scene.hears(r#"{"id":null,"method":"mining.set_target","params":["0f"]}"#);
    assert_eq!(scene.miner.work().unwrap().target.as_bytes(), &[0xff; 32]);
    scene.hears(&notify("2"));
    assert_eq!(scene.miner.work().unwrap().target.as_bytes()[31], 0x0f);
}

#[test]
fn a_new_connection_starts_from_nothing() {
    let mut scene = Scene::mining();
    scene.submits(Duration::ZERO);
    scene.miner.handle_ended();
    assert!(!scene.miner.is_mining() && scene.miner.unanswered() == 0);
    assert!(scene.connected().contains("\"id\":1000004,"));
}

#[test]
fn nonsense_is_noticed() {
    for line in [
        r#"{"id":null,"method":"mining.notify","params":["1"]}"#,
        r#"{"id":null,"method":"mining.set_target","params":["xyz"]}"#,
        r#"{"id":null,"method":"mining.set_extranonce","params":[]}"#,
        r#"{"id":null,"method":5,"params":[]}"#,
    ] {
        let (event, _) = Scene::mining().hears(line);
        assert_eq!(event, Event::Wrong(Wrong::Unreadable), "{line}");
    }
    let (event, _) = Scene::mining().hears(r#"{"id":null,"method":"client.show_message"}"#);
    assert_eq!(event, Event::Nothing);
}

#[test]
fn a_subscription_without_a_nonce_is_none() {
    for result in ["[]", "[null,5]", "true", "[null,\"0a0\"]"] {
        let mut scene = Scene::new(1);
        scene.connected();
        let (event, _) = scene.hears(&format!(
            r#"{{"id":1000001,"result":{result},"error":null}}"#
        ));
        let reason = "subscribe: a result without a nonce_1".to_owned();
        assert_eq!(event, Event::Refused(reason), "{result}");
        assert!(scene.miner.extranonce1().is_none());
    }
}
