//! The exchanges of several shards of one proxy, and the letters between them.

use stratum_uring::exchange::{Fact, LinkEnd, LinkKey, PoolLinks, Settings};

use crate::farm::Farm;
use crate::immediate::share_with;

/// One farm for each shard; letters arrive within the round in which they were written.
struct Shards(Vec<Farm>);

impl Shards {
    fn new(count: u32, hosts: &[&str], change: impl Fn(&mut Settings)) -> Self {
        let farm = |shard| {
            Farm::new(hosts, &[], |settings| {
                settings.part = (shard, count);
                settings.series = u8::try_from(shard).unwrap();
                change(settings);
            })
        };
        Self((0..count).map(farm).collect())
    }

    /// Carries letters until there are none.
    fn deliver(&mut self) {
        let mut quiet = false;
        while !quiet {
            quiet = true;
            for from in 0..self.0.len() {
                while let Some((to, letter)) = self.0[from].scene.exchange.poll_letter() {
                    quiet = false;
                    let farm = &mut self.0[to];
                    farm.scene
                        .exchange
                        .handle_letter(farm.scene.now, from, letter);
                    farm.obey();
                }
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            self.step();
        }
    }

    fn step(&mut self) {
        for farm in &mut self.0 {
            farm.step();
        }
        self.deliver();
    }

    /// Which pools serve each shard with links of its own.
    fn serving(&self) -> Vec<Vec<&str>> {
        self.0.iter().map(Farm::serving).collect()
    }

    /// What a shard's miners were told since the last call.
    fn told(&mut self, shard: usize) -> String {
        self.0[shard].heard().1
    }

    /// The job on which a shard's miners are, from what they are told.
    fn job(&mut self, shard: usize) -> String {
        self.0[shard].heard().0.expect("a job")
    }

    /// The only link of a shard is reset, and its pool can't be reached from there.
    fn cut(&mut self, shard: usize, host: &'static str) {
        self.0[shard].fails(host);
    }

    fn seconds_until(&mut self, is_so: impl Fn(&Self) -> bool) -> u64 {
        for quarter in 0..4 * 7200 {
            if is_so(self) {
                return quarter / 4;
            }
            self.step();
        }
        panic!("never: {:?}", self.serving());
    }
}

/// Miners that move and that don't, on each of three shards with links of their own.
fn three_shards(change: impl Fn(&mut Settings)) -> Shards {
    let mut shards = Shards::new(3, &["a", "b"], change);
    for farm in &mut shards.0 {
        farm.miner(0, true);
        farm.miner(1, false);
    }
    shards.pass(20);
    assert_eq!(shards.serving(), [["a"]; 3]);
    for shard in 0..3 {
        shards.told(shard);
    }
    shards
}

// A pool is not bad because one link to it is.

#[test]
fn a_pool_that_is_lost_to_all_shards_is_left_by_all() {
    let mut shards = three_shards(|_| {});
    for shard in 0..3 {
        shards.cut(shard, "a");
    }
    let seconds = shards.seconds_until(|shards| shards.serving() == [["b"]; 3]);
    assert!(seconds <= 4, "{seconds}");
}

#[test]
fn a_shard_that_found_a_pool_bad_spares_the_others_the_wait() {
    let mut shards = three_shards(|_| {});
    shards.cut(0, "a");
    shards.cut(1, "a");
    shards.pass(2);
    // This one is lost two seconds later, and does not wait for three of its own.
    shards.cut(2, "a");
    let seconds = shards.seconds_until(|shards| shards.serving() == [["b"]; 3]);
    assert!(seconds <= 1, "{seconds}");
}

#[test]
fn a_link_that_is_well_stays_where_it_is() {
    let mut shards = three_shards(|_| {});
    shards.cut(0, "a");
    shards.cut(1, "a");
    shards.pass(20);
    assert_eq!(shards.serving(), [["b"], ["b"], ["a"]]);
    assert_eq!(shards.0[2].told.closed, 0);
}

/// When the second and when the first of two shards leave a pool that is silent to both, and that sent
/// the first one a job so much later; in seconds.
fn leave_a_silent_pool_after(later: u64) -> [u64; 2] {
    let mut shards = Shards::new(2, &["a", "b"], |settings| {
        settings.limits.no_job = std::time::Duration::from_secs(240);
    });
    for farm in &mut shards.0 {
        farm.miner(0, true);
    }
    shards.pass(later);
    let link = shards.0[0].link_to("a");
    shards.0[0].announce(link);
    [1, 0].map(|shard: usize| {
        let leaves = |shards: &Shards| shards.0[shard].dials.iter().any(|host| host == "b");
        shards.seconds_until(leaves);
        shards.0[0].scene.now.since_start.as_secs()
    })
}

#[test]
fn a_pool_that_falls_silent_is_left_by_all_shards_at_once() {
    let [second, first] = leave_a_silent_pool_after(60);
    assert_eq!(second, 240);
    assert!(first <= second + 1, "{first}");
}

#[test]
fn a_link_on_which_the_pool_speaks_is_not_silent() {
    let [second, first] = leave_a_silent_pool_after(200);
    assert_eq!(second, 240);
    assert!(first >= 439, "{first}");
}

#[test]
fn a_new_shard_begins_with_the_pool_that_works_for_the_others() {
    let mut shards = Shards::new(2, &["a", "b"], |_| {});
    for farm in &mut shards.0 {
        farm.down.push("a");
    }
    shards.0[0].miner(0, true);
    shards.pass(5);
    shards.0[1].miner(0, true);
    shards.step();
    assert_eq!(shards.0[1].dials.first().map(String::as_str), Some("b"));
}

// One shard's link, and miners of others.

#[test]
fn a_shard_whose_link_alone_is_lost_works_on_a_neighbours() {
    let mut shards = three_shards(|_| {});
    shards.cut(1, "a");
    let seconds = shards.seconds_until(|shards| shards.0[1].count(is_borrowed) > 0);
    assert!(seconds <= 1, "a part of a link is made ready at once");
    shards.pass(10);
    assert_eq!(shards.serving()[0], ["a"]);
    assert!(shards.serving()[1].is_empty(), "{:?}", shards.serving());
    let told = shards.told(1);
    assert!(told.contains("mining.set_extranonce"), "{told}");
    assert_eq!(shards.0[1].told.closed, 1, "who can't be told reconnects");
}

const fn is_borrowed(fact: &Fact) -> bool {
    matches!(fact, Fact::Borrowed { .. })
}

#[test]
fn a_link_that_comes_back_in_time_needs_no_neighbour() {
    let mut shards = three_shards(|_| {});
    shards.cut(1, "a");
    shards.pass(1);
    shards.0[1].recovers("a");
    shards.pass(20);
    assert_eq!(shards.serving(), [["a"]; 3]);
    // Nothing stays lent: all slots but those of the miners are free.
    for shard in 0..3 {
        let counters = shards.0[shard].scene.exchange.counters();
        assert!(counters.slots_taken <= 2, "{counters:?}");
    }
}

#[test]
fn a_shard_that_is_refused_a_link_works_on_a_neighbours() {
    let mut shards = Shards::new(2, &["a", "b"], |_| {});
    shards.0[0].miner(0, true);
    shards.pass(1);
    shards.0[1].refuse.push("a");
    shards.0[1].down.push("b");
    shards.0[1].miner(0, true);
    shards.pass(3);
    let told = shards.told(1);
    assert!(told.contains("mining.notify"), "{told}");
    assert_eq!(shards.0[1].scene.exchange.counters().mining, 1);
}

/// Three shards of which the first has the only link, with a miner each; what each was told is over.
fn one_link(change: impl Fn(&mut Settings)) -> (Shards, LinkKey) {
    let mut shards = Shards::new(3, &["a", "b"], |settings| {
        settings.pool_links = PoolLinks::Shared(1);
        change(settings);
    });
    for farm in &mut shards.0 {
        farm.miner(0, true);
    }
    shards.pass(2);
    let link = shards.0[0].link_to("a");
    shards.0[0].scene.written(link);
    (shards, link)
}

impl Shards {
    /// A shard's miner finds a share for its job; returns what the link of the first shard is told.
    fn submit(&mut self, shard: usize, link: LinkKey, job: &str, id: u32) -> String {
        let miner = stratum_uring::exchange::MinerToken {
            index: 0,
            generation: 0,
        };
        let line = share_with(job, id);
        self.0[shard].scene.miner_says(miner, line.as_bytes());
        self.deliver();
        self.0[0].scene.written(link)
    }
}

/// What stands between a line's `"key":"` and the next quote.
fn text_of<'a>(line: &'a str, before: &str) -> &'a str {
    let (_, after) = line.split_once(before).expect(line);
    after.split_once('"').expect(line).0
}

#[test]
fn one_link_serves_all_shards() {
    let (mut shards, link) = one_link(|_| {});
    assert_eq!(shards.serving(), [vec!["a"], vec![], vec![]]);
    assert!(shards.0[1].dials.is_empty() && shards.0[2].dials.is_empty());
    let mut nonces = Vec::new();
    for shard in 0..3 {
        let (job, told) = shards.0[shard].heard();
        let job = job.expect("a job");
        let nonce = text_of(&told, r#""result":[null,""#).to_owned();
        assert!(nonce.starts_with("6100000"), "{nonce}");
        let written = shards.submit(shard, link, &job, 40);
        // The pool's own job id, and the slot in front of the miner's own part of the nonce.
        let slot = &nonce[8..];
        let expected = format!(
            r#"{{"id":{},"method":"mining.submit","params":["t1account.farm","j1",""#,
            16 + shard
        );
        assert!(written.starts_with(&expected), "{written}");
        assert!(
            written.contains(&format!("\"{slot}{:052x}\"", 40)),
            "{written}"
        );
        assert_eq!(written.matches('\n').count(), 1);
        nonces.push(nonce);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 3, "no two miners have one slot");
    // The answers come in another order, one of them a refusal.
    let says = |shards: &mut Shards, line: &str| {
        shards.0[0].scene.pool_says(link, line.as_bytes());
    };
    says(&mut shards, r#"{"id":18,"result":true,"error":null}"#);
    says(
        &mut shards,
        r#"{"id":17,"result":null,"error":[23,"low",null]}"#,
    );
    says(&mut shards, r#"{"id":16,"result":true,"error":null}"#);
    shards.deliver();
    let told: Vec<String> = (0..3).map(|shard| shards.told(shard)).collect();
    let yes = r#"{"id":40,"result":true,"error":null}"#;
    let no = r#"{"id":40,"result":null,"error":[23,"low",null]}"#;
    assert!(
        told[0].contains(yes) && told[1].contains(no) && told[2].contains(yes),
        "{told:?}"
    );
    let counts = |shard: usize| {
        let counters = shards.0[shard].scene.exchange.counters();
        (counters.accepted, counters.rejected)
    };
    assert_eq!([0, 1, 2].map(counts), [(1, 0), (0, 1), (1, 0)]);
}

#[test]
fn jobs_and_targets_of_the_one_link_reach_all_shards() {
    let (mut shards, link) = one_link(|_| {});
    for shard in 0..3 {
        shards.told(shard);
    }
    let target = r#"{"id":null,"method":"mining.set_target","params":["0fff"]}"#;
    shards.0[0].scene.pool_says(link, target.as_bytes());
    shards.0[0].announce(link);
    shards.deliver();
    for shard in 0..3 {
        let told = shards.told(shard);
        let set = told.find("mining.set_target").expect("a target");
        let job = told.find("mining.notify").expect("a job");
        assert!(set < job, "{told}");
    }
}

#[test]
fn the_one_link_taken_up_again_loses_nobodys_share() {
    let (mut shards, link) = one_link(|_| {});
    let job = shards.job(1);
    let first = shards.submit(1, link, &job, 40);
    assert!(first.contains("mining.submit"));
    let scene = &mut shards.0[0].scene;
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    shards.deliver();
    // One that is found meanwhile waits with the first.
    assert_eq!(shards.submit(1, link, &job, 41), "");
    scene_resumes(&mut shards, false);
    let link = shards.0[0].link_to("a");
    let told = shards.told(1);
    assert!(
        !told.contains("mining.set_extranonce"),
        "nobody notices: {told}"
    );
    let written = shards.0[0].scene.written(link);
    assert_eq!(written.matches("mining.submit").count(), 2, "{written}");
    for line in written.lines() {
        let answer = format!(
            r#"{{"id":{},"result":true,"error":null}}"#,
            line[6..].split(',').next().unwrap()
        );
        shards.0[0].scene.pool_says(link, answer.as_bytes());
    }
    shards.deliver();
    let told = shards.told(1);
    assert_eq!(
        told.matches(r#""result":true,"error":null"#).count(),
        2,
        "{told}"
    );
}

#[test]
fn a_shutdown_waits_for_the_one_link_that_comes_back_with_shares_of_other_shards() {
    let (mut shards, link) = one_link(|_| {});
    let job = shards.job(1);
    shards.submit(1, link, &job, 40);
    let scene = &mut shards.0[0].scene;
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    shards.deliver();
    for farm in &mut shards.0 {
        farm.scene.pass(std::time::Duration::from_millis(500));
        farm.scene.exchange.handle_tick(farm.scene.now);
        farm.scene.exchange.begin_shutdown();
    }
    let drained = |shards: &Shards| -> Vec<bool> {
        let farms = shards.0.iter();
        farms.map(|farm| farm.scene.exchange.is_drained()).collect()
    };
    assert_eq!(drained(&shards), [false, false, true]);
    scene_resumes(&mut shards, false);
    let link = shards.0[0].link_to("a");
    assert!(shards.0[0].scene.written(link).contains("mining.submit"));
    assert_eq!(drained(&shards), [false, false, true]);
    let answer = br#"{"id":16,"result":true,"error":null}"#;
    shards.0[0].scene.pool_says(link, answer);
    shards.deliver();
    assert_eq!(
        drained(&shards)[1..],
        [true; 2],
        "and the host waits for its guests"
    );
    assert!(
        shards
            .told(1)
            .contains(r#"{"id":40,"result":true,"error":null}"#)
    );
}

#[test]
fn a_job_that_comes_before_the_one_link_is_ready_again_reaches_all_shards() {
    let (mut shards, link) = one_link(|_| {});
    let before = [0, 1, 2].map(|shard| shards.job(shard));
    let scene = &mut shards.0[0].scene;
    let (now, end) = (scene.now, LinkEnd::Reset);
    scene.exchange.handle_link_closed(now, link, end, "");
    shards.deliver();
    scene_resumes(&mut shards, true);
    let after = [0, 1, 2].map(|shard| shards.job(shard));
    for (before, after) in before.iter().zip(after) {
        assert_ne!(*before, after);
    }
}

/// The pool takes the first shard's session up again, under the same nonce_1, and may announce a job before
/// it says so.
fn scene_resumes(shards: &mut Shards, job_comes_first: bool) {
    for _ in 0..4 {
        for farm in &mut shards.0 {
            farm.scene.pass(std::time::Duration::from_millis(250));
            farm.scene.exchange.handle_tick(farm.scene.now);
        }
        let farm = &mut shards.0[0];
        while let Some((link, host)) = farm.scene.poll_dial() {
            if host != "a" {
                continue;
            }
            farm.scene
                .exchange
                .handle_link_connected(farm.scene.now, link);
            let subscribed = br#"{"id":1,"result":[null,"61000001"],"error":null}"#;
            farm.scene.pool_says(link, subscribed);
            farm.links.clear();
            farm.links.push((link, host));
            if job_comes_first {
                farm.announce(link);
            }
            farm.scene
                .pool_says(link, br#"{"id":2,"result":true,"error":null}"#);
            // The handshake.
            let handshake = farm.scene.written(link);
            assert!(handshake.contains("mining.subscribe"));
        }
        shards.deliver();
    }
}

#[test]
fn shares_on_the_one_link_that_is_lost_are_answered_as_stale() {
    let (mut shards, link) = one_link(|_| {});
    let job = shards.job(2);
    shards.submit(2, link, &job, 40);
    shards.cut(0, "a");
    shards.pass(10);
    let told = shards.told(2);
    assert!(
        told.contains(r#"{"id":40,"result":null,"error":[21,"#),
        "{told}"
    );
    assert_eq!(shards.serving(), [vec!["b"], vec![], vec![]]);
    // It has the next pool's nonce space and a job there.
    assert!(told.contains("mining.set_extranonce"), "{told}");
    let job = text_of(
        told.rsplit_once("mining.notify").unwrap().1,
        r#""params":[""#,
    )
    .to_owned();
    let link = shards.0[0].link_to("b");
    let written = shards.submit(2, link, &job, 41);
    assert!(written.contains("mining.submit"), "{written}");
}

#[test]
fn all_slots_of_the_one_link_can_be_used_by_any_shard() {
    let mut shards = Shards::new(3, &["a"], |settings| {
        settings.pool_links = PoolLinks::Shared(1);
        settings.miners_per_link = 1000;
    });
    let mut index = 0;
    for (shard, miners) in [(1, 700), (2, 200), (0, 50)] {
        for _ in 0..miners {
            index += 1;
            shards.0[shard].miner(index, true);
            if index % 7 == 0 {
                shards.deliver();
            }
        }
        shards.pass(2);
    }
    let mining = |shards: &Shards| -> Vec<u64> {
        let farms = shards.0.iter();
        farms
            .map(|farm| farm.scene.exchange.counters().mining)
            .collect()
    };
    assert_eq!(mining(&shards), [50, 700, 200]);
    let nonces: Vec<String> = (0..3)
        .flat_map(|shard| {
            let told = shards.told(shard);
            let answers = told.split(r#""result":[null,""#).skip(1);
            answers
                .map(|answer| answer.split('"').next().unwrap().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let mut apart = nonces.clone();
    apart.sort();
    apart.dedup();
    assert_eq!((nonces.len(), apart.len()), (950, 950));
    // Those of the shard that has most go, and another one gets their places.
    for index in 1..=700 {
        let generation = 0;
        let miner = stratum_uring::exchange::MinerToken { index, generation };
        let exchange = &mut shards.0[1].scene.exchange;
        exchange.handle_disconnect(miner, stratum_uring::exchange::CloseReason::Closed);
    }
    shards.pass(2);
    for index in 2000..2600 {
        shards.0[2].miner(index, true);
    }
    shards.pass(3);
    assert_eq!(mining(&shards), [50, 0, 800]);
}

#[test]
fn other_bytes_on_the_one_link_move_the_miners_of_all_shards() {
    let (mut shards, link) = one_link(|_| {});
    for shard in 0..3 {
        shards.told(shard);
    }
    let line = r#"{"id":null,"method":"mining.set_extranonce","params":["61ffffff"]}"#;
    shards.0[0].scene.pool_says(link, line.as_bytes());
    shards.0[0].announce(link);
    shards.deliver();
    for shard in 0..3 {
        let told = shards.told(shard);
        let nonce = text_of(&told, r#""mining.set_extranonce","params":[""#);
        assert!(nonce.starts_with("61ffffff"), "{told}");
        let job = text_of(
            told.rsplit_once("mining.notify").unwrap().1,
            r#""params":[""#,
        );
        let (job, slot) = (job.to_owned(), nonce[8..].to_owned());
        let written = shards.submit(shard, link, &job, 50);
        assert!(
            written.contains(&format!("\"{slot}{:052x}\"", 50)),
            "{written}"
        );
    }
}

#[test]
fn the_same_bytes_again_on_the_one_link_move_nobody() {
    let (mut shards, link) = one_link(|_| {});
    for shard in 0..3 {
        shards.told(shard);
    }
    let line = r#"{"id":null,"method":"mining.set_extranonce","params":["61000001"]}"#;
    shards.0[0].scene.pool_says(link, line.as_bytes());
    shards.0[0].announce(link);
    shards.deliver();
    for shard in 0..3 {
        let told = shards.told(shard);
        assert!(!told.contains("mining.set_extranonce"), "{told}");
        assert!(told.contains("mining.notify"), "{told}");
    }
}

#[test]
fn the_miners_of_all_shards_go_back_to_the_preferred_pool() {
    let mut shards = Shards::new(2, &["a", "b"], |settings| {
        settings.pool_links = PoolLinks::Shared(1);
    });
    shards.cut(0, "a");
    for farm in &mut shards.0 {
        farm.miner(0, true);
    }
    shards.pass(5);
    assert_eq!(shards.serving(), [vec!["b"], vec![]]);
    let job = shards.job(1);
    shards.0[0].recovers("a");
    shards.told(1);
    let is_back = |shards: &Shards| shards.serving()[0].contains(&"a");
    let seconds = shards.seconds_until(is_back);
    assert!((25..60).contains(&seconds), "{seconds}");
    // A share that was on its way when its miner moved is judged by the pool that it is for.
    let old = shards.0[0].link_to("b");
    let written = shards.submit(1, old, &job, 40);
    assert!(written.contains("mining.submit"), "{written}");
    let id = written[6..].split(',').next().unwrap();
    let answer = format!(r#"{{"id":{id},"result":true,"error":null}}"#);
    shards.0[0].scene.pool_says(old, answer.as_bytes());
    shards.pass(10);
    let told = shards.told(1);
    assert!(
        told.contains(r#"{"id":40,"result":true,"error":null}"#),
        "{told}"
    );
    assert!(told.contains("mining.set_extranonce"), "{told}");
    let hosts: Vec<&str> = shards.0[0]
        .links
        .iter()
        .map(|(_, host)| host.as_str())
        .collect();
    assert_eq!(hosts, ["a"], "the other link is hung up");
    // And it mines there.
    let job = text_of(
        told.rsplit_once("mining.notify").unwrap().1,
        r#""params":[""#,
    )
    .to_owned();
    let link = shards.0[0].link_to("a");
    let written = shards.submit(1, link, &job, 41);
    assert!(written.contains("mining.submit"), "{written}");
}

#[test]
fn a_shutdown_waits_for_the_shares_of_other_shards() {
    let (mut shards, link) = one_link(|_| {});
    let job = shards.job(1);
    shards.submit(1, link, &job, 40);
    for farm in &mut shards.0 {
        farm.scene.exchange.begin_shutdown();
    }
    let drained = |shards: &Shards| -> Vec<bool> {
        let farms = shards.0.iter();
        farms.map(|farm| farm.scene.exchange.is_drained()).collect()
    };
    assert_eq!(drained(&shards), [false, false, true]);
    for shard in [2, 1, 0] {
        if shard == 1 {
            let answer = br#"{"id":16,"result":true,"error":null}"#;
            shards.0[0].scene.pool_says(link, answer);
            shards.deliver();
            assert_eq!(drained(&shards)[..2], [false, true]);
        }
        let farm = &mut shards.0[shard];
        farm.scene.exchange.finish_shutdown(farm.scene.now);
        shards.deliver();
    }
    assert!(
        shards
            .told(1)
            .contains(r#"{"id":40,"result":true,"error":null}"#)
    );
    for farm in &mut shards.0 {
        farm.hear();
        let counters = farm.scene.exchange.counters();
        assert_eq!((counters.miners, counters.slots_taken), (0, 0));
    }
}

#[test]
fn miners_for_whom_the_one_link_has_no_slot_are_told_so() {
    let mut shards = Shards::new(2, &["a"], |settings| {
        settings.pool_links = PoolLinks::Shared(1);
        settings.miners_per_link = 4;
    });
    for index in 0..4 {
        shards.0[0].miner(index, true);
    }
    shards.pass(1);
    for index in 0..3 {
        shards.0[1].miner(index, true);
    }
    shards.pass(2);
    let told = shards.told(1);
    assert_eq!(told.matches("The proxy is full").count(), 3, "{told}");
    // One of them gets the place of one that goes.
    let gone = stratum_uring::exchange::MinerToken {
        index: 0,
        generation: 0,
    };
    let exchange = &mut shards.0[0].scene.exchange;
    exchange.handle_disconnect(gone, stratum_uring::exchange::CloseReason::Closed);
    shards.pass(3);
    shards.0[1].miner(9, true);
    shards.pass(2);
    assert_eq!(shards.0[1].scene.exchange.counters().mining, 1);
}
