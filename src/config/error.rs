//! What is wrong with a config: every mistake, with its place and its cure.

use std::fmt;

/// One mistake in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The keys that lead there, as `proxies[0].pools[1].url`; empty for the file as a whole.
    pub path: String,
    /// Counted from 1. `None` where the text has no such place, as behind a YAML merge key.
    pub line: Option<usize>,
    /// Counted from 1, in characters.
    pub column: Option<usize>,
    /// What is wrong and what would be right. Never shows a secret.
    pub message: String,
}

impl ConfigError {
    /// A mistake in the file as a whole.
    pub(super) fn of_file(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            line: None,
            column: None,
            message: message.into(),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path says more than a column does, so the column is for syntax errors alone.
        match (self.line, self.column) {
            (Some(line), Some(column)) if self.path.is_empty() => {
                write!(f, "line {line}, column {column}: ")?;
            }
            (Some(line), _) => write!(f, "line {line}: ")?,
            (None, _) => {}
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// All mistakes of a config, in the order of its lines; never empty. Prints one for each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// Sorts by place. What has none comes last.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Self {
        debug_assert!(!errors.is_empty(), "a config without a mistake is a config");
        errors.sort_by_key(|error| (error.line.unwrap_or(usize::MAX), error.column));
        Self(errors)
    }

    /// These, if there is one.
    #[must_use]
    pub fn of(errors: Vec<ConfigError>) -> Option<Self> {
        (!errors.is_empty()).then(|| Self::new(errors))
    }

    /// The mistakes, in the order of their lines.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
