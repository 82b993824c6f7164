//! The bits of a block header's version that miners may roll (BIP 310).

use crate::wire::hex;

/// Bits of a header's version. Without any, nobody rolls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VersionMask(u32);

impl VersionMask {
    /// No bit.
    pub const NONE: Self = Self(0);
    /// Every bit.
    pub const ALL: Self = Self(u32::MAX);

    /// These bits.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits)
    }

    /// Reads one to eight hex digits of either case, with or without `0x`. `None` for anything else.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text
            .strip_prefix(b"0x")
            .or_else(|| text.strip_prefix(b"0X"))
            .unwrap_or(text);
        hex::parse_short_u32(digits).map(Self)
    }

    /// The bits that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The bits as a number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether there is no bit.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether all of these bits may be rolled.
    #[must_use]
    pub const fn allows(self, bits: u32) -> bool {
        bits & !self.0 == 0
    }

    /// Appends eight lower-case digits.
    pub fn append_hex(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&hex::encode_u32_be(self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_read_in_the_forms_that_are_sent() {
        for text in ["1fffe000", "1FFFE000", "0x1fffe000"] {
            let mask = VersionMask::parse(text.as_bytes());
            assert_eq!(mask, Some(VersionMask::new(0x1fff_e000)), "{text}");
        }
        assert_eq!(VersionMask::parse(b"e000"), Some(VersionMask::new(0xe000)));
        for bad in ["", "0x", "1fffe0000", "1fffe00g", "-1"] {
            assert_eq!(VersionMask::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn bits_outside_of_the_mask_are_not_allowed() {
        let mask = VersionMask::new(0x1fff_e000);
        assert!(mask.allows(0) && mask.allows(0x083a_c000));
        assert!(!mask.allows(0x2000_0000) && !VersionMask::NONE.allows(1));
        assert_eq!(mask.and(VersionMask::new(0x00ff_ffff)).0, 0x00ff_e000);
    }
}
