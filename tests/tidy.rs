//! Reads the sources and fails on what the house does not allow: who may use whom, where `unsafe` and
//! the runtime may be named, how wide a line is, what a comment may leave for later, and documents and
//! scripts that name files or tests which are not there.
//!
//! Each rule is a function over text, so that beside each stands a test that shows it bite.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Who may use whom within the library: down only. A new arrow is a decision record.
const ARROWS: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("proto", &["wire"]),
    ("exchange", &["proto", "wire"]),
    ("ring", &[]),
    ("tls", &[]),
    ("config", &["proto"]),
    ("metrics", &["exchange", "tls"]),
    ("practice", &["proto", "wire"]),
    (
        "shard",
        &[
            "config", "exchange", "metrics", "practice", "proto", "ring", "tls", "wire",
        ],
    ),
];

/// What the load generator may use of the library.
const LOADGEN_USES: [&str; 5] = ["practice", "proto", "ring", "tls", "wire"];

/// The layers that know no machine.
const PURE: [&str; 3] = ["wire", "proto", "exchange"];

/// Words that a pure layer never says, and why.
const IMPURE: [(&str, &str); 19] = [
    ("glommio", "the runtime"),
    ("async", "the runtime"),
    ("await", "the runtime"),
    ("libc", "the machine"),
    ("rustix", "the machine"),
    ("socket2", "a socket"),
    ("io_uring", "a ring"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("UNIX_EPOCH", "a clock"),
    ("fastrand", "a random source"),
    ("rand", "a random source"),
    ("getrandom", "a random source"),
    ("RandomState", "a random source"),
    ("DefaultHasher", "a hash that nobody keyed"),
    ("log::", "a log"),
    ("println", "a log"),
    ("eprintln", "a log"),
    ("stratum_uring", "itself, from outside"),
];

/// Parts of the standard library that a pure layer never uses.
const IMPURE_STD: [&str; 8] = ["env", "fs", "io", "net", "os", "process", "sync", "thread"];

/// Hash tables whose keys the standard library draws at random.
const RANDOM_TABLES: [&str; 4] = [
    "HashMap::new",
    "HashSet::new",
    "HashMap::with_capacity",
    "HashSet::with_capacity",
];

/// The places where the runtime may be named.
const RUNTIME_HOMES: [&str; 4] = [
    "src/shard/",
    "src/ring/wake.rs",
    "src/metrics/http.rs",
    // The queue between shards is the runtime's.
    "benches/mesh.rs",
];

/// rustfmt wraps code at 100 and leaves long strings and comments; those end here.
const LINE_COLUMNS_MAX: usize = 110;

/// A source, its text apart from what the compiler does not read as code.
struct Source {
    /// From the root of the repository.
    path: String,
    text: String,
    /// The text with comments and the insides of strings blanked.
    code: String,
    /// The text with everything but comments blanked.
    comments: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let (code, comments) = split(text);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            comments,
        }
    }

    /// The layer of the library that it belongs to.
    fn layer(&self) -> Option<&str> {
        let path = self.path.strip_prefix("src/")?;
        let layer = path.split('/').next()?;
        Some(layer.strip_suffix(".rs").unwrap_or(layer))
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.starts_with("tests/")
    }

    fn code_without_tests(&self) -> &str {
        &self.code[..self.tests_start()]
    }

    /// Columns of a line that begins here. A peer's line, quoted in a test, is as long as it is: there
    /// what stands in strings does not count.
    fn columns(&self, start: usize, line: &str) -> usize {
        let columns = line.chars().count();
        if start < self.tests_start() {
            return columns;
        }
        let place = start..start + line.len();
        let masks = self.code[place.clone()]
            .bytes()
            .zip(self.comments[place].bytes());
        let in_string = |((code, comment), byte)| code == b' ' && comment == b' ' && byte != b' ';
        let blanked = masks.zip(line.bytes()).filter(|at| in_string(*at)).count();
        columns.saturating_sub(blanked)
    }

    /// Where its unit tests begin, which stand last.
    fn tests_start(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let starts = ["mod tests {", "pub(crate) mod tests {"].map(|module| {
            let start = self.code.find(&format!("#[cfg(test)]\n{module}"));
            start.unwrap_or(self.code.len())
        });
        starts.into_iter().min().unwrap_or_default()
    }

    fn at(&self, offset: usize, what: &str) -> String {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }
}

/// Parts a Rust text into its code and its comments; both keep every byte's place.
fn split(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = blank(bytes);
    let mut comments = blank(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let end = match &bytes[at..] {
            [b'/', b'/', ..] => find(bytes, at, b"\n").unwrap_or(bytes.len()),
            [b'/', b'*', ..] => find(bytes, at, b"*/").map_or(bytes.len(), |end| end + 2),
            [b'"', ..] => string_end(bytes, at),
            [b'r', b'"' | b'#', ..] if !is_word(bytes, at.wrapping_sub(1)) => raw_end(bytes, at),
            [b'\'', b'\\', ..] => find(bytes, at + 3, b"'").map_or(bytes.len(), |end| end + 1),
            [b'\'', _, b'\'', ..] => at + 3,
            _ => at,
        };
        if end == at {
            code[at] = bytes[at];
            at += 1;
            continue;
        }
        if bytes[at] == b'/' {
            comments[at..end].copy_from_slice(&bytes[at..end]);
        }
        at = end;
    }
    let text = |bytes| String::from_utf8(bytes).expect("the sources are text");
    (text(code), text(comments))
}

/// Spaces and the same line ends. Letters outside ASCII stay, so that the result is text.
fn blank(bytes: &[u8]) -> Vec<u8> {
    let keep = |&byte: &u8| byte == b'\n' || !byte.is_ascii();
    bytes
        .iter()
        .map(|byte| if keep(byte) { *byte } else { b' ' })
        .collect()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let place = rest.windows(what.len()).position(|part| part == what)?;
    Some(from + place)
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string; `start` itself where `r` begins something else.
fn raw_end(bytes: &[u8], start: usize) -> usize {
    let hashes = bytes[start + 1..]
        .iter()
        .take_while(|&&byte| byte == b'#')
        .count();
    let quote = start + 1 + hashes;
    if bytes.get(quote) != Some(&b'"') {
        return start;
    }
    let mut closing = vec![b'"'];
    closing.resize(hashes + 1, b'#');
    find(bytes, quote + 1, &closing).map_or(bytes.len(), |end| end + closing.len())
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at)
        .is_some_and(|&byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Where `word` stands in `code` with no letter on either side.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let bytes = code.as_bytes();
            let ends_open = word.ends_with(':');
            !is_word(bytes, at.wrapping_sub(1)) && (ends_open || !is_word(bytes, at + word.len()))
        })
}

/// The first names behind `root::`, in braces or not, with their places.
fn names_behind(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    for at in words(code, root) {
        let start = at + root.len();
        let rest = &code[start..];
        if !rest.starts_with('{') {
            names.push((at, name_at(rest)));
            continue;
        }
        let mut depth = 0;
        let mut begins = false;
        for (offset, letter) in rest.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if begins && letter.is_alphanumeric() {
                names.push((start + offset, name_at(&rest[offset..])));
            }
            let separates = matches!(letter, '{' | ',');
            begins = depth == 1 && (separates || (begins && letter.is_whitespace()));
        }
    }
    names
}

fn name_at(text: &str) -> String {
    let name = text
        .chars()
        .take_while(|letter| letter.is_alphanumeric() || *letter == '_');
    name.collect()
}

fn arrows(source: &Source) -> Vec<String> {
    let Some(layer) = source.layer() else {
        return Vec::new();
    };
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == layer) else {
        return match layer {
            "lib" | "main" | "cli" | "gen_cert" | "log_queue" | "reasons" => Vec::new(),
            _ => vec![source.at(0, "a layer that the table of arrows does not know")],
        };
    };
    names_behind(&source.code, "crate::")
        .into_iter()
        .filter(|(_, name)| *name != layer && !allowed.contains(&name.as_str()))
        .map(|(at, name)| source.at(at, &format!("{layer} may not use {name}")))
        .collect()
}

fn purity(source: &Source) -> Vec<String> {
    if !source.layer().is_some_and(|layer| PURE.contains(&layer)) {
        return Vec::new();
    }
    let code = source.code_without_tests();
    let mut mistakes = Vec::new();
    for (word, what) in IMPURE {
        let said = words(code, word).map(|at| source.at(at, &format!("a pure layer names {what}")));
        mistakes.extend(said);
    }
    for (at, name) in names_behind(code, "std::") {
        if IMPURE_STD.contains(&name.as_str()) {
            mistakes.push(source.at(at, &format!("a pure layer uses std::{name}")));
        }
    }
    for table in RANDOM_TABLES {
        let said = words(code, table).map(|at| source.at(at, "a table that nobody keyed"));
        mistakes.extend(said);
    }
    mistakes
}

fn homes(source: &Source) -> Vec<String> {
    let mut mistakes = Vec::new();
    if !source.path.starts_with("src/ring/") {
        let said = words(&source.code, "unsafe");
        mistakes.extend(said.map(|at| source.at(at, "`unsafe` outside src/ring")));
    }
    let home = RUNTIME_HOMES
        .iter()
        .any(|home| source.path.starts_with(home));
    if !home {
        let said = source.code.match_indices("glommio");
        mistakes
            .extend(said.map(|(at, _)| source.at(at, "the runtime is named outside its homes")));
    }
    mistakes
}

fn public_only(source: &Source) -> Vec<String> {
    if !source.path.starts_with("loadgen/") {
        return Vec::new();
    }
    let mut mistakes: Vec<String> = names_behind(source.code_without_tests(), "stratum_uring::")
        .into_iter()
        .filter(|(_, name)| !LOADGEN_USES.contains(&name.as_str()))
        .map(|(at, name)| source.at(at, &format!("loadgen may not use {name}")))
        .collect();
    for word in ["#[path", "include!"] {
        let said = source.code.match_indices(word).filter(|(at, _)| {
            let argument = source.text[*at..].split(']').next().unwrap_or_default();
            argument.contains("..")
        });
        mistakes.extend(said.map(|(at, _)| source.at(at, "loadgen takes a file from outside")));
    }
    mistakes
}

fn manners(source: &Source) -> Vec<String> {
    let mut mistakes = Vec::new();
    let mut offset = 0;
    for line in source.text.split_inclusive('\n') {
        let columns = source.columns(offset, line.trim_end_matches(['\n', '\r']));
        if columns > LINE_COLUMNS_MAX {
            mistakes.push(source.at(offset, &format!("{columns} columns")));
        }
        if line.ends_with("\r\n") {
            mistakes.push(source.at(offset, "a carriage return ends the line"));
        }
        offset += line.len();
    }
    for word in ["FIXME", "XXX", "TODO"] {
        let said = words(&source.comments, word);
        let open = said.filter(|at| !source.comments[at + word.len()..].starts_with("(#"));
        mistakes.extend(open.map(|at| source.at(at, &format!("{word} without an issue"))));
    }
    let ignored = source.code.match_indices("#[ignore");
    mistakes.extend(ignored.map(|(at, _)| source.at(at, "a test that does not run")));
    mistakes
}

/// Paths in backticks that a document names and that are not there.
fn missing_files(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for name in line.split('`').skip(1).step_by(2) {
            let name = name.split(':').next().unwrap_or_default();
            if is_path(name) && !exists(name) {
                mistakes.push(format!("{path}:{}: `{name}` is not there", number + 1));
            }
        }
    }
    mistakes
}

/// Words of a script that are paths of the repository and are not there.
fn missing_words(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for word in line.split([' ', '\t', '`', '"', '\'', '(', ')', ',', ';', '=']) {
            let word = word.trim_end_matches(['.', ':']);
            if is_path(word) && !exists(word) {
                mistakes.push(format!("{path}:{}: {word} is not there", number + 1));
            }
        }
    }
    mistakes
}

/// Whether a word is a path from the root of the repository, and no pattern of some.
fn is_path(word: &str) -> bool {
    const ROOTS: [&str; 9] = [
        "src/", "tests/", "docs/", "loadgen/", "benches/", "fuzz/", "contrib/", ".ci/", "Cargo.",
    ];
    let is_plain = !word.contains([' ', '*', '{', '<', '…', '$']);
    is_plain && ROOTS.iter().any(|root| word.starts_with(root))
}

/// The tests that a document names in backticks, as `it::door::NAME` or `it::door::{NAME, NAME}`: each as its
/// module and its name.
fn named_tests(text: &str) -> Vec<(String, String)> {
    let is_name = |name: &str| {
        let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        !name.is_empty() && name.chars().all(letter)
    };
    let mut named = Vec::new();
    // Blocks of code hold backticks in threes, which open and close nothing here.
    for quoted in text.replace("```", "").split('`').skip(1).step_by(2) {
        let Some((module, names)) = quoted.rsplit_once("::") else {
            continue;
        };
        if !module.split("::").all(is_name) {
            continue;
        }
        let list = names.strip_prefix('{').and_then(|it| it.strip_suffix('}'));
        for name in list.unwrap_or(names).split(',').map(str::trim) {
            if is_name(name) {
                named.push((module.to_owned(), name.to_owned()));
            }
        }
    }
    named
}

/// The files in which the tests of a module may stand: a binary's, or the library's own.
fn homes_of_tests(module: &str) -> Vec<String> {
    let path = module.replace("::", "/");
    let base = path.strip_suffix("/tests").unwrap_or(&path);
    let mut homes = vec![format!("tests/{path}.rs"), format!("tests/{path}/main.rs")];
    if let Some(path) = path.strip_prefix("loadgen/") {
        homes.push(format!("loadgen/tests/{path}.rs"));
    }
    let endings = ["", "/mod", "/tests", "_tests"];
    homes.extend(endings.map(|ending| format!("src/{base}{ending}.rs")));
    homes
}

/// Tests that a document names and that are not there. The test of a fuzz target's inputs has the target's
/// name.
fn missing_tests(text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (module, name) in named_tests(text) {
        let is_there = if module == "corpus" {
            read(&format!("fuzz/fuzz_targets/{name}.rs")).is_some()
        } else {
            let test = format!("fn {name}(");
            let homes = homes_of_tests(&module);
            let mut texts = homes.iter().filter_map(|home| read(home));
            texts.any(|text| text.contains(&test))
        };
        if !is_there {
            mistakes.push(format!("no test {module}::{name}"));
        }
    }
    mistakes
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files with this ending below these places, in order.
fn files(places: &[&str], ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = places.iter().map(|place| root().join(place)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("a folder of the repository");
            open.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("below the root");
    path.to_str().expect("a plain name").replace('\\', "/")
}

fn sources() -> Vec<Source> {
    files(&["src", "loadgen", "tests", "benches", "fuzz"], "rs")
        .iter()
        .map(|path| {
            let text = std::fs::read_to_string(path).expect("a source");
            Source::new(&name_of(path), &text)
        })
        .collect()
}

fn assert_none(mistakes: &[String]) {
    let mut text = String::new();
    for mistake in mistakes {
        writeln!(text, "  {mistake}").expect("a string takes all");
    }
    assert!(mistakes.is_empty(), "\n{text}");
}

fn assert_all(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were not found");
    let mistakes: Vec<String> = sources.iter().flat_map(rule).collect();
    assert_none(&mistakes);
}

/// How many mistakes a rule finds in a text under a path.
fn bites(rule: impl Fn(&Source) -> Vec<String>, path: &str, text: &str) -> usize {
    rule(&Source::new(path, text)).len()
}

#[test]
fn layers_use_only_what_lies_below_them() {
    assert_all(arrows);
}

#[test]
fn an_arrow_upwards_is_found() {
    let bites = |path, text| bites(arrows, path, text);
    assert_eq!(bites("src/wire/line.rs", "use crate::proto::job::Job;"), 1);
    assert_eq!(bites("src/proto/miner.rs", "use crate::wire::hex;"), 0);
    assert_eq!(bites("src/exchange/mod.rs", "let a = crate::shard::X;"), 1);
    assert_eq!(bites("src/exchange/mod.rs", "// see crate::shard"), 0);
    let braces = "use crate::{\n    exchange::{A, ring::B},\n    wire, config::C,\n};";
    assert_eq!(bites("src/practice/mod.rs", braces), 2);
    assert_eq!(bites("src/invented/mod.rs", ""), 1);
}

#[test]
fn the_pure_layers_name_no_machine() {
    assert_all(purity);
}

#[test]
fn a_machine_in_a_pure_layer_is_found() {
    let bites = |text| bites(purity, "src/exchange/link.rs", text);
    assert_eq!(bites("let now = Instant::now();"), 1);
    assert_eq!(
        bites("use std::{fmt, io, net};\nuse std::net::TcpStream;"),
        3
    );
    assert_eq!(bites("async fn run() { it().await }"), 2);
    assert_eq!(bites("log::info!(\"up\");"), 1);
    assert_eq!(bites("let seen = HashSet::new();"), 1);
    assert_eq!(bites("let strand = catalog::operand;"), 0);
    assert_eq!(bites("// std::net\nlet a = \"async\"; /* await */"), 0);
    assert_eq!(bites("#[cfg(test)]\nmod tests {\n    use fastrand;\n}"), 0);
}

#[test]
fn unsafe_and_the_runtime_stay_at_home() {
    assert_all(homes);
}

#[test]
fn unsafe_and_the_runtime_elsewhere_are_found() {
    let unsafe_code = "let a = unsafe { *pointer };";
    assert_eq!(bites(homes, "src/shard/mod.rs", unsafe_code), 1);
    assert_eq!(bites(homes, "tests/it/main.rs", unsafe_code), 1);
    assert_eq!(bites(homes, "src/ring/mod.rs", unsafe_code), 0);
    assert_eq!(
        bites(homes, "src/cli.rs", "#![expect(unsafe_code)] // unsafe"),
        0
    );
    assert_eq!(bites(homes, "src/main.rs", "use glommio::executor;"), 1);
    assert_eq!(bites(homes, "src/ring/mod.rs", "use glommio::io;"), 1);
    assert_eq!(bites(homes, "src/ring/wake.rs", "use glommio::io;"), 0);
}

#[test]
fn loadgen_uses_the_public_api() {
    assert_all(public_only);
}

#[test]
fn a_private_door_of_loadgen_is_found() {
    let bites = |text| bites(public_only, "loadgen/src/main.rs", text);
    assert_eq!(bites("use stratum_uring::wire::Reader;"), 0);
    assert_eq!(bites("use stratum_uring::{wire, exchange};"), 1);
    assert_eq!(bites("#[path = \"../../src/cli.rs\"]\nmod cli;"), 1);
    assert_eq!(bites("#[path = \"miner_tests.rs\"]\nmod tests;"), 0);
}

#[test]
fn lines_and_comments_are_as_agreed() {
    assert_all(manners);
}

#[test]
fn bad_manners_are_found() {
    let bites = |text: &str| bites(manners, "src/cli.rs", text);
    assert_eq!(bites(&"é".repeat(LINE_COLUMNS_MAX)), 0);
    assert_eq!(bites(&"x".repeat(LINE_COLUMNS_MAX + 1)), 1);
    let quoted = format!("let line = \"{}\";", "x".repeat(200));
    assert_eq!(bites(&quoted), 1);
    assert_eq!(
        bites(&format!("#[cfg(test)]\nmod tests {{\n{quoted}\n}}")),
        0
    );
    assert_eq!(bites("let a = 1;\r\n"), 1);
    assert_eq!(bites("// TODO later\n// FIXME\n/* XXX */"), 3);
    assert_eq!(bites("// TODO(#12): later\nlet a = \"TODO\";"), 0);
    assert_eq!(bites("#[test]\n#[ignore]\nfn a() {}"), 1);
    assert_eq!(bites("#[test]\n#[ignore = \"flaky\"]\nfn a() {}"), 1);
}

#[test]
fn documents_name_real_files() {
    let exists = |name: &str| root().join(name).exists();
    let mut mistakes = Vec::new();
    for path in files(&["README.md", "CHANGELOG.md", "docs"], "md") {
        if path.exists() {
            let text = std::fs::read_to_string(&path).expect("a document");
            mistakes.extend(missing_files(&name_of(&path), &text, exists));
        }
    }
    for place in ["contrib", ".ci"] {
        for entry in std::fs::read_dir(root().join(place)).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a script");
            mistakes.extend(missing_words(&name_of(&path), &text, exists));
        }
    }
    assert_none(&mistakes);
}

#[test]
fn the_promises_name_real_tests() {
    let read = |name: &str| std::fs::read_to_string(root().join(name)).ok();
    let text = read("docs/security.md").expect("the document");
    assert!(named_tests(&text).len() > 100, "the tests were not found");
    assert_none(&missing_tests(&text, read));
}

#[test]
fn a_promise_without_its_test_is_found() {
    let read = |name: &str| match name {
        "tests/it/door.rs" => Some("fn one() {} fn two() {}".to_owned()),
        "src/tls/server_tests.rs" => Some("fn three() {}".to_owned()),
        "fuzz/fuzz_targets/line.rs" => Some(String::new()),
        _ => None,
    };
    let found = |text| missing_tests(text, read).len();
    let good = "see `it::door::{one,\n  two}`, `tls::server::tests::three`, `corpus::{line}`\n```sh\nls\n```\n";
    assert_eq!(named_tests(good).len(), 4);
    assert_eq!(found(good), 0);
    assert_eq!(found("`it::door::on`, `corpus::{line, gone}`"), 2);
    assert_eq!(found("`it::window::one` and `tls::server::tests::one`"), 2);
    assert_eq!(named_tests("`Vec::new` `a b::c` `io_uring`").len(), 0);
}

#[test]
fn a_document_that_names_nothing_is_found() {
    let found = |text| missing_files("README.md", text, |name| name == "src/lib.rs").len();
    assert_eq!(found("see `src/lib.rs` and `src/lib.rs:12`"), 0);
    assert_eq!(found("see `src/gone.rs` and `docs/gone.md`"), 2);
    assert_eq!(found("run `cargo test --test sim` or `src/*.rs`"), 0);
    let found = |text| missing_words(".ci/run", text, |name| name == "tests/sim").len();
    assert_eq!(found("    tests/sim \"$1\"; cp fuzz/*.rs $OUT"), 0);
    assert_eq!(found("# see tests/gone.\n\"contrib/gone\""), 2);
}

#[test]
fn code_and_comments_are_told_apart() {
    let text =
        "let a = \"// no \\\" comment\"; // it's one\nlet b = 'x'; /* two */ r#\"raw \" text\"#";
    let (code, comments) = split(text);
    assert_eq!(code.len(), text.len());
    assert!(code.contains("let b =") && !code.contains("comment") && !code.contains("raw"));
    assert!(comments.contains("it's one") && comments.contains("two") && !comments.contains("let"));
    let (code, _) = split("fn a<'a>(x: &'a str) -> char { '\\'' } // end");
    assert!(code.contains("fn a<'a>(x: &'a str)") && !code.contains("end"));
}
