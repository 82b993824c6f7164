//! Why a TLS connection failed, as logs and metrics call it.

use rustls::{Error, PeerIncompatible};

use super::records::RecordsError;

reasons! {
    /// What ended a miner's TLS connection other than its wish.
    TlsFailure {
        /// The first bytes are no `ClientHello`.
        NotTls = "not_tls",
        /// No `ClientHello` is so long.
        HelloTooLong = "hello_too_long",
        /// It was not done in time.
        TimedOut = "timed_out",
        /// Others waited for its place among the handshakes, and it had kept that for long.
        MadeRoom = "made_room",
        /// The peer closed or reset the connection during the handshake.
        PeerLeft = "peer_left",
        /// The peer shares no version, cipher or signature with us; old firmware, as a rule.
        Incompatible = "incompatible",
        /// `client_ca` is set and the peer has no certificate.
        NoClientCertificate = "no_client_certificate",
        /// The peer's certificate is not good.
        BadClientCertificate = "bad_client_certificate",
        /// The peer said with an alert that it does not want ours.
        PeerAlert = "peer_alert",
        /// Records that can't be decrypted, or messages out of their order.
        Protocol = "protocol",
        /// A session of TLS 1.2 has sent as many records as its keys are good for. Nobody's fault.
        KeysUsedUp = "keys_used_up",
    }
}

impl TlsFailure {
    /// What was found.
    pub(super) fn of(error: &RecordsError) -> Self {
        match error {
            RecordsError::Rustls(error) => Self::of_rustls(error),
            RecordsError::MessageTooLong | RecordsError::NotOpen => Self::Protocol,
            RecordsError::KeysUsedUp => Self::KeysUsedUp,
        }
    }

    fn of_rustls(error: &Error) -> Self {
        match error {
            Error::NoCertificatesPresented => Self::NoClientCertificate,
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
