//! The session against a real sshd: pinning, login, waiting, reconnecting, programs.

mod support;

use std::time::Duration;

use cadet_tunnel::exec::ExitStatus;
use cadet_tunnel::shell::{Request, WindowSize};
use cadet_tunnel::upload::Destination;
use cadet_tunnel::{Cipher, Tuning, Tunnel, TunnelError, keys, scan};
use support::{Sshd, free_port, patient};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn programs_run_with_streams_and_status() {
    let sshd = Sshd::start();
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        let tunnel = sshd
            .tunnel_with(Tuning {
                cipher,
                ..patient()
            })
            .await;
        let out = tunnel.exec("echo out; echo err >&2; exit 7").await.unwrap();
        assert_eq!(out.stdout, b"out\n");
        assert_eq!(out.stderr, b"err\n");
        assert_eq!(out.status, ExitStatus::Code(7));

        let out = tunnel.exec("kill -TERM $$").await.unwrap();
        assert_eq!(out.status, ExitStatus::Signal("TERM".into()));

        let big: Vec<u8> = (0..5_000_000u32).map(|i| (i % 253) as u8).collect();
        let mut back = Vec::new();
        let status = tunnel
            .exec_streams("cat", &big[..], &mut back, tokio::io::sink())
            .await
            .unwrap();
        assert!(status.success());
        assert!(back == big, "cat gave back other bytes");
    }
}

#[tokio::test]
async fn a_server_is_asked_for_its_key_and_nothing_else() {
    let mut sshd = Sshd::start();
    let shown = scan::host_key(sshd.target().address, &patient())
        .await
        .unwrap();
    let print = |line: &str| keys::fingerprint(line).unwrap();
    assert_eq!(print(&shown), print(&sshd.host.public));
    // It is good for a session as it is.
    let mut target = sshd.target();
    target.host_key = shown;
    Tunnel::connect(target, patient()).await.unwrap();
    sshd.kill();
    let error = scan::host_key(sshd.target().address, &patient()).await;
    assert!(
        matches!(error, Err(TunnelError::Connect { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_wrong_host_key_is_refused_at_once() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    let other = keys::generate("other").unwrap();
    target.host_key = other.public.clone();
    let error = Tunnel::wait_until_ready(target, patient(), Duration::from_secs(180), |_| true)
        .await
        .err()
        .unwrap();
    match error {
        TunnelError::HostKeyMismatch { shown, pinned, .. } => {
            assert_eq!(shown, keys::fingerprint(&sshd.host.public).unwrap());
            assert_eq!(pinned, keys::fingerprint(&other.public).unwrap());
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wrong_client_key_is_named() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.client_key = keys::generate("stranger").unwrap().private;
    let error = Tunnel::connect(target, patient()).await.err().unwrap();
    assert!(
        matches!(error, TunnelError::AuthRefused { .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn nothing_there_and_nothing_said_differ() {
    let sshd = Sshd::prepare();
    let mut target = sshd.target();
    let error = Tunnel::connect(target.clone(), patient())
        .await
        .err()
        .unwrap();
    assert!(matches!(error, TunnelError::Connect { .. }), "{error:?}");

    // What the emulator does for a guest that has not started sshd.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    target.address = silent.local_addr().unwrap();
    let tuning = Tuning {
        banner_timeout: Duration::from_millis(200),
        ..patient()
    };
    let error = Tunnel::connect(target, tuning).await.err().unwrap();
    assert!(matches!(error, TunnelError::NoBanner { .. }), "{error:?}");
}

#[tokio::test]
async fn waiting_ends_when_the_server_comes_up() {
    let mut sshd = Sshd::prepare();
    let target = sshd.target();
    let (failed, mut first_failure) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn(Tunnel::wait_until_ready(
        target,
        patient(),
        Duration::from_secs(180),
        move |waiting| {
            assert!(waiting.error.is_transient());
            failed.send(waiting.attempts).is_ok()
        },
    ));
    assert_eq!(first_failure.recv().await, Some(1));
    sshd.launch();
    let tunnel = waiting.await.unwrap().unwrap();
    assert!(tunnel.exec("true").await.unwrap().status.success());
}

#[tokio::test]
async fn the_caller_can_stop_waiting() {
    let sshd = Sshd::prepare();
    let result = Tunnel::wait_until_ready(
        sshd.target(),
        patient(),
        Duration::from_secs(180),
        |waiting| waiting.attempts < 3,
    )
    .await;
    match result.err().unwrap() {
        TunnelError::NotReady {
            attempts: 3, last, ..
        } => {
            assert!(matches!(*last, TunnelError::Connect { .. }));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_killed_server_is_found_again() {
    let mut sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    assert!(tunnel.exec("true").await.unwrap().status.success());

    let started = sshd.dir().join("started");
    let running = {
        let (tunnel, line) = (tunnel.clone(), format!("touch {}", started.display()));
        tokio::spawn(async move { tunnel.exec(&format!("{line}; sleep 600")).await })
    };
    while !started.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sshd.kill();
    let cut = running.await.unwrap();
    assert!(
        matches!(cut, Err(TunnelError::SessionLost { .. })),
        "{cut:?}"
    );
    sshd.launch();
    assert!(tunnel.exec("true").await.unwrap().status.success());
    assert!(tunnel.is_up().await);
    assert_eq!(tunnel.stats().snapshot().sessions, 2);
}

#[tokio::test]
async fn it_comes_back_on_another_port_without_being_asked() {
    let mut first = Sshd::start();
    let tunnel = first.tunnel().await;
    let port = free_port();
    let config = std::fs::read_to_string(first.dir().join("sshd_config")).unwrap();
    let moved = config.replace(
        &format!("Port {}", first.address.port()),
        &format!("Port {port}"),
    );
    std::fs::write(first.dir().join("sshd_config"), moved).unwrap();
    first.kill();
    first.address.set_port(port);
    first.launch();
    tunnel.retarget(first.address);
    // No request is made: the event alone brings it back.
    while tunnel.stats().snapshot().sessions < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tunnel.is_up().await);
    assert_eq!(tunnel.stats().snapshot().sessions, 2);
}

#[tokio::test]
async fn a_lost_machine_gives_up_after_its_patience() {
    let mut sshd = Sshd::start();
    let tuning = Tuning {
        patience: Duration::from_millis(500),
        ..patient()
    };
    let tunnel = sshd.tunnel_with(tuning.clone()).await;
    sshd.kill();
    tunnel.close().await;
    let error = tunnel.exec("true").await.err().unwrap();
    assert!(
        matches!(error, TunnelError::SessionLost { .. }),
        "{error:?}"
    );

    let lazy = Tunnel::lazy(sshd.target(), tuning);
    let error = lazy.exec("true").await.err().unwrap();
    assert!(matches!(error, TunnelError::NotReady { .. }), "{error:?}");
}

#[tokio::test]
async fn abandoned_programs_free_their_channels() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    // sshd allows ten at a time; thirty abandoned ones would fill it for ever.
    for _ in 0..30 {
        let run = tunnel.exec("cat /dev/zero");
        let _ = tokio::time::timeout(Duration::from_millis(30), run).await;
    }
    // A channel is free once its program has ended.
    let mut tries = 0..600;
    let status = loop {
        match tunnel.exec("true").await {
            Ok(done) => break done.status,
            Err(error) => assert!(tries.next().is_some(), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(status.success());
}

#[tokio::test]
async fn files_arrive_whole_with_their_mode() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let local = sshd.dir().join("local file");
    let bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i * 7 % 256) as u8).collect();
    std::fs::write(&local, &bytes).unwrap();
    let remote = sshd.dir().join("it's here");
    let path = remote.to_str().unwrap();
    tunnel
        .upload(
            &local,
            Destination {
                path,
                mode: 0o751,
                as_root: false,
            },
        )
        .await
        .unwrap();
    assert!(std::fs::read(&remote).unwrap() == bytes);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&remote).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o751);

    let path = "/no/such/folder/file";
    let to = Destination {
        path,
        mode: 0o600,
        as_root: false,
    };
    match tunnel.upload_bytes(b"x", to).await {
        Err(TunnelError::Upload { reason, .. }) => assert!(!reason.is_empty()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_terminal_has_its_size_and_follows_changes() {
    let sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let (size, sizes) = tokio::sync::watch::channel(WindowSize {
        columns: 100,
        rows: 30,
    });
    let request = Request {
        term: "xterm".into(),
        command: Some("trap 'stty size; exit 3' WINCH; stty size; read go; sleep 60 & wait".into()),
    };
    let (mut keyboard, stdin) = tokio::io::duplex(1024);
    let (stdout, mut screen) = tokio::io::duplex(4096);
    let running = {
        let tunnel = tunnel.clone();
        tokio::spawn(async move { tunnel.shell(request, sizes, stdin, stdout).await })
    };
    let mut seen = Vec::new();
    read_until(&mut screen, &mut seen, "30 100").await;
    keyboard.write_all(b"\n").await.unwrap();
    size.send_replace(WindowSize {
        columns: 44,
        rows: 11,
    });
    read_until(&mut screen, &mut seen, "11 44").await;
    assert_eq!(running.await.unwrap().unwrap(), ExitStatus::Code(3));
}

async fn read_until(from: &mut tokio::io::DuplexStream, seen: &mut Vec<u8>, wanted: &str) {
    use tokio::io::AsyncReadExt;
    while !String::from_utf8_lossy(seen).contains(wanted) {
        let count = from.read_buf(seen).await.unwrap();
        assert!(
            count > 0,
            "ended without {wanted:?}: {}",
            String::from_utf8_lossy(seen)
        );
    }
}
