//! A connection in memory, for the simulation (`tests/sim.rs`): what one end writes the other reads, at the same moment every
//! time that the same seed is played. There is no TLS over it, and the server never makes one.

use bytes::{Buf, BytesMut};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};

/// One end of a connection in memory. Dropping it closes both directions.
#[derive(Debug)]
pub struct Pipe {
    stream: DuplexStream,
    /// What was looked at and not read yet.
    ahead: BytesMut,
    remote: SocketAddr,
}

impl Pipe {
    /// A connection that holds up to `bytes_max` octets on the way in each direction, between these addresses.
    #[must_use]
    pub fn pair(bytes_max: usize, [one, other]: [SocketAddr; 2]) -> (Self, Self) {
        let (first, second) = tokio::io::duplex(bytes_max);
        let end = |stream, remote| Self { stream, ahead: BytesMut::new(), remote };
        (end(first, other), end(second, one))
    }

    /// The other end's address.
    #[must_use]
    pub const fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Waits for octets and copies them without taking them, as recv(2) does with MSG_PEEK.
    pub(super) async fn peek(&mut self, octets: &mut [u8]) -> io::Result<usize> {
        if self.ahead.is_empty() {
            self.ahead.reserve(octets.len());
            self.stream.read_buf(&mut self.ahead).await?;
        }
        let seen = self.ahead.len().min(octets.len());
        octets[..seen].copy_from_slice(&self.ahead[..seen]);
        Ok(seen)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let taken = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..taken]);
        self.ahead.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn what_was_looked_at_is_still_read() {
        let addresses = ["192.0.2.1:1", "192.0.2.2:25"].map(|address| address.parse().unwrap());
        let (mut client, mut server) = Pipe::pair(64, addresses);
        client.write_all(b"PROXY").await.unwrap();
        let mut seen = [0; 3];
        assert_eq!((server.peek(&mut seen).await.unwrap(), &seen), (3, b"PRO"));
        assert_eq!((server.remote(), client.remote()), (addresses[0], addresses[1]));
        client.write_all(b" next").await.unwrap();
        drop(client);
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"PROXY next");
        assert_eq!(server.peek(&mut seen).await.unwrap(), 0);
    }
}
