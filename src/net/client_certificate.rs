//! The certificates that clients show: asked for, checked, and read as evidence.
//!
//! A client that shows a certificate for no reason must still be able to send, so where certificates are optional any is
//! taken, expired or from an unknown authority; all that the handshake proves then is that the client holds its key. What a
//! certificate is worth is decided by fingerprint, or by name if an authority of ours vouches for it. One that cannot even be
//! read (X.509 version 1, say) proves nothing and is as good as none.

use super::{ClientCertificates, TlsError};
use crate::{
    clock,
    types::{ClientCertificate, Fingerprint},
};
use ring::digest::{SHA256, digest};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use std::{path::Path, sync::Arc, time::Duration};
use webpki::EndEntityCert;

/// The authorities whose client certificates are believed.
#[derive(Debug, Clone)]
pub(super) struct Authority(Arc<dyn ClientCertVerifier>);

impl Authority {
    /// Of these certificates, which stand in `path`.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        path: &Path,
    ) -> Result<Self, TlsError> {
        let wrong = |problem: String| TlsError::Content {
            path: path.to_owned(),
            wanted: "a certificate authority",
            problem,
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        Ok(Self(verifier.build().map_err(|error| wrong(error.to_string()))?))
    }
}

/// Takes the certificates of clients in the handshake.
#[derive(Debug)]
pub(super) struct Visitors {
    ask: ClientCertificates,
    authority: Option<Authority>,
    provider: CryptoProvider,
}

impl Visitors {
    /// None where nobody is asked.
    pub(super) fn new(ask: ClientCertificates, authority: Option<&Authority>) -> Option<Self> {
        let provider = rustls::crypto::ring::default_provider();
        let asks = ask != ClientCertificates::None;
        asks.then(|| Self { ask, authority: authority.cloned(), provider })
    }
}

impl ClientCertVerifier for Visitors {
    fn client_auth_mandatory(&self) -> bool {
        self.ask == ClientCertificates::Required
    }

    /// None are named: a client that chooses by them may have a certificate that is known by its fingerprint.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.ask != ClientCertificates::Required {
            return Ok(ClientCertVerified::assertion());
        }
        match &self.authority {
            Some(authority) => authority.0.verify_client_cert(own, intermediates, now),
            None if is_readable(own) => Ok(ClientCertVerified::assertion()),
            None => Err(CertificateError::BadEncoding.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !is_readable(own) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls12_signature(
            message,
            own,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !is_readable(own) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        verify_tls13_signature(
            message,
            own,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// False of a certificate that proves nothing: its signature is not looked at, and [`shown`] does not see it either.
fn is_readable(certificate: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(certificate).is_ok()
}

/// What the chain that a client showed says of it; none if it cannot be read.
pub(super) fn shown(
    chain: &[CertificateDer<'_>],
    authority: Option<&Authority>,
) -> Option<ClientCertificate> {
    let (own, intermediates) = chain.split_first()?;
    let read = EndEntityCert::try_from(own).ok()?;
    let now = u64::try_from(clock::wall_now().as_millis()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now));
    let vouched = authority
        .is_some_and(|authority| authority.0.verify_client_cert(own, intermediates, now).is_ok());
    let names = read.valid_dns_names().filter(|_| vouched).filter_map(|name| name.parse().ok());
    Some(ClientCertificate {
        certificate: fingerprint(own),
        key: fingerprint(&read.subject_public_key_info()),
        names: names.take(NAMES_MAX).collect(),
    })
}

fn fingerprint(der: &[u8]) -> Fingerprint {
    let mut octets = [0; 32];
    octets.copy_from_slice(digest(&SHA256, der).as_ref());
    Fingerprint::new(octets)
}

/// Host names of one certificate that are looked at.
const NAMES_MAX: usize = 100;
