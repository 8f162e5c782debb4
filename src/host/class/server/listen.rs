//! Connections: how many, how slow, how large a head; and an end.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Class;
use super::answer::Peer;
use super::pulse::{Felt, Pulse};

/// How long a handshake, and the head of a request, may take; an idle connection ends as soon.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection on which nothing moved this long is over. A cut line of a minute is not: TCP
/// tries again within twice the time.
const STILL: Duration = Duration::from_secs(180);
/// Longest head of a request, in bytes; also what one connection may hold back of an answer.
const HEAD: usize = 32 * 1024;
/// Most headers of a request.
const HEADERS: usize = 64;
/// Connections at once, and from one address: a whole class may sit behind one.
const ALL: usize = 1024;
const EACH: usize = 400;
/// How long rows are collected before they are written together.
const GATHER: Duration = Duration::from_millis(500);
/// How long to wait before rows that could not be kept are tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How long requests in flight may take after the end.
const DRAIN: Duration = Duration::from_secs(3);
/// Pause after a failed accept: out of file descriptors, which only time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What every TLS connection begins with: a record of the handshake.
const TLS_RECORD: u8 = 0x16;

/// Serves the class on `listener` until `shutdown`; all rows are kept when this returns true.
pub async fn serve(
    class: Arc<Class>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let connections = TaskTracker::new();
    let writer = tokio::spawn(keep(class.clone()));
    if let Some(commands) = class.commands.clone() {
        connections.spawn(commands.follow(class.stop.clone()));
    }
    let router = class.router();
    let room = Arc::new(Semaphore::new(ALL));
    let from: Arc<Mutex<HashMap<IpAddr, usize>>> = Arc::default();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let address = peer.ip().to_canonical();
        let welcome = class.is_own(address)
            || class
                .inner()
                .connections
                .take(address, Instant::now())
                .is_ok();
        if !welcome {
            continue;
        }
        let (Ok(place), Some(seat)) = (
            room.clone().try_acquire_owned(),
            Seat::take(from.clone(), address),
        ) else {
            continue;
        };
        let (class, router) = (class.clone(), router.clone());
        connections.spawn(async move {
            // A connection that ends badly is its client's affair: there is nobody to tell.
            let _ = connection(stream, address, class, router).await;
            drop((place, seat));
        });
    }
    drop(listener);
    class.stop.cancel();
    connections.close();
    // What takes longer is cut off.
    let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
    // Requests in flight were answered after the writer's last look: what they said is kept, too.
    writer.await.is_ok() && saved(&class).await
}

/// A connection's seat among those of its address.
struct Seat {
    from: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Seat {
    fn take(from: Arc<Mutex<HashMap<IpAddr, usize>>>, address: IpAddr) -> Option<Self> {
        let mut seats = from.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(address).or_insert(0);
        if *taken >= EACH {
            return None;
        }
        *taken += 1;
        drop(seats);
        Some(Self { from, address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.from.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.address) {
            *taken -= 1;
            if *taken == 0 {
                seats.remove(&self.address);
            }
        }
    }
}

type Ended = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn connection(
    stream: TcpStream,
    address: IpAddr,
    class: Arc<Class>,
    router: axum::Router,
) -> Ended {
    stream.set_nodelay(true)?;
    let pulse = Pulse::new();
    let secured = tokio::time::timeout(PATIENCE, secure(stream, &class, &pulse)).await??;
    let Some(stream) = secured else {
        return Ok(());
    };
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(Peer(address));
        request
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(HEAD)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = pulse.stops(STILL) => return Ok(()),
        () = class.stop.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    Ok(serving.await?)
}

/// Does the handshake. A browser that speaks plain HTTP is told so, and then there is no
/// connection.
async fn secure(
    mut stream: TcpStream,
    class: &Class,
    pulse: &Pulse,
) -> std::io::Result<Option<tokio_rustls::server::TlsStream<Felt<TcpStream>>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first[0] != TLS_RECORD {
        let answer = b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\n\
            This is a Cadet class. Its address begins with https.\n";
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // What the client still sends is taken in, so that no reset overtakes the answer.
        let mut rest = (&mut stream).take(HEAD as u64);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    let felt = Felt {
        stream,
        pulse: pulse.clone(),
    };
    let acceptor = TlsAcceptor::from(class.server_config());
    acceptor.accept(felt).await.map(Some)
}

/// Keeps rows as they change, many together; ends after the last ones. True if none is left.
async fn keep(class: Arc<Class>) -> bool {
    loop {
        tokio::select! {
            () = class.dirty.notified() => {}
            () = class.stop.cancelled() => return saved(&class).await,
        }
        let gathered = tokio::time::timeout(GATHER, class.stop.cancelled()).await;
        if !saved(&class).await {
            if gathered.is_ok() {
                return saved(&class).await;
            }
            // What could not be kept is tried again, changed or not.
            let _ = tokio::time::timeout(AGAIN, class.stop.cancelled()).await;
            class.dirty.notify_one();
        }
    }
}

async fn saved(class: &Arc<Class>) -> bool {
    let class = class.clone();
    // A panic of the database is one more way of not being kept.
    tokio::task::spawn_blocking(move || class.save())
        .await
        .unwrap_or(false)
}
