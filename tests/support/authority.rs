//! A certificate authority for next hops: certificates that are right, and such as must not be believed.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring::default_provider};
use rustls_pki_types::PrivateKeyDer;
use std::{
    io::{Read, Write},
    path::Path,
    sync::Arc,
};
use tempfile::NamedTempFile;

/// What a next hop shows in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// Valid for [`HOP_NAME`].
    Right,
    /// It was valid until 2020.
    Expired,
    /// Valid for another name.
    WrongName,
    /// Of an authority that nobody knows.
    Stranger,
}

/// The name for which the right certificate is valid.
pub(crate) const HOP_NAME: &str = "hop.example";

/// An authority, and another that nobody has heard of.
pub(crate) struct Authority {
    known: CertifiedIssuer<'static, KeyPair>,
    unknown: CertifiedIssuer<'static, KeyPair>,
    file: NamedTempFile,
}

impl Authority {
    /// Makes both.
    pub(crate) fn new() -> Self {
        let (known, unknown) = (issuer(), issuer());
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(known.pem().as_bytes()).unwrap();
        Self { known, unknown, file }
    }

    /// The file that makes a gate believe it.
    pub(crate) fn file(&self) -> &Path {
        self.file.path()
    }

    /// TLS over `stream` as the server that shows this certificate; the handshake happens at the first read or write.
    pub(crate) fn serve<S: Read + Write>(
        &self,
        shown: Certificate,
        stream: S,
    ) -> StreamOwned<ServerConnection, S> {
        let name = if shown == Certificate::WrongName { "other.example" } else { HOP_NAME };
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if shown == Certificate::Expired {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let signer = if shown == Certificate::Stranger { &self.unknown } else { &self.known };
        let certificate = params.signed_by(&key, signer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), stream)
    }
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}
