//! The nonce space of a link: what the pool fixes, what we fix, what is left to the miner.

use crate::wire::hex;

/// Longest extranonce1 in bytes, the pool's own or with our slot behind it. Equihash's whole nonce.
pub const EXTRANONCE1_LEN_MAX: usize = 32;

/// Most bytes of a slot: 65,536 miners on one link.
pub const SLOT_LEN_MAX: u8 = 2;

/// The bytes that a server fixes in front of a miner's own part of the nonce.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Extranonce1 {
    len: u8,
    bytes: [u8; EXTRANONCE1_LEN_MAX],
}

impl std::fmt::Debug for Extranonce1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut digits = Vec::new();
        hex::append_encoded(&mut digits, self.as_bytes());
        f.write_str(&String::from_utf8_lossy(&digits))
    }
}

impl Extranonce1 {
    /// Reads an even count of hex digits, 0 to 64. `None` for anything else.
    #[must_use]
    pub fn parse(digits: &[u8]) -> Option<Self> {
        let len = digits.len() / 2;
        let mut bytes = [0; EXTRANONCE1_LEN_MAX];
        hex::decode_into(digits, bytes.get_mut(..len)?).ok()?;
        let len = u8::try_from(len).ok()?;
        Some(Self { len, bytes })
    }

    /// These bytes with a slot's behind them; `None` where they don't fit.
    #[must_use]
    pub fn with_slot(&self, slot: SlotBytes) -> Option<Self> {
        let (old, added) = (usize::from(self.len), slot.as_bytes());
        let mut longer = *self;
        longer
            .bytes
            .get_mut(old..old + added.len())?
            .copy_from_slice(added);
        longer.len = u8::try_from(old + added.len()).ok()?;
        Some(longer)
    }

    /// The bytes, in the order in which they stand in the nonce.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether the pool fixes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A slot as it stands in the nonce: 0, 1 or 2 bytes, big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotBytes {
    len: u8,
    bytes: [u8; 2],
}

impl SlotBytes {
    /// The bytes of slot number `slot` where a plan fixes `len` (0, 1 or 2) of them.
    #[must_use]
    pub const fn new(slot: u16, len: u8) -> Self {
        let [high, low] = slot.to_be_bytes();
        match len {
            0 => Self { len, bytes: [0; 2] },
            1 => Self {
                len,
                bytes: [low, 0],
            },
            _ => Self {
                len: 2,
                bytes: [high, low],
            },
        }
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// How many bytes of the pool's extranonce2 an operator wants us to fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlotWidth {
    /// Two where the pool leaves room, else one, else none.
    #[default]
    Auto,
    /// This many, or fewer where the pool leaves too little.
    Fixed(u8),
}

/// How a link's nonce space is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPlan {
    /// Bytes that we fix for each miner: 0, 1 or 2.
    pub slot_len: u8,
    /// Bytes that are left to the miner.
    pub extranonce2_len: usize,
}

impl SlotPlan {
    /// Fixes the most bytes, up to `widest`, that leave a miner `needed` of the `extranonce2_len` bytes
    /// that a pool leaves; none where that can't be. `None` where even a link of its own would leave a
    /// miner fewer than `min`.
    #[must_use]
    pub fn new(extranonce2_len: usize, widest: u8, needed: usize, min: usize) -> Option<Self> {
        let slot_len = (1..=widest.min(SLOT_LEN_MAX))
            .rev()
            .find(|&len| extranonce2_len >= needed + usize::from(len))
            .unwrap_or(0);
        let left = extranonce2_len.checked_sub(usize::from(slot_len))?;
        (left >= min).then_some(Self {
            slot_len,
            extranonce2_len: left,
        })
    }

    /// How many miners the plan has room for: 1, 256 or 65,536.
    #[must_use]
    pub const fn capacity(self) -> u32 {
        1 << (8 * self.slot_len as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_stands_behind_the_pools_bytes() {
        let pool = Extranonce1::parse(b"C2fd607c").unwrap();
        let miner = pool.with_slot(SlotBytes::new(0x776a, 2)).unwrap();
        assert_eq!(miner.as_bytes(), [0xc2, 0xfd, 0x60, 0x7c, 0x77, 0x6a]);
        let one = pool.with_slot(SlotBytes::new(0x6a, 1)).unwrap();
        assert_eq!(one.as_bytes(), [0xc2, 0xfd, 0x60, 0x7c, 0x6a]);
        assert_eq!(pool.with_slot(SlotBytes::new(7, 0)), Some(pool));
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let full = Extranonce1::parse(&[b'a'; 64]).unwrap();
        assert_eq!(full.with_slot(SlotBytes::new(0, 1)), None);
        assert_eq!(Extranonce1::parse(&[b'a'; 66]), None);
        assert_eq!(Extranonce1::parse(b"abc"), None);
        assert_eq!(Extranonce1::parse(b"zz"), None);
    }

    #[test]
    fn the_plan_takes_as_many_bytes_as_there_is_room_for() {
        let plan = |len, widest| SlotPlan::new(len, widest, 3, 2).map(|plan| plan.slot_len);
        for (extranonce2_len, slot_len) in [
            (100, Some(2)),
            (5, Some(2)),
            (4, Some(1)),
            (3, Some(0)),
            (2, Some(0)),
            (1, None),
            (0, None),
        ] {
            assert_eq!(plan(extranonce2_len, 2), slot_len);
            assert_eq!(plan(extranonce2_len, 9), slot_len);
        }
        assert_eq!(plan(100, 0), Some(0));
        assert_eq!(plan(100, 1), Some(1));
    }
}
