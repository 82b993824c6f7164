use std::borrow::Cow;

use super::{raw::unescape, *};

fn read(line: &[u8]) -> Result<Message<'_>, JsonError> {
    readers_agree(line);
    Reader::new().read(line)
}

/// A message as text, in the order id, method, params, result, error; `-` is an absent key.
fn told(line: &str) -> Vec<&str> {
    let message = read(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
    let Message {
        id,
        method,
        params,
        result,
        error,
        reject_reason: _,
    } = message;
    [id, method, params, result, error]
        .into_iter()
        .map(|raw| raw.map_or("-", |raw| std::str::from_utf8(raw.bytes()).expect("UTF-8")))
        .collect()
}

/// A Zcash submit: 2,694 digits of solution.
fn submit_line() -> String {
    let solution = "fd4005".to_owned() + &"00949d55de0cc633e0cce41e".repeat(112);
    format!(
        r#"{{"id":4,"method":"mining.submit","params":["t1addr.rig1","j1","a8becc5b","7a0000000000000000000000000000000000000000003eb21819","{solution}"]}}"#
    )
}

fn corpus() -> Vec<String> {
    let mut lines: Vec<String> = ACCEPTED
        .iter()
        .map(|(line, _)| (*line).to_owned())
        .chain(REFUSED.iter().map(|(line, _)| (*line).to_owned()))
        .collect();
    lines.push(submit_line());
    lines.push(submit_line().replace(",", " ,\t").replace(":", " : "));
    lines.push(nested(DEPTH_MAX));
    lines.push(nested(DEPTH_MAX + 1));
    lines
}

/// An object with `depth` levels, itself included.
fn nested(depth: usize) -> String {
    format!(
        r#"{{"id":1,"params":{}{}}}"#,
        "[".repeat(depth - 1),
        "]".repeat(depth - 1)
    )
}

const ACCEPTED: &[(&str, [&str; 5])] = &[
    // Replies as pools write them.
    (
        r#"{"id":4,"result":null,"error":[21,"Job not found",""]}"#,
        ["4", "-", "-", "null", r#"[21,"Job not found",""]"#],
    ),
    (
        r#"{"reject-reason":"Above target 2","result":false,"error":null,"id":8}"#,
        ["8", "-", "-", "false", "null"],
    ),
    (
        r#"{"result":false,"error":"Stale","id":618}"#,
        ["618", "-", "-", "false", r#""Stale""#],
    ),
    (
        r#"{"jsonrpc":"2.0","error":{"code":22,"message":"duplicate share","data":null},"id":42}"#,
        [
            "42",
            "-",
            "-",
            "-",
            r#"{"code":22,"message":"duplicate share","data":null}"#,
        ],
    ),
    (
        r#"{"id":null,"result":[],"error":true}"#,
        ["null", "-", "-", "[]", "true"],
    ),
    (
        r#"{"id":"","error":"-1:params not found"}"#,
        [r#""""#, "-", "-", "-", r#""-1:params not found""#],
    ),
    (
        r#"{"error":[-3,"Method not found",null],"id":9,"result":null}"#,
        ["9", "-", "-", "null", r#"[-3,"Method not found",null]"#],
    ),
    (
        r#"{"id":32769,"error":null,"result":true}"#,
        ["32769", "-", "-", "true", "null"],
    ),
    (
        r#"{"id":10,"method":"pong","params":[]}"#,
        ["10", r#""pong""#, "[]", "-", "-"],
    ),
    (
        r#"{"id":5,"result":"pong","error":null}"#,
        ["5", "-", "-", r#""pong""#, "null"],
    ),
    (
        r#"{"params": ["1478412275_3922", "04000000", true], "id": null, "method": "mining.notify"}"#,
        [
            "null",
            r#""mining.notify""#,
            r#"["1478412275_3922", "04000000", true]"#,
            "-",
            "-",
        ],
    ),
    (
        r#"{"result":[[["mining.set_difficulty","1"],["mining.notify","6878b603"]],"03b67868",8],"id":1,"error":null}"#,
        [
            "1",
            "-",
            "-",
            r#"[[["mining.set_difficulty","1"],["mining.notify","6878b603"]],"03b67868",8]"#,
            "null",
        ],
    ),
    // Forms that JSON allows and few expect.
    ("{}", ["-"; 5]),
    (
        " \t\r\n{ \"id\" : 1 , \"x\" : { } }\n ",
        ["1", "-", "-", "-", "-"],
    ),
    (r#"{"id":-0}"#, ["-0", "-", "-", "-", "-"]),
    (r#"{"id":1.50}"#, ["1.50", "-", "-", "-", "-"]),
    (r#"{"id":1E+2}"#, ["1E+2", "-", "-", "-", "-"]),
    (r#"{"id":1e-999}"#, ["1e-999", "-", "-", "-", "-"]),
    (
        r#"{"id":18446744073709551615}"#,
        ["18446744073709551615", "-", "-", "-", "-"],
    ),
    (
        r#"{"id":123456789012345678901234567890}"#,
        ["123456789012345678901234567890", "-", "-", "-", "-"],
    ),
    (
        r#"{"id":18446744073709551616}"#,
        ["18446744073709551616", "-", "-", "-", "-"],
    ),
    (
        r#"{"id":0.123456789012345678901234567890}"#,
        ["0.123456789012345678901234567890", "-", "-", "-", "-"],
    ),
    // Escapes, in values and in keys.
    (
        r#"{"id":"a\"b\\","method":"\u006dining","params":["\ud83d\ude00\/"]}"#,
        [
            r#""a\"b\\""#,
            r#""\u006dining""#,
            r#"["\ud83d\ude00\/"]"#,
            "-",
            "-",
        ],
    ),
    (
        r#"{"\u0069d":1,"x":[{"id":2}],"m\u0065thod":"a","id\n":3}"#,
        ["1", r#""a""#, "-", "-", "-"],
    ),
    (
        r#"{"id":"é","x":"\"id\":2"}"#,
        [r#""é""#, "-", "-", "-", "-"],
    ),
    (r#"{"a":1,"a":2,"ID":3,"":4}"#, ["-"; 5]),
];

const REFUSED: &[(&str, JsonError)] = &[
    ("", JsonError::Invalid),
    (" ", JsonError::Invalid),
    ("Invalid JSON, disconnecting", JsonError::Invalid),
    ("GET / HTTP/1.1", JsonError::Invalid),
    ("{", JsonError::Invalid),
    ("}", JsonError::Invalid),
    (r#"{"id":1"#, JsonError::Invalid),
    (r#"{"id":1,}"#, JsonError::Invalid),
    (r#"{"id"}"#, JsonError::Invalid),
    (r#"{"id":}"#, JsonError::Invalid),
    (r#"{"id" 1}"#, JsonError::Invalid),
    (r#"{id:1}"#, JsonError::Invalid),
    (r#"{'id':1}"#, JsonError::Invalid),
    (r#"{1:1}"#, JsonError::Invalid),
    (r#"{"id":1]"#, JsonError::Invalid),
    (r#"{"params":[1,]}"#, JsonError::Invalid),
    (r#"{"params":[,1]}"#, JsonError::Invalid),
    (r#"{"params":[1 2]}"#, JsonError::Invalid),
    (r#"{"params":["a""b"]}"#, JsonError::Invalid),
    (r#"{"id":1}{"id":2}"#, JsonError::Invalid),
    (r#"{"id":1} x"#, JsonError::Invalid),
    ("{\"id\":1}\0", JsonError::Invalid),
    ("{\"id\":\0}", JsonError::Invalid),
    ("{\"id\":\"a\0\"}", JsonError::Invalid),
    ("{\"id\":\"a\tb\"}", JsonError::Invalid),
    ("{\"id\":\"a\nb\"}", JsonError::Invalid),
    ("{\"id\":1\u{b}}", JsonError::Invalid),
    ("\u{feff}{\"id\":1}", JsonError::Invalid),
    ("{\"id\":1}\u{a0}", JsonError::Invalid),
    (r#"{"id":01}"#, JsonError::Invalid),
    (r#"{"id":-01}"#, JsonError::Invalid),
    (r#"{"id":-}"#, JsonError::Invalid),
    (r#"{"id":+1}"#, JsonError::Invalid),
    (r#"{"id":.5}"#, JsonError::Invalid),
    (r#"{"id":1.}"#, JsonError::Invalid),
    (r#"{"id":1e}"#, JsonError::Invalid),
    (r#"{"id":0x10}"#, JsonError::Invalid),
    (r#"{"id":1e999}"#, JsonError::Invalid),
    (r#"{"id":-1e999}"#, JsonError::Invalid),
    (r#"{"id":NaN}"#, JsonError::Invalid),
    (r#"{"id":nul}"#, JsonError::Invalid),
    (r#"{"id":nullx}"#, JsonError::Invalid),
    (r#"{"id":True}"#, JsonError::Invalid),
    (r#"{"id":"\x"}"#, JsonError::Invalid),
    (r#"{"id":"\u12"}"#, JsonError::Invalid),
    (r#"{"id":"\u12G4"}"#, JsonError::Invalid),
    (r#"{"id":"\ud800"}"#, JsonError::Invalid),
    (r#"{"id":"\ud800\u0041"}"#, JsonError::Invalid),
    (r#"{"id":"\udc00"}"#, JsonError::Invalid),
    (r#"{"id":"\"}"#, JsonError::Invalid),
    ("[]", JsonError::NotAnObject),
    (r#"[{"id":1}]"#, JsonError::NotAnObject),
    ("\"{}\"", JsonError::NotAnObject),
    ("1", JsonError::NotAnObject),
    ("null", JsonError::NotAnObject),
    (r#"{"id":1,"id":1}"#, JsonError::DuplicateKey),
    (r#"{"id":1,"\u0069d":2}"#, JsonError::DuplicateKey),
    (
        r#"{"params":[],"x":1,"params":null}"#,
        JsonError::DuplicateKey,
    ),
];

#[test]
fn lines_of_pools_and_odd_but_valid_lines_are_read() {
    for (line, expected) in ACCEPTED {
        assert_eq!(told(line), expected, "{line}");
    }
}

#[test]
fn what_is_no_message_is_refused_with_its_reason() {
    for (line, expected) in REFUSED {
        assert_eq!(read(line.as_bytes()), Err(*expected), "{line:?}");
    }
}

#[test]
fn bytes_that_are_no_utf_8_are_refused() {
    for bytes in [
        &b"\xff"[..],
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xe2\x82",
        b"\x80",
    ] {
        for (before, after) in [
            (&b"{\"id\":\""[..], &b"\"}"[..]),
            (b"{\"id\":\"\\n", b"\"}"),
        ] {
            let line = [before, bytes, after].concat();
            assert_eq!(
                read(&line),
                Err(JsonError::InvalidUtf8),
                "{}",
                line.escape_ascii()
            );
        }
    }
}

#[test]
fn nesting_has_a_bound_and_no_stack_overflows() {
    assert!(read(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert_eq!(
        read(nested(DEPTH_MAX + 1).as_bytes()),
        Err(JsonError::TooDeep)
    );
    assert_eq!(read(nested(10_000).as_bytes()), Err(JsonError::TooDeep));
    let open = "[".repeat(10_000);
    assert_eq!(read(open.as_bytes()), Err(JsonError::TooDeep));
    let objects = r#"{"id":"#.repeat(10_000);
    assert_eq!(read(objects.as_bytes()), Err(JsonError::TooDeep));
}

#[test]
fn a_reader_reads_on_after_any_line() {
    let mut reader = Reader::new();
    for line in corpus() {
        let expected = Reader::new().read(line.as_bytes());
        assert_eq!(reader.read(line.as_bytes()), expected);
    }
}

#[test]
fn buffers_that_a_long_line_needed_are_freed() {
    let mut reader = Reader::new();
    let line = format!(r#"{{"id":"\n{}"}}"#, "x".repeat(2 * SCRATCH_KEPT_BYTES_MAX));
    assert!(reader.read(line.as_bytes()).is_ok());
    assert!(reader.scratch.capacity() <= SCRATCH_KEPT_BYTES_MAX);
}

#[test]
fn the_readers_agree_on_mutated_lines_and_with_the_grammar() {
    let corpus = corpus();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut read_count, mut scanned_count) = (0, 0);
    for round in 0..60_000 {
        // Every second time one that is valid still.
        let among = if random.bool() {
            ACCEPTED.len()
        } else {
            corpus.len()
        };
        let mut line = corpus[random.usize(..among)].clone().into_bytes();
        // Long lines take long to judge; a few of them are enough.
        if line.len() > 500 && round % 16 != 0 {
            line.drain(150..line.len() - 20);
        }
        for _ in 0..random.usize(1..4) {
            mutate(&mut line, &corpus, &mut random);
        }
        readers_agree(&line);
        let outcome = Reader::new().read(&line);
        read_count += usize::from(outcome.is_ok());
        scanned_count += usize::from(scan::message(&line).is_some());
        let refused = matches!(outcome, Err(JsonError::Invalid | JsonError::InvalidUtf8));
        assert!(
            refused != Grammar::accepts(&line) || outcome == Err(JsonError::TooDeep),
            "{outcome:?}: {}",
            line.escape_ascii()
        );
    }
    // Too few valid lines would teach little.
    assert!(
        read_count > 5_000 && scanned_count > 3_000,
        "{read_count} {scanned_count}"
    );
}

fn mutate(line: &mut Vec<u8>, corpus: &[String], random: &mut fastrand::Rng) {
    const PIECES: &[&[u8]] = &[
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b" ",
        b"\t",
        b"0",
        b"1",
        b"-",
        b".",
        b"e",
        b"E9",
        b"+",
        b"true",
        b"null",
        b"false",
        b"\"id\":",
        b"\"method\":\"a\",",
        b"\\u0069",
        b"\\ud83d",
        b"\\n",
        b"\0",
        b"\x7f",
        b"\x1f",
        b"\xc3\xa9",
        b"\xff",
        b"123456789012345678",
        b"{}",
        b"[]",
        b"\"\"",
        b"[[[[",
        b"]]]]",
        b"\r\n",
        b"\x0c",
    ];
    let at = random.usize(0..=line.len());
    match random.u8(0..7) {
        0 if at < line.len() => line[at] = random.u8(..),
        1 if at < line.len() => line[at] ^= 1 << random.u8(0..8),
        2 if at < line.len() => {
            line.remove(at);
        }
        3 => line.truncate(at),
        4 => {
            let end = random.usize(at..=line.len());
            let part = line[at..end].to_vec();
            let to = random.usize(0..=line.len());
            line.splice(to..to, part.into_iter().take(100));
        }
        5 => {
            let other = random.choice(corpus).expect("not empty").as_bytes();
            let from = random.usize(0..=other.len());
            let part = &other[from..random.usize(from..=other.len().min(from + 60))];
            line.splice(at..at, part.iter().copied());
        }
        _ => {
            let piece = random.choice(PIECES).expect("not empty");
            line.splice(at..at, piece.iter().copied());
        }
    }
}

/// The grammar of RFC 8259, slow and plain, with the two limits that [`JsonError::Invalid`] names.
struct Grammar<'a>(&'a [u8]);

impl Grammar<'_> {
    fn accepts(line: &[u8]) -> bool {
        let mut grammar = Grammar(line);
        std::str::from_utf8(line).is_ok()
            && grammar.space()
            && grammar.value()
            && grammar.space()
            && grammar.0.is_empty()
    }

    fn next_is(&self, set: &[u8]) -> bool {
        self.0.first().is_some_and(|byte| set.contains(byte))
    }

    fn take(&mut self, set: &[u8]) -> bool {
        let taken = self.next_is(set);
        if taken {
            self.0 = &self.0[1..];
        }
        taken
    }

    fn space(&mut self) -> bool {
        while self.take(b" \t\r\n") {}
        true
    }

    fn word(&mut self, word: &[u8]) -> bool {
        word.iter().all(|&byte| self.take(&[byte]))
    }

    fn value(&mut self) -> bool {
        match self.0.first() {
            Some(b'{') => self.list(b"}", |grammar| {
                grammar.string()
                    && grammar.space()
                    && grammar.take(b":")
                    && grammar.space()
                    && grammar.value()
            }),
            Some(b'[') => self.list(b"]", Self::value),
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn list(&mut self, close: &[u8], item: impl Fn(&mut Self) -> bool) -> bool {
        self.0 = &self.0[1..];
        self.space();
        if self.take(close) {
            return true;
        }
        loop {
            if !item(self) {
                return false;
            }
            self.space();
            if self.take(close) {
                return true;
            }
            if !self.take(b",") {
                return false;
            }
            self.space();
        }
    }

    fn string(&mut self) -> bool {
        let text = self.0;
        if !self.take(b"\"") {
            return false;
        }
        while let Some((&byte, rest)) = self.0.split_first() {
            self.0 = rest;
            match byte {
                b'"' => {
                    let content = &text[1..text.len() - rest.len() - 1];
                    return unescape(str::from_utf8(content).expect("checked")).is_some();
                }
                b'\\' => {
                    let digits = b"0123456789abcdefABCDEF";
                    let valid = self.take(b"\"\\/bfnrt")
                        || self.take(b"u") && (0..4).all(|_| self.take(digits));
                    if !valid {
                        return false;
                    }
                }
                0..0x20 => return false,
                _ => {}
            }
        }
        false
    }

    fn number(&mut self) -> bool {
        let text = self.0;
        self.take(b"-");
        if !self.take(b"0") && !self.digits() {
            return false;
        }
        if self.take(b".") && !self.digits() {
            return false;
        }
        if self.take(b"eE") {
            self.take(b"+-");
            if !self.digits() {
                return false;
            }
        }
        let number = str::from_utf8(&text[..text.len() - self.0.len()]).expect("ASCII");
        number.parse().is_ok_and(f64::is_finite)
    }

    fn digits(&mut self) -> bool {
        let mut count = 0;
        while self.take(b"0123456789") {
            count += 1;
        }
        count > 0
    }
}

#[test]
fn a_value_tells_its_kind_and_content() {
    let line = br#"{"params":[null,true,false,0,18446744073709551615,-1.5,"a b","a\u0062\ud83d\ude00",[],{"k":[1],"\"":"}"}]}"#;
    let params = read(line).expect("JSON").params.expect("params");
    let elements: Vec<Raw<'_>> = params.elements().collect();
    let kinds: Vec<Kind> = elements.iter().map(|raw| raw.kind()).collect();
    assert_eq!(
        kinds,
        [
            Kind::Null,
            Kind::Bool,
            Kind::Bool,
            Kind::Number,
            Kind::Number,
            Kind::Number,
            Kind::String,
            Kind::String,
            Kind::Array,
            Kind::Object,
        ]
    );
    let [
        null,
        yes,
        no,
        zero,
        large,
        negative,
        plain,
        escaped,
        empty,
        object,
    ] = elements[..]
    else {
        panic!("ten elements");
    };
    assert!(null.is_null() && !zero.is_null());
    assert_eq!(
        (yes.as_bool(), no.as_bool(), null.as_bool()),
        (Some(true), Some(false), None)
    );
    assert_eq!(
        (zero.as_u64(), large.as_u64(), negative.as_u64()),
        (Some(0), Some(u64::MAX), None)
    );
    assert_eq!(
        (negative.as_f64(), zero.as_f64(), plain.as_f64()),
        (Some(-1.5), Some(0.0), None)
    );
    assert_eq!(
        (plain.as_str(), escaped.as_str(), zero.as_str()),
        (Some(&b"a b"[..]), None, None)
    );
    assert!(matches!(plain.as_text(), Some(Cow::Borrowed("a b"))));
    assert_eq!(escaped.as_text().as_deref(), Some("ab\u{1f600}"));
    assert_eq!(zero.as_text(), None);
    assert_eq!(
        empty.elements().count() + object.elements().count() + empty.members().count(),
        0
    );
    let members: Vec<(&[u8], &[u8])> = object
        .members()
        .map(|(key, value)| (key.bytes(), value.bytes()))
        .collect();
    assert_eq!(
        members,
        [
            (&b"\"k\""[..], &b"[1]"[..]),
            (&b"\"\\\"\""[..], &b"\"}\""[..])
        ]
    );
}

#[test]
fn every_escape_is_decoded() {
    let text = unescape(r#"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00 end"#);
    assert_eq!(text.as_deref(), Some("\"\\/\u{8}\u{c}\n\r\té\u{1f600} end"));
    for wrong in [
        r"\",
        r"\x",
        r"\u12",
        r"\ud83d",
        r"\ud83dx",
        r"\ud83d\u0041",
        r"\udc00",
        r"\u00é",
    ] {
        assert_eq!(unescape(wrong), None, "{wrong}");
    }
}
