//! Finds the line and column of a key in the text of a config.
//!
//! A YAML `Value` does not remember where it stood. But the parser marks an error with the place at
//! which it occurred, so we read the text once more, walk down to the key we look for, and fail
//! there on purpose. So nested lists, flow maps, comments, quotes and anchors need no code here.
//! That is one pass for each mistake, which an operator does not notice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step on the way from the top of the file to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// Line and column, from 1, of the key or the list item to which `steps` lead. Where there is none,
/// of the nearest one around it: a missing key is reported at the section that lacks it.
pub(super) fn locate(text: &str, steps: &[Step]) -> Option<(usize, usize)> {
    (1..=steps.len()).rev().find_map(|depth| {
        let walk = Walk(steps.get(..depth)?);
        let error = walk
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .err()?;
        let location = error.location()?;
        Some((location.line(), location.column()))
    })
}

/// Walks the steps that are left and fails at the last. Succeeds where there is no such place.
#[derive(Clone, Copy)]
struct Walk<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.0.is_empty() {
            return deserializer.deserialize_any(Fail);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a mistake")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.0.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(());
        };
        let key = Key {
            wanted,
            is_last: rest.is_empty(),
        };
        while let Some(found) = map.next_key_seed(key)? {
            if found {
                map.next_value_seed(Walk(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        if let Some((Step::Index(index), rest)) = self.0.split_first() {
            for _ in 0..*index {
                list.next_element::<IgnoredAny>()?;
            }
            list.next_element_seed(Walk(rest))?;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    // A scalar stands where the steps would go on: there is nothing below it to find.
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// Reads a key and says whether it is the wanted one; fails at it where the walk ends there.
#[derive(Clone, Copy)]
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.is_last {
            return Err(E::custom("found"));
        }
        Ok(key == self.wanted)
    }
}

/// Fails at whatever it meets: every visit that is not implemented is an error with its place.
struct Fail;

impl Visitor<'_> for Fail {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place of a mistake")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# proxies: in a comment
cores: 2
"proxies":            # quoted
  - name: one
    note: "pools: not here"
    pools: [ { url: a, practice: { judge: full } },
             { url: b } ]
  -
    # a comment between
    name: &anchor two
    block: |
      pools: nor here
    pools:
    - url: c

    - url: d
      'practice': { judge: shape,
                    target: x }
  - name: *anchor
"#;

    fn at(path: &[&str]) -> Option<(usize, usize)> {
        let steps: Vec<Step> = path
            .iter()
            .map(|step| match step.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Key((*step).to_owned()),
            })
            .collect();
        locate(TEXT, &steps)
    }

    #[test]
    fn keys_and_items_are_found_whatever_their_notation() {
        assert_eq!(at(&["cores"]), Some((2, 1)));
        assert_eq!(at(&["proxies"]), Some((3, 1)));
        assert_eq!(at(&["proxies", "0"]), Some((4, 5)));
        assert_eq!(at(&["proxies", "0", "name"]), Some((4, 5)));
        assert_eq!(
            at(&["proxies", "0", "pools", "0", "practice", "judge"]),
            Some((6, 36))
        );
        assert_eq!(at(&["proxies", "0", "pools", "1", "url"]), Some((7, 16)));
        assert_eq!(at(&["proxies", "1", "name"]), Some((10, 5)));
        assert_eq!(at(&["proxies", "1", "pools"]), Some((13, 5)));
        assert_eq!(at(&["proxies", "1", "pools", "0"]), Some((14, 7)));
        assert_eq!(
            at(&["proxies", "1", "pools", "1", "practice", "target"]),
            Some((18, 21))
        );
        assert_eq!(at(&["proxies", "2", "name"]), Some((19, 5)));
    }

    #[test]
    fn a_missing_key_is_placed_at_the_section_that_lacks_it() {
        assert_eq!(at(&["proxies", "1", "pools", "1", "worker"]), Some((16, 7)));
        assert_eq!(at(&["proxies", "0", "limits", "jobs_kept"]), Some((4, 5)));
        assert_eq!(at(&["cores", "deeper", "0"]), Some((2, 1)));
        assert_eq!(at(&["proxies", "9"]), Some((3, 1)));
        assert_eq!(at(&["nothing"]), None);
        assert_eq!(at(&[]), None);
    }
}
