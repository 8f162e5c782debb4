//! exec, attach, port-forward and logs.

use futures::AsyncBufReadExt as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{AttachParams, LogParams, TerminalSize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{Setting, client, refused};

async fn pods(setting: &Setting) -> Api<Pod> {
    Api::default_namespaced(client(setting).await)
}

fn script(text: &str) -> [&str; 3] {
    ["sh", "-c", text]
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_run_with_input_and_tell_how_they_ended() {
    let setting = Setting::start().await;
    let pods = pods(&setting).await;
    let wanted = AttachParams::default().stdin(true);
    let failing = script("read a; echo got $a; echo err >&2; exit 7");
    let mut process = pods.exec("web", failing, &wanted).await.expect("exec");
    let mut stdin = process.stdin().expect("stdin");
    stdin.write_all(b"word\n").await.expect("written");
    let (mut out, mut err) = (String::new(), String::new());
    let mut stdout = process.stdout().expect("stdout");
    let mut stderr = process.stderr().expect("stderr");
    let (a, b) = tokio::join!(
        stdout.read_to_string(&mut out),
        stderr.read_to_string(&mut err)
    );
    a.expect("stdout");
    b.expect("stderr");
    assert_eq!((out.as_str(), err.as_str()), ("got word\n", "err\n"));
    let status = process.take_status().expect("status").await.expect("told");
    assert_eq!(status.reason.as_deref(), Some("NonZeroExitCode"));
    let causes = status.details.and_then(|details| details.causes);
    let cause = &causes.expect("causes")[0];
    assert_eq!(cause.reason.as_deref(), Some("ExitCode"));
    assert_eq!(cause.message.as_deref(), Some("7"));
    process.join().await.expect("ended");

    // The end of the input is told.
    let counting = pods.exec("web", script("wc -c"), &wanted);
    let mut process = counting.await.expect("exec");
    let mut stdin = process.stdin().expect("stdin");
    let mut stdout = process.stdout().expect("stdout");
    let write = async {
        stdin
            .write_all(&vec![b'x'; 300_000])
            .await
            .expect("written");
        stdin.shutdown().await.expect("shut down");
    };
    let mut counted = String::new();
    let (_, read) = tokio::join!(write, stdout.read_to_string(&mut counted));
    read.expect("read");
    assert_eq!(counted.trim(), "300000");
    let ended = process.take_status().expect("status").await.expect("told");
    assert_eq!(ended.status.as_deref(), Some("Success"));
    process.join().await.expect("ended");

    let nosuch = wanted.container("nosuch");
    assert!(pods.exec("two", script("true"), &nosuch).await.is_err());
    assert!(pods.exec("nothing", script("true"), &nosuch).await.is_err());
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_resized_and_the_main_process_attached() {
    let setting = Setting::start().await;
    let pods = pods(&setting).await;
    let terminal = AttachParams::interactive_tty();
    let reading = pods.exec("web", script("read line"), &terminal);
    let mut process = reading.await.expect("exec");
    let mut resize = process.terminal_size().expect("a terminal");
    let size = TerminalSize {
        width: 101,
        height: 31,
    };
    futures::SinkExt::send(&mut resize, size)
        .await
        .expect("sent");
    let mut stdout = BufReader::new(process.stdout().expect("stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).await.expect("read");
    assert_eq!(line.trim(), "resized to 101x31");
    let mut stdin = process.stdin().expect("stdin");
    stdin.write_all(b"\n").await.expect("written");
    let ended = process.take_status().expect("status").await.expect("told");
    assert_eq!(ended.status.as_deref(), Some("Success"));
    process.join().await.expect("ended");

    let wanted = AttachParams::default().stdin(true).stderr(false);
    let mut attached = pods.attach("web", &wanted).await.expect("attached");
    let mut stdin = attached.stdin().expect("stdin");
    stdin
        .write_all(b"to the main process\n")
        .await
        .expect("written");
    let mut stdout = BufReader::new(attached.stdout().expect("stdout"));
    let mut line = String::new();
    stdout.read_line(&mut line).await.expect("read");
    assert_eq!(line, "to the main process\n");
    attached.abort();
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_ports_are_forwarded_over_one_connection() {
    let setting = Setting::start().await;
    let pods = pods(&setting).await;
    let (echo, closed) = (setting.echo, setting.closed);
    let ports = [echo, closed];
    let mut forward = pods.portforward("web", &ports).await.expect("forwarded");
    let failed = forward.take_error(closed).expect("first time").await;
    let failed = failed.expect("told");
    assert!(failed.contains("refused"), "{failed}");
    let stream = forward.take_stream(echo).expect("first time");
    let (mut from, mut to) = tokio::io::split(stream);
    let sent = vec![b'e'; 700_000];
    let mut heard = vec![0; sent.len()];
    let (written, read) = tokio::join!(to.write_all(&sent), from.read_exact(&mut heard));
    written.expect("written");
    read.expect("read");
    assert!(heard == sent);
    drop((from, to));
    forward.abort();
    setting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_and_followed() {
    let setting = Setting::start().await;
    let pods = pods(&setting).await;
    let all = pods.logs("web", &LogParams::default()).await;
    assert_eq!(all.expect("logs"), "one\ntwo\n");
    let last = LogParams {
        tail_lines: Some(1),
        container: Some("c".into()),
        ..LogParams::default()
    };
    assert_eq!(pods.logs("two", &last).await.expect("logs"), "two\n");
    let follow = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let stream = pods.log_stream("web", &follow).await.expect("stream");
    let mut lines = stream.lines();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        heard.push(lines.try_next().await.expect("read").expect("a line"));
    }
    assert_eq!(heard, ["one", "two"]);
    drop(lines);
    let refusal = refused(pods.logs("two", &LogParams::default()).await);
    assert_eq!(refusal.0, 400);
    assert!(
        refusal.2.contains("choose one of: [c stopped]"),
        "{}",
        refusal.2
    );
    setting.stop().await;
}
