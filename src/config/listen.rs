//! The keys of a listener.

use std::net::SocketAddr;

use super::networks::{networks, proxy_protocol};
use super::raw::{Node, Section};
use super::read::{CONNECTIONS_MAX, address, all};
use super::{CertificateConfig, ListenConfig, ListenTls, TlsMode};

pub(super) fn listener(
    node: &Node<'_>,
    taken: &mut Vec<(SocketAddr, String)>,
) -> Option<ListenConfig> {
    let mut section = node.section();
    let node = section.required("address", "write address: host:port, e.g. 0.0.0.0:3333");
    let tls = match section.get("tls") {
        Some(node) => tls(&node).map(Some),
        None => Some(None),
    };
    let connections_max = section.number("connections_max", 0, 0..=CONNECTIONS_MAX);
    let trusted = proxy_protocol(section.get("proxy_protocol"));
    let allow = section.get("allow").map(|node| networks(&node));
    let deny = section.get("deny").map(|node| networks(&node));
    section.finish(&[]);

    let address = address(&node?, taken)?;
    Some(ListenConfig {
        address,
        connections_max,
        trusted,
        allow,
        deny: deny.unwrap_or_default(),
        tls: tls?,
    })
}

/// TLS of a listener, or of none where it has a mistake, which was noted.
fn tls(node: &Node<'_>) -> Option<ListenTls> {
    const MODES: [(&str, TlsMode); 2] = [("required", TlsMode::Required), ("auto", TlsMode::Auto)];
    let mut section = node.section();
    let mode = match section.get("mode") {
        Some(node) => node.choice(&MODES, &[]),
        None => Some(TlsMode::Required),
    };
    let first = pair(&mut section);
    let others = match section.get("certificates").map(|node| node.items()) {
        Some(items) => items.and_then(|items| match items.as_slice() {
            // An empty list is as none.
            [] => Some(Vec::new()),
            _ => all(items, |node| {
                let mut section = node.section();
                let pair = pair(&mut section);
                section.finish(&[]);
                pair
            }),
        }),
        None => Some(Vec::new()),
    };
    let client_ca = match section.get("client_ca") {
        Some(node) => {
            if mode == Some(TlsMode::Auto) {
                node.mistake(CA_WITH_AUTO);
            }
            node.file(CA_WANTED).map(Some)
        }
        None => Some(None),
    };
    section.finish(&[]);
    let mut certificates = vec![first?];
    certificates.extend(others?);
    Some(ListenTls {
        mode: mode?,
        certificates,
        client_ca: client_ca?,
    })
}

fn pair(section: &mut Section<'_>) -> Option<CertificateConfig> {
    let certificate = section.required("certificate", CERTIFICATE_WANTED);
    let certificate = certificate.and_then(|node| node.file(CERTIFICATE_WANTED));
    let key = section.required("key", KEY_WANTED);
    let key = key.and_then(|node| node.file(KEY_WANTED));
    Some(CertificateConfig {
        certificate: certificate?,
        key: key?,
    })
}

const CERTIFICATE_WANTED: &str = "write the path of a PEM file, e.g. certificate: hall.pem";
const KEY_WANTED: &str = "write the path of a PEM file, e.g. key: hall.key";
const CA_WANTED: &str = "write the path of a PEM file, e.g. client_ca: miners-ca.pem";
const CA_WITH_AUTO: &str = "with mode: auto plain miners come in without any certificate; write \
    mode: required, and give miners without one a listener of their own, or leave client_ca out";
