//! Until when certificates are good, and what an operator is to hear of it.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// From when to when a chain of certificates is good, in seconds since 1970: each of them, for whoever
/// verifies it looks at all but its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file in which it stands.
    pub path: PathBuf,
    /// Whose certificate runs out first, as it says of itself.
    pub subject: String,
    /// It is good from then on.
    pub not_before: i64,
    /// And until then.
    pub not_after: i64,
}

impl Expiry {
    /// Of what stands in this file, the certificate that is shown first; `None` where that can't be read.
    pub(super) fn of(path: &Path, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let (first, others) = chain.split_first()?;
        let (_, first) = X509Certificate::from_der(first).ok()?;
        let mut expiry = Self {
            path: path.to_owned(),
            subject: name_of(&first),
            not_before: first.validity().not_before.timestamp(),
            not_after: first.validity().not_after.timestamp(),
        };
        for other in others {
            let Ok((_, other)) = X509Certificate::from_der(other) else {
                continue;
            };
            // A root is believed for itself or not at all.
            if other.issuer() == other.subject() {
                continue;
            }
            let validity = other.validity();
            expiry.not_before = expiry.not_before.max(validity.not_before.timestamp());
            if validity.not_after.timestamp() < expiry.not_after {
                expiry.not_after = validity.not_after.timestamp();
                expiry.subject = name_of(&other);
            }
        }
        Some(expiry)
    }

    /// What an operator is to know of it now: that it is not good, or not for long. `then` is what comes of a
    /// certificate that is not good.
    #[must_use]
    pub fn warning(&self, now_unix_seconds: u64, then: &str) -> Option<String> {
        let now = i64::try_from(now_unix_seconds).unwrap_or(i64::MAX);
        let (path, subject) = (self.path.display(), &self.subject);
        if now < self.not_before {
            let date = date(self.not_before);
            return Some(format!(
                "{path}: a certificate in it is good only from {date} on; {then}"
            ));
        }
        let days = (self.not_after - now).div_euclid(SECONDS_PER_DAY);
        let date = date(self.not_after);
        match days {
            ..0 => Some(format!(
                "{path}: the certificate of {subject} EXPIRED on {date}; {then}; renew it, then SIGHUP"
            )),
            0..7 => Some(format!(
                "{path}: the certificate of {subject} EXPIRES IN {days} DAYS, on {date}; renew it, then \
                 SIGHUP"
            )),
            7..30 => Some(format!(
                "{path}: the certificate of {subject} expires in {days} days, on {date}; renew it, then \
                 SIGHUP"
            )),
            _ => None,
        }
    }
}

/// Whose it is, in one line.
fn name_of(certificate: &X509Certificate<'_>) -> String {
    certificate.subject().to_string().escape_debug().to_string()
}

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// A day as people write it, of seconds since 1970.
fn date(unix_seconds: i64) -> String {
    let time = x509_parser::time::ASN1Time::from_timestamp(unix_seconds);
    time.map_or_else(|_| format!("{unix_seconds} s"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    const DAY: i64 = SECONDS_PER_DAY;
    /// 2026-06-01 and 2026-09-01, both 00:00.
    const FROM: i64 = 1_780_272_000;
    const UNTIL: i64 = 1_788_220_800;

    #[test]
    fn an_operator_hears_of_a_certificate_when_it_runs_out_and_before_it_is_good() {
        let expiry = Expiry {
            path: "hall.pem".into(),
            subject: "CN=hall".to_owned(),
            not_before: FROM,
            not_after: UNTIL,
        };
        let at = |time: i64| {
            let time = u64::try_from(time).expect("after 1970");
            expiry.warning(time, "the pool turns us away")
        };
        for (time, text) in [
            (
                FROM - 1,
                Some("is good only from Jun  1 00:00:00 2026 +00:00 on; the pool turns"),
            ),
            (FROM, None),
            (UNTIL - 30 * DAY, None),
            (UNTIL - 30 * DAY + 1, Some("expires in 29 days, on Sep  1")),
            (UNTIL - 7 * DAY, Some("expires in 7 days, on Sep  1")),
            (UNTIL - 7 * DAY + 1, Some("EXPIRES IN 6 DAYS, on Sep  1")),
            (UNTIL - 1, Some("EXPIRES IN 0 DAYS, on Sep  1")),
            (UNTIL, Some("EXPIRES IN 0 DAYS, on Sep  1")),
            (
                UNTIL + 1,
                Some("the certificate of CN=hall EXPIRED on Sep  1"),
            ),
            (UNTIL + 1000 * DAY, Some("; the pool turns us away; renew")),
        ] {
            let told = at(time);
            let days = (time - UNTIL).div_euclid(DAY);
            match text {
                None => assert_eq!(told, None, "{days} days"),
                Some(text) => {
                    let told = told.unwrap_or_else(|| panic!("nothing told at {days} days"));
                    assert!(
                        told.starts_with("hall.pem: ") && told.contains(text),
                        "{told}"
                    );
                }
            }
        }
    }

    fn months(name: &str, from: u8, until: u8) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = rcgen::date_time_ymd(2026, from, 1);
        params.not_after = rcgen::date_time_ymd(2026, until, 1);
        params
    }

    fn signer(mut params: CertificateParams) -> CertificateParams {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn read(chain: &[&Certificate]) -> Option<Expiry> {
        let chain: Vec<_> = chain.iter().map(|it| it.der().clone()).collect();
        Expiry::of(Path::new("hall.pem"), &chain)
    }

    #[test]
    fn a_chain_is_good_as_long_as_each_that_is_verified() {
        let [root_key, between_key, key] = [(); 3].map(|()| KeyPair::generate().expect("a key"));
        let root_params = signer(months("root", 1, 2));
        let root = root_params.self_signed(&root_key).expect("a certificate");
        let root_issuer = Issuer::new(root_params, root_key);
        let between_params = signer(months("between", 6, 9));
        let between = between_params.signed_by(&between_key, &root_issuer);
        let between = between.expect("a certificate");
        let issuer = Issuer::new(between_params, between_key);
        let leaf = months("leaf", 5, 12).signed_by(&key, &issuer);
        let leaf = leaf.expect("a certificate");

        let whole = read(&[&leaf, &between, &root]).expect("good");
        assert_eq!((whole.not_before, whole.not_after), (FROM, UNTIL));
        assert_eq!(whole.subject, "CN=between");
        let alone = read(&[&leaf]).expect("good");
        assert!(alone.not_before < FROM && alone.not_after > UNTIL);
        assert_eq!(alone.subject, "CN=leaf");
        let of_root = read(&[&root]).expect("good");
        assert!(of_root.not_after < FROM, "one that stands for itself");
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn one_that_cannot_be_read_is_none_and_behind_another_passed_over() {
        let key = KeyPair::generate().expect("a key");
        let good = months("a", 6, 9).self_signed(&key).expect("a certificate");
        let rubbish = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
        let path = Path::new("hall.pem");
        assert_eq!(Expiry::of(path, std::slice::from_ref(&rubbish)), None);
        let read = Expiry::of(path, &[good.der().clone(), rubbish]).expect("read");
        assert_eq!((read.not_before, read.not_after), (FROM, UNTIL));
    }
}
