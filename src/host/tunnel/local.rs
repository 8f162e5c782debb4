//! The local end of a relayed connection: TCP, or a Unix socket.
//!
//! A relay waits and moves bytes in two steps, so that an idle connection holds no buffer;
//! tokio's two kinds of sockets have the same methods for it, but no trait in common.

use std::io::{self, IoSlice};

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::net::{TcpStream, tcp};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

/// A connection that can be taken apart.
pub(crate) trait Local {
    type Reading: Reading;
    type Writing: Writing;

    fn halves(self) -> (Self::Reading, Self::Writing);
}

/// The half bytes come from.
pub(crate) trait Reading {
    /// Returns when there is something to take, or the end.
    fn await_bytes(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Takes what is there; 0 is the end.
    fn take_bytes(&self, buffer: &mut BytesMut) -> io::Result<usize>;
}

/// The half bytes go to.
pub(crate) trait Writing: AsyncWrite + Unpin {
    /// Returns when something can be given.
    fn await_room(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Gives what is taken without waiting.
    fn give_bytes(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Ends the connection so that nobody takes it for a polite end, as far as its kind
    /// of socket can say that.
    fn break_off(self);
}

impl Local for TcpStream {
    type Reading = tcp::OwnedReadHalf;
    type Writing = tcp::OwnedWriteHalf;

    fn halves(self) -> (Self::Reading, Self::Writing) {
        self.into_split()
    }
}

impl Reading for tcp::OwnedReadHalf {
    async fn await_bytes(&self) -> io::Result<()> {
        self.readable().await
    }

    fn take_bytes(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

impl Writing for tcp::OwnedWriteHalf {
    async fn await_room(&self) -> io::Result<()> {
        self.writable().await
    }

    fn give_bytes(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn break_off(self) {
        // Fails only on a socket that is gone already.
        let _ = self.as_ref().set_zero_linger();
        // Dropping would first say a polite end.
        self.forget();
    }
}

#[cfg(unix)]
impl Local for UnixStream {
    type Reading = unix::OwnedReadHalf;
    type Writing = unix::OwnedWriteHalf;

    fn halves(self) -> (Self::Reading, Self::Writing) {
        self.into_split()
    }
}

#[cfg(unix)]
impl Reading for unix::OwnedReadHalf {
    async fn await_bytes(&self) -> io::Result<()> {
        self.readable().await
    }

    fn take_bytes(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        self.try_read_buf(buffer)
    }
}

#[cfg(unix)]
impl Writing for unix::OwnedWriteHalf {
    async fn await_room(&self) -> io::Result<()> {
        self.writable().await
    }

    fn give_bytes(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.try_write_vectored(slices)
    }

    fn break_off(self) {
        // A Unix socket knows no reset: the other side sees the end come too early.
        self.forget();
    }
}
