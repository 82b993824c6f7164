//! The YAML as it was written: values that know their place, and the mistakes found so far.
//!
//! A [`Section`] is a map that is read key by key and remembers which keys it was asked for. What
//! is left at its end is unknown, so the code that reads a key is the schema and there is no second
//! list to keep in step. Nothing stops at a mistake: it is noted, and reading goes on with the next
//! key. That is why serde's derive is not used: it would stop at the first.

use std::cell::RefCell;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_yaml::{Mapping, Number, Value};

use super::error::{ConfigError, ConfigErrors};
use super::files::ConfigFile;
use super::locate::{Step, locate};

/// Reads the text and resolves YAML merge keys (`<<`).
///
/// # Errors
///
/// What is no YAML, or has a key twice in one map. There is no reading on after that.
pub(super) fn parse_yaml(text: &str) -> Result<Value, ConfigError> {
    let mut value: Value =
        serde_yaml::from_str(text).map_err(|error| syntax_error(text, &error))?;
    value
        .apply_merge()
        .map_err(|error| ConfigError::of_file(error.to_string()))?;
    Ok(value)
}

fn syntax_error(text: &str, error: &serde_yaml::Error) -> ConfigError {
    let location = error.location();
    let line = location.as_ref().map(serde_yaml::Location::line);
    let column = location.as_ref().map(serde_yaml::Location::column);
    let mut message = error.to_string();
    // The place is printed in front, so the parser's own words for it go.
    if let (Some(line), Some(column)) = (line, column)
        && let Some(bare) = message.strip_suffix(&format!(" at line {line} column {column}"))
    {
        message.truncate(bare.len());
    }
    // The parser shows a number that no type can hold; it may be a password.
    if let Some((path, _)) = message.split_once("invalid type: ") {
        message = format!("{path}this number is too large; put it in quotes where it is none");
    }
    let source = line
        .and_then(|line| text.lines().nth(line.checked_sub(1)?))
        .unwrap_or("");
    if source.contains('\t') {
        message.push_str("; YAML indents with spaces, and this line has a tab");
    } else if source.contains("url: practice:") {
        message.push_str("; the practice pool needs quotes: url: \"practice:\"");
    } else if source.contains("[:") || source.contains("]:") {
        message.push_str("; an IPv6 address needs quotes: \"[::]:3333\"");
    }
    ConfigError {
        path: String::new(),
        line,
        column,
        message,
    }
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(super) struct Mistakes(RefCell<Vec<(Place, String)>>);

impl Mistakes {
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Finds each mistake's line in the text.
    pub(super) fn into_errors(self, text: &str) -> ConfigErrors {
        let mistakes = self.0.into_inner();
        let more = mistakes.len().saturating_sub(MISTAKES_MAX);
        let mut errors: Vec<ConfigError> = mistakes
            .into_iter()
            .take(MISTAKES_MAX)
            .map(|(place, message)| {
                let location = locate(text, &place.0);
                ConfigError {
                    path: place.to_string(),
                    line: location.map(|(line, _)| line),
                    column: location.map(|(_, column)| column),
                    message,
                }
            })
            .collect();
        if more > 0 {
            errors.push(ConfigError::of_file(format!("and {more} more mistakes")));
        }
        ConfigErrors::new(errors)
    }
}

/// Mistakes that are reported, as each costs a pass over the text. A file with more of them is not
/// a config.
const MISTAKES_MAX: usize = 100;

/// The steps from the top of the file to a value; prints as `proxies[0].pools[1].url`.
#[derive(Clone, Debug, Default)]
struct Place(Vec<Step>);

impl Place {
    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => write!(f, "{}", shown_key(key))?,
                Step::Key(key) => write!(f, ".{}", shown_key(key))?,
                Step::Index(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// Linux takes no longer path.
const FILE_BYTES_MAX: usize = 4096;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    value: &'a Value,
    place: Place,
    mistakes: &'a Mistakes,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, mistakes: &'a Mistakes) -> Self {
        Self {
            value,
            place: Place::default(),
            mistakes,
        }
    }

    /// Notes what is wrong with this value.
    pub(super) fn mistake(&self, message: impl Into<String>) {
        let mut mistakes = self.mistakes.0.borrow_mut();
        mistakes.push((self.place.clone(), message.into()));
    }

    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The keys that lead here.
    pub(super) fn path(&self) -> String {
        self.place.to_string()
    }

    /// Text. `wanted` says what to write in its place, as in "write a host name".
    pub(super) fn text(&self, wanted: &str) -> Option<&'a str> {
        // Not `as_str`, which looks through a tag: what the tag asks for would not happen.
        let Value::String(text) = self.value else {
            self.mistake(format!("this is {}; {wanted}", kind(self.value)));
            return None;
        };
        Some(text)
    }

    /// A file's path. `wanted` says what to write in its place.
    pub(super) fn file(&self, wanted: &str) -> Option<ConfigFile> {
        let path = self.text(wanted)?;
        if path.is_empty() || path.len() > FILE_BYTES_MAX || path.contains('\0') {
            self.mistake(format!("{} is no path; {wanted}", shown(path)));
            return None;
        }
        let Place(steps) = self.place.clone();
        Some(ConfigFile::new(path, self.path(), steps))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Option<Vec<Self>> {
        let Value::Sequence(list) = self.value else {
            self.mistake(format!(
                "this is {}; write a list, each item behind \"- \"",
                kind(self.value)
            ));
            return None;
        };
        let items = list.iter().enumerate().map(|(index, value)| Self {
            value,
            place: self.place.with(Step::Index(index)),
            mistakes: self.mistakes,
        });
        Some(items.collect())
    }

    /// A number within its range.
    pub(super) fn number<T: Quantity>(&self, range: RangeInclusive<T::Number>) -> Option<T> {
        let wanted = || {
            format!(
                "write {} from {} to {}",
                T::WANTED,
                range.start(),
                range.end()
            )
        };
        match self.value {
            Value::Number(number) => {
                let quantity = T::parse(number).filter(|number| range.contains(number));
                if quantity.is_none() {
                    self.mistake(format!("{number} is out of range; {}", wanted()));
                }
                quantity.map(T::new)
            }
            Value::String(text) if text.parse::<f64>().is_ok() => {
                self.mistake(format!(
                    "this is text; write the number without quotes: {}",
                    text.trim()
                ));
                None
            }
            other => {
                self.mistake(format!("this is {}; {}", kind(other), wanted()));
                None
            }
        }
    }

    /// One of a few words. Those in `later` are known, but not to this version.
    pub(super) fn choice<T: Copy>(&self, words: &[(&str, T)], later: &[&str]) -> Option<T> {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let wanted = format!("write {}", all.join(" or "));
        let text = self.text(&wanted)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() && later.contains(&text) {
            self.mistake(format!("{text} is not available in this version; {wanted}"));
        } else if found.is_none() {
            self.mistake(format!("{} is unknown; {wanted}", shown(text)));
        }
        found.map(|(_, value)| *value)
    }

    /// A yes or no.
    pub(super) fn flag(&self) -> Option<bool> {
        let flag = match self.value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        };
        if flag.is_none() {
            self.mistake("write true or false, without quotes");
        }
        flag
    }

    /// The keys of a map.
    pub(super) fn section(&self) -> Section<'a> {
        let map = match self.value {
            Value::Mapping(map) => Some(map),
            Value::Null if self.place.0.is_empty() => {
                self.mistake("the config is empty; stratum-uring -g prints one to begin with");
                None
            }
            Value::Null => {
                self.mistake("this is empty; give it keys or leave it out");
                None
            }
            other => {
                let wanted = "write keys, as in \"key: value\"";
                self.mistake(format!("this is {}; {wanted}", kind(other)));
                None
            }
        };
        Section {
            map,
            node: self.clone(),
            known: Vec::new(),
        }
    }
}

/// A map that is read key by key. Where there is none, every key is absent and none is missing: the
/// map itself is optional or was reported.
#[derive(Debug)]
pub(super) struct Section<'a> {
    map: Option<&'a Mapping>,
    node: Node<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The value of a key, where it is present.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Node<'a>> {
        debug_assert!(!self.known.contains(&key), "{key} is read twice");
        self.known.push(key);
        let value = self.map?.get(key)?;
        Some(Node {
            value,
            ..self.below(key)
        })
    }

    /// Whether a key is present.
    pub(super) fn has(&self, key: &str) -> bool {
        self.map.is_some_and(|map| map.contains_key(key))
    }

    /// The value of a key that must be present. `wanted` says what to write.
    pub(super) fn required(&mut self, key: &'static str, wanted: &str) -> Option<Node<'a>> {
        let node = self.get(key);
        if node.is_none() && self.map.is_some() {
            self.below(key).mistake(format!("missing; {wanted}"));
        }
        node
    }

    /// A number within its range, or the default.
    pub(super) fn number<T: Quantity>(
        &mut self,
        key: &'static str,
        default: T::Number,
        range: RangeInclusive<T::Number>,
    ) -> T {
        debug_assert!(
            range.contains(&default),
            "the default of {key} is out of range"
        );
        let node = self.get(key);
        node.and_then(|node| node.number(range))
            .unwrap_or_else(|| T::new(default))
    }

    /// The section below a key; without keys where it is absent.
    pub(super) fn section(&mut self, key: &'static str) -> Self {
        match self.get(key) {
            Some(node) => node.section(),
            None => Self {
                map: None,
                node: self.below(key),
                known: Vec::new(),
            },
        }
    }

    /// The items of a list of text, or none. `wanted` says what to write.
    pub(super) fn texts<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        parse: impl Fn(&Node<'a>, &'a str) -> Option<T>,
    ) -> Vec<T> {
        let items = self.get(key).and_then(|node| node.items());
        items
            .unwrap_or_default()
            .iter()
            .filter_map(|item| parse(item, item.text(wanted)?))
            .collect()
    }

    /// Notes what is wrong with a key of this section.
    pub(super) fn mistake(&self, key: &str, message: impl Into<String>) {
        self.below(key).mistake(message);
    }

    /// Notes every key that nobody asked for. Those in `later` are known, but not to this version.
    pub(super) fn finish(self, later: &[&str]) {
        let keys = self.map.into_iter().flat_map(Mapping::keys);
        let here = format!("the keys here are {}", self.known.join(", "));
        for key in keys {
            match key {
                Value::String(key) if self.known.contains(&key.as_str()) => {}
                Value::String(key) if later.contains(&key.as_str()) => {
                    self.mistake(key, format!("not available in this version; {here}"));
                }
                Value::String(key) => match nearest(key, &self.known) {
                    Some(near) => self.mistake(key, format!("unknown key; did you mean {near}?")),
                    None => self.mistake(key, format!("unknown key; {here}")),
                },
                other => {
                    let message = format!("{} is used as a key; {here}", kind(other));
                    self.node.mistake(message);
                }
            }
        }
    }

    fn below(&self, key: &str) -> Node<'a> {
        Node {
            place: self.node.place.with(Step::Key(key.to_owned())),
            ..self.node.clone()
        }
    }
}

/// What a config says with a number.
pub(super) trait Quantity: Sized {
    type Number: Copy + PartialOrd + fmt::Display;
    const WANTED: &'static str;

    fn parse(number: &Number) -> Option<Self::Number>;
    fn new(number: Self::Number) -> Self;
}

impl Quantity for usize {
    type Number = Self;
    const WANTED: &'static str = "a whole number";

    fn parse(number: &Number) -> Option<Self> {
        Self::try_from(number.as_u64()?).ok()
    }

    fn new(number: Self) -> Self {
        number
    }
}

impl Quantity for u32 {
    type Number = Self;
    const WANTED: &'static str = "a whole number";

    fn parse(number: &Number) -> Option<Self> {
        Self::try_from(number.as_u64()?).ok()
    }

    fn new(number: Self) -> Self {
        number
    }
}

/// Seconds. A fraction is allowed.
impl Quantity for Duration {
    type Number = f64;
    const WANTED: &'static str = "a number of seconds";

    fn parse(number: &Number) -> Option<f64> {
        number.as_f64()
    }

    fn new(number: f64) -> Self {
        debug_assert!(
            number.is_finite() && number >= 0.0,
            "a range holds no such number"
        );
        Self::from_secs_f64(number)
    }
}

/// Text of the config as a message shows it: quoted, with control characters escaped, and cut.
pub(super) fn shown(text: &str) -> String {
    let mut chars = text.chars();
    let mut start: String = chars.by_ref().take(SHOWN_CHARS_MAX).collect();
    if chars.next().is_some() {
        start.push('…');
    }
    format!("{start:?}")
}

/// A key as a message shows it: bare, but for one that could be taken for something else.
fn shown_key(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.len() <= SHOWN_CHARS_MAX && key.chars().all(is_plain) {
        return key.to_owned();
    }
    shown(key)
}

const SHOWN_CHARS_MAX: usize = 80;

/// What a value is, where something else is wanted. Never shows it: it may be a secret.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a value with a YAML tag",
    }
}

/// The known key that was most likely meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let distance = |word: &str| strsim::osa_distance(&key, word);
    let near = known.iter().min_by_key(|word| distance(word))?;
    // A third of the letters may differ; a short word with one letter wrong is still near.
    if distance(near) <= (near.len() / 3).max(1) {
        return Some(near);
    }
    // A unit or a "max" was left out.
    let begins = |word: &&&str| key.len() >= 4 && word.starts_with(&key);
    known.iter().find(begins).copied()
}
