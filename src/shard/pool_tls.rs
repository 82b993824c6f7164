//! Reads the files with which pools are believed, and makes of them what their links need.

use std::fmt;
use std::sync::Arc;

use crate::config::{ConfigError, ConfigFile, PoolConfig, PoolTls, PoolUrl, ProxyConfig};
use crate::shard::pool_link::{PoolAccess, Secure};
use crate::tls::Expiry;
use crate::tls::client::{Identity, IdentityError, Pin, TlsClient, Trust};
use crate::tls::roots::{RootSource, Roots, parse_roots};

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
        let Some(trust) = trust(tls, machine.as_ref(), &mut mistakes) else {
            // Its other files are looked at all the same.
            client(tls, Trust::Anybody, &mut mistakes);
            return Err(mistakes);
        };
        secure = client(tls, trust, &mut mistakes).map(|(client, expiry)| Secure {
            client,
            insecure: tls.insecure,
            expiry,
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

/// Whom the config says to believe. `None` where a file is bad.
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

/// What connects to a pool, and until when the certificate is good that it shows.
fn client(
    tls: &PoolTls,
    trust: Trust,
    mistakes: &mut Vec<ConfigError>,
) -> Option<(TlsClient, Option<Expiry>)> {
    let (mut identity, mut expiry) = (None, None);
    if let Some((certificate, key)) = &tls.identity {
        let (certificate_pem, key_pem) = (read(certificate, mistakes), read(key, mistakes));
        let parsed = Identity::parse(&certificate_pem?, &key_pem?)
            .map_err(|error| mistakes.push(identity_mistake(tls, &error)))
            .ok()?;
        expiry = parsed.expiry(&certificate.path);
        identity = Some(parsed);
    }
    let client = TlsClient::new(trust, identity)
        .map_err(|error| mistakes.push(identity_mistake(tls, &error)))
        .ok()?;
    let client = match &tls.server_name {
        None => client,
        // The config has taken it for a host name already.
        Some(name) => client
            .with_server_name(name)
            .map_err(|error| mistakes.push(general(&error)))
            .ok()?,
    };
    Some((client, expiry))
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
    let read = file.read("");
    read.map_err(|mistake| mistakes.push(mistake)).ok()
}
