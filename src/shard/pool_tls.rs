//! Reads the files with which pools are believed, and makes of them what their links need.

use std::fmt;
use std::sync::Arc;

use crate::config::{ConfigError, ConfigFile, PoolConfig, PoolTls, PoolUrl, ProxyConfig};
use crate::shard::pool_link::{PoolAccess, Secure};
use crate::tls::client::{Identity, IdentityError, Pin, TlsClient, Trust};
use crate::tls::roots::{RootSource, Roots, parse_roots};

/// Largest file that is read: a platform's list of roots is a quarter of it.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the files of every pool, and forgets what stands in them.
pub(crate) fn check(config: &ProxyConfig, mistakes: &mut Vec<ConfigError>) {
    for pool in &config.pools {
        if let Some(tls) = tls_of(pool) {
            // The machine's roots can't be wrong, and take a while.
            let trust = trust(tls, None, mistakes);
            client(tls, trust.unwrap_or(Trust::Anybody), mistakes);
        }
    }
}

/// How each pool of a proxy is reached, or every file for it that can't be used, at its place in the config.
/// Logs whose word is taken for who they are.
pub(crate) fn load(config: &ProxyConfig) -> Vec<Result<PoolAccess, Vec<ConfigError>>> {
    let mut machine = None;
    let pools = config.pools.iter();
    pools
        .map(|pool| load_one(&config.name, pool, &mut machine))
        .collect()
}

/// The roots of this machine are looked for once, where a pool needs them.
fn load_one(
    name: &str,
    pool: &PoolConfig,
    machine: &mut Option<Roots>,
) -> Result<PoolAccess, Vec<ConfigError>> {
    let mut mistakes = Vec::new();
    let mut secure = None;
    if let Some(tls) = tls_of(pool) {
        if asks_machine(tls) && machine.is_none() {
            *machine = Some(Roots::find());
        }
        log_trust(name, &pool.url, tls, machine.as_ref());
        let trust = trust(tls, machine.as_ref(), &mut mistakes);
        secure = trust
            .and_then(|trust| client(tls, trust, &mut mistakes))
            .map(|client| Secure {
                client,
                insecure: tls.insecure,
            });
    }
    let header = matches!(
        pool.url,
        PoolUrl::Tcp {
            proxy_header: true,
            ..
        }
    );
    if mistakes.is_empty() {
        Ok(PoolAccess { secure, header })
    } else {
        Err(mistakes)
    }
}

/// Says whose word is taken for who a pool is.
fn log_trust(name: &str, url: &PoolUrl, tls: &PoolTls, machine: Option<&Roots>) {
    let how = match (tls.insecure, tls.pins.as_slice(), &tls.ca, machine) {
        (true, ..) => {
            log::warn!(
                "proxy={name} pool={url}: INSECURE: nobody looks at the pool's certificate (insecure: \
                 true), so whoever can answer in its place gets all shares; write pin_sha256 or ca in its \
                 place"
            );
            return;
        }
        (_, [], None, Some(machine)) => {
            let roots = machine.store.len();
            match machine.source {
                RootSource::Platform => format!("the {roots} roots of this machine"),
                RootSource::Mozilla => {
                    format!("Mozilla's {roots} roots, as this machine has none")
                }
            }
        }
        // The machine was asked.
        (_, [], None, None) => return,
        (_, [], Some(ca), _) => format!("the roots of {}", ca.path.display()),
        (_, pins, None, _) => format!("{} pinned keys", pins.len()),
        (_, pins, Some(ca), _) => {
            let ca = ca.path.display();
            format!("{} pinned keys and the roots of {ca}", pins.len())
        }
    };
    log::info!("proxy={name} pool={url}: TLS, believed by {how}");
}

fn tls_of(pool: &PoolConfig) -> Option<&PoolTls> {
    match &pool.url {
        PoolUrl::Tcp { tls, .. } => tls.as_deref(),
        PoolUrl::Practice(_) => None,
    }
}

/// Whether the roots of this machine decide.
fn asks_machine(tls: &PoolTls) -> bool {
    !tls.insecure && tls.pins.is_empty() && tls.ca.is_none()
}

/// Whom the config says to believe. `None` where a file is bad, or where the machine's roots decide and
/// are not given.
fn trust(tls: &PoolTls, machine: Option<&Roots>, mistakes: &mut Vec<ConfigError>) -> Option<Trust> {
    if tls.insecure {
        return Some(Trust::Anybody);
    }
    let ca = match &tls.ca {
        None => None,
        Some(file) => {
            let pem = read(file, mistakes)?;
            let roots = parse_roots(&pem).map_err(|error| mistakes.push(mistake(file, &error)));
            Some(roots.ok()?)
        }
    };
    if tls.pins.is_empty() {
        let roots = ca.or_else(|| machine.map(|roots| Arc::clone(&roots.store)));
        return roots.map(Trust::Roots);
    }
    let pins = tls.pins.iter().copied().map(Pin).collect();
    Some(Trust::Pins(pins, ca))
}

fn client(tls: &PoolTls, trust: Trust, mistakes: &mut Vec<ConfigError>) -> Option<TlsClient> {
    let identity = match &tls.identity {
        None => None,
        Some((certificate, key)) => {
            let files = (read(certificate, mistakes), read(key, mistakes));
            let (Some(certificate_pem), Some(key_pem)) = files else {
                return None;
            };
            let identity = Identity::parse(&certificate_pem, &key_pem);
            Some(
                identity
                    .map_err(|error| mistakes.push(identity_mistake(tls, &error)))
                    .ok()?,
            )
        }
    };
    let client = TlsClient::new(trust, identity)
        .map_err(|error| mistakes.push(identity_mistake(tls, &error)))
        .ok()?;
    match &tls.server_name {
        None => Some(client),
        // The config has taken it for a host name already.
        Some(name) => client
            .with_server_name(name)
            .map_err(|error| mistakes.push(general(&error)))
            .ok(),
    }
}

fn identity_mistake(tls: &PoolTls, error: &IdentityError) -> ConfigError {
    let files = tls.identity.as_ref();
    match (error, files) {
        (IdentityError::Certificate(text), Some((file, _)))
        | (IdentityError::Key(text), Some((_, file))) => mistake(file, text),
        (error, None) => general(error),
    }
}

/// What no file is to blame for.
fn general(what: &impl fmt::Display) -> ConfigError {
    ConfigError {
        path: String::new(),
        line: None,
        column: None,
        message: format!("TLS to a pool: {what}"),
    }
}

fn mistake(file: &ConfigFile, what: impl fmt::Display) -> ConfigError {
    file.mistake(format!("{} {what}", file.path.display()))
}

fn read(file: &ConfigFile, mistakes: &mut Vec<ConfigError>) -> Option<Vec<u8>> {
    use std::io::Read;
    let read = || {
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(&file.path)?;
        opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > FILE_BYTES_MAX => {
            let what = format!("is longer than {FILE_BYTES_MAX} bytes; it is no such file");
            mistakes.push(mistake(file, what));
            None
        }
        Ok(bytes) => Some(bytes),
        Err(error) => {
            let error: std::io::Error = error;
            mistakes.push(mistake(file, format!("can't be read: {error}")));
            None
        }
    }
}
