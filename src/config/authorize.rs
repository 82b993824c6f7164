//! Who may mine: `authorize`.

use std::path::PathBuf;

use super::raw::Section;

/// Who may mine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizeConfig {
    /// Who decides.
    pub mode: AuthorizeMode,
    /// The file of workers, where the mode needs one. Relative paths begin at the config's directory.
    pub workers_file: Option<PathBuf>,
}

/// Who decides whether a worker may mine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizeMode {
    /// Nobody: each is taken.
    Any,
    /// The workers file.
    Local,
}

const MODES: [(&str, AuthorizeMode); 2] =
    [("any", AuthorizeMode::Any), ("local", AuthorizeMode::Local)];

const FILE_WANTED: &str = "write a path, e.g. workers_file: workers.yaml";

/// Reads the keys below `authorize`.
pub(super) fn authorize(mut section: Section<'_>) -> AuthorizeConfig {
    let mode = section
        .get("mode")
        .and_then(|node| node.choice(&MODES, &["pool"]));
    let mode = mode.unwrap_or(AuthorizeMode::Any);
    let file = section.get("workers_file");
    match (mode, &file) {
        (AuthorizeMode::Local, None) => {
            section.mistake("workers_file", format!("missing; {FILE_WANTED}"));
        }
        (AuthorizeMode::Any, Some(node)) => node.mistake("only for mode: local; leave it out"),
        _ => {}
    }
    let workers_file = file.and_then(|node| {
        let text = node.text(FILE_WANTED)?;
        if text.is_empty() || text.contains('\0') {
            node.mistake(FILE_WANTED);
            return None;
        }
        Some(PathBuf::from(text))
    });
    section.finish(&[]);
    AuthorizeConfig { mode, workers_file }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(dialect: &str, keys: &str) -> Result<AuthorizeConfig, String> {
        let text = format!(
            "proxies:\n  - name: a\n    dialect: {dialect}\n    listen: [ {{ address: \"0.0.0.0:1\" }} ]\n    \
             pools: [ {{ url: \"stratum+tcp://a:1\", worker: w }} ]\n{keys}"
        );
        match Config::load(&text) {
            Ok(mut config) => Ok(config.proxies.remove(0).authorize),
            Err(errors) => Err(errors.to_string()),
        }
    }

    #[test]
    fn a_relative_path_begins_at_the_config() {
        let keys = "    authorize: { mode: local, workers_file: w.yaml }\n";
        let text = format!(
            "proxies:\n  - name: a\n    dialect: monero\n    listen: [ {{ address: \"0.0.0.0:1\" }} ]\n    \
             pools: [ {{ url: \"stratum+tcp://a:1\", worker: w }} ]\n{keys}"
        );
        let mut config = Config::load(&text).unwrap();
        config.resolve_paths(std::path::Path::new("/etc/miners"));
        let file = config.proxies[0].authorize.workers_file.clone();
        assert_eq!(file, Some(PathBuf::from("/etc/miners/w.yaml")));
        assert!(
            config
                .check_files()
                .unwrap_err()
                .contains("/etc/miners/w.yaml: can't be read")
        );
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        for (dialect, keys, wanted) in [
            (
                "equihash",
                "    authorize: { mode: local }\n",
                "authorize.workers_file: missing",
            ),
            (
                "equihash",
                "    authorize: { workers_file: a }\n",
                "authorize.workers_file: only for mode: local",
            ),
            (
                "equihash",
                "    authorize: { mode: all }\n",
                "authorize.mode: \"all\" is unknown; write any or local",
            ),
        ] {
            let errors = load(dialect, keys).unwrap_err();
            assert!(errors.contains(wanted), "{wanted}\n{errors}");
        }
    }
}
