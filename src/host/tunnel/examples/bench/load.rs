//! The near end of the load: plain threads and blocking sockets, one per stream.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::far::{ECHO, POUR, SWALLOW};

#[derive(Clone, Copy)]
pub enum Direction {
    Down,
    Up,
}

/// What to measure.
pub enum Measure {
    /// Bytes per second over all streams; `bytes` is the sum.
    Flow {
        direction: Direction,
        streams: usize,
        bytes: u64,
    },
    /// Connections made, used for one byte and ended, per second.
    Connections { count: usize, at_once: usize },
}

/// Runs one measurement through `proxy`, or without any. MB/s or connections per second.
pub fn run(proxy: Option<SocketAddr>, to: SocketAddr, measure: &Measure) -> Result<f64> {
    match *measure {
        Measure::Flow {
            direction,
            streams,
            bytes,
        } => {
            let each = bytes / streams as u64;
            // All streams are open before the clock starts.
            let mut open = Vec::new();
            for _ in 0..streams {
                open.push(connect(proxy, to)?);
            }
            let start = Instant::now();
            let workers: Vec<_> = open
                .into_iter()
                .map(|stream| thread::spawn(move || flow(stream, direction, each)))
                .collect();
            join(workers)?;
            Ok((each * streams as u64) as f64 / 1e6 / start.elapsed().as_secs_f64())
        }
        Measure::Connections { count, at_once } => {
            let each = count / at_once;
            let start = Instant::now();
            let workers: Vec<_> = (0..at_once)
                .map(|_| {
                    thread::spawn(move || (0..each).try_for_each(|_| touch(connect(proxy, to)?)))
                })
                .collect();
            join(workers)?;
            Ok((each * at_once) as f64 / start.elapsed().as_secs_f64())
        }
    }
}

fn join(workers: Vec<thread::JoinHandle<std::io::Result<()>>>) -> Result<()> {
    for worker in workers {
        worker.join().map_err(|_| "a stream panicked")??;
    }
    Ok(())
}

fn connect(proxy: Option<SocketAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let Some(proxy) = proxy else {
        return TcpStream::connect(to);
    };
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_nodelay(true)?;
    let IpAddr::V4(address) = to.ip() else {
        return Err(std::io::Error::other("the far end has an IPv4 address"));
    };
    let mut hello = vec![5, 1, 0];
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 2])?;
    hello = vec![5, 1, 0, 1];
    hello.extend(address.octets());
    hello.extend(to.port().to_be_bytes());
    stream.write_all(&hello)?;
    let mut reply = [0; 10];
    stream.read_exact(&mut reply)?;
    if reply[1] != 0 {
        return Err(std::io::Error::other(format!(
            "the proxy said {}",
            reply[1]
        )));
    }
    Ok(stream)
}

fn ask(stream: &mut TcpStream, what: u8, bytes: u64) -> std::io::Result<()> {
    let mut head = vec![what];
    head.extend(bytes.to_be_bytes());
    stream.write_all(&head)
}

fn flow(mut stream: TcpStream, direction: Direction, bytes: u64) -> std::io::Result<()> {
    let mut buffer = vec![0xa5; 256 << 10];
    let mut left = bytes;
    match direction {
        Direction::Down => {
            ask(&mut stream, POUR, bytes)?;
            while left > 0 {
                match stream.read(&mut buffer)? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    count => left -= count as u64,
                }
            }
        }
        Direction::Up => {
            ask(&mut stream, SWALLOW, bytes)?;
            while left > 0 {
                let now = left.min(buffer.len() as u64) as usize;
                stream.write_all(&buffer[..now])?;
                left -= now as u64;
            }
            // Counted only when it has arrived.
            stream.read_exact(&mut [0; 1])?;
        }
    }
    Ok(())
}

fn touch(mut stream: TcpStream) -> std::io::Result<()> {
    ask(&mut stream, ECHO, 0)?;
    stream.read_exact(&mut [0; 1])
}
