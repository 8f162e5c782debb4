//! A network namespace: a thread that lives in it and does what it is told. The kernel
//! takes the namespace away with the thread.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use tokio::io::AsyncReadExt as _;
use tokio::runtime::Runtime;

/// How long an answer may take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long somebody waits who expects none.
const BRIEF: Duration = Duration::from_millis(400);

type Job = Box<dyn FnOnce(&Runtime) + Send>;

pub struct Space {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// By which `/proc/ID/ns/net` is the namespace.
    pub id: u32,
    /// The next call comes from this port. Each has one of its own: the kernel remembers for a
    /// while where packets from a port went, and sends those of the next caller there as well.
    port: AtomicU16,
}

impl Space {
    pub fn new() -> Self {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make namespaces");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("runtime");
            tell.send(nix::unistd::gettid().as_raw()).expect("told");
            for job in todo {
                job(&runtime);
            }
        });
        let id = told
            .recv()
            .expect("namespace")
            .try_into()
            .expect("positive");
        let space = Space {
            jobs: Some(jobs),
            thread: Some(thread),
            id,
            port: AtomicU16::new(10_000),
        };
        space.sh("ip link set lo up");
        space
    }

    /// Does something inside.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce(&Runtime) -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job: Job = Box::new(move |runtime| {
            tell.send(job(runtime)).expect("told");
        });
        self.jobs.as_ref().expect("alive").send(job).expect("alive");
        told.recv().expect("done")
    }

    /// Runs a shell command inside, which must succeed.
    #[track_caller]
    pub fn sh(&self, command: &str) -> String {
        let line = command.to_owned();
        let output = self.run(move |_| Command::new("sh").arg("-c").arg(line).output());
        let output = output.expect("sh");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Answers on a port, by TCP and UDP, with `name` and the address it sees.
    pub fn serve(&self, name: &'static str, port: u16) {
        self.run(move |_| {
            let tcp = TcpListener::bind(("0.0.0.0", port)).expect("port");
            let udp = UdpSocket::bind(("0.0.0.0", port)).expect("port");
            // Both threads are in the namespace, as is everything started here; they end
            // with the process.
            std::thread::spawn(move || {
                for stream in tcp.incoming().flatten() {
                    let mut stream: TcpStream = stream;
                    let Ok(peer) = stream.peer_addr() else {
                        continue;
                    };
                    // Whoever is gone already needs no answer.
                    let _ = write!(stream, "{name} {}", peer.ip());
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
                }
            });
        });
    }

    /// Who answers by TCP, and the address it sees.
    pub fn tcp(&self, to: &str) -> std::io::Result<Answer> {
        self.tcp_within(to, PATIENCE)
    }

    /// As [`Space::tcp`], by who expects no answer.
    pub fn brief_tcp(&self, to: &str) -> std::io::Result<Answer> {
        self.tcp_within(to, BRIEF)
    }

    fn tcp_within(&self, to: &str, patience: Duration) -> std::io::Result<Answer> {
        let to: SocketAddr = to.parse().expect("address");
        let from = self.next_port();
        let talk = async move {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(from)?;
            let mut stream = socket.connect(to).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(Answer::read(&text))
        };
        self.run(move |runtime| {
            let answer = runtime.block_on(async { tokio::time::timeout(patience, talk).await });
            answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        })
    }

    /// Who answers by UDP, and the address it sees.
    pub fn udp(&self, to: &str) -> std::io::Result<Answer> {
        ask(&self.udp_socket(), to)
    }

    /// As [`Space::udp`], by who expects no answer.
    pub fn brief_udp(&self, to: &str) -> std::io::Result<Answer> {
        ask_within(&self.udp_socket(), to, BRIEF)
    }

    /// A UDP client that keeps its port.
    pub fn udp_socket(&self) -> UdpSocket {
        let from = self.next_port();
        self.run(move |_| UdpSocket::bind(from)).expect("socket")
    }

    fn next_port(&self) -> SocketAddr {
        let port = self.port.fetch_add(1, Ordering::Relaxed);
        (std::net::Ipv4Addr::UNSPECIFIED, port).into()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic inside has failed the test already.
            let _ = thread.join();
        }
    }
}

/// Sends and waits for an answer; a socket stays in the namespace it was made in.
pub fn ask(socket: &UdpSocket, to: &str) -> std::io::Result<Answer> {
    ask_within(socket, to, PATIENCE)
}

fn ask_within(socket: &UdpSocket, to: &str, patience: Duration) -> std::io::Result<Answer> {
    socket.connect(to)?;
    socket.set_read_timeout(Some(patience))?;
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(Answer::read(&String::from_utf8_lossy(&buffer[..length])))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub name: String,
    pub sees: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (name, sees) = text.split_once(' ').expect("an answer");
        Answer {
            name: name.to_owned(),
            sees: sees.to_owned(),
        }
    }
}

/// Refused at once: with ICMP, or where the caller is the node itself and sends by UDP, by
/// the system call.
pub fn is_refused<T>(result: &std::io::Result<T>) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, PermissionDenied};
    matches!(result, Err(e) if matches!(e.kind(), ConnectionRefused | PermissionDenied))
}

/// Never answered.
pub fn is_dropped<T>(result: &std::io::Result<T>) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(result, Err(e) if matches!(e.kind(), TimedOut | WouldBlock))
}
