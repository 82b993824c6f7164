//! Who is told first when a job goes out, and what a peer that asks without end costs.

use std::rc::Rc;

use stratum_uring::exchange::{CloseHow, CloseReason, Limits, LinkKey, MinerToken, Tag, Transmit};

use crate::scene::{Scene, notify, share};

/// Who is sent what, in order: the miner, and whether it is only what all are sent.
#[derive(Default)]
struct Sends(Vec<(u32, bool)>);

impl Transmit for Sends {
    fn send_shared(&mut self, miner: MinerToken, _: &Rc<[u8]>, tag: Tag) {
        assert!(matches!(tag, Tag::Job | Tag::CleanJob));
        self.0.push((miner.index, true));
    }

    fn send_pieces(&mut self, miner: MinerToken, pieces: &[(&[u8], Tag)]) {
        let own = |tag| matches!(tag, Tag::Rest | Tag::Replies);
        let shared = !pieces.iter().any(|(_, tag)| own(*tag));
        self.0.push((miner.index, shared));
    }

    fn close(&mut self, miner: MinerToken, _: CloseHow, reason: CloseReason) {
        panic!("{miner:?} is closed: {reason:?}");
    }
}

/// Miners at work that are owed the pool's next job.
fn farm_with_a_job_to_send(miners: u32) -> (Scene, LinkKey, Vec<MinerToken>) {
    let mut scene = Scene::new(&["a"]);
    let first = scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.pool_says(link, notify().as_bytes());
    scene.begin_mining(first);
    let mut tokens = vec![first];
    for index in 1..miners {
        let miner = scene.connect(index);
        scene.begin_mining(miner);
        tokens.push(miner);
    }
    scene.pool_says(link, notify().as_bytes());
    (scene, link, tokens)
}

#[test]
fn replies_go_out_between_the_parts_of_a_job_and_not_behind_it() {
    const MINERS: u32 = 65_536;
    const PART: usize = 512;
    let (mut scene, _, tokens) = farm_with_a_job_to_send(MINERS);
    let mut sends = Sends::default();
    let mut jobs = vec![0_u32; tokens.len()];
    let mut answered = Vec::new();
    let mut parts = 0_usize;
    loop {
        let more = scene.exchange.flush_some(&mut sends, PART);
        let shared = sends.0.iter().filter(|(_, shared)| *shared).count();
        assert!(shared <= PART, "{shared} in one part");
        // Whoever was answered since the last part comes before the job of all others.
        let first: Vec<u32> = sends
            .0
            .iter()
            .map(|(miner, _)| *miner)
            .take(answered.len())
            .collect();
        assert_eq!(first, answered);
        for (miner, shared) in sends.0.drain(..) {
            assert_eq!(shared, !answered.contains(&miner));
            jobs[miner as usize] += 1;
        }
        if !more {
            break;
        }
        parts += 1;
        // Two that the job may have reached or not are refused a share.
        answered = vec![
            u32::try_from(parts * 7919).unwrap() % MINERS,
            u32::try_from(parts * 104_729 + 1).unwrap() % MINERS,
        ];
        for miner in &answered {
            scene.miner_says(tokens[*miner as usize], share("00000000").as_bytes());
        }
    }
    assert_eq!(parts, 65_536 / PART - 1);
    // Each was sent the job; those who were answered behind it, one send more.
    let twice = jobs.iter().filter(|&&sends| sends == 2).count();
    assert!(jobs.iter().all(|&sends| sends == 1 || sends == 2));
    assert!(twice < 2 * parts, "an answer takes the job along");
    assert!(!scene.exchange.flush_some(&mut sends, PART));
    assert!(sends.0.is_empty(), "nothing is left over");
}

#[test]
fn a_newer_job_overtakes_the_one_that_is_going_out() {
    let (mut scene, link, tokens) = farm_with_a_job_to_send(1000);
    let mut sends = Sends::default();
    assert!(scene.exchange.flush_some(&mut sends, 300));
    scene.pool_says(link, notify().as_bytes());
    let mut parts = 1;
    while scene.exchange.flush_some(&mut sends, 300) {
        parts += 1;
    }
    // Whoever waits for the older job waits once.
    assert_eq!(parts, 4);
    // Those 300 got both jobs, all others only the newer one.
    assert_eq!(sends.0.len(), tokens.len() + 300);
}

#[test]
fn a_miner_that_leaves_amid_a_fan_out_is_passed_over() {
    let (mut scene, _, tokens) = farm_with_a_job_to_send(1000);
    let mut sends = Sends::default();
    assert!(scene.exchange.flush_some(&mut sends, 1));
    for miner in &tokens[..500] {
        scene
            .exchange
            .handle_disconnect(*miner, CloseReason::Closed);
    }
    // Their places are others' by now.
    for index in 0..500 {
        let generation = 1;
        let miner = MinerToken { index, generation };
        scene.exchange.handle_connect(scene.now, miner);
    }
    sends.0.clear();
    while scene.exchange.flush_some(&mut sends, 1) {}
    assert!(sends.0.iter().all(|(miner, _)| *miner >= 500));
    assert!(sends.0.len() >= 499);
}

#[test]
fn a_pool_that_asks_without_end_fills_no_memory() {
    let mut scene = Scene::new(&["a"]);
    scene.connect(0);
    let link = scene.expect_connected();
    scene.shake_hands(link);
    scene.written(link);
    let bound = Limits::default().pool_outbox_bytes_max;
    for _ in 0..2_000_000 {
        scene.pool_says(
            link,
            br#"{"id":7,"method":"client.get_version","params":[]}"#,
        );
    }
    let unwritten = scene.exchange.unwritten(link).len();
    // The link is given up, or only some of the questions get an answer.
    assert!(
        unwritten <= bound + 1024 || !scene.exchange.is_current(link),
        "{unwritten}"
    );
}
