//! SOCKS5 and forwarding against a real sshd, with real curl and with raw sockets.

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use cadet_tunnel::forward::{Forward, Goal};
use cadet_tunnel::socks5::{Credentials, Socks5};
use cadet_tunnel::{Names, Tuning, Tunnel};
use support::{Sshd, closed_port, free_port, patient};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

async fn socks(tunnel: &Tunnel, credentials: Option<Credentials>) -> SocketAddr {
    let server = Socks5::bind(tunnel.clone(), loopback(0), credentials)
        .await
        .unwrap();
    let address = server.local_addr();
    tokio::spawn(server.run(std::future::pending()));
    address
}

/// Serves every connection with `serve`.
async fn far<F, G>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> G + Send + 'static,
    G: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(loopback(0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A DNS server that knows one name, and the address it was told; of all others it says that
/// there are none.
async fn dns(name: &'static [u8], address: [u8; 4]) -> SocketAddr {
    far(move |mut stream| async move {
        let mut length = [0; 2];
        stream.read_exact(&mut length).await.unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).await.unwrap();
        message[2] |= 0x80;
        if message[12..].starts_with(name) {
            message[7] = 1;
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4]);
            message.extend(address);
        } else {
            message[3] |= 3;
        }
        let mut answer = u16::try_from(message.len()).unwrap().to_be_bytes().to_vec();
        answer.extend(message);
        stream.write_all(&answer).await.unwrap();
        // The other end hangs up.
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await
}

#[tokio::test]
async fn names_of_the_cluster_are_asked_of_its_own_dns() {
    let sshd = Sshd::start();
    let web = far(|mut stream| async move {
        // The other end may have closed: it saw what it wanted.
        let _ = stream.write_all(b"web").await;
    })
    .await;
    let server = dns(
        b"\x03web\x07default\x03svc\x07cluster\x05local\0",
        [127, 0, 0, 1],
    )
    .await;
    let tuning = Tuning {
        names: Some(Names {
            domain: "cluster.local".into(),
            server,
        }),
        ..patient()
    };
    let tunnel = sshd.tunnel_with(tuning).await;
    let proxy = socks(&tunnel, None).await;
    let named = |name: &str| {
        let mut address = vec![u8::try_from(name.len()).unwrap()];
        address.extend(name.as_bytes());
        address
    };
    // RFC 1928: 3 is a name; 0 is success, 4 a host that cannot be reached.
    let known = named("web.default.svc.cluster.local");
    let (mut stream, reply) = ask(proxy, 1, 3, &known, web.port()).await;
    assert_eq!(reply, 0);
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "web");
    let unknown = named("none.default.svc.cluster.local");
    assert_eq!(ask(proxy, 1, 3, &unknown, web.port()).await.1, 4);
    // Other names are the machine's own affair.
    let other = named("localhost");
    assert_eq!(ask(proxy, 1, 3, &other, web.port()).await.1, 0);
}

/// Raw SOCKS request; returns the stream and the reply code.
async fn ask(
    proxy: SocketAddr,
    command: u8,
    kind: u8,
    address: &[u8],
    port: u16,
) -> (TcpStream, u8) {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&[5, 1, 0]).await.unwrap();
    let mut method = [0; 2];
    stream.read_exact(&mut method).await.unwrap();
    assert_eq!(method, [5, 0]);
    let mut request = vec![5, command, 0, kind];
    request.extend(address);
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.unwrap();
    let mut reply = [0; 10];
    stream.read_exact(&mut reply).await.unwrap();
    assert_eq!((reply[0], reply[3]), (5, 1));
    (stream, reply[1])
}

async fn connect(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    let (stream, code) = ask(proxy, 1, 1, &[127, 0, 0, 1], to.port()).await;
    assert_eq!(code, 0);
    stream
}

async fn curl(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "--max-time", "300", "--noproxy", ""])
        .args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

async fn web() -> SocketAddr {
    far(|mut stream| async move {
        let mut request = Vec::new();
        while !request.windows(4).any(|w| w == b"\r\n\r\n") {
            if stream.read_buf(&mut request).await.unwrap() == 0 {
                return;
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\ntelescope";
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_loads_a_page_by_address_and_by_name() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await.to_string();
    let port = web().await.port();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/");
        let out = curl(&["--socks5-hostname", &proxy, &url]).await;
        let error = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.stdout, b"telescope", "{host}: {error}");
    }
    let seen = tunnel.stats().snapshot();
    assert_eq!(seen.connections_total, 2);
    assert!(seen.bytes_received > 18 && seen.bytes_sent > 30, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_are_asked_for_and_checked() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let credentials = Credentials {
        username: "ada".into(),
        password: "p:w".into(),
    };
    let proxy = socks(&tunnel, Some(credentials)).await.to_string();
    let url = format!("http://127.0.0.1:{}/", web().await.port());
    let good = curl(&["--socks5-hostname", &proxy, "-U", "ada:p:w", &url]).await;
    assert_eq!(
        good.stdout,
        b"telescope",
        "{}",
        String::from_utf8_lossy(&good.stderr)
    );
    for login in [&["-U", "ada:wrong"][..], &[][..]] {
        let out = curl(&[&["--socks5-hostname", &proxy, &url], login].concat()).await;
        assert!(!out.status.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_own_codes() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    let local = [127, 0, 0, 1];
    let (_nobody, closed) = closed_port();
    assert_eq!(ask(proxy, 1, 1, &local, closed).await.1, 5);
    // A name that cannot exist (RFC 6761).
    let mut name = vec![14];
    name.extend(b"no.one.invalid");
    assert_eq!(ask(proxy, 1, 3, &name, 80).await.1, 4);
    // BIND and UDP ASSOCIATE.
    assert_eq!(ask(proxy, 2, 1, &local, 80).await.1, 7);
    assert_eq!(ask(proxy, 3, 1, &local, 80).await.1, 7);
    // An unknown kind of address.
    let (_, code) = ask(proxy, 1, 9, &local, 80).await;
    assert_eq!(code, 8);
    // IPv6, where nothing listens.
    let v6 = std::net::Ipv6Addr::LOCALHOST.octets();
    assert!([3, 4, 5].contains(&ask(proxy, 1, 4, &v6, free_port()).await.1));
    // Each is over soon after its answer.
    while tunnel.stats().snapshot().connections_open != 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_down_is_an_unreachable_network() {
    let sshd = Sshd::prepare();
    let tuning = Tuning {
        patience: Duration::from_millis(100),
        ..patient()
    };
    let tunnel = Tunnel::lazy(sshd.target(), tuning);
    let proxy = socks(&tunnel, None).await;
    assert_eq!(ask(proxy, 1, 1, &[10, 244, 0, 2], 80).await.1, 3);
}

/// Answers with the number and sum of all bytes, after the client has finished.
async fn counting() -> SocketAddr {
    far(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        let sum: u64 = all.iter().map(|b| u64::from(*b)).sum();
        stream
            .write_all(format!("{} {sum}", all.len()).as_bytes())
            .await
            .unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    let to = counting().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..200u64 {
        tasks.spawn(async move {
            let mut stream = connect(proxy, to).await;
            let bytes = vec![(n % 256) as u8; 20_000 + n as usize];
            stream.write_all(&bytes).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let count = bytes.len() as u64;
            assert_eq!(answer, format!("{count} {}", count * (n % 256)));
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let seen = tunnel.stats().snapshot();
    assert_eq!((seen.connections_total, seen.connections_refused), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_far_side_may_finish_first() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let to = far(move |mut stream| {
        let tell = tell.clone();
        async move {
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            tell.send(rest).unwrap();
        }
    })
    .await;
    let mut stream = connect(proxy, to).await;
    let mut greeting = Vec::new();
    stream.read_to_end(&mut greeting).await.unwrap();
    assert_eq!(greeting, b"hello");
    // Their half is closed, ours is still open and must still carry bytes.
    stream.write_all(&vec![3; 300_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(told.recv().await.unwrap().len(), 300_000);
}

/// Sends `size` patterned bytes and closes.
async fn pouring(size: usize) -> SocketAddr {
    far(move |mut stream| async move {
        let chunk: Vec<u8> = (0..65_536u32).map(|i| (i % 251) as u8).collect();
        let mut left = size;
        while left > 0 {
            let now = left.min(chunk.len());
            if stream.write_all(&chunk[..now]).await.is_err() {
                return;
            }
            left -= now;
        }
    })
    .await
}

async fn echo() -> SocketAddr {
    far(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_slows_nobody_and_loses_nothing() {
    const SIZE: usize = 48 << 20;
    let sshd = Sshd::start();
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning {
        spill_dir: Some(dir.path().into()),
        ..patient()
    };
    let tunnel = sshd.tunnel_with(tuning).await;
    let proxy = socks(&tunnel, None).await;
    let mut slow = connect(proxy, pouring(SIZE).await).await;

    // While nobody reads `slow`, another connection goes to and fro.
    let mut quick = connect(proxy, echo().await).await;
    for n in 0..200u8 {
        quick.write_all(&[n; 1000]).await.unwrap();
        let mut back = [0; 1000];
        quick.read_exact(&mut back).await.unwrap();
        assert_eq!(back, [n; 1000]);
    }
    // More has come by now than memory may hold, or will soon.
    while tunnel.stats().snapshot().bytes_spilled == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut seen = Vec::with_capacity(SIZE);
    slow.read_to_end(&mut seen).await.unwrap();
    assert_eq!(seen.len(), SIZE);
    let intact = seen
        .chunks(65_536)
        .all(|c| c.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
    assert!(intact, "bytes came out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_guest_stops_the_sender() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    // Accepts and never reads.
    let to = far(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let mut stream = connect(proxy, to).await;
    let chunk = vec![0; 1 << 20];
    let mut sent = 0usize;
    let pour = async {
        loop {
            sent += stream.write(&chunk).await.unwrap();
        }
    };
    // Windows and socket buffers fill within moments; nothing may be taken after that.
    let _ = tokio::time::timeout(Duration::from_secs(3), pour).await;
    assert!(
        sent < 64 << 20,
        "{sent} bytes were taken for a guest that reads none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_line_resets_instead_of_ending_politely() {
    let mut sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    let to = far(|mut stream| async move {
        stream.write_all(b"half of the dow").await.unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut stream = connect(proxy, to).await;
    let mut half = [0; 15];
    stream.read_exact(&mut half).await.unwrap();
    sshd.kill();
    let mut rest = Vec::new();
    let end = stream.read_to_end(&mut rest).await;
    assert!(end.is_err(), "a cut download looked complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn socks_works_again_after_a_restart() {
    let mut sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let proxy = socks(&tunnel, None).await;
    let to = counting().await;
    sshd.kill();
    sshd.launch();
    let mut stream = connect(proxy, to).await;
    stream.write_all(b"abc").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "3 294");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_port_leads_there_and_resets_if_nothing_is_there() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let port = web().await.port();
    let forward = Forward::bind(tunnel.clone(), loopback(0), "localhost", port)
        .await
        .unwrap();
    let address = forward.local_addr();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(forward.run(async {
        let _ = ended.await;
    }));
    let out = curl(&[&format!("http://{address}/")]).await;
    assert_eq!(out.stdout, b"telescope");
    end.send(()).unwrap();
    running.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());

    let (_nobody, closed) = closed_port();
    let nowhere = Forward::bind(tunnel, loopback(0), "127.0.0.1", closed)
        .await
        .unwrap();
    let address = nowhere.local_addr();
    tokio::spawn(nowhere.run(std::future::pending()));
    // The reset may come before the connection is even told to be there.
    if let Ok(mut stream) = TcpStream::connect(address).await {
        assert!(stream.read(&mut [0; 1]).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goal_that_moves_takes_new_connections_along() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let answering = |text: &'static [u8]| {
        far(move |mut stream| async move {
            stream.write_all(text).await.unwrap();
        })
    };
    let at = |address: SocketAddr| {
        Some(Goal {
            host: address.ip().to_string(),
            port: address.port(),
        })
    };
    let first = answering(b"first").await;
    let second = answering(b"second").await;
    let (aim, goal) = tokio::sync::watch::channel(at(first));
    let forward = Forward::moving(tunnel, loopback(0), goal).await.unwrap();
    let address = forward.local_addr();
    tokio::spawn(forward.run(std::future::pending()));
    let says = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    assert_eq!(says().await, "first");
    // While there is none, connections wait for the next.
    aim.send_replace(None);
    let waiting = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    });
    aim.send_replace(at(second));
    assert_eq!(waiting.await.unwrap(), "second");
    assert_eq!(says().await, "second");
}
