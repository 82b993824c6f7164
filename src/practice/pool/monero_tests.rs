use super::*;
use crate::practice::monero::BLOB_LEN;

const NOW: u64 = 1_790_000_000;

/// A difficulty of 65,536.
const TARGET: [u8; 32] = {
    let mut target = [0xff; 32];
    (target[0], target[1]) = (0, 0);
    target
};

struct Script {
    pool: PracticePool,
    link: LinkId,
}

impl Script {
    fn new() -> Self {
        let settings = PracticeSettings {
            coin: PracticeCoin::Monero,
            judge: Judge::Shape,
            target: TARGET,
            ..PracticeSettings::default()
        };
        let mut pool = PracticePool::new(settings, 1).unwrap();
        pool.knobs_mut().record = true;
        let link = pool.connect();
        Self { pool, link }
    }

    fn says(&mut self, method: &str, params: &str) -> String {
        let line = format!("{{\"id\":7,\"method\":\"{method}\",\"params\":{params}}}");
        let mut out = Vec::new();
        let fate = self
            .pool
            .handle_line(NOW, self.link, line.as_bytes(), &mut out);
        assert_eq!(fate, Fate::Stays);
        String::from_utf8(out).unwrap()
    }

    fn logs_in(&mut self) -> String {
        self.says("login", r#"{"login":"4wallet","pass":"x","agent":"t/1"}"#)
    }

    /// A share of the newest job; the last bytes of its result are these.
    fn submits(&mut self, nonce: &str, end: &str) -> String {
        let job = self.pool.jobs.newest().unwrap().id();
        let session = self.pool.links[&self.link].session.unwrap().text();
        let start = "ab".repeat(32 - end.len() / 2);
        self.says(
            "submit",
            &format!(
                r#"{{"id":"{session}","job_id":"{job}","nonce":"{nonce}","result":"{start}{end}"}}"#
            ),
        )
    }
}

/// The text of a member, wherever it stands in the line.
fn text<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("\"{name}\":\"")).unwrap();
    rest.split('"').next().unwrap()
}

const OK: &str = "{\"id\":7,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{\"status\":\"OK\"}}\n";

fn error(text: &str) -> String {
    format!("{{\"id\":7,\"jsonrpc\":\"2.0\",\"error\":{{\"code\":-1,\"message\":\"{text}\"}}}}\n")
}

#[test]
fn a_login_is_answered_with_a_job_and_jobs_follow() {
    let mut script = Script::new();
    let answer = script.logs_in();
    assert!(
        answer.starts_with("{\"id\":7,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{\"id\":\"")
    );
    assert!(answer.ends_with("\"extensions\":[\"algo\",\"keepalive\"],\"status\":\"OK\"}}\n"));
    assert_eq!(text(&answer, "job_id"), "cccd");
    assert_eq!(text(&answer, "target"), "ffffffffffff0000");
    assert_eq!(text(&answer, "blob").len(), 2 * BLOB_LEN);
    assert_eq!(text(&answer, "seed_hash").len(), 64);
    script.pool.make_job(NOW, false);
    let mut out = Vec::new();
    script.pool.announce(script.link, &mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(line.starts_with("{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{\"blob\":\""));
    assert_eq!(text(&line, "job_id"), "ccce");
    assert_ne!(text(&line, "blob"), text(&answer, "blob"));
    assert_eq!(script.logs_in(), error("already logged in"));
    assert!(
        script
            .says("keepalived", "{\"id\":\"a\"}")
            .contains("KEEPALIVED")
    );
    assert!(
        script
            .says("mining.subscribe", "[]")
            .contains("unknown method")
    );
}

#[test]
fn no_two_links_have_the_same_blob() {
    let mut script = Script::new();
    let first = script.logs_in();
    let link = script.link;
    script.link = script.pool.connect();
    let second = script.logs_in();
    assert_eq!(text(&first, "job_id"), text(&second, "job_id"));
    assert_ne!(text(&first, "blob"), text(&second, "blob"));
    // So the same nonce is another share.
    assert_eq!(script.submits("01020304", "0000"), OK);
    script.link = link;
    assert_eq!(script.submits("01020304", "0000"), OK);
    let shares = script.pool.accepted_shares();
    assert_eq!(shares[0].nonce[4..8], [1, 2, 3, 4]);
    assert_ne!(shares[0].nonce[..4], shares[1].nonce[..4]);
}

#[test]
fn a_share_is_judged_by_its_shape() {
    let mut script = Script::new();
    let whole = r#"{"id":"a","job_id":"cccd","nonce":"01020304","result":"ab"}"#;
    assert_eq!(script.says("submit", whole), error("not subscribed"));
    script.logs_in();
    assert_eq!(script.says("submit", whole), error("unauthorized worker"));
    assert_eq!(script.says("submit", "[]"), error("unauthorized worker"));
    assert_eq!(script.submits("01020304", "0000"), OK);
    assert_eq!(script.submits("01020304", "0100"), error("duplicate share"));
    assert_eq!(
        script.submits("0102030G", "0000"),
        error("incorrect size of nonce")
    );
    assert_eq!(
        script.submits("010203", "0000"),
        error("incorrect size of nonce")
    );
    assert_eq!(
        script.submits("01020305", "000"),
        error("incorrect size of result")
    );
    assert_eq!(
        script.submits("01020306", "0001"),
        error("low difficulty share")
    );
    let session = script.pool.links[&script.link].session.unwrap().text();
    let of_job = |job: &str| {
        let zeros = "0".repeat(64);
        format!(r#"{{"id":"{session}","job_id":"{job}","nonce":"01020307","result":"{zeros}"}}"#)
    };
    assert_eq!(
        script.says("submit", &of_job("ccce")),
        error("job not found")
    );
    script.pool.make_job(NOW, true);
    assert_eq!(script.says("submit", &of_job("cccd")), error("stale job"));
    assert_eq!(script.says("submit", &of_job("ccce")), OK);
    let counters = script.pool.counters();
    assert_eq!(counters.shares_accepted, 2);
    assert_eq!(counters.shares_rejected.total(), 10);
}

#[test]
fn another_nonce_1_is_another_blob_from_the_next_job_on() {
    let mut script = Script::new();
    script.logs_in();
    let mut out = Vec::new();
    assert!(script.pool.set_extranonce(script.link, &mut out));
    assert!(out.is_empty());
    assert_eq!(script.submits("01020304", "0000"), OK);
    script.pool.make_job(NOW, false);
    assert_eq!(script.submits("01020304", "0000"), OK);
    let shares = script.pool.accepted_shares();
    assert_ne!(shares[0].nonce[..4], shares[1].nonce[..4]);
}
