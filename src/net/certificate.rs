//! The certificates that we show: read from files, made where there is none, chosen by the name that the client asks for.
//!
//! Never speaks to anybody. A file that is wrong is named, and nothing of its contents is repeated.

use super::{CertificateFiles, TlsError, TlsSettings};
use crate::types::{Domain, Timestamp};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// All certificates by the names in them (RFC 6066 §3, RFC 9525).
#[derive(Debug)]
pub(super) struct Certificates {
    /// The first, and those that share a name with it: what is shown to whoever asks for a name that nobody has, or for none.
    first: Vec<Arc<CertifiedKey>>,
    /// In lower case, with wildcards as they are written.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The one that ends first.
    first_to_end: Option<CertificateEnd>,
}

/// When a certificate ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateEnd {
    /// Its file.
    pub path: PathBuf,
    /// When, in UTC.
    pub not_after: Timestamp,
}

impl Certificates {
    /// Reads all files, or makes the first pair where the settings say so.
    pub(super) fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let (first, others) = settings.certificates.split_first().ok_or(TlsError::NoCertificate)?;
        if let Some(name) = &settings.self_signed_for
            && !first.certificate.exists()
            && !first.key.exists()
        {
            make_self_signed(first, name)?;
        }
        let (own, names) = load_pair(first)?;
        let ends = settings.certificates.iter().filter_map(|files| end_of(&files.certificate));
        let first_to_end = ends.min_by_key(|end| end.not_after);
        let mut all = Self { first: Vec::new(), by_name: HashMap::new(), first_to_end };
        all.add(&own, &names);
        for files in others {
            let (pair, other_names) = load_pair(files)?;
            if other_names.is_empty() {
                return Err(content(&files.certificate, "a host name", &"nobody could ask for it"));
            }
            all.add(&pair, &other_names);
        }
        let shared = names.first().and_then(|name| all.by_name.get(name)).cloned();
        all.first = shared.unwrap_or_else(|| vec![own]);
        Ok(all)
    }

    pub(super) const fn first_to_end(&self) -> Option<&CertificateEnd> {
        self.first_to_end.as_ref()
    }

    fn add(&mut self, pair: &Arc<CertifiedKey>, names: &[String]) {
        for name in names {
            self.by_name.entry(name.clone()).or_default().push(Arc::clone(pair));
        }
    }

    fn named(&self, name: &str) -> &[Arc<CertifiedKey>] {
        let name = name.to_ascii_lowercase();
        let wildcard = || name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        let found = self.by_name.get(&name);
        found.or_else(|| self.by_name.get(&wildcard()?)).unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for Certificates {
    /// The first of the name's certificates whose kind of key the client can check.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = hello.server_name().map_or(self.first.as_slice(), |name| self.named(name));
        let checkable =
            |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        candidates.iter().find(checkable).or(candidates.first()).cloned()
    }
}

/// A certificate with its key, and its host names.
fn load_pair(files: &CertificateFiles) -> Result<(Arc<CertifiedKey>, Vec<String>), TlsError> {
    let chain = load_chain(&files.certificate)?;
    let key = load_key(&files.key)?;
    let names = names_of(&chain);
    let pair = CertifiedKey::from_der(chain, key, &ring::default_provider());
    let pair = pair.map_err(|error| TlsError::Mismatch {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        problem: error.to_string(),
    })?;
    Ok((Arc::new(pair), names))
}

fn names_of(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let own = chain.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
    own.iter().flat_map(|own| own.valid_dns_names()).map(str::to_ascii_lowercase).collect()
}

/// All certificates in a PEM file, at least one.
pub(super) fn load_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wanted = "a certificate";
    let pem = read_pem(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| content(path, wanted, &error))?;
    if chain.is_empty() { Err(content(path, wanted, &"there is none")) } else { Ok(chain) }
}

/// The end of the first certificate in a file, or of one that vouches for it, if that is earlier; none if nobody can say.
fn end_of(path: &Path) -> Option<CertificateEnd> {
    let chain = load_chain(path).ok()?;
    let end = |der: &CertificateDer<'_>| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    };
    let seconds = chain.iter().filter_map(end).min()?;
    let not_after = Timestamp::from_millis(seconds.saturating_mul(1000));
    Some(CertificateEnd { path: path.to_owned(), not_after })
}

fn load_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(&read_pem(path)?)
        .map_err(|error| content(path, "a private key", &error))
}

fn content(path: &Path, wanted: &'static str, problem: &dyn std::fmt::Display) -> TlsError {
    TlsError::Content { path: path.to_owned(), wanted, problem: problem.to_string() }
}

fn read_pem(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.to_owned(), source };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX).read_to_end(&mut pem).map_err(failed)?;
    Ok(pem)
}

/// Writes a key and a certificate for `name`, `localhost` and 127.0.0.1.
pub(super) fn make_self_signed(files: &CertificateFiles, name: &Domain) -> Result<(), TlsError> {
    let problem = |error: rcgen::Error| TlsError::SelfSigned(error.to_string());
    // An address literal goes in as an address.
    let own = name.as_str().trim_matches(['[', ']']);
    let mut names = vec![own, "localhost", "127.0.0.1"];
    names.dedup();
    let names: Vec<String> = names.into_iter().map(String::from).collect();
    let mut params = rcgen::CertificateParams::new(names).map_err(problem)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, name.as_str());
    // Good at any time, because a clock that is wrong today must not make it invalid when the clock is set right. The end is
    // RFC 5280 §4.1.2.5's for "none".
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let key = rcgen::KeyPair::generate().map_err(problem)?;
    let certificate = params.self_signed(&key).map_err(problem)?;
    write_new(&files.key, &key.serialize_pem(), 0o600)?;
    // A key without a certificate would be in the way at the next start.
    write_new(&files.certificate, &certificate.pem(), 0o644)
        .inspect_err(|_| drop(fs::remove_file(&files.key)))
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let failed = |source| TlsError::Write { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })
    .map_err(failed)
}

/// More than any chain or bundle of authorities; what comes after is not looked at.
const PEM_BYTES_MAX: u64 = 1024 * 1024;
