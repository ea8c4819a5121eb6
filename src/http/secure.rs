//! The API's listener: TCP, with TLS where it is wanted. The handshake belongs to the connection and keeps no other waiting.

use super::bounded::Bounded;
use crate::{
    net::{ClientCertificates, HandshakeError, Listener, TlsServer},
    types::ClientIp,
};
use axum::{extract::connect_info::Connected, serve::IncomingStream};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// A bound address where the API answers.
pub struct ApiListener {
    listener: Listener,
    tls: Option<Arc<TlsServer>>,
}

impl ApiListener {
    /// With `tls` nothing is said without it.
    #[must_use]
    pub const fn new(listener: Listener, tls: Option<Arc<TlsServer>>) -> Self {
        Self { listener, tls }
    }

    pub(super) const fn transport(&self) -> Transport {
        if self.tls.is_some() { Transport::Tls } else { Transport::Plain }
    }
}

/// How what is said reaches a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// Over TLS.
    Tls,
    /// As it is, on a loopback address.
    Plain,
}

impl axum::serve::Listener for ApiListener {
    type Io = ApiStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ApiStream, SocketAddr) {
        let (stream, remote) = self.listener.accept().await;
        let stream = match self.tls.clone() {
            None => ApiStream::Plain(stream),
            Some(tls) => ApiStream::Shaking(Box::pin(async move {
                tls.accept(stream, ClientCertificates::None).await
            })),
        };
        (stream, remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.listener.address())
    }
}

type Handshake = Pin<Box<dyn Future<Output = Result<TlsStream<TcpStream>, HandshakeError>> + Send>>;

/// A connection; with TLS it begins with the handshake, at the first read or write.
pub enum ApiStream {
    /// No TLS.
    Plain(TcpStream),
    /// The handshake is under way.
    Shaking(Handshake),
    /// TLS.
    Secure(Box<TlsStream<TcpStream>>),
    /// The handshake failed, and this was told.
    Broken,
}

/// What both ways of reading and writing have in common.
trait Octets: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Octets for T {}

impl ApiStream {
    /// The stream to read from and write to, once there is one.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut dyn Octets>>> {
        if let Self::Shaking(handshake) = self {
            let shaken = ready!(handshake.as_mut().poll(cx));
            // A future that is ready is not asked again.
            *self = Self::Broken;
            let stream = shaken.map_err(io::Error::other)?;
            *self = Self::Secure(Box::new(stream));
        }
        Poll::Ready(match self {
            Self::Plain(stream) => Ok(Pin::new(stream)),
            Self::Secure(stream) => Ok(Pin::new(stream)),
            Self::Shaking(_) | Self::Broken => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_open(cx))?.poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_open(cx))?.poll_shutdown(cx)
    }
}

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(SocketAddr);

impl Remote {
    pub(super) fn client(self) -> ClientIp {
        ClientIp::new(self.0.ip())
    }
}

impl Connected<IncomingStream<'_, Bounded<ApiListener>>> for Remote {
    fn connect_info(stream: IncomingStream<'_, Bounded<ApiListener>>) -> Self {
        Self(*stream.remote_addr())
    }
}
