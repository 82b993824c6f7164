//! Files that a config names.
//!
//! A config says where a file is, and whoever reads it finds what is wrong with it. So a [`ConfigFile`]
//! remembers its place in the config, and a mistake that is found later is told like one of the config's own.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::locate::{Step, locate};

/// A file that the config names, and where it does. Two are equal where their paths are, wherever they are
/// named.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// As it was written; [`Config::read`](super::Config::read) has it begin beside the config.
    pub path: PathBuf,
    key: String,
    steps: Vec<Step>,
    place: Option<(usize, usize)>,
}

impl PartialEq for ConfigFile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for ConfigFile {}

impl ConfigFile {
    pub(super) fn new(path: &str, key: String, steps: Vec<Step>) -> Self {
        Self {
            path: path.into(),
            key,
            steps,
            place: None,
        }
    }

    /// The keys that lead to it, as `proxies[0].listen[0].tls.key`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong with the file, as a mistake of the config.
    #[must_use]
    pub fn mistake(&self, message: impl Into<String>) -> ConfigError {
        ConfigError {
            path: self.key.clone(),
            line: self.place.map(|(line, _)| line),
            column: self.place.map(|(_, column)| column),
            message: message.into(),
        }
    }

    /// Finds its line in the text of the config.
    pub(super) fn locate(&mut self, text: &str) {
        self.place = locate(text, &self.steps);
    }

    /// A path that is not absolute begins in this folder.
    pub(super) fn begin_in(&mut self, folder: &Path) {
        self.path = folder.join(&self.path);
    }
}
