//! Names of the world outside: asked of this machine's own servers, over UDP and, if the answer
//! is too long, over TCP.
//!
//! A server that sends our questions back to us would make one question go round for ever. So
//! each is sent a question nobody else asks when it is first seen; if that arrives here, the
//! server is left out, and asked now and then whether it still does so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use domain::base::Message;
use domain::base::iana::{Rcode, Rtype};
use domain::base::name::{Name, ToName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::cache::{Cache, Fetched, Key};
use crate::message::{self, Flags};
use crate::resolvers;

/// How long a server has for one answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a question is asked before we give up: together just less than the five seconds
/// after which a client asks again.
const ATTEMPTS: usize = 3;
/// How often at most the list of servers is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Between two questions whether a server that was left out still sends them back.
const AGAIN: Duration = Duration::from_secs(60);
/// Questions under way at once; CoreDNS's figure in the manifests clusters are made with.
const MOST: usize = 1000;

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    #[error("this machine names no DNS server in {0}")]
    NoServers(PathBuf),
    #[error("{MOST} questions are under way already")]
    Busy,
    #[error("no DNS server answered; {server}: {source}")]
    Silent {
        server: SocketAddr,
        source: std::io::Error,
    },
}

/// What is asked of others.
#[derive(Debug, Clone)]
pub struct Outside {
    /// As the client wrote it: its capitals come back.
    pub name: Name<Vec<u8>>,
    pub rtype: Rtype,
    pub flags: Flags,
}

#[derive(Debug, Default)]
struct Servers {
    list: Vec<SocketAddr>,
    /// Names whose questions must not come back, and who was asked.
    probes: Vec<(String, SocketAddr)>,
    /// Those who sent one back, and when that was last seen or asked.
    mirrors: Vec<(SocketAddr, Instant)>,
    written: Option<SystemTime>,
    looked: Option<Instant>,
}

/// See the file's head.
#[derive(Debug)]
pub struct Forwarder {
    file: PathBuf,
    own: Vec<SocketAddr>,
    servers: Arc<Mutex<Servers>>,
    /// Which server answered last.
    first: AtomicUsize,
    cache: Mutex<Cache>,
    room: Semaphore,
}

impl Forwarder {
    /// Asks the servers named in `file`, but none of our `own` doors.
    #[must_use]
    pub fn new(file: PathBuf, own: Vec<SocketAddr>) -> Forwarder {
        Forwarder {
            file,
            own,
            servers: Arc::default(),
            first: AtomicUsize::new(0),
            cache: Mutex::default(),
            room: Semaphore::new(MOST),
        }
    }

    /// An answer of this machine's servers, perhaps one they gave a moment ago.
    ///
    /// # Errors
    /// [`Unresolved`].
    pub async fn resolve(&self, outside: &Outside) -> Result<Arc<Fetched>, Unresolved> {
        let servers = self.servers();
        let key = Key {
            name: outside.name.to_canonical_name::<Vec<u8>>().into_octets(),
            rtype: outside.rtype,
            flags: outside.flags,
        };
        if let Some(kept) = lock(&self.cache).get(&key, Instant::now()) {
            return Ok(kept);
        }
        let _place = self.room.try_acquire().map_err(|_| Unresolved::Busy)?;
        let message = self.ask(&servers, outside).await?;
        let life = message::life(message.for_slice());
        let fetched = Arc::new(Fetched {
            message: message.into_octets(),
            at: Instant::now(),
        });
        if let Some(life) = life {
            lock(&self.cache).put(key, Arc::clone(&fetched), life);
        }
        Ok(fetched)
    }

    async fn ask(
        &self,
        servers: &[SocketAddr],
        outside: &Outside,
    ) -> Result<Message<Vec<u8>>, Unresolved> {
        let none = || Unresolved::NoServers(self.file.clone());
        let first = self.first.load(Ordering::Relaxed);
        let mut failed = None;
        let mut refusal = None;
        let mut flags = outside.flags;
        for attempt in 0..ATTEMPTS {
            let n = (first + attempt) % servers.len().max(1);
            let server = *servers.get(n).ok_or_else(none)?;
            let asking = exchange(server, outside, flags);
            let answered = match tokio::time::timeout(PATIENCE, asking).await {
                Ok(answered) => answered,
                Err(elapsed) => Err(elapsed.into()),
            };
            match answered {
                Ok(message) => match message.header().rcode() {
                    Rcode::FORMERR | Rcode::NOTIMP if flags.edns => {
                        // A server from before EDNS.
                        flags.edns = false;
                        refusal = Some(message);
                    }
                    Rcode::SERVFAIL | Rcode::REFUSED => refusal = Some(message),
                    _ => {
                        self.first.store(n, Ordering::Relaxed);
                        return Ok(message);
                    }
                },
                Err(source) => {
                    tracing::debug!(%server, error = %source, "no answer");
                    failed = Some(Unresolved::Silent { server, source });
                }
            }
        }
        // Another server's words are worth more than that one was silent.
        refusal.ok_or_else(|| failed.unwrap_or_else(none))
    }

    /// The servers to ask. Looks whether the file was written, which costs one system call, when
    /// somebody asks and never else.
    fn servers(&self) -> Vec<SocketAddr> {
        let mut servers = lock(&self.servers);
        let now = Instant::now();
        let looked_lately = servers
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < LOOK);
        if !looked_lately {
            servers.looked = Some(now);
            let written = std::fs::metadata(&self.file)
                .and_then(|m| m.modified())
                .ok();
            if written != servers.written || servers.list.is_empty() {
                servers.written = written;
                self.read(&mut servers);
            }
            self.try_mirrors(&mut servers, now);
        }
        servers.list.clone()
    }

    fn read(&self, servers: &mut Servers) {
        let text = match std::fs::read_to_string(&self.file) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "cannot read which DNS servers to ask");
                return;
            }
        };
        let mut list = resolvers::read(&text, &self.own);
        let before = std::mem::take(&mut servers.list);
        servers.probes.retain(|(_, server)| list.contains(server));
        servers.mirrors.retain(|(server, _)| list.contains(server));
        let mirrors = &servers.mirrors;
        list.retain(|server| mirrors.iter().all(|(mirror, _)| mirror != server));
        for server in &list {
            if !before.contains(server) {
                tracing::info!(%server, "names outside the cluster are asked of this server");
                // The answer does not matter, only whether the question comes to us.
                if let Some(probe) = Probe::new(servers, *server) {
                    tokio::spawn(probe.ask());
                }
            }
        }
        if list != before {
            lock(&self.cache).clear();
        }
        servers.list = list;
    }

    /// Asks those left out for long whether they have changed. Whoever answers without asking us
    /// is as good as new.
    fn try_mirrors(&self, servers: &mut Servers, now: Instant) {
        let mut due = Vec::new();
        for (server, since) in &mut servers.mirrors {
            if now.saturating_duration_since(*since) >= AGAIN {
                *since = now;
                due.push(*server);
            }
        }
        for server in due {
            let Some(probe) = Probe::new(servers, server) else {
                continue;
            };
            let servers = Arc::clone(&self.servers);
            tokio::spawn(async move {
                if !probe.ask().await {
                    return;
                }
                let mut servers = lock(&servers);
                let before = servers.mirrors.len();
                // Found out again, it has another time.
                servers.mirrors.retain(|mirror| *mirror != (server, now));
                if servers.mirrors.len() < before {
                    // So that its line is read anew.
                    servers.written = None;
                }
            });
        }
    }

    /// Whether a question is one of ours that came back; its server is not asked again.
    pub fn is_mirrored(&self, name: &str, rtype: Rtype) -> bool {
        if rtype != Rtype::HINFO {
            return false;
        }
        let mut servers = lock(&self.servers);
        let mut probes = servers.probes.iter();
        let Some(server) = probes.find(|(probe, _)| probe == name).map(|(_, s)| *s) else {
            return false;
        };
        let now = Instant::now();
        let known = servers.mirrors.iter();
        if let Some(at) = known
            .map(|(known, _)| *known)
            .position(|known| known == server)
        {
            servers.mirrors[at].1 = now;
        } else {
            tracing::error!(%server, file = %self.file.display(),
                "this DNS server sends our own questions back to us and is left out; it must not name the cluster's DNS server as its own");
            servers.mirrors.push((server, now));
            servers.list.retain(|other| *other != server);
        }
        true
    }
}

/// A question that nobody else asks.
struct Probe {
    server: SocketAddr,
    outside: Outside,
}

impl Probe {
    fn new(servers: &mut Servers, server: SocketAddr) -> Option<Self> {
        let text = format!("{:016x}.{:016x}", random(), random());
        let name = message::name(&text)?;
        servers.probes.retain(|(_, other)| *other != server);
        servers.probes.push((text, server));
        let flags = Flags {
            edns: false,
            dnssec_ok: false,
            checking_disabled: false,
        };
        let outside = Outside {
            name,
            rtype: Rtype::HINFO,
            flags,
        };
        Some(Self { server, outside })
    }

    /// Asks, and tells whether there was an answer.
    async fn ask(self) -> bool {
        let Self { server, outside } = self;
        let asking = exchange(server, &outside, outside.flags);
        let answered = tokio::time::timeout(PATIENCE, asking).await;
        let answered = matches!(answered, Ok(Ok(_)));
        tracing::debug!(%server, answered, "probed");
        answered
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What they guard is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the kernel; without it, from the clock, which is still better than a constant.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.map_or(0, |now| u64::from(now.subsec_nanos()) << 20)
    })
}

/// One question to one server.
async fn exchange(
    server: SocketAddr,
    outside: &Outside,
    flags: Flags,
) -> std::io::Result<Message<Vec<u8>>> {
    // A port of its own for every question: an answer must guess port, id and name.
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let [low, high, ..] = random().to_le_bytes();
    let packet = message::question(
        u16::from_le_bytes([low, high]),
        &outside.name,
        outside.rtype,
        flags,
    );
    socket.send(&packet).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = answer_to(&packet, &buffer[..length]) {
            if answer.header().tc() {
                return over_tcp(server, &packet).await;
            }
            return Ok(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, packet: &[u8]) -> std::io::Result<Message<Vec<u8>>> {
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = Vec::with_capacity(packet.len() + 2);
    framed.extend(
        u16::try_from(packet.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    framed.extend(packet);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    let wrong = || std::io::Error::other("an answer to another question");
    answer_to(packet, &answer).ok_or_else(wrong)
}

fn answer_to(packet: &[u8], bytes: &[u8]) -> Option<Message<Vec<u8>>> {
    let asked = Message::from_slice(packet).ok()?;
    let answer = Message::from_octets(bytes.to_vec()).ok()?;
    // A server that could not read the question may leave it out.
    let unread = answer.header_counts().qdcount() == 0
        && answer.header().qr()
        && answer.header().id() == asked.header().id()
        && answer.is_error();
    (answer.is_answer(asked) || unread).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that has an empty answer for everything.
    async fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut packet = [0; 512];
            while let Ok((length, client)) = socket.recv_from(&mut packet).await {
                // The bit that makes an answer of a question (RFC 1035, 4.1.1).
                packet[2] |= 0x80;
                socket.send_to(&packet[..length], client).await.unwrap();
            }
        });
        address
    }

    #[tokio::test]
    async fn a_mirror_that_is_one_no_longer_is_asked_again() {
        let server = server().await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let line = format!("nameserver [{}]:{}\n", server.ip(), server.port());
        std::fs::write(&file, line).unwrap();
        let forwarder = Forwarder::new(file, Vec::new());
        assert_eq!(forwarder.servers(), [server]);

        let probe = lock(&forwarder.servers).probes[0].0.clone();
        assert!(forwarder.is_mirrored(&probe, Rtype::HINFO));
        let look = || {
            lock(&forwarder.servers).looked = None;
            forwarder.servers()
        };
        assert!(look().is_empty());

        lock(&forwarder.servers).mirrors[0].1 -= AGAIN;
        let back = async {
            while look().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(AGAIN, back).await.unwrap();
        assert!(lock(&forwarder.servers).mirrors.is_empty());
    }
}
