//! Difficulties, in which Bitcoin's pools say what a share must meet, and the targets that they stand for.

use crate::proto::target::Target;

/// The target of difficulty 1 is this number, shifted left by [`ONE_SHIFT`] bits: the *pdiff* of pools, and
/// the "truediffone" of cgminer.
const ONE: u64 = 0xffff;
const ONE_SHIFT: i32 = 208;

/// Above this no pool asks for a share: it is some 100,000 times what a block of Bitcoin needed in 2025.
const MAX: f64 = 18_446_744_073_709_551_616.0;

/// Below this every hash is a share.
const MIN: f64 = 1.0 / 4_294_967_296.0;

/// Bits of a float's significand behind its highest one.
const FRACTION_BITS: u32 = 52;

/// The highest target that meets a difficulty, without any rounding but to a whole number. `None` for a
/// difficulty that no pool means: zero, negative, no number, or out of all proportion.
#[must_use]
pub fn target_of(difficulty: f64) -> Option<Target> {
    if !(MIN..=MAX).contains(&difficulty) {
        return None;
    }
    // A float is a whole number times a power of two, and between these bounds never a subnormal one.
    let bits = difficulty.to_bits();
    let exponent = i32::try_from(bits >> FRACTION_BITS).ok()? - 1075;
    let whole = (bits & ((1 << FRACTION_BITS) - 1)) | (1 << FRACTION_BITS);
    // The quotient by long division, a bit at a time.
    let mut quotient = [0; 32];
    let mut rest = 0;
    for place in 0..16 + ONE_SHIFT - exponent {
        let bit = if place < 16 {
            (ONE >> (15 - place)) & 1
        } else {
            0
        };
        rest = (rest << 1) | bit;
        let digit = rest >= whole;
        if digit {
            rest -= whole;
        }
        shift_in(&mut quotient, digit)?;
    }
    (quotient != [0; 32]).then(|| Target::from_bytes(quotient))
}

/// Shifts a number left by one bit. `None` where it has no room.
fn shift_in(number: &mut [u8; 32], bit: bool) -> Option<()> {
    let mut carry = u8::from(bit);
    for byte in number.iter_mut().rev() {
        let out = *byte >> 7;
        *byte = (*byte << 1) | carry;
        carry = out;
    }
    (carry == 0).then_some(())
}

/// Appends the difficulty of a target as a JSON number: whole where it is, never with an exponent, and
/// with 15 digits that count. So a pool's number of no more digits is passed on as it was.
pub(super) fn append_difficulty(out: &mut Vec<u8>, target: &Target) {
    let value = target
        .as_bytes()
        .iter()
        .fold(0.0, |value: f64, &byte| value * 256.0 + f64::from(byte));
    let one = 65_535.0 * 2f64.powi(ONE_SHIFT);
    let rounded: f64 = format!("{:.14e}", one / value).parse().unwrap_or(1.0);
    out.extend_from_slice(rounded.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(difficulty: f64) -> String {
        let mut out = Vec::new();
        append_difficulty(&mut out, &target_of(difficulty).unwrap());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn difficulty_one_is_pdiff() {
        let mut bytes = [0; 32];
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        assert_eq!(target_of(1.0), Some(Target::from_bytes(bytes)));
        bytes[4..6].copy_from_slice(&[0x7f, 0xff]);
        bytes[6] = 0x80;
        assert_eq!(target_of(2.0), Some(Target::from_bytes(bytes)));
        assert_eq!(target_of(1.0).unwrap().work(), 4_295_032_833);
    }

    #[test]
    fn a_number_is_passed_on_as_it_was() {
        for text in [
            "1",
            "2",
            "3",
            "7",
            "16",
            "1000",
            "8192",
            "65536",
            "10000000",
            "129163145.123456",
            "999999999999999",
            "0.5",
            "0.00015",
            "0.0014",
            "0.001126515",
            "0.3",
            "1.1",
            "1.932",
            "318.403",
            "0.000000001",
        ] {
            assert_eq!(there_and_back(text.parse().unwrap()), text);
        }
        assert_eq!(there_and_back(1e15), "1000000000000000");
        assert_eq!(there_and_back(MIN), "0.00000000023283064365387");
        let mut difficulty = 1.0;
        while difficulty < 1e15 {
            let text = f64::floor(difficulty).to_string();
            assert_eq!(there_and_back(text.parse().unwrap()), text);
            difficulty *= 1.37;
        }
    }

    #[test]
    fn what_no_pool_means_is_no_difficulty() {
        for bad in [
            0.0,
            -0.0,
            -1.0,
            f64::NAN,
            f64::INFINITY,
            1e308,
            -1e308,
            1e20,
            1e-10,
            f64::MIN_POSITIVE,
        ] {
            assert_eq!(target_of(bad), None, "{bad}");
        }
        assert!(target_of(MIN).is_some() && target_of(MAX).is_some());
    }
}
