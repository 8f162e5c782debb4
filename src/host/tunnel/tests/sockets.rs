//! A local Unix socket that leads through a real sshd to another one.

#![cfg(unix)]

mod support;

use std::os::unix::fs::PermissionsExt;

use cadet_tunnel::socket::SocketForward;
use support::Sshd;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

#[tokio::test]
async fn bytes_go_both_ways_and_each_end_is_passed_on() {
    let sshd = Sshd::start();
    let far = sshd.dir().join("far.sock");
    let listener = UnixListener::bind(&far).unwrap();
    // Answers after it has seen the end: that needs a half-close in each direction.
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        question.reverse();
        stream.write_all(&question).await.unwrap();
        question.len()
    });

    let near = sshd.dir().join("near.sock");
    let tunnel = sshd.tunnel().await;
    let forward = SocketForward::bind(tunnel.clone(), &near, far.to_str().unwrap())
        .await
        .unwrap();
    assert_eq!(forward.path(), near);
    let mode = std::fs::metadata(&near).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(forward.run(async {
        let _ = ended.await;
    }));

    let question: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    let mut stream = UnixStream::connect(&near).await.unwrap();
    stream.write_all(&question).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer.reverse();
    assert!(answer == question, "other bytes came back");
    assert_eq!(served.await.unwrap(), question.len());

    end.send(()).unwrap();
    running.await.unwrap();
    assert!(!near.exists(), "the socket was left behind");
}

#[tokio::test]
async fn nobody_at_the_far_end_is_an_end_at_once() {
    let sshd = Sshd::start();
    let near = sshd.dir().join("near.sock");
    let nowhere = sshd.dir().join("nowhere.sock");
    let tunnel = sshd.tunnel().await;
    let forward = SocketForward::bind(tunnel.clone(), &near, nowhere.to_str().unwrap())
        .await
        .unwrap();
    let running = tokio::spawn(forward.run(std::future::pending()));
    let mut stream = UnixStream::connect(&near).await.unwrap();
    let mut answer = Vec::new();
    // An end or a reset, whichever comes first; never bytes.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert_eq!(tunnel.stats().snapshot().connections_refused, 1);
    running.abort();
}

#[tokio::test]
async fn the_end_of_a_session_and_the_next_one_are_events() {
    let mut sshd = Sshd::start();
    let tunnel = sshd.tunnel().await;
    let next = {
        let tunnel = tunnel.clone();
        tokio::spawn(async move { tunnel.next_session().await })
    };
    sshd.kill();
    tunnel.down().await;
    sshd.launch();
    next.await.unwrap();
    assert!(tunnel.exec("true").await.unwrap().status.success());
}
