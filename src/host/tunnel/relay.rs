//! Moving bytes between one local connection and one SSH channel.
//!
//! Each direction ends on its own (half-close): a local end of stream becomes an SSH
//! EOF and the other way round. A connection that breaks is reset, never ended
//! politely, so that nobody takes half a download for a whole one.

use std::io::{self, ErrorKind};

use bytes::BytesMut;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncWriteExt;

use crate::hangup::HangUp;
use crate::local::{Local, Reading, Writing};
use crate::session::Tuning;
use crate::spill::Backlog;
use crate::stats::Stats;

/// Bytes read from the local socket at a time: two full SSH packets.
const READ_SIZE: usize = 64 << 10;

/// How one direction or the whole connection ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// Both sides closed, everything was delivered.
    Closed,
    /// Something broke; the rest must not be trusted.
    Broken,
}

/// Relays until both directions are done.
pub(crate) async fn relay(
    stream: impl Local,
    channel: Channel<Msg>,
    tuning: &Tuning,
    stats: &Stats,
) {
    let _open = stats.connection();
    let (read, mut write) = stream.halves();
    let (incoming, outgoing) = channel.split();
    let outgoing = HangUp::new(outgoing);
    let end = {
        let up = upwards(read, &outgoing, stats);
        let down = downwards(incoming, &mut write, tuning, stats);
        tokio::pin!(up, down);
        let mut up_done = false;
        loop {
            tokio::select! {
                end = &mut down => break end,
                result = &mut up, if !up_done => match result {
                    Ok(()) => up_done = true,
                    Err(_) => break End::Broken,
                },
            }
        }
    };
    if end == End::Broken {
        write.break_off();
    } else {
        outgoing.disarm();
    }
}

/// Local socket to guest, until the local side has no more.
async fn upwards(
    read: impl Reading,
    outgoing: &ChannelWriteHalf<Msg>,
    stats: &Stats,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let broken = || io::Error::from(ErrorKind::BrokenPipe);
    loop {
        // An idle connection holds no buffer: wait first, then make room.
        read.await_bytes().await?;
        buffer.reserve(READ_SIZE);
        match read.take_bytes(&mut buffer) {
            Ok(0) => return outgoing.eof().await.map_err(|_| broken()),
            Ok(count) => {
                // Waits while the guest's window is shut: back-pressure to the local side.
                outgoing
                    .data_bytes(buffer.split().freeze())
                    .await
                    .map_err(|_| broken())?;
                stats.sent(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if buffer.capacity() < READ_SIZE {
            buffer = BytesMut::new();
        }
    }
}

/// Guest to local socket, until the channel is closed and all is delivered.
async fn downwards(
    mut incoming: ChannelReadHalf,
    write: &mut impl Writing,
    tuning: &Tuning,
    stats: &Stats,
) -> End {
    let mut backlog = Backlog::new(
        tuning.memory_per_connection,
        tuning.spill_per_connection,
        tuning.spill_dir.clone(),
    );
    let mut ended = false;
    let mut closed = false;
    loop {
        if backlog.is_empty() {
            if closed {
                return End::Closed;
            }
            // Doing it twice is harmless.
            if ended && write.shutdown().await.is_err() {
                return End::Broken;
            }
        }
        tokio::select! {
            biased;
            ready = write.await_room(), if !backlog.is_empty() => {
                if ready.is_err() || deliver(&mut backlog, write).is_err() {
                    return End::Broken;
                }
            }
            message = incoming.wait(), if !closed && backlog.has_room() => match message {
                Some(ChannelMsg::Data { data }) => {
                    stats.received(data.len());
                    match backlog.push(data) {
                        Ok(spilled) => stats.spilled(spilled),
                        Err(error) => {
                            tracing::warn!(%error, "no room for a slow reader's bytes");
                            return End::Broken;
                        }
                    }
                    // Most often the socket takes it all at once.
                    if deliver(&mut backlog, write).is_err() {
                        return End::Broken;
                    }
                }
                Some(ChannelMsg::Eof) => ended = true,
                Some(ChannelMsg::Close) => {
                    // sshd closes without EOF when the far connection broke.
                    if !ended {
                        return End::Broken;
                    }
                    closed = true;
                }
                Some(_) => {}
                // The session is gone.
                None => return End::Broken,
            },
        }
    }
}

/// Hands the socket what it takes without waiting.
fn deliver(backlog: &mut Backlog, write: &impl Writing) -> io::Result<()> {
    while !backlog.is_empty() {
        let mut slices = Vec::with_capacity(8);
        backlog.slices(&mut slices)?;
        let result = write.give_bytes(&slices);
        drop(slices);
        match result {
            Ok(count) => backlog.advance(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
