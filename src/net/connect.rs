//! Connections that we make: TCP from a chosen source address, TLS as the client.
//!
//! Speaks no SMTP and keeps no connection; the caller bounds the handshake's time. Names are looked up at each connect, so a
//! changed address record is followed. rustls always runs on the ring provider. Input comes from `deliver`.

use super::Pipe;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Where to connect to.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// A name or an address, an IPv6 one also in brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The address to connect from.
    pub source: Option<IpAddr>,
}

/// Where connections lead to, and where chance comes from: the system, or a simulation that plays both.
#[derive(Clone)]
pub enum Network {
    /// The system's.
    System,
    /// A simulation's (`tests/sim.rs`).
    Simulated(Arc<dyn Simulated>),
}

/// What a simulation puts in the place of the system.
pub trait Simulated: Send + Sync {
    /// Connects to a host.
    fn dial(&self, host: &str, port: u16) -> Dialing;

    /// A number that is different each time.
    fn random(&self) -> u64;
}

/// A connection of a simulation in the making.
pub type Dialing = Pin<Box<dyn Future<Output = io::Result<Pipe>> + Send>>;

impl Network {
    /// See [`connect`].
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(&self, target: Target<'_>, wait: Duration) -> io::Result<ClientStream> {
        match self {
            Self::System => connect(target, wait).await.map(ClientStream::Plain),
            Self::Simulated(simulated) => {
                let dialing = simulated.dial(target.host, target.port);
                let pipe = timeout(wait, dialing).await.map_err(late)??;
                Ok(ClientStream::Memory(Box::new(pipe)))
            }
        }
    }

    /// A number that nobody can foretell, to spread load by.
    ///
    /// # Errors
    /// The system gives none.
    pub fn random(&self) -> Result<u64, getrandom::Error> {
        match self {
            Self::System => getrandom::u64(),
            Self::Simulated(simulated) => Ok(simulated.random()),
        }
    }
}

/// Looks the host up and connects to the first of its addresses that answers, with TCP_NODELAY. The look-up
/// takes at most `wait`, then all addresses together as long again, each an equal share, so that one that is silent does not hide the next.
///
/// # Errors
/// The last address's error, or that there is no address that the source can reach.
pub async fn connect(target: Target<'_>, wait: Duration) -> io::Result<TcpStream> {
    let addresses = timeout(wait, addresses_of(target)).await.map_err(late)??;
    let share = wait / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address of a usable family");
    for address in addresses {
        match timeout(share, connect_to(address, target.source)).await.map_err(late) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) | Err(error) => last = error,
        }
    }
    Err(last)
}

fn late(_: tokio::time::error::Elapsed) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

async fn addresses_of(target: Target<'_>) -> io::Result<Vec<SocketAddr>> {
    let bare = target.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let found = lookup_host((bare.unwrap_or(target.host), target.port)).await?;
    let fits = |address: &SocketAddr| {
        target.source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
    };
    Ok(found.filter(fits).take(ADDRESSES_MAX).collect())
}

async fn connect_to(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whose certificates are believed.
#[derive(Debug, Clone, Copy)]
pub enum Verification<'a> {
    /// Those that the system's authorities signed.
    System,
    /// Those that the authorities in this PEM file signed.
    Authorities(&'a Path),
    /// None: for whoever must have a configuration and has no use for it.
    NoAuthority,
    /// Any: protects against listeners only.
    Nobody,
}

/// Shakes hands as a TLS client. Cheap to clone.
#[derive(Clone)]
pub struct TlsClient(TlsConnector);

impl TlsClient {
    /// Prepares handshakes.
    ///
    /// # Errors
    /// If the authorities cannot be read or there is none among them.
    pub fn new(verification: Verification<'_>) -> Result<Self, TlsClientError> {
        Ok(Self(TlsConnector::from(Arc::new(client_config(verification)?))))
    }

    /// Shakes hands with the server, which must be `name` unless nobody is verified.
    ///
    /// # Errors
    /// If `name` is no server name, or the handshake fails.
    pub async fn handshake(
        &self,
        name: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, stream).await
    }
}

/// What a TLS client is like, for whoever brings a handshake of its own.
///
/// # Errors
/// As [`TlsClient::new`].
pub fn client_config(verification: Verification<'_>) -> Result<ClientConfig, TlsClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match verification {
        Verification::System => builder.with_root_certificates(system_roots()?),
        Verification::Authorities(path) => builder.with_root_certificates(roots_in(path)?),
        Verification::NoAuthority => builder.with_root_certificates(RootCertStore::empty()),
        Verification::Nobody => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        }
    };
    Ok(builder.with_no_client_auth())
}

/// Why TLS cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum TlsClientError {
    /// The file of authorities cannot be read.
    #[error("the authorities in {path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: rustls_pki_types::pem::Error,
    },
    /// There is no authority to believe.
    #[error("there is no certificate authority in {0}")]
    NoAuthority(String),
    /// rustls refuses.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

fn system_roots() -> Result<RootCertStore, TlsClientError> {
    roots_of(rustls_native_certs::load_native_certs().certs, "the system's store")
}

fn roots_in(path: &Path) -> Result<RootCertStore, TlsClientError> {
    let shown = path.display().to_string();
    let unreadable = |source| TlsClientError::Unreadable { path: shown.clone(), source };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable)?;
    roots_of(certificates, &shown)
}

fn roots_of(
    certificates: Vec<CertificateDer<'static>>,
    place: &str,
) -> Result<RootCertStore, TlsClientError> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    if added == 0 { Err(TlsClientError::NoAuthority(place.to_owned())) } else { Ok(roots) }
}

/// Believes any server, for tests of the other side.
#[cfg(test)]
pub(super) fn any_certificate() -> Arc<dyn ServerCertVerifier> {
    Arc::new(AnyCertificate(Arc::new(rustls::crypto::ring::default_provider())))
}

/// Believes any certificate, but still wants the server to hold its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A connection that we made, with or without TLS.
#[derive(Debug)]
pub enum ClientStream {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory, of a simulation.
    Memory(Box<Pipe>),
}

impl ClientStream {
    /// True if it is protected by TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The other end's address.
    ///
    /// # Errors
    /// If the connection is gone.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr(),
            Self::Memory(pipe) => Ok(pipe.remote()),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
            Self::Memory(pipe) => Pin::new(pipe.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, octets),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, octets),
            Self::Memory(pipe) => Pin::new(pipe.as_mut()).poll_write(context, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
            Self::Memory(pipe) => Pin::new(pipe.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            Self::Memory(pipe) => Pin::new(pipe.as_mut()).poll_shutdown(context),
        }
    }
}

/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
