//! The control API's socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::UnixListener;

/// Owner and group may use the API.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody listens there.
    #[error("{}: another daemon listens here; give this one another [api] socket", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{}: there is a file that is no socket; remove it or choose another [api] socket", .0.display())]
    NoSocket(PathBuf),
    /// The system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A listening socket; its file is removed when it is dropped.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. What a daemon that was killed left there is replaced.
    ///
    /// # Errors
    /// When another daemon listens there, or the path cannot be used.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |error| SocketError::Io { path: path.to_owned(), error };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let socket = Self { path: path.to_owned() };
        std::fs::set_permissions(path, PermissionsExt::from_mode(MODE)).map_err(failed)?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nothing can be done about a failure; the next start replaces the file.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub/hostd.sock");
        let (socket, listener) = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(Socket::bind(&path), Err(SocketError::InUse(_))));
        // As after a kill: the file stays, nobody listens.
        drop(listener);
        std::mem::forget(socket);
        let (socket, _listener) = Socket::bind(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "").unwrap();
        assert!(matches!(Socket::bind(&path), Err(SocketError::NoSocket(_))));
    }
}
