//! An accepted connection, with or without TLS, as one type.
//!
//! A plain stream has no buffers of its own, so that thousands of idle ones cost what their sockets cost; the TLS state is
//! boxed for the same reason. Reading ahead, time-outs and limits are the caller's.

use super::{ClientCertificates, HandshakeError, Pipe, TlsServer};
use rustls::{HandshakeKind, ProtocolVersion, pki_types::CertificateDer};
use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// An accepted connection.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory, of a simulation.
    Memory(Box<Pipe>),
}

/// What was agreed on in a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsFacts<'a> {
    /// `TLSv1.2`, `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The name that the client asked for (RFC 6066 §3).
    pub server_name: Option<&'a str>,
    /// An earlier session was resumed.
    pub resumed: bool,
}

impl Stream {
    /// Does the handshake as the server and returns the connection with TLS.
    ///
    /// # Errors
    /// As [`TlsServer::accept`]; also if there is TLS already (RFC 3207 §4.2 forbids a second STARTTLS).
    pub async fn into_tls(
        self,
        server: &TlsServer,
        ask: ClientCertificates,
    ) -> Result<Self, HandshakeError> {
        match self {
            Self::Plain(stream) => Ok(Self::Tls(Box::new(server.accept(stream, ask).await?))),
            Self::Tls(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "there is TLS already").into())
            }
            Self::Memory(_) => Err(io::Error::from(io::ErrorKind::Unsupported).into()),
        }
    }

    /// The certificate chain that the client showed, if it did.
    pub(super) fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.peer_certificates(),
            Self::Plain(_) | Self::Memory(_) => None,
        }
    }

    /// What was agreed on in the handshake; none without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFacts<'_>> {
        let Self::Tls(stream) = self else { return None };
        let (_, session) = stream.get_ref();
        Some(TlsFacts {
            version: session.protocol_version().map_or("TLS", version_name),
            cipher: session
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            server_name: session.server_name(),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// The other end of the connection.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(stream) => stream.get_ref().0.peer_addr(),
            Self::Memory(pipe) => Ok(pipe.remote()),
        }
    }

    /// Waits for octets and copies them without taking them: for what may come before a handshake.
    ///
    /// # Errors
    /// The connection broke, or there is TLS.
    pub async fn peek(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.peek(octets).await,
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            Self::Memory(pipe) => pipe.peek(octets).await,
        }
    }
}

const fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => "TLS",
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<Pipe> for Stream {
    fn from(pipe: Pipe) -> Self {
        Self::Memory(Box::new(pipe))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Memory(pipe) => Pin::new(pipe).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, octets),
            Self::Memory(pipe) => Pin::new(pipe).poll_write(cx, octets),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Self::Memory(pipe) => Pin::new(pipe).poll_write_vectored(cx, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Memory(pipe) => pipe.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Memory(pipe) => Pin::new(pipe).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Memory(pipe) => Pin::new(pipe).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Listener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_plain_stream_passes_bytes_and_is_small() {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = TcpStream::connect(listener.address()).await.unwrap();
        let mut server = Stream::from(listener.accept().await.0);
        assert!(server.is_write_vectored() && server.tls().is_none());
        client.write_all(b"QUIT\r\n").await.unwrap();
        let mut heard = [0; 6];
        server.read_exact(&mut heard).await.unwrap();
        server.write_all(&heard).await.unwrap();
        server.shutdown().await.unwrap();
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).await.unwrap();
        assert_eq!(echoed, b"QUIT\r\n");
        assert!(size_of::<Stream>() <= 64, "{}", size_of::<Stream>());
    }
}
