//! Ports of the loopback address for programs that must be told where to listen.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

/// An address that nobody listens on now and that this process has not handed out before.
///
/// Its port is below the range from which the system takes ports for outgoing connections, so that it is still free when
/// a server comes back to it after a crash.
pub(crate) fn free_port() -> SocketAddr {
    // Two test processes begin at different places.
    let offset = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + (offset + step) % COUNT));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Listens there. A program that another test starts just now may hold what this process had open for a moment longer, so a port
/// that was looked at, or given up, is tried again for a while.
pub(crate) fn listen(address: SocketAddr) -> TcpListener {
    let mut tries = 0;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) if tries == TRIES_MAX => panic!("cannot listen on {address}: {error}"),
            Err(_) => tries += 1,
        }
        thread::sleep(Duration::from_millis(10));
    }
}

static NEXT: AtomicU16 = AtomicU16::new(0);
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
const TRIES_MAX: u32 = 500;
