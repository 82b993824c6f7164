//! Who is kept out, and who is not: on one shard and on all.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stratum_uring::exchange::{CloseReason, Letter};

use crate::conduct::{ACCEPTED, Farm, LOW, WINDOW, token};

/// Shards of one proxy, each with so many miners.
struct Hall {
    farms: Vec<Farm>,
    /// By sender and receiver, what was written and not read.
    ways: BTreeMap<(usize, usize), VecDeque<Letter>>,
}

impl Hall {
    fn new(miners: &[u32]) -> Self {
        let count = u32::try_from(miners.len()).unwrap();
        let farm = |(shard, &miners): (usize, &u32)| {
            Farm::with(miners, |settings| {
                settings.part = (u32::try_from(shard).unwrap(), count);
                settings.series = u8::try_from(shard).unwrap();
            })
        };
        let mut hall = Self {
            farms: miners.iter().enumerate().map(farm).collect(),
            ways: BTreeMap::new(),
        };
        hall.tick();
        hall
    }

    /// A tick of all, and what they tell each other.
    fn tick(&mut self) {
        for farm in &mut self.farms {
            farm.scene.pass(Duration::from_millis(250));
            let now = farm.scene.now;
            farm.scene.exchange.handle_tick(now);
        }
        self.deliver();
    }

    fn collect(&mut self) {
        for (from, farm) in self.farms.iter_mut().enumerate() {
            while let Some((to, letter)) = farm.scene.exchange.poll_letter() {
                self.ways.entry((from, to)).or_default().push_back(letter);
            }
        }
    }

    /// One letter of one of the ways arrives. Gives it, unless all are empty.
    fn deliver_one(&mut self, choice: usize) -> Option<Letter> {
        self.collect();
        let full = self.ways.iter_mut().filter(|(_, way)| !way.is_empty());
        let mut full: Vec<_> = full.collect();
        let place = choice.checked_rem(full.len())?;
        let (&(from, to), way) = full.swap_remove(place);
        let letter = way.pop_front()?;
        let farm = &mut self.farms[to];
        let now = farm.scene.now;
        farm.scene.exchange.handle_letter(now, from, letter.clone());
        Some(letter)
    }

    /// All letters arrive. Gives how many told how miners are.
    fn deliver(&mut self) -> usize {
        let letters = std::iter::from_fn(|| self.deliver_one(0));
        let letters = letters.filter(|letter| matches!(letter, Letter::Conduct { .. }));
        letters.count()
    }

    /// Whether a newcomer of this name is kept out, on each shard.
    fn is_kept_out(&mut self, worker: &str, address: u8) -> Vec<bool> {
        let mut is_kept_out = Vec::new();
        for farm in &mut self.farms {
            farm.scene.connect(90);
            let told = farm.introduce(90, worker, address);
            is_kept_out.push(told.contains("Kept out for a while"));
            farm.leave(90);
        }
        is_kept_out
    }
}

#[test]
fn all_miners_are_those_of_all_shards() {
    // One of three would be more than a tenth; one of thirty-three is not.
    let mut hall = Hall::new(&[3, 30]);
    hall.farms[0].shares(1, "rig-1", WINDOW, LOW);
    assert_eq!(hall.farms[0].closed(), [CloseReason::TooManyFaults]);
    // Three of thirty would be a tenth; with three others elsewhere it is more.
    let mut hall = Hall::new(&[30, 10]);
    for index in 0..3 {
        let worker = format!("rig-{index}");
        hall.farms[1].shares(index, &worker, WINDOW, LOW);
        hall.tick();
    }
    hall.farms[1].closed();
    for index in 0..3 {
        let worker = format!("rig-{index}");
        hall.farms[0].shares(index, &worker, WINDOW, LOW);
        hall.tick();
    }
    assert_eq!(hall.farms[0].closed(), [CloseReason::TooManyFaults]);
    assert!(hall.farms[0].scene.exchange.counters().faults_excused > 0);
}

#[test]
fn shards_say_nothing_of_their_miners_while_these_do_not_change() {
    let mut hall = Hall::new(&[5, 5]);
    for _ in 0..10 {
        for farm in &mut hall.farms {
            farm.scene.pass(Duration::from_millis(250));
            let now = farm.scene.now;
            farm.scene.exchange.handle_tick(now);
        }
        assert_eq!(hall.deliver(), 0);
    }
}

#[test]
fn a_worker_is_kept_out_on_all_shards_unless_it_mines_well_on_one() {
    let mut hall = Hall::new(&[20, 20, 20]);
    hall.farms[0].shares(3, "rig-3", WINDOW, LOW);
    hall.deliver();
    assert_eq!(hall.is_kept_out("rig-3", 3), [true; 3]);

    hall.farms[0].join(50, "hall", 70);
    hall.farms[1].join(50, "hall", 70);
    hall.farms[1].share(50, "hall", ACCEPTED);
    hall.farms[0].shares(50, "hall", WINDOW, LOW);
    hall.deliver();
    assert_eq!(hall.is_kept_out("hall", 70), [false; 3]);
}

#[test]
fn a_worker_is_let_in_on_all_shards_when_somebody_begins_to_mine_well_on_one() {
    let mut hall = Hall::new(&[20, 20, 20]);
    for shard in 0..2 {
        hall.farms[shard].join(50, "hall", 70);
    }
    hall.farms[0].shares(50, "hall", WINDOW, LOW);
    hall.deliver();
    assert_eq!(hall.is_kept_out("hall", 70), [true; 3]);
    hall.farms[1].share(50, "hall", ACCEPTED);
    for farm in &mut hall.farms {
        farm.scene.pass(Duration::from_secs(1));
    }
    assert_eq!(hall.is_kept_out("hall", 70), [true, false, true]);
    hall.deliver();
    assert_eq!(hall.is_kept_out("hall", 70), [false; 3]);
}

#[test]
fn a_name_is_kept_out_nowhere_in_whatever_order_shards_hear_that_it_mines_well_on_one() {
    let mut random = 1_usize;
    let mut random = move || {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    // Who bans it, one after the other; on the third shard it mines well.
    for bans in [&[0][..], &[0, 1], &[0, 0], &[0, 1, 0], &[1, 0, 1, 0]] {
        for round in 0..60 {
            let mut hall = Hall::new(&[40, 40, 20]);
            for shard in 0..3 {
                for index in 50..54 {
                    hall.farms[shard].join(index, "hall", 70);
                }
            }
            hall.farms[2].share(50, "hall", ACCEPTED);
            hall.tick();
            for (index, &shard) in (50..).zip(bans) {
                hall.farms[shard].shares(index, "hall", WINDOW, LOW);
                assert_eq!(hall.farms[shard].closed(), [CloseReason::TooManyFaults]);
                for _ in 0..random() % 6 {
                    hall.deliver_one(random());
                }
            }
            while hall.deliver_one(random()).is_some() {}
            assert_eq!(hall.is_kept_out("hall", 70), [false; 3], "{bans:?} {round}");
        }
    }
}

#[test]
fn whoever_mines_well_speaks_for_all_its_names_and_for_no_longer_than_it_is_there() {
    let mut farm = Farm::new(40, |_| {});
    // The same name at another address, or another name at this one, is somebody else.
    farm.join(50, "good", 70);
    farm.authorize(50, "second");
    farm.join(51, "second", 71);
    for index in [50, 51] {
        farm.share(index, "second", ACCEPTED);
    }
    let is_kept_out = |farm: &mut Farm, worker: &str| {
        farm.join(60, worker, 70);
        farm.shares(60, worker, WINDOW, LOW);
        assert_eq!(farm.closed(), [CloseReason::TooManyFaults]);
        farm.scene.connect(60);
        let is_kept_out = farm.introduce(60, worker, 70).contains("Kept out");
        if !is_kept_out {
            farm.leave(60);
        }
        farm.closed();
        is_kept_out
    };
    assert!(!is_kept_out(&mut farm, "second"));
    assert!(is_kept_out(&mut farm, "third"));
    farm.leave(50);
    farm.closed();
    assert!(is_kept_out(&mut farm, "second"));
    // A place that is used again is another miner's.
    farm.join(50, "good", 70);
    farm.share(50, "good", ACCEPTED);
    assert!(is_kept_out(&mut farm, "fourth"));
}

impl Farm {
    fn leave(&mut self, index: u32) {
        let exchange = &mut self.scene.exchange;
        exchange.handle_disconnect(token(index), CloseReason::Closed);
        self.scene.flush();
    }
}
