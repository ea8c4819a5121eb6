//! A connection to a program beside this one.

use crate::types::ServicePlace;
use std::io;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A connection, however it was made.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Connects to a place.
///
/// # Errors
/// If nobody listens there.
pub async fn connect(place: &ServicePlace) -> io::Result<Box<dyn Duplex>> {
    Ok(match place {
        ServicePlace::Unix(path) => Box::new(UnixStream::connect(path).await?),
        ServicePlace::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}
