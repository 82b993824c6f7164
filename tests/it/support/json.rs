//! A small JSON reader of our own, so that the tests do not trust the code they test.

use std::fmt;

/// A JSON value. Numbers keep the text that was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Self>),
    Object(Vec<(String, Self)>),
}

impl Json {
    /// Reads one value that fills the whole text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.space();
        if reader.at == text.len() {
            Ok(value)
        } else {
            Err(format!("text after the value at {}: {text}", reader.at))
        }
    }

    /// The member of this name, or `Null` where there is none.
    pub(crate) fn get(&self, key: &str) -> &Self {
        match self {
            Self::Object(members) => members
                .iter()
                .find(|(name, _)| name == key)
                .map_or(&Self::Null, |(_, value)| value),
            _ => &Self::Null,
        }
    }

    /// The element at this place, or `Null` where there is none.
    pub(crate) fn at(&self, index: usize) -> &Self {
        self.items().get(index).unwrap_or(&Self::Null)
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The text of a string. Panics on anything else.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::String(text) => text,
            other => panic!("not a string: {other}"),
        }
    }

    /// The value of an integer, or `None`.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self == Self::Null
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number.to_string())
    }
}

/// Writes the value as compact JSON.
impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => out.write_str("null"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Number(text) => out.write_str(text),
            Self::String(text) => {
                out.write_str("\"")?;
                for letter in text.chars() {
                    match letter {
                        '"' | '\\' => write!(out, "\\{letter}")?,
                        control if control < ' ' => write!(out, "\\u{:04x}", u32::from(control))?,
                        other => write!(out, "{other}")?,
                    }
                }
                out.write_str("\"")
            }
            Self::Array(items) => {
                out.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(out, "{comma}{item}")?;
                }
                out.write_str("]")
            }
            Self::Object(members) => {
                out.write_str("{")?;
                for (index, (name, value)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(out, "{comma}{}:{value}", Self::from(name.as_str()))?;
                }
                out.write_str("}")
            }
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Result<Json, String> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.array(),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => Ok(self.number()),
            _ => {
                let words = [
                    ("null", Json::Null),
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                ];
                for (word, value) in words {
                    if self.rest().starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.error("a value"))
            }
        }
    }

    fn object(&mut self) -> Result<Json, String> {
        self.expect(b'{')?;
        let mut members = Vec::new();
        self.space();
        while self.peek() != Some(b'}') {
            if !members.is_empty() {
                self.expect(b',')?;
            }
            self.space();
            let name = self.string()?;
            self.space();
            self.expect(b':')?;
            let value = self.value()?;
            if members.iter().any(|(other, _)| *other == name) {
                return Err(self.error("each name once"));
            }
            members.push((name, value));
            self.space();
        }
        self.expect(b'}')?;
        Ok(Json::Object(members))
    }

    fn array(&mut self) -> Result<Json, String> {
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        while self.peek() != Some(b']') {
            if !items.is_empty() {
                self.expect(b',')?;
            }
            items.push(self.value()?);
            self.space();
        }
        self.expect(b']')?;
        Ok(Json::Array(items))
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let letter = self.rest().chars().next().ok_or("an open string")?;
            self.at += letter.len_utf8();
            match letter {
                '"' => return Ok(out),
                '\\' => out.push(self.escape()?),
                control if control < ' ' => return Err(self.error("no control character")),
                other => out.push(other),
            }
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let letter = self.peek().ok_or("an open escape")?;
        self.at += 1;
        Ok(match letter {
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'"' | b'\\' | b'/' => char::from(letter),
            b'u' => {
                let digits = self.rest().get(..4).ok_or("four digits")?;
                let code = u32::from_str_radix(digits, 16).map_err(|_| "four hex digits")?;
                self.at += 4;
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.error("a known escape")),
        })
    }

    fn number(&mut self) -> Json {
        let end = self
            .rest()
            .find(|letter: char| !letter.is_ascii_alphanumeric() && !"+-.".contains(letter))
            .unwrap_or_else(|| self.rest().len());
        let text = self.rest()[..end].to_owned();
        self.at += end;
        Json::Number(text)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(&format!("`{}`", char::from(byte))))
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn error(&self, wanted: &str) -> String {
        format!("expected {wanted} at {} of {}", self.at, self.text)
    }
}

#[test]
fn the_reader_of_the_tests_reads_what_it_writes() {
    let text = r#"{"id":1.50,"result":[null,true,"a\"\\b",-3,{}],"error":null}"#;
    assert_eq!(Json::parse(text).unwrap().to_string(), text);
    for broken in ["{", "[1,]", "{\"a\":1,\"a\":2}", "nul", "{}x", "\"\t\"", ""] {
        assert!(Json::parse(broken).is_err(), "{broken}");
    }
}
