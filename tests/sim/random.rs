//! Where the choices of a farm come from: a seed, or the bytes of a fuzzer and a seed behind their end.

use std::ops::{Bound, RangeBounds};

pub(crate) struct Rng {
    bytes: std::vec::IntoIter<u8>,
    seeded: fastrand::Rng,
}

macro_rules! numbers {
    ($($name:ident)+) => {
        $(
            /// A number in this range.
            pub(crate) fn $name(&mut self, range: impl RangeBounds<$name>) -> $name {
                if self.bytes.len() == 0 {
                    return self.seeded.$name(range);
                }
                let first = match range.start_bound() {
                    Bound::Included(first) => *first,
                    Bound::Excluded(before) => before + 1,
                    Bound::Unbounded => $name::MIN,
                };
                let last = match range.end_bound() {
                    Bound::Included(last) => *last,
                    Bound::Excluded(end) => end - 1,
                    Bound::Unbounded => $name::MAX,
                };
                first + self.step((last - first) as u64) as $name
            }
        )+
    };
}

impl Rng {
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self::of(Vec::new(), seed)
    }

    /// The choices are the bytes', then the seed's.
    pub(crate) fn of(bytes: Vec<u8>, seed: u64) -> Self {
        Self {
            bytes: bytes.into_iter(),
            seeded: fastrand::Rng::with_seed(seed),
        }
    }

    numbers! { u8 u32 u64 usize }

    pub(crate) fn bool(&mut self) -> bool {
        match self.bytes.next() {
            Some(byte) => byte & 1 == 1,
            None => self.seeded.bool(),
        }
    }

    /// A digit in this base.
    pub(crate) fn digit(&mut self, base: u32) -> char {
        match self.bytes.next() {
            Some(byte) => char::from_digit(u32::from(byte) % base, base).expect("below the base"),
            None => self.seeded.digit(base),
        }
    }

    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        if self.bytes.len() == 0 {
            return self.seeded.shuffle(values);
        }
        for last in (1..values.len()).rev() {
            let place = self.usize(..=last);
            values.swap(last, place);
        }
    }

    /// A number up to `last`, off as few bytes as have room for it.
    fn step(&mut self, last: u64) -> u64 {
        let bits = u64::BITS - last.leading_zeros();
        let mut number = 0;
        for byte in self.bytes.by_ref().take(bits.div_ceil(8) as usize) {
            number = number << 8 | u64::from(byte);
        }
        match last.checked_add(1) {
            Some(count) => number % count,
            None => number,
        }
    }
}
