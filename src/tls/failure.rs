//! Why a TLS connection failed, as logs and metrics call it.

use rustls::{CertificateError, Error, PeerIncompatible};

/// What ended a miner's TLS connection other than its wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum TlsFailure {
    /// The first bytes are no `ClientHello`.
    NotTls,
    /// No `ClientHello` is so long.
    HelloTooLong,
    /// It was not done in time.
    TimedOut,
    /// Others waited for its place among the handshakes, and it had kept that for long.
    MadeRoom,
    /// The peer closed or reset the connection during the handshake.
    PeerLeft,
    /// The peer shares no version, cipher or signature with us; old firmware, as a rule.
    Incompatible,
    /// `client_ca` is set and the peer has no certificate.
    NoClientCertificate,
    /// The peer's certificate is not good.
    BadClientCertificate,
    /// The peer said with an alert that it does not want ours.
    PeerAlert,
    /// Records that can't be decrypted, or messages out of their order.
    Protocol,
}

impl TlsFailure {
    /// Each as a word, in the order of the variants.
    pub const REASONS: [&'static str; 10] = [
        "not_tls",
        "hello_too_long",
        "timed_out",
        "made_room",
        "peer_left",
        "incompatible",
        "no_client_certificate",
        "bad_client_certificate",
        "peer_alert",
        "protocol",
    ];

    /// The word for it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        Self::REASONS[self as usize]
    }

    /// What rustls found.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoClientCertificate,
            Error::InvalidCertificate(CertificateError::BadEncoding) => Self::BadClientCertificate,
            Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_) => {
                Self::BadClientCertificate
            }
            Error::PeerIncompatible(
                PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon,
            ) => Self::BadClientCertificate,
            Error::PeerIncompatible(_) => Self::Incompatible,
            Error::AlertReceived(_) => Self::PeerAlert,
            _ => Self::Protocol,
        }
    }
}
