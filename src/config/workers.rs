//! The file of workers that may mine, for `authorize: { mode: local }`.
//!
//! ```yaml
//! - name: rig-01                       # without a password any is taken
//! - name: rig-02
//!   password: "secret"
//! - name: hall-*                       # * stands for any text, ? for one character
//!   password_hash: "$argon2id$v=19$m=19456,t=2,p=1$…"
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use argon2::PasswordHash;

use super::error::{ConfigError, ConfigErrors};
use super::files::ConfigFile;
use super::raw::{Mistakes, Node, parse_yaml, shown};
use super::{Secret, text_of};

/// Longest name: no longer one is ever compared with it.
const NAME_BYTES_MAX: usize = 1024;

/// Longest password or hash.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Patterns that a later one is held against: more than this would take a while, in a file of many.
const PATTERNS_COMPARED_MAX: usize = 256;

/// Warnings that are told of one file.
const WARNINGS_MAX: usize = 10;

/// What one check may cost: memory in KiB, passes over it, and bcrypt's cost, which counts doublings. More
/// is a slip of the keyboard, and each miner that comes would pay for it.
const ARGON2_KIB_MAX: u32 = 1024 * 1024;
const ARGON2_PASSES_MAX: u32 = 64;
const BCRYPT_COST_MAX: u32 = 16;

/// With what a worker proves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerPassword {
    /// Any password will do.
    Any,
    /// This one.
    Plain(Secret),
    /// The one with this hash: a PHC string of argon2d, argon2i or argon2id.
    Argon2(Secret),
    /// The one with this hash: `$2a$`, `$2b$`, `$2x$` or `$2y$`.
    Bcrypt(Secret),
}

/// The workers that may mine. An exact name comes before patterns, and of these the first one counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Workers {
    exact: HashMap<Box<str>, WorkerPassword>,
    patterns: Vec<(Box<str>, WorkerPassword)>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("exact", &self.exact.len())
            .field("patterns", &self.patterns.len())
            .finish()
    }
}

impl Workers {
    /// Reads the text of a workers file.
    ///
    /// # Errors
    ///
    /// Every mistake in it. After a YAML syntax error there is only that one.
    pub fn load(text: &str) -> Result<Self, ConfigErrors> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let value = parse_yaml(text)?;
        let mistakes = Mistakes::default();
        let workers = workers(&Node::root(&value, &mistakes));
        if mistakes.is_empty() {
            Ok(workers)
        } else {
            Err(mistakes.into_errors(text))
        }
    }

    /// Reads a workers file.
    ///
    /// # Errors
    ///
    /// That it can't be read, or every mistake in it, at the place where the config names the file.
    pub fn read(file: &ConfigFile) -> Result<Self, Vec<ConfigError>> {
        let name = file.path.display();
        let bytes = file.read("").map_err(|mistake| vec![mistake])?;
        let workers = text_of(&bytes).and_then(Self::load);
        workers.map_err(|errors| {
            let errors = errors.as_slice().iter();
            let at_file = errors.map(|error| file.mistake(format!("{name}: {error}")));
            at_file.collect()
        })
    }

    /// How many names and patterns there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.exact.len() + self.patterns.len()
    }

    /// Whether there are none; a file that was read has some.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is no mistake and hardly meant: everybody may mine, and patterns that never count.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, (pattern, password)) in self.patterns.iter().enumerate() {
            if *password == WorkerPassword::Any && pattern.chars().all(|it| it == '*') {
                warnings.push(format!(
                    "{} without a password lets everybody mine whose name is not in the file",
                    shown(pattern)
                ));
            }
            let mut before = self.patterns.iter().take(index.min(PATTERNS_COMPARED_MAX));
            if let Some((wider, _)) = before.find(|(wider, _)| covers(wider, pattern)) {
                warnings.push(format!(
                    "{} never counts, since {} stands before it and fits the same names; put it in front",
                    shown(pattern),
                    shown(wider)
                ));
            }
        }
        let more = warnings.len().saturating_sub(WARNINGS_MAX);
        if more > 0 {
            warnings.truncate(WARNINGS_MAX);
            warnings.push(format!("and {more} more such patterns"));
        }
        warnings
    }

    /// With what this worker proves itself; `None` where it may not mine.
    #[must_use]
    pub fn find(&self, worker: &str) -> Option<&WorkerPassword> {
        self.exact.get(worker).or_else(|| {
            let mut patterns = self.patterns.iter();
            let found = patterns.find(|(pattern, _)| matches(pattern, worker));
            found.map(|(_, password)| password)
        })
    }
}

fn workers(root: &Node<'_>) -> Workers {
    const EMPTY: &str = "nobody could mine; write a list, e.g. - name: rig-*";
    let mut workers = Workers {
        exact: HashMap::new(),
        patterns: Vec::new(),
    };
    let items = root.items();
    if items.as_ref().is_some_and(Vec::is_empty) {
        root.mistake(format!("this list is empty: {EMPTY}"));
    }
    for item in items.unwrap_or_default() {
        let mut section = item.section();
        let name = section.required("name", "write name: rig-1, or a pattern such as rig-*");
        let password = section.get("password");
        let hash = section.get("password_hash");
        section.finish(&[]);
        if let (Some(_), Some(hash)) = (&password, &hash) {
            hash.mistake("there is a password already; leave one of the two out");
        }
        let password = match (password, hash) {
            (Some(node), _) => plain(&node),
            (None, Some(node)) => hashed(&node),
            (None, None) => Some(WorkerPassword::Any),
        };
        let Some(name) = name.as_ref() else {
            continue;
        };
        let Some(text) = worker_name(name) else {
            continue;
        };
        let password = password.unwrap_or(WorkerPassword::Any);
        if text.contains(['*', '?']) {
            if workers.patterns.iter().any(|(other, _)| **other == *text) {
                name.mistake(format!("{} stands there twice", shown(text)));
            }
            workers.patterns.push((text.into(), password));
        } else {
            match workers.exact.entry(text.into()) {
                Entry::Occupied(_) => name.mistake(format!("{} stands there twice", shown(text))),
                Entry::Vacant(free) => drop(free.insert(password)),
            }
        }
    }
    workers
}

fn worker_name<'a>(node: &Node<'a>) -> Option<&'a str> {
    let text = node.text("write the name in quotes: name: \"…\"")?;
    if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
        let wanted = format!("write 1 to {NAME_BYTES_MAX} bytes without control characters");
        node.mistake(format!("this is no name; {wanted}"));
        return None;
    }
    Some(text)
}

/// Never shown, nor is what stands in its place.
fn secret<'a>(node: &Node<'a>, wanted: &str) -> Option<&'a str> {
    let text = node.text(wanted)?;
    if text.is_empty() || text.len() > PASSWORD_BYTES_MAX {
        node.mistake(format!("write 1 to {PASSWORD_BYTES_MAX} bytes"));
        return None;
    }
    Some(text)
}

fn plain(node: &Node<'_>) -> Option<WorkerPassword> {
    let text = secret(node, "write the password in quotes: password: \"…\"")?;
    Some(WorkerPassword::Plain(Secret::new(text)))
}

fn hashed(node: &Node<'_>) -> Option<WorkerPassword> {
    const WANTED: &str = "write a hash in quotes, of argon2 ($argon2id$…) or bcrypt ($2b$…)";
    let text = secret(node, WANTED)?;
    if text.starts_with("$argon2") {
        match argon2_params(text) {
            None => node.mistake(format!("this is no PHC string of argon2; {WANTED}")),
            Some((kib, passes)) if kib > ARGON2_KIB_MAX || passes > ARGON2_PASSES_MAX => {
                node.mistake(format!(
                    "m={kib},t={passes} costs too much for each miner that comes; m is at most \
                     {ARGON2_KIB_MAX} and t {ARGON2_PASSES_MAX}"
                ));
            }
            Some(_) => return Some(WorkerPassword::Argon2(Secret::new(text))),
        }
        return None;
    }
    match text.parse::<bcrypt::HashParts>() {
        Ok(parts) if parts.get_cost() > BCRYPT_COST_MAX => node.mistake(format!(
            "a cost of {} is too much for each miner that comes; it is at most {BCRYPT_COST_MAX}",
            parts.get_cost()
        )),
        Ok(_) => return Some(WorkerPassword::Bcrypt(Secret::new(text))),
        Err(_) => node.mistake(format!("this is no hash that we know; {WANTED}")),
    }
    None
}

/// Memory in KiB and passes of a PHC string of argon2, if it is a whole one.
fn argon2_params(text: &str) -> Option<(u32, u32)> {
    let hash = PasswordHash::new(text).ok()?;
    argon2::Algorithm::try_from(hash.algorithm).ok()?;
    hash.salt?;
    hash.hash?;
    let params = argon2::Params::try_from(&hash).ok()?;
    Some((params.m_cost(), params.t_cost()))
}

/// Whether the pattern, in which `*` stands for any text and `?` for one character, is this name.
fn matches(pattern: &str, name: &str) -> bool {
    fits(pattern, name, |_| true)
}

/// Whether the pattern fits every name that the other one fits. It may, and false be said of it, where stars
/// and question marks stand side by side; never the other way round.
fn covers(pattern: &str, other: &str) -> bool {
    // Read as a name, the other's `?` is a character as any, and its `*` one that nothing but a `*` fits.
    fits(pattern, other, |letter| letter != '*')
}

/// Whether the pattern is this name, where its `?` stands for these characters.
fn fits(pattern: &str, name: &str, is_one: impl Fn(char) -> bool) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    // Where to go on when what follows the last star does not fit: there, with one character fewer.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let before = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                name = before;
                retry = Some((pattern.clone(), name.clone()));
                continue;
            }
            (Some('?'), Some(found)) if is_one(found) => continue,
            (Some(wanted), Some(found)) if wanted == found => continue,
            _ => {}
        }
        let Some((behind_star, from)) = &mut retry else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (pattern, name) = (behind_star.clone(), from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the password "correct horse", with little memory so that tests are quick.
    pub(crate) const ARGON2: &str = "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const BCRYPT: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

    #[test]
    fn a_name_is_found_before_a_pattern_and_the_first_pattern_counts() {
        let workers = Workers::load(
            "- name: rig-*\n- name: rig-7\n  password: \"s3cret\"\n- name: r?g-*\n  password: b\n",
        )
        .unwrap();
        assert_eq!(workers.len(), 3);
        assert_eq!(workers.find("rig-1"), Some(&WorkerPassword::Any));
        assert_eq!(
            workers.find("rig-7"),
            Some(&WorkerPassword::Plain(Secret::new("s3cret")))
        );
        assert_eq!(
            workers.find("rog-1"),
            Some(&WorkerPassword::Plain(Secret::new("b")))
        );
        assert_eq!(workers.find("other"), None);
    }

    #[test]
    fn patterns_are_whole() {
        for (pattern, name, is_it) in [
            ("rig-*", "rig-", true),
            ("rig-*", "rig-12", true),
            ("rig-*", "big-12", false),
            ("*", "", true),
            ("*.farm", "a.b.farm", true),
            ("*.farm", "a.farms", false),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("r?g", "rig", true),
            ("r?g", "rg", false),
            ("r?", "rié", false),
            ("rig", "rig-1", false),
        ] {
            assert_eq!(matches(pattern, name), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_that_covers_another_fits_all_that_it_fits() {
        for (wide, narrow, expected) in [
            ("two*", "two-b*", true),
            ("two*", "two?", true),
            ("*", "**", true),
            ("a*c", "ab*c", true),
            ("r?g", "r?g", true),
            ("two-b*", "two*", false),
            ("two?", "two*", false),
            ("two?", "two??", false),
            ("a?*", "a*", false),
            ("*-b", "*-b*", false),
        ] {
            assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
        }
        // A `?` in a pattern is a star in a name, too.
        assert!(matches("a?", "a*"));
    }

    #[test]
    fn of_patterns_that_never_count_some_are_told_and_the_others_counted() {
        let text: String = (0..40)
            .map(|it| format!("- name: a{it}*\n  password: x\n"))
            .collect();
        let workers = Workers::load(&format!("- name: a*\n  password: x\n{text}")).unwrap();
        let warnings = workers.warnings();
        assert_eq!(warnings.len(), 11, "{warnings:?}");
        assert!(
            warnings[0].starts_with("\"a0*\" never counts"),
            "{warnings:?}"
        );
        assert_eq!(warnings[10], "and 30 more such patterns");
        let workers = Workers::load("- name: a-b*\n- name: a*\n- name: a\n").unwrap();
        assert!(workers.warnings().is_empty(), "{:?}", workers.warnings());
    }

    #[test]
    fn a_pattern_of_many_stars_is_no_trap() {
        let pattern = "*a".repeat(200);
        assert!(!matches(&pattern, &"a".repeat(199)));
        assert!(matches(&pattern, &"a".repeat(400)));
    }

    #[test]
    fn both_kinds_of_hash_are_taken() {
        let text =
            format!("- name: a\n  password_hash: {ARGON2}\n- name: b\n  password_hash: {BCRYPT}\n");
        let workers = Workers::load(&text).unwrap();
        assert!(matches!(workers.find("a"), Some(WorkerPassword::Argon2(_))));
        assert!(matches!(workers.find("b"), Some(WorkerPassword::Bcrypt(_))));
    }

    #[test]
    fn every_mistake_is_told_with_its_line_and_no_secret() {
        let text = "- name: a\n  pasword: hush\n- password: hush\n- name: b\n  password: hush\n  \
                    password_hash: $2b$hush\n- name: c\n  password_hash: $argon2id$hush\n- name: a\n\
                    - name: [1]\n";
        let errors = Workers::load(text).unwrap_err().to_string();
        for wanted in [
            "line 2: [0].pasword: unknown key; did you mean password?",
            "line 3: [1].name: missing",
            "line 6: [2].password_hash: there is a password already",
            "line 8: [3].password_hash: this is no PHC string",
            "line 9: [4].name: \"a\" stands there twice",
            "line 10: [5].name: this is a list",
        ] {
            assert!(errors.contains(wanted), "{wanted}\n{errors}");
        }
        assert!(!errors.contains("hush"), "{errors}");
    }

    #[test]
    fn a_hash_that_costs_too_much_is_refused() {
        let dear = ARGON2.replace("m=64,t=1", "m=4194304,t=1");
        let errors = Workers::load(&format!("- name: a\n  password_hash: {dear}\n")).unwrap_err();
        assert!(errors.to_string().contains("costs too much"), "{errors}");
        let dear = BCRYPT.replace("$04$", "$31$");
        let errors = Workers::load(&format!("- name: a\n  password_hash: {dear}\n")).unwrap_err();
        assert!(errors.to_string().contains("too much"), "{errors}");
    }

    #[test]
    fn a_file_that_lets_nobody_in_is_refused() {
        for text in ["[]", "", "name: a"] {
            assert!(Workers::load(text).is_err(), "{text}");
        }
    }
}
