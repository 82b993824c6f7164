//! Which miners behave badly, and how.

/// What a miner is to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It reads what comes.
    Prompt,
    /// It reads rarely, through a small window, and has one share at a time in flight.
    SlowReader,
    /// It falls silent with its first job: it never reads again and says nothing, not even goodbye.
    HalfDead,
}

/// How many of the miners behave badly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mixture {
    slow_percent: f64,
    half_dead_percent: f64,
}

impl Mixture {
    /// `None` if they are more than all.
    pub(crate) fn new(slow_percent: f64, half_dead_percent: f64) -> Option<Self> {
        (slow_percent + half_dead_percent <= 100.0).then_some(Self {
            slow_percent,
            half_dead_percent,
        })
    }

    /// Whether there are miners that read rarely.
    pub(crate) fn has_slow_readers(self) -> bool {
        self.slow_percent > 0.0
    }

    /// The role of the miner of this number. Roles are spread evenly, over all habits too, so that the
    /// parts are right to a few miners however many there are.
    pub(crate) fn role(self, number: u32) -> Role {
        // Habits go by the last two bits of the number.
        let place = number ^ (number >> 2 & 3);
        let bad_percent = self.slow_percent + self.half_dead_percent;
        let Some(bad) = nth(f64::from(place), bad_percent / 100.0) else {
            return Role::Prompt;
        };
        match nth(bad, self.half_dead_percent / bad_percent) {
            Some(_) => Role::HalfDead,
            None => Role::SlowReader,
        }
    }
}

/// When each place adds `part` to a sum, the whole number that this place takes the sum to, if any,
/// counted from 0.
fn nth(place: f64, part: f64) -> Option<f64> {
    let before = (place * part).floor();
    ((place + 1.0) * part >= before + 1.0).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(slow: f64, half_dead: f64, miners: u32) -> [usize; 3] {
        let mixture = Mixture::new(slow, half_dead).unwrap();
        [Role::Prompt, Role::SlowReader, Role::HalfDead].map(|role| {
            let all = (0..miners).filter(|number| mixture.role(*number) == role);
            all.count()
        })
    }

    #[test]
    fn the_parts_are_as_asked() {
        assert_eq!(counts(0.0, 0.0, 1000), [1000, 0, 0]);
        assert_eq!(counts(100.0, 0.0, 1000), [0, 1000, 0]);
        assert_eq!(counts(0.0, 100.0, 1000), [0, 0, 1000]);
        assert_eq!(counts(5.0, 1.0, 1000), [940, 50, 10]);
        assert_eq!(counts(10.0, 10.0, 20), [16, 2, 2]);
        let [prompt, slow, half_dead] = counts(0.1, 0.1, 65_536);
        assert!((65..=66).contains(&slow) && (65..=66).contains(&half_dead));
        assert_eq!(prompt + slow + half_dead, 65_536);
        assert_eq!(Mixture::new(60.0, 41.0), None);
    }

    #[test]
    fn every_habit_has_its_part() {
        let mixture = Mixture::new(25.0, 0.0).unwrap();
        for habit in 0..4 {
            let numbers = (0..1000).filter(|number| number % 4 == habit);
            let slow = numbers.filter(|number| mixture.role(*number) == Role::SlowReader);
            assert!((40..90).contains(&slow.count()));
        }
    }
}
