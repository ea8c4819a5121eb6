//! A listener with a bounded number of connections, each with a bounded idle time.
//!
//! HTTP is not what the program is for: whatever happens here must not take memory or files from mail.

use crate::clock;
use axum::serve::Listener;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};

/// Accepts no more than [`CONNECTIONS_MAX`] connections at a time; more wait in the system's queue.
pub(super) struct Bounded<L> {
    listener: L,
    places: Arc<Semaphore>,
    idle_max: Duration,
}

impl<L> Bounded<L> {
    pub(super) fn new(listener: L) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), idle_max: IDLE_MAX }
    }

    /// For those who may ask for what takes long, and answer for it themselves if they ask too often.
    pub(super) fn patient(listener: L) -> Self {
        Self { idle_max: PATIENT_IDLE_MAX, ..Self::new(listener) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = BoundedIo<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let permit = Arc::clone(&self.places).acquire_owned().await;
        let (io, address) = self.listener.accept().await;
        // The semaphore is never closed, so there is always a permit.
        let idle_max = self.idle_max;
        let idle = Box::pin(tokio::time::sleep(idle_max));
        (BoundedIo { io, idle, idle_max, _permit: permit.ok() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails to read when nothing moved for its idle time.
pub(super) struct BoundedIo<T> {
    io: T,
    idle: Pin<Box<Sleep>>,
    idle_max: Duration,
    _permit: Option<OwnedSemaphorePermit>,
}

impl<T> BoundedIo<T> {
    pub(super) const fn get(&self) -> &T {
        &self.io
    }

    fn moved(&mut self) {
        let ends = Instant::from_std(clock::steady_now()) + self.idle_max;
        self.idle.as_mut().reset(ends);
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.idle.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for BoundedIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buffer) {
            Poll::Pending => self.poll_idle(cx),
            ready => {
                self.moved();
                ready
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for BoundedIo<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.io).poll_write(cx, octets) {
            Poll::Pending => self.poll_idle(cx).map(|result| result.map(|()| 0)),
            ready => {
                self.moved();
                ready
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Connections at a time on one listener.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may do nothing.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The same where whole archives are walked through before there is an answer.
const PATIENT_IDLE_MAX: Duration = Duration::from_secs(3_600);
