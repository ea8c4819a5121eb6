//! Our side of TLS: the handshake, its failures, and what is read again while the server runs.
//!
//! TLS 1.2 and 1.3 by rustls with *ring* as the only provider. Certificates and client authorities can be read again;
//! connections keep what they began with, and files that do not fit leave the former in force. Sessions can be resumed by
//! tickets, whose keys change every six hours and at each reload; the three ways of asking for client certificates have keys
//! of their own, so that a ticket from where nobody was asked opens nothing where somebody is.

use super::{
    ClientCertificates, Stream, TlsSettings,
    certificate::{CertificateEnd, Certificates, load_chain},
    client_certificate::{Authority, Visitors, shown},
};
use crate::types::ClientCertificate;
use arc_swap::ArcSwap;
use rustls::{
    PeerIncompatible, ServerConfig,
    crypto::ring::{self, Ticketer},
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("find {wanted} in {}: {problem}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What was found.
        problem: String,
    },
    /// The certificate and the key cannot be used together.
    #[error("use {} with the key {}: {problem}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A self-signed certificate cannot be made.
    #[error("make a self-signed certificate: {0}")]
    SelfSigned(String),
    /// No files are named.
    #[error("find a certificate: none is named")]
    NoCertificate,
    /// TLS itself cannot be set up.
    #[error("set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It took longer than [`TlsSettings::timeout_handshake`].
    Timeout,
    /// What came is not TLS.
    NotTls,
    /// The client speaks only versions before 1.2.
    NoCommonVersion,
    /// Client and server have no cipher suite, group or kind of signature in common.
    NothingInCommon,
    /// The client does not like what we showed, most often our certificate.
    ClientRefused,
    /// The connection ended before the handshake did.
    ClientGone,
    /// The client's certificate or its signature is not accepted.
    BadCertificate,
    /// The client showed no certificate where it must.
    NoCertificate,
    /// Something else.
    Other,
}

impl HandshakeFailure {
    /// The name as it stands in log lines and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::NotTls => "not-tls",
            Self::NoCommonVersion => "no-common-version",
            Self::NothingInCommon => "nothing-in-common",
            Self::ClientRefused => "client-refused",
            Self::ClientGone => "client-gone",
            Self::BadCertificate => "bad-certificate",
            Self::NoCertificate => "no-certificate",
            Self::Other => "other",
        }
    }

    fn of(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            Kind::TimedOut => Self::Timeout,
            Kind::UnexpectedEof
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::BrokenPipe
            | Kind::NotConnected => Self::ClientGone,
            _ => Self::Other,
        }
    }

    const fn of_tls(error: &rustls::Error) -> Self {
        use rustls::Error;
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
                // What TLS 1.2 brought, and every client of it sends.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Self::NoCommonVersion,
            Error::PeerIncompatible(_) => Self::NothingInCommon,
            Error::AlertReceived(_) => Self::ClientRefused,
            Error::InvalidCertificate(_) => Self::BadCertificate,
            Error::NoCertificatesPresented => Self::NoCertificate,
            _ => Self::Other,
        }
    }
}

/// A handshake that failed.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct HandshakeError {
    /// Why, in a word.
    pub failure: HandshakeFailure,
    source: io::Error,
}

impl From<io::Error> for HandshakeError {
    fn from(source: io::Error) -> Self {
        Self { failure: HandshakeFailure::of(&source), source }
    }
}

/// Makes TLS of accepted connections.
pub struct TlsServer(ArcSwap<Loaded>);

struct Loaded {
    settings: TlsSettings,
    authority: Option<Authority>,
    first_to_end: Option<CertificateEnd>,
    /// For each way of asking for client certificates.
    configs: [Arc<ServerConfig>; 3],
}

impl TlsServer {
    /// Reads the files, or makes the first pair where the settings say so. Blocks, so call it at start.
    ///
    /// # Errors
    /// The files are missing, unreadable, or do not fit together.
    pub fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(Loaded::new(settings)?)))
    }

    /// Reads the same files again; handshakes that begin from now on use them. Tickets of earlier sessions become void.
    /// Reads a few small files, which is short enough for an event loop at a reload.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; what was read before stays in force as a whole.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.reload_with(self.0.load().settings.clone())
    }

    /// As [`TlsServer::reload`], with new settings.
    ///
    /// # Errors
    /// As [`TlsServer::new`]; the former files and settings stay in force as a whole.
    pub fn reload_with(&self, settings: TlsSettings) -> Result<(), TlsError> {
        self.0.store(Arc::new(Loaded::new(settings)?));
        Ok(())
    }

    /// Does the handshake.
    ///
    /// # Errors
    /// Why it failed; [`HandshakeFailure::Timeout`] after [`TlsSettings::timeout_handshake`].
    pub async fn accept(
        &self,
        stream: TcpStream,
        ask: ClientCertificates,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let (acceptor, wait) = {
            let present = self.0.load();
            let config = &present.configs[place_of(ask)];
            (TlsAcceptor::from(Arc::clone(config)), present.settings.timeout_handshake)
        };
        Ok(handshake_within(wait, acceptor.accept(stream)).await?)
    }

    /// The certificate of ours, or one that vouches for it, that ends first; none if nobody can say.
    #[must_use]
    pub fn first_to_end(&self) -> Option<CertificateEnd> {
        self.0.load().first_to_end.clone()
    }

    /// The certificate that the client showed, if it can be read; with its names if the present authorities vouch for it.
    #[must_use]
    pub fn client_certificate(&self, stream: &Stream) -> Option<ClientCertificate> {
        let chain = stream.peer_certificates()?;
        shown(chain, self.0.load().authority.as_ref())
    }
}

impl Loaded {
    fn new(settings: TlsSettings) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::load(&settings)?);
        let authority = settings.client_ca.as_deref().map(|path| {
            let roots = load_chain(path)?;
            Authority::new(roots, path)
        });
        let authority = authority.transpose()?;
        let config = |ask| config(&certificates, ask, authority.as_ref());
        let configs = [
            config(ClientCertificates::None)?,
            config(ClientCertificates::Optional)?,
            config(ClientCertificates::Required)?,
        ];
        let first_to_end = certificates.first_to_end().cloned();
        Ok(Self { settings, authority, first_to_end, configs })
    }
}

const fn place_of(ask: ClientCertificates) -> usize {
    match ask {
        ClientCertificates::None => 0,
        ClientCertificates::Optional => 1,
        ClientCertificates::Required => 2,
    }
}

fn config(
    certificates: &Arc<Certificates>,
    ask: ClientCertificates,
    authority: Option<&Authority>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match Visitors::new(ask, authority) {
        Some(visitors) => builder.with_client_cert_verifier(Arc::new(visitors)),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates.clone());
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

async fn handshake_within<T>(
    wait: Duration,
    handshake: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(wait, handshake).await.unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long"))
    })
}
