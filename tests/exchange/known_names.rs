//! Names that a pool took lately: what one shard knows of them, and the others.

use stratum_uring::exchange::Settings;

use crate::names::{Hall, YES, names_of};

/// One of two shards of a proxy, with a pool of its own.
fn shard(number: u32) -> Hall {
    Hall::open(|settings: &mut Settings| {
        settings.part = (number, 2);
        settings.seed = 100 + u64::from(number);
        settings.authorize.people_seed = 7;
    })
}

/// What one shard has told the other arrives. Gives how many letters that were.
fn carry(from: &mut Hall, to: &mut Hall, number: usize) -> usize {
    let letters = std::iter::from_fn(|| from.scene.exchange.poll_letter());
    let letters: Vec<_> = letters.map(|(_, letter)| letter).collect();
    let count = letters.len();
    for letter in letters {
        let now = to.scene.now;
        to.scene.exchange.handle_letter(now, number, letter);
    }
    count
}

#[test]
fn a_rig_that_the_pool_takes_is_a_stranger_on_no_shard() {
    let [mut first, mut second] = [0, 1].map(shard);
    for shard in [&mut first, &mut second] {
        shard.from(8);
    }
    first.miner(0, "rig");
    first.tick(1);
    carry(&mut first, &mut second, 0);
    // On the other shard its address may soon have no stranger.
    for round in 0..3 {
        for rig in 1..=40 {
            let miner = second.subscribed(100 * round + rig);
            second.authorize(miner, &format!("guess{round}.{rig}"));
        }
        second.answer_names(|_| false);
        second.tick(2);
    }
    for (index, name) in [(1000, "new"), (1001, "rig")] {
        let miner = second.subscribed(index);
        second.authorize(miner, name);
    }
    let asked = second.heard();
    assert_eq!(names_of(&asked, "mining.authorize"), ["rig"]);
    second.pool_answers(asked[0].0, YES);
    // The first shard knows that, and is told nothing.
    second.tick(1);
    carry(&mut second, &mut first, 1);
    second.tick(1);
    assert_eq!(carry(&mut second, &mut first, 1), 0);
}
