//! Miners that do not read, and what waits for all of them together.

use std::rc::Rc;
use std::time::Duration;

use stratum_uring::exchange::{CloseHow, CloseReason, Limits, LinkEnd, MinerToken, Tag, Transmit};

use crate::scene::{SUBSCRIBE, Scene, notify, share};

/// Who is closed, and why.
#[derive(Default)]
struct Closes(Vec<(u32, CloseReason)>);

impl Transmit for Closes {
    fn send_shared(&mut self, _: MinerToken, _: &Rc<[u8]>, _: Tag) {}

    fn send_pieces(&mut self, _: MinerToken, _: &[(&[u8], Tag)]) {}

    fn close(&mut self, miner: MinerToken, how: CloseHow, reason: CloseReason) {
        assert!(how == CloseHow::Reset || reason == CloseReason::Shutdown);
        self.0.push((miner.index, reason));
    }
}

/// The same scene without a pool: a miner is told something for each line that it says.
struct Crowd {
    scene: Scene,
    closes: Closes,
}

impl Crowd {
    fn of(unread_bytes_max: usize) -> Self {
        let scene = Scene::with(&["a"], |settings| {
            settings.limits.unread_bytes_max = unread_bytes_max;
        });
        let closes = Closes::default();
        Self { scene, closes }
    }

    /// Miners that take no bytes.
    fn deaf(&mut self, indexes: std::ops::Range<u32>) -> Vec<MinerToken> {
        let miners: Vec<_> = indexes.map(|index| self.scene.connect(index)).collect();
        for miner in &miners {
            self.blocked(*miner, b"");
        }
        miners
    }

    /// A send of these replies went out not at all.
    fn blocked(&mut self, miner: MinerToken, replies: &[u8]) {
        let pieces = [(Tag::Replies, replies.len())].into_iter();
        let now = self.scene.now;
        self.scene
            .exchange
            .handle_blocked(now, miner, 0, pieces, replies);
    }

    fn asks(&mut self, miner: MinerToken) {
        let line = br#"{"id":9,"method":"mining.multi_version","params":[1]}"#;
        self.scene.miner_says(miner, line);
    }

    fn unread(&self) -> u64 {
        self.scene.exchange.counters().unread_bytes
    }

    fn flush(&mut self) -> Vec<(u32, CloseReason)> {
        self.scene.exchange.flush(&mut self.closes);
        std::mem::take(&mut self.closes.0)
    }
}

#[test]
fn of_those_that_do_not_read_the_greediest_go_and_the_modest_stay() {
    const BYTES_MAX: usize = 20_000;
    let mut crowd = Crowd::of(BYTES_MAX);
    let modest = crowd.deaf(0..3);
    for miner in &modest {
        crowd.asks(*miner);
    }
    let answer = crowd.unread() / 3;
    assert!(answer > 20, "{answer} bytes are an answer");
    let greedy = crowd.deaf(3..13);
    let mut closed = Vec::new();
    for _ in 0..1000 {
        for miner in &greedy {
            crowd.asks(*miner);
        }
        closed.extend(crowd.flush());
        assert!(
            crowd.unread() <= BYTES_MAX as u64 + answer,
            "{}",
            crowd.unread()
        );
    }
    // The last one has it all to itself, and goes too.
    let all: Vec<_> = closed.iter().map(|(index, _)| *index).collect();
    assert_eq!(all.len(), greedy.len(), "{closed:?}");
    assert!(all.iter().all(|index| *index >= 3), "{closed:?}");
    assert!(
        closed
            .iter()
            .all(|(_, reason)| *reason == CloseReason::Unread)
    );
    assert_eq!(crowd.unread(), 3 * answer, "what waited for them is gone");
    for miner in modest {
        crowd.asks(miner);
    }
    assert_eq!((crowd.flush(), crowd.unread()), (vec![], 6 * answer));
}

#[test]
fn who_reads_again_counts_no_more_and_who_leaves_neither() {
    let mut crowd = Crowd::of(usize::MAX);
    let miners = crowd.deaf(0..3);
    crowd.asks(miners[0]);
    let answer = crowd.unread();
    crowd.blocked(miners[1], &[b'a'; 1000]);
    crowd.blocked(miners[1], &[b'b'; 10]);
    crowd.asks(miners[2]);
    assert_eq!(crowd.unread(), 2 * answer + 1010);
    crowd.scene.exchange.handle_writable(miners[1]);
    assert_eq!(crowd.unread(), 2 * answer);
    // It takes bytes, so what it is told is on its way and waits for nobody.
    crowd.asks(miners[1]);
    assert_eq!(crowd.unread(), 2 * answer);
    let exchange = &mut crowd.scene.exchange;
    exchange.handle_disconnect(miners[0], CloseReason::Reset);
    assert_eq!(crowd.unread(), answer);
    crowd.scene.exchange.finish_shutdown(crowd.scene.now);
    crowd.flush();
    assert_eq!(crowd.unread(), 0);
}

#[test]
fn what_is_kept_elsewhere_counts_with_what_waits_here() {
    const KEPT: usize = 900;
    let mut crowd = Crowd::of(10 * KEPT);
    let miners: Vec<_> = (0..11).map(|index| crowd.scene.connect(index)).collect();
    let now = crowd.scene.now;
    for miner in &miners[..10] {
        crowd.scene.exchange.handle_kept(now, *miner, KEPT - 10);
        crowd.scene.exchange.handle_kept(now, *miner, KEPT);
    }
    assert_eq!((crowd.flush(), crowd.unread()), (vec![], 10 * KEPT as u64));
    // It takes a part of it, and what is left is counted once.
    crowd.scene.exchange.handle_writable(miners[0]);
    assert_eq!(crowd.unread(), 9 * KEPT as u64);
    crowd.scene.exchange.handle_kept(now, miners[0], 100);
    assert_eq!(crowd.unread(), 9 * KEPT as u64 + 100);
    // Nothing of it is told again, and whoever has the most goes when it is too much.
    let told = crowd.scene.flush();
    assert_eq!((told.text.as_str(), told.closed), ("", 0));
    crowd.scene.exchange.handle_kept(now, miners[10], 2 * KEPT);
    assert_eq!(crowd.flush(), [(10, CloseReason::Unread)]);
    assert_eq!(crowd.unread(), 9 * KEPT as u64 + 100);
    for miner in &miners[..10] {
        let exchange = &mut crowd.scene.exchange;
        exchange.handle_disconnect(*miner, CloseReason::Reset);
    }
    assert_eq!(crowd.unread(), 0);
}

#[test]
fn a_miner_outlives_it_that_all_its_shares_are_refused_in_one_breath() {
    let mut scene = Scene::new(&["a"]);
    let miner = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    let job = scene.begin_mining(miner);
    let shares = Limits::default().pending_shares_per_miner_max;
    for number in 0..shares {
        // The longest id that there is.
        let line = share(&job)
            .replace(
                &format!("\"{}\"", "0".repeat(52)),
                &format!("\"{number:052x}\""),
            )
            .replacen("\"id\":3", &format!("\"id\":\"{number:062}\""), 1);
        scene.miner_says(miner, line.as_bytes());
        if number % 100 == 0 {
            scene.pass(Duration::from_secs(1));
        }
        scene.written(link);
    }
    assert_eq!(scene.flush().text, "", "all of them wait");
    let now = scene.now;
    scene
        .exchange
        .handle_link_closed(now, link, LinkEnd::Closed, "");
    scene.pass(Limits::default().resume);
    scene.exchange.handle_tick(scene.now);
    let told = scene.flush();
    assert_eq!(told.closed, 0);
    assert_eq!(told.text.lines().count(), shares as usize);
    assert!(told.text.len() > 512 * 1024, "{}", told.text.len());
}

#[test]
fn who_waits_for_a_pool_and_asks_without_end_is_closed() {
    let mut crowd = Crowd::of(usize::MAX);
    let miner = crowd.scene.connect(0);
    crowd.scene.miner_says(miner, SUBSCRIBE);
    for asked in 1.. {
        crowd.asks(miner);
        if let [closed] = crowd.flush()[..] {
            assert_eq!(closed, (0, CloseReason::OutboxFull));
            assert!((100..1000).contains(&asked), "{asked}");
            return;
        }
    }
}
