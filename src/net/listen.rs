//! TCP listeners.
//!
//! An address is bound with SO_REUSEADDR, so that a restart need not wait for old connections to fade, and never with
//! SO_REUSEPORT, so that two servers cannot share a port unnoticed. `[::]` is IPv6 only: a second listener on `0.0.0.0` is
//! said, not implied, and IPv4 clients never appear as mapped addresses. Accepting goes on whatever happens to one
//! connection, and waits where the process has run out of descriptors.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::net::{TcpListener, TcpStream};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// Since it was last asked after, accepting failed for want of something of ours.
    has_failed: AtomicBool,
}

impl Listener {
    /// Binds an address; port 0 takes a free one. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The address is in use, not ours, or needs a privilege.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError { address, source };
        let socket = bind_socket(address).and_then(TcpListener::from_std).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        Ok(Self { socket, address, has_failed: AtomicBool::new(false) })
    }

    /// The bound address, with the port that was taken.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// False if accepting failed, for want of descriptors or memory, since this was last asked. While that goes on it is tried at
    /// least once a second.
    pub fn has_accepted(&self) -> bool {
        !self.has_failed.swap(false, Ordering::Relaxed)
    }

    /// Waits for the next connection. May be dropped while it waits without losing one.
    pub async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut wait = WAIT_MIN;
        loop {
            match self.socket.accept().await {
                Ok((stream, remote)) => {
                    // Answers are short and must not wait for more; a socket that refuses is slow, not broken.
                    let _ = stream.set_nodelay(true);
                    let _ = watch_over(&stream);
                    return (stream, remote);
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    self.has_failed.store(true, Ordering::Relaxed);
                    tracing::warn!(listener = %self.address, %error, "cannot accept");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(WAIT_MAX);
                }
            }
        }
    }
}

/// Lets the system end a connection whose other end has vanished, or takes in nothing of what we say.
fn watch_over(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(UNANSWERED_TIME_MAX))
}

fn bind_socket(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// True of errors of a connection that ended before it was accepted; accept(2) says to treat them as "try again".
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::WouldBlock
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    ) || error.raw_os_error() == Some(rustix::io::Errno::PROTO.raw_os_error())
}

/// Connections that may wait to be accepted; the kernel's `net.core.somaxconn` may lower it.
const BACKLOG: i32 = 4096;
/// A connection on which nothing was said for so long is asked whether it is still there …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// … and again so often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long the other end may leave probes or octets of ours unacknowledged (TCP_USER_TIMEOUT, tcp(7)).
const UNANSWERED_TIME_MAX: Duration = Duration::from_secs(180);
/// The first wait after running out of descriptors or memory; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    fn bind(address: &str) -> Result<Listener, ListenError> {
        Listener::bind(address.parse().unwrap())
    }

    #[tokio::test]
    async fn connections_are_accepted_without_delay_of_small_writes() {
        let listener = bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.address()).await.unwrap();
        let (stream, remote) = listener.accept().await;
        assert_eq!(remote, client.local_addr().unwrap());
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNANSWERED_TIME_MAX));
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_AFTER);
    }

    #[tokio::test]
    async fn an_address_is_listened_on_once_and_the_error_names_it() {
        let first = bind("127.0.0.1:0").unwrap();
        let error = Listener::bind(first.address()).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(error.to_string(), format!("listen on {}", first.address()));
    }

    #[tokio::test]
    async fn an_address_is_free_again_at_once() {
        let listener = bind("127.0.0.1:0").unwrap();
        let address = listener.address();
        let client = TcpStream::connect(address).await.unwrap();
        let accepted = listener.accept().await;
        drop((accepted, listener));
        assert_eq!(Listener::bind(address).unwrap().address(), address);
        drop(client);
    }

    #[test]
    fn only_the_lack_of_something_of_ours_makes_accept_wait() {
        for (errno, one) in [
            (Errno::CONNABORTED, true),
            (Errno::PROTO, true),
            (Errno::INTR, true),
            (Errno::HOSTUNREACH, true),
            (Errno::MFILE, false),
            (Errno::NFILE, false),
            (Errno::NOBUFS, false),
            (Errno::NOMEM, false),
        ] {
            assert_eq!(concerns_one_connection(&errno.into()), one, "{errno}");
        }
    }
}
