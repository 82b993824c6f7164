//! The threshold that a share's hash must not exceed.

use crate::wire::hex;

/// A 256-bit threshold, 32 bytes, big-endian: a share is good when its hash is not above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target([u8; 32]);

impl Target {
    /// Reads up to 64 hex digits of either case, padded with zeros on the left.
    ///
    /// Some pools send the bare number: the 62 digits `1555…5552` are exactly 2^256/3072 when they
    /// are padded on the left (nginnever/zogminer issue 71). An odd count is read the same way.
    /// `None` for no digit, more than 64, anything that is not hex, and for zero, which nothing meets.
    #[must_use]
    pub fn parse(digits: &[u8]) -> Option<Self> {
        if digits.is_empty() || digits.len() > 64 {
            return None;
        }
        let mut padded = [b'0'; 64];
        padded.get_mut(64 - digits.len()..)?.copy_from_slice(digits);
        let mut bytes = [0; 32];
        hex::decode_into(&padded, &mut bytes).ok()?;
        (bytes != [0; 32]).then_some(Self(bytes))
    }

    /// The threshold of these 32 bytes, big-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, big-endian.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// How many hashes a share stands for: 2^256 divided by the target, to about 50 bits.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float cast to an integer saturates, which is what is wanted here"
    )]
    pub fn work(self) -> u64 {
        let value = self
            .0
            .iter()
            .fold(0.0, |value: f64, &byte| value * 256.0 + f64::from(byte));
        (2f64.powi(256) / value).round() as u64
    }

    /// Appends all 64 digits, lower-case: some miners misread a shorter one.
    pub fn append_hex(&self, out: &mut Vec<u8>) {
        hex::append_encoded(out, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(digits: &[u8]) -> String {
        let mut out = Vec::new();
        Target::parse(digits).unwrap().append_hex(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_short_target_is_padded_on_the_left() {
        let digits = b"15555555555555555555555555555555555555555555555555555555555552";
        assert_eq!(
            text(digits),
            "0015555555555555555555555555555555555555555555555555555555555552"
        );
        assert_eq!(text(b"F")[60..], *"000f");
    }

    #[test]
    fn the_work_of_a_share_is_what_it_takes_to_find_one() {
        let work = |digits: &[u8]| Target::parse(digits).unwrap().work();
        assert_eq!(work(&[b'f'; 64]), 1);
        assert_eq!(work(&[b'f'; 62]), 256);
        assert_eq!(
            work(b"15555555555555555555555555555555555555555555555555555555555552"),
            3072
        );
        assert_eq!(work(b"1"), u64::MAX);
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [&b""[..], b"0", &[b'0'; 64], &[b'f'; 65], b"xyz", b"-1"] {
            assert_eq!(Target::parse(bad), None, "{bad:?}");
        }
    }
}
