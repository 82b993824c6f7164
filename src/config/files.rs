//! Files that a config names.
//!
//! A config says where a file is, and whoever reads it finds what is wrong with it. So a [`ConfigFile`]
//! remembers its place in the config, and a mistake that is found later is told like one of the config's own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
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

    /// What stands in it. Where there is no such file, `cure` says how one is come by, behind a semicolon; it
    /// may be empty.
    ///
    /// # Errors
    ///
    /// That it can't be read, is longer than 16 MiB, or is neither a regular file nor a pipe, as a mistake of
    /// the config.
    pub fn read(&self, cure: &str) -> Result<Vec<u8>, ConfigError> {
        read_bounded(&self.path).map_err(|error| {
            let path = self.path.display();
            self.mistake(match error.kind() {
                io::ErrorKind::NotFound => format!("{path}: there is no such file{cure}"),
                io::ErrorKind::PermissionDenied => format!(
                    "{path}: the user of this process may not read it; give it to a group that this user \
                     has (chgrp), and chmod 640"
                ),
                _ => format!("{path}: can't be read: {error}"),
            })
        })
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

/// Longest file that is read, in bytes: 65,536 workers with hashes fit in.
pub(super) const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What stands in a file.
///
/// # Errors
///
/// That it can't be read, is longer than [`FILE_BYTES_MAX`], or is neither a regular file nor a pipe: a
/// device may have no end.
pub(super) fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    // It is looked at before it is opened, which may do something to a device.
    let kind = std::fs::metadata(path)?.file_type();
    if !kind.is_file() && !kind.is_fifo() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    let opened = File::open(path)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("it is longer than {FILE_BYTES_MAX} bytes");
        return Err(io::Error::other(what));
    }
    Ok(bytes)
}
