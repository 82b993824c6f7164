//! Slots that guests had of a nonce space that is over, while the letters that tell of it are on their way.

use std::collections::VecDeque;

use stratum_uring::exchange::{
    CloseReason, GuestSays, HostSays, Letter, MinerToken, PoolLinks, Settings,
};
use stratum_uring::proto::extranonce::SlotWidth;

use crate::farm::Farm;

const A: &str = "61000001";

/// Some shards of which the first has the only link, and letters that arrive when they are carried.
struct Shards {
    farms: Vec<Farm>,
    /// Sender, receiver and letter, in the order in which they were written.
    mail: VecDeque<(usize, usize, Letter)>,
    miners: u32,
}

impl Shards {
    /// With so many miners on each, all of which take other bytes, and slots of one byte.
    fn new(miners: &[u32], change: impl Fn(&mut Settings)) -> Self {
        let count = u32::try_from(miners.len()).unwrap();
        let farm = |shard| {
            let mut farm = Farm::new(&["a"], &[], |settings| {
                settings.part = (shard, count);
                settings.series = u8::try_from(shard).unwrap();
                settings.pool_links = PoolLinks::Shared(1);
                settings.slot_width = SlotWidth::Fixed(1);
                change(settings);
            });
            farm.nonce_1 = Some(A);
            farm
        };
        let mut shards = Self {
            farms: (0..count).map(farm).collect(),
            mail: VecDeque::new(),
            miners: 0,
        };
        for (shard, &count) in miners.iter().enumerate() {
            shards.come(shard, count);
        }
        shards.pass(3);
        let all: u32 = miners.iter().sum();
        assert_eq!(shards.mining(), u64::from(all));
        shards
    }

    /// So many miners more.
    fn come(&mut self, shard: usize, count: u32) {
        for _ in 0..count {
            self.farms[shard].miner(self.miners, true);
            self.miners += 1;
        }
        self.farms[shard].obey();
    }

    fn mining(&self) -> u64 {
        let farms = self.farms.iter();
        farms
            .map(|farm| farm.scene.exchange.counters().mining)
            .sum()
    }

    /// Takes what was written.
    fn collect(&mut self) {
        for (from, farm) in self.farms.iter_mut().enumerate() {
            while let Some((to, letter)) = farm.scene.exchange.poll_letter() {
                self.mail.push_back((from, to, letter));
            }
        }
    }

    /// Carries the letters to and from this shard, and from what they bring forth, until there are none.
    fn carry(&mut self, shard: usize) {
        self.collect();
        let is_meant = |&(from, to, _): &(usize, usize, Letter)| from == shard || to == shard;
        while let Some(place) = self.mail.iter().position(is_meant) {
            let (from, to, letter) = self.mail.remove(place).unwrap();
            let farm = &mut self.farms[to];
            let now = farm.scene.now;
            farm.scene.exchange.handle_letter(now, from, letter);
            farm.obey();
            self.collect();
        }
    }

    /// Time passes, and letters wait.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            for farm in &mut self.farms {
                farm.step();
            }
            self.collect();
        }
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..4 * seconds {
            for shard in 0..self.farms.len() {
                self.farms[shard].step();
                self.carry(shard);
            }
        }
    }

    /// The session is over, and the pool gives the next one the same bytes. The guests have not heard of it.
    fn begin_anew(&mut self) {
        self.farms[0].fails("a");
        self.wait(5);
        self.farms[0].recovers("a");
        self.wait(8);
        assert_eq!(self.farms[0].serving(), ["a"]);
        let ended = |(_, _, letter): &(_, _, Letter)| {
            matches!(letter, Letter::Host(HostSays::Ended { .. }))
        };
        assert!(self.mail.iter().any(ended));
    }

    /// The pool gives other bytes within the session.
    fn set_extranonce(&mut self, nonce_1: &str) {
        let farm = &mut self.farms[0];
        let link = farm.link_to("a");
        let line =
            format!(r#"{{"id":null,"method":"mining.set_extranonce","params":["{nonce_1}"]}}"#);
        farm.scene.pool_says(link, line.as_bytes());
        farm.announce(link);
        farm.obey();
        self.collect();
    }

    /// The nonce_1 that a shard's miners were given with subscribe or later, since the last look.
    fn nonces(&mut self, shard: usize) -> Vec<String> {
        let text = self.farms[shard].heard().1;
        let after = |before| text.split(before).skip(1);
        after(r#""result":[null,""#)
            .chain(after(r#""mining.set_extranonce","params":[""#))
            .map(|line| line.split('"').next().unwrap().to_owned())
            .collect()
    }

    /// A shard's miners all leave.
    fn leave(&mut self, shard: usize) {
        for index in 0..self.miners {
            let miner = MinerToken {
                index,
                generation: 0,
            };
            let exchange = &mut self.farms[shard].scene.exchange;
            exchange.handle_disconnect(miner, CloseReason::Closed);
        }
        self.farms[shard].obey();
    }

    fn slots_taken(&self) -> u64 {
        self.farms[0].scene.exchange.counters().slots_taken
    }
}

/// Whether a miner with one of these may search what one with the other does.
fn overlap(one: &str, other: &str) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

fn assert_apart(ours: &[String], theirs: &[String]) {
    for one in ours {
        let same = theirs.iter().find(|other| overlap(one, other));
        assert_eq!(same, None, "for {one}");
    }
}

#[test]
fn the_slots_of_a_guest_that_has_not_heard_of_their_end_are_nobodys() {
    let mut shards = Shards::new(&[1, 3], |_| {});
    shards.nonces(0);
    let guests = shards.nonces(1);
    assert_eq!(guests.len(), 3);
    shards.begin_anew();
    shards.come(0, 300);
    shards.wait(1);
    assert_apart(&shards.nonces(0), &guests);
    // Whoever finds no place waits for theirs, and gets it.
    let mining = |shards: &Shards| shards.farms[0].scene.exchange.counters().mining;
    let before = mining(&shards);
    assert!((250..253).contains(&before), "{before}");
    shards.leave(1);
    shards.pass(1);
    assert_eq!(mining(&shards), 256);
    let told = shards.nonces(0);
    assert_eq!(told.len() as u64, 256 - before);
}

#[test]
fn they_are_nobodys_when_the_session_ends_twice() {
    let mut shards = Shards::new(&[1, 3, 3], |_| {});
    let guests = [shards.nonces(1), shards.nonces(2)].concat();
    shards.nonces(0);
    shards.begin_anew();
    // The second shard has heard of the first end, and is lent some more.
    shards.carry(1);
    let again = shards.nonces(1);
    assert_apart(&again, &guests[3..]);
    shards.begin_anew();
    shards.come(0, 300);
    shards.wait(1);
    let ours = shards.nonces(0);
    assert_apart(&ours, &guests[3..]);
    shards.pass(3);
    assert_eq!(shards.mining(), 256);
}

#[test]
fn they_are_nobodys_when_the_pool_gives_the_same_bytes_again_within_a_session() {
    let mut shards = Shards::new(&[1, 3], |_| {});
    shards.come(0, 5);
    shards.nonces(0);
    let guests = shards.nonces(1);
    shards.set_extranonce("62000002");
    shards.set_extranonce(A);
    shards.come(0, 300);
    assert_apart(&shards.nonces(0), &guests);
    shards.pass(1);
    // None is lost on the way.
    shards.leave(0);
    shards.leave(1);
    shards.pass(2);
    assert!(shards.slots_taken() <= 2, "{}", shards.slots_taken());
    shards.come(0, 254);
    shards.pass(2);
    assert_eq!(shards.mining(), 254);
}

#[test]
fn they_are_nobodys_where_the_next_bytes_are_fewer_or_more() {
    for fewer in [true, false] {
        let mut shards = Shards::new(&[1, 3], |_| {});
        shards.nonces(0);
        let guests = shards.nonces(1);
        shards.set_extranonce("62000002");
        assert_eq!(shards.nonces(0), ["6200000200"]);
        let next = if fewer { "610000" } else { guests[2].as_str() };
        shards.set_extranonce(next);
        let moved = shards.nonces(0);
        assert_eq!(moved.len(), usize::from(fewer), "{moved:?}");
        assert_apart(&moved, &guests);
        shards.come(0, 300);
        let ours = shards.nonces(0);
        // With fewer bytes all of theirs is in one slot of ours, and with more all of ours in one of theirs.
        assert!(if fewer {
            ours.len() > 240
        } else {
            ours.is_empty()
        });
        assert_apart(&ours, &guests);
        shards.leave(1);
        shards.pass(1);
        assert!(shards.mining() >= 249, "{}", shards.mining());
    }
}

#[test]
fn a_hall_that_fills_all_slots_comes_in_again() {
    let mut shards = Shards::new(&[56, 99, 99], |_| {});
    let mut before: Vec<String> = (0..3).flat_map(|shard| shards.nonces(shard)).collect();
    before.sort();
    before.dedup();
    assert_eq!(before.len(), 254);
    shards.begin_anew();
    // Those of the third shard come to the second, which hears of the end first.
    shards.leave(2);
    shards.carry(1);
    shards.come(1, 99);
    shards.carry(1);
    shards.pass(2);
    assert_eq!(shards.mining(), 254);
    let closed: usize = shards.farms.iter().map(|farm| farm.told.closed).sum();
    assert_eq!(closed, 0, "nobody is sent away");
    assert_eq!(shards.farms[1].told.text.matches("full").count(), 0);
}

#[test]
fn a_lease_is_given_back_once_whoever_ends_it() {
    let count = |mail: &VecDeque<(usize, usize, Letter)>| {
        let back = mail
            .iter()
            .filter(|(_, _, letter)| matches!(letter, Letter::Guest(GuestSays::GiveBack { .. })));
        back.count()
    };
    let mut shards = Shards::new(&[1, 3], |_| {});
    shards.begin_anew();
    // The guest ends too, and its letter meets the host's on the way.
    let now = shards.farms[1].scene.now;
    shards.farms[1].scene.exchange.begin_shutdown();
    shards.farms[1].scene.exchange.finish_shutdown(now);
    shards.collect();
    assert_eq!(count(&shards.mail), 1);
    shards.carry(1);
    assert_eq!(shards.slots_taken(), 1);
    shards.come(0, 255);
    shards.wait(1);
    assert_eq!(shards.farms[0].scene.exchange.counters().mining, 256);
}
