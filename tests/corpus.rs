//! The bodies of the fuzz targets, over the inputs that are kept of them. See `fuzz/src/lib.rs`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[allow(
    unreachable_pub,
    clippy::cast_possible_truncation,
    reason = "for the fuzz targets this is a crate of its own; the numbers of its models are small"
)]
#[path = "../fuzz/src/lib.rs"]
mod bodies;

/// A kept input is small: people read it when it fails.
const INPUT_BYTES_MAX: usize = 8 * 1024;

macro_rules! targets {
    ($($target:ident)+) => {
        const TARGETS: &[&str] = &[$(stringify!($target),)+];

        $(
            #[test]
            fn $target() {
                play(stringify!($target), bodies::$target::run);
            }
        )+
    };
}

targets! {
    bitcoin_miner
    bitcoin_pool
    config
    equihash_miner
    equihash_pool
    exchange
    hex
    json
    line
    monero_miner
    monero_pool
    proxy_header
    schedule
    tls
}

/// Says which input it was when a body panics.
struct Named<'a>(&'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input is {}", self.0.display());
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("a folder of the repository");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

/// Plays the inputs that are kept of a target.
fn play(target: &str, body: fn(&[u8])) {
    let inputs = files(&format!("fuzz/corpus/{target}"));
    assert!(!inputs.is_empty(), "no inputs are kept of {target}");
    for input in &inputs {
        let data = std::fs::read(input).expect("an input");
        assert!(
            data.len() <= INPUT_BYTES_MAX,
            "{} is too large",
            input.display()
        );
        let _named = Named(input);
        body(&data);
    }
    body(b"");
}

#[test]
fn every_target_is_played_here_and_no_corpus_is_left_over() {
    let names = |folder: &str| -> BTreeSet<String> {
        let files = files(folder);
        let stems = files.iter().filter_map(|file| file.file_stem());
        stems
            .map(|stem| stem.to_string_lossy().into_owned())
            .collect()
    };
    let played: BTreeSet<String> = TARGETS.iter().map(|target| (*target).to_owned()).collect();
    assert_eq!(names("fuzz/fuzz_targets"), played);
    assert_eq!(names("fuzz/corpus"), played);
}

#[test]
fn no_kept_input_is_cut_by_the_gate() {
    let gate = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run"));
    let whole = format!(" -max_len={INPUT_BYTES_MAX} ");
    assert!(gate.expect("the gate").contains(&whole), "{whole}");
}
