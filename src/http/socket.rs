//! The control socket's file: mode 0600 from the first moment, a dead process's socket replaced, a live one's respected.

use std::{
    io,
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
            net::UnixStream,
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixListener;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("listen on {0}: another process answers there")]
    InUse(PathBuf),
    /// Something that is not a socket is there.
    #[error("listen on {0}: a file that is not a socket is there")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("listen on {path}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The bound control socket. Dropping it takes the file away.
#[derive(Debug)]
pub struct ControlSocket {
    path: PathBuf,
    inode: u64,
    listener: Option<UnixListener>,
}

impl ControlSocket {
    /// Binds the socket. Needs a running tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`] if another process answers there, or the system refuses.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        clear_the_way(path)?;
        let wrong = |source| SocketError::Io { path: path.to_owned(), source };
        let listener = bind_private(path).map_err(wrong)?;
        let inode = std::fs::metadata(path).map_err(wrong)?.ino();
        Ok(Self { path: path.to_owned(), inode, listener: Some(listener) })
    }

    /// Takes the listener out; the file stays this value's to remove.
    pub(super) fn take_listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // A later process may have put its own socket there.
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket that nobody answers on.
fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    let wrong = |source| SocketError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(wrong)
        }
        Err(error) => Err(wrong(error)),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// Linux gives the file the mode of the unbound socket (unix(7)), so it is never open to others, not even for a moment
/// and whatever the umask; the check afterwards holds where that is not so.
fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    rustix::fs::fchmod(socket.as_fd(), rustix::fs::Mode::from_raw_mode(MODE))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    if std::fs::metadata(path)?.permissions().mode() & 0o777 != MODE {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into())
}

const MODE: u32 = 0o600;
const BACKLOG: i32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn the_socket_is_private_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = ControlSocket::bind(&path).unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::InUse(_))));
        assert!(path.exists());
        drop(live);
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(ControlSocket::bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
