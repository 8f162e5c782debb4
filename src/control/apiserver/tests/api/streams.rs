//! exec, attach, cp, logs and port-forward: every real kubectl, through the API server, to
//! the real server of the kubelet. Old kubectls speak SPDY, new ones WebSocket.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::agent::Cluster;
use crate::program::{Kubectl, has, kubectls, texts};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

async fn with_pod() -> Cluster {
    let cluster = Cluster::start().await;
    let spec = json!({"containers": [{"name": "c", "image": "x", "stdin": true}]});
    cluster.pod("web", spec).await;
    let spec =
        json!({"containers": [{"name": "c", "image": "x"}, {"name": "stopped", "image": "x"}]});
    cluster.pod("two", spec).await;
    cluster
}

/// Runs a command to its end with this input.
async fn with_input(mut command: Command, input: Vec<u8>) -> Output {
    let run = move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut stdin = child.stdin.take().expect("stdin");
        let feeder = std::thread::spawn(move || {
            // A command may end before it has read everything.
            let _ = stdin.write_all(&input);
        });
        let output = child.wait_with_output().expect("wait");
        feeder.join().expect("feeder");
        output
    };
    tokio::task::spawn_blocking(run).await.expect("task")
}

fn exec(kubectl: &Kubectl, words: &str, script: &str) -> Command {
    let mut command = kubectl.command(words);
    command.args(["--", "sh", "-c", script]);
    command
}

/// How often a command is worth running until nothing of what it says is lost: kubectl 1.30 to
/// 1.33 may drop the first words itself, for it begins to read before it knows where to put
/// them (kubernetes/kubernetes#131203). The server gives it time; how much it takes, a busy
/// machine decides.
async fn tries(kubectl: &Kubectl) -> usize {
    let version = kubectl.run("version --client").await;
    let forgetful = ["v1.30.", "v1.31.", "v1.32.", "v1.33."];
    if forgetful.iter().any(|number| version.contains(number)) {
        10
    } else {
        1
    }
}

/// A command must end as wanted.
async fn ends(
    kubectl: &Kubectl,
    command: impl Fn() -> Command,
    wanted: impl Fn(&Output, &str, &str) -> bool,
) {
    let mut heard = Vec::new();
    for _ in 0..tries(kubectl).await {
        let output = with_input(command(), vec![]).await;
        let (out, err) = texts(&output);
        if wanted(&output, &out, &err) {
            return;
        }
        heard.push((out, err, output.status));
    }
    panic!("{:?}: {heard:?}", command());
}

/// A command must say this on stdout and stderr, and end with this code.
async fn says(kubectl: &Kubectl, command: impl Fn() -> Command, expected: (&str, &str, i32)) {
    ends(kubectl, command, |output, out, err| {
        (out, err, output.status.code()) == (expected.0, expected.1, Some(expected.2))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_in_every_version() {
    let cluster = with_pod().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let name = program.display();
        let hello = || kubectl.command("exec web -- echo hello");
        says(&kubectl, hello, ("hello\n", "", 0)).await;
        let failing = || exec(&kubectl, "exec web", "echo out; echo err >&2; exit 7");
        let told = "err\ncommand terminated with exit code 7\n";
        says(&kubectl, failing, ("out\n", told, 7)).await;

        let counted = with_input(exec(&kubectl, "exec -i web", "wc -c"), vec![b'x'; 100_000]).await;
        assert_eq!(
            texts(&counted).0.trim(),
            "100000",
            "{name}: {}",
            texts(&counted).1
        );
        let said = kubectl.fail("exec two -c nosuch -- true").await;
        has(&said, &["container nosuch is not valid for pod two"]);
        let said = kubectl.fail("exec two -c stopped -- true").await;
        has(&said, &["container not found (\"stopped\")"]);
        let missing = || kubectl.command("exec web -- /no/such/program");
        ends(&kubectl, missing, |output, out, err| {
            !output.status.success() && format!("{out}{err}").contains("/no/such/program")
        })
        .await;
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_upgraded_is_refused_at_once() {
    let cluster = with_pod().await;
    let (client, web) = (&cluster.client, format!("{}/web", crate::support::PODS));
    for path in ["exec?command=x&stdout=1", "attach?stdout=1", "portforward"] {
        let path = format!("{web}/{path}");
        // As over HTTP/2, and as from one who does not ask for it.
        let headers = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
        let asked = client.send(http::Method::POST, &path, &headers, "").await;
        assert_eq!(asked.refused(400), "Upgrade request required");
        assert_eq!(
            client.get(&path).await.refused(400),
            "Upgrade request required"
        );
    }
    let unbound = crate::support::pod("unbound");
    client
        .post(crate::support::PODS, &unbound)
        .await
        .expect(201);
    let path = format!("{}/unbound/exec?command=x", crate::support::PODS);
    let said = client.get(&path).await.refused(400);
    assert_eq!(said, "pod unbound does not have a host assigned");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_streams_both_ways_at_once_in_every_version() {
    let cluster = with_pod().await;
    let sent: Vec<u8> = (0..20_000_000_u32).map(|n| (n ^ (n >> 9)) as u8).collect();
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let output = with_input(exec(&kubectl, "exec -i web", "cat"), sent.clone()).await;
        let err = texts(&output).1;
        assert!(output.status.success(), "{}: {err}", program.display());
        assert_eq!(
            output.stdout.len(),
            sent.len(),
            "{}: {err}",
            program.display()
        );
        assert!(output.stdout == sent, "{}", program.display());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_copied_and_the_main_process_attached_in_every_version() {
    let cluster = with_pod().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let inside = tempfile::tempdir().expect("folder");
        let inside = inside.path().display();
        kubectl.file("letter", &json!({"dear": "reader"}));
        kubectl
            .run(&format!("cp letter web:{inside}/arrived"))
            .await;
        let back = format!("cp web:{inside}/arrived back");
        let copying = || kubectl.command(&back);
        ends(&kubectl, copying, |output, _, _| {
            let arrived = kubectl.find("back");
            output.status.success() && arrived.as_deref() == Some("{\"dear\":\"reader\"}")
        })
        .await;

        let attached = with_input(kubectl.command("attach -i web"), b"echo me\n".to_vec()).await;
        let (out, err) = texts(&attached);
        assert!(attached.status.success(), "{}: {err}", program.display());
        assert_eq!(out, "echo me\n", "{}: {err}", program.display());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_tells_its_size_in_every_version() {
    let cluster = with_pod().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let inner = kubectl.command("");
        let folder = tempfile::tempdir().expect("folder");
        let heard = folder.path().join("heard");
        let mut script = Command::new("script");
        for (name, value) in inner.get_envs() {
            script.env(name, value.expect("set"));
        }
        let line = format!(
            "stty cols 101 rows 31; {} exec -it web -- sh -c 'until test -e {}; do sleep 0.1; done; echo done'",
            program.display(),
            heard.display()
        );
        script.args(["-qec", &line, "/dev/null"]);
        // The command ends once its terminal's size has been heard of.
        let play = move || {
            let mut child = script
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("spawn");
            drop(child.stdin.take());
            let mut stdout = child.stdout.take().expect("stdout");
            let (mut said, mut byte) = (Vec::new(), [0]);
            while !said.ends_with(b"resized to 101x31") && stdout.read(&mut byte).expect("read") > 0
            {
                said.push(byte[0]);
            }
            std::fs::write(&heard, "").expect("written");
            stdout.read_to_end(&mut said).expect("read");
            child.wait().expect("wait");
            String::from_utf8_lossy(&said).into_owned()
        };
        let said = tokio::task::spawn_blocking(play).await.expect("task");
        has(&said, &["resized to 101x31", "done"]);
    }
    cluster.stop().await;
}

/// Sends back what it gets, with the end.
pub async fn echo_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                // A client that breaks off is the test's affair.
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    port
}

/// A port where nobody listens, and what keeps others from taking it.
pub fn closed_port() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().expect("socket");
    let anywhere = "127.0.0.1:0".parse().expect("address");
    socket.bind(anywhere).expect("bind");
    let port = socket.local_addr().expect("address").port();
    (socket, port)
}

/// A running `kubectl port-forward`.
struct Forward {
    child: std::process::Child,
    port: u16,
}

impl Forward {
    async fn start(kubectl: &Kubectl, words: &str) -> Forward {
        let mut command = kubectl.command(words);
        let run = move || {
            let mut child = command
                .process_group(0)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("spawn");
            let stdout = child.stdout.as_mut().expect("stdout");
            let mut line = String::new();
            let mut byte = [0];
            while !line.ends_with('\n') {
                if stdout.read(&mut byte).expect("read") == 0 {
                    let mut why = String::new();
                    let stderr = child.stderr.as_mut().expect("stderr");
                    stderr.read_to_string(&mut why).expect("text");
                    panic!("port-forward ended: {line}{why}");
                }
                line.push(byte[0].into());
            }
            let port = line
                .split(" -> ")
                .next()
                .and_then(|text| text.rsplit(':').next());
            let port = port.and_then(|text| text.parse().ok());
            let port = port.unwrap_or_else(|| panic!("no port in {line}"));
            Forward { child, port }
        };
        tokio::task::spawn_blocking(run).await.expect("task")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port))
            .await
            .expect("connect")
    }

    /// kubectl on the PATH may have started another one, hence the group.
    fn kill(&mut self) {
        let group = format!("-{}", self.child.id());
        let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
        assert!(killed.expect("kill").success());
    }

    /// What kubectl said on stderr until it was ended, which is when it has said `word`.
    async fn end_after(mut self, word: &'static str) -> String {
        let listen = move || {
            let stderr = self.child.stderr.as_mut().expect("stderr");
            let (mut said, mut byte) = (Vec::new(), [0]);
            while !said.ends_with(word.as_bytes()) && stderr.read(&mut byte).expect("read") > 0 {
                said.push(byte[0]);
            }
            String::from_utf8_lossy(&said).into_owned() + &self.end()
        };
        tokio::task::spawn_blocking(listen).await.expect("task")
    }

    /// What kubectl said on stderr until it was ended.
    fn end(mut self) -> String {
        self.kill();
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("stderr");
        stderr.read_to_string(&mut said).expect("text");
        self.child.wait().expect("wait");
        said
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_are_forwarded_in_every_version() {
    let cluster = with_pod().await;
    let port = echo_server().await;
    for program in kubectls() {
        let name = program.display();
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let forward = Forward::start(&kubectl, &format!("port-forward pod/web :{port}")).await;
        for size in [10, 1_000_000, 10] {
            let stream = forward.connect().await;
            let sent = vec![b'e'; size];
            let (mut from, mut to) = stream.into_split();
            // Both directions at once: the large one is more than all buffers hold.
            let mut heard = vec![0; size];
            let talk = async {
                let (written, read) =
                    tokio::join!(to.write_all(&sent), from.read_exact(&mut heard));
                written.expect("write");
                read.expect("read");
            };
            let talked = tokio::time::timeout(Duration::from_secs(180), talk).await;
            talked.unwrap_or_else(|_| panic!("{name} stalls at {size}"));
            assert!(heard == sent, "{name}");
        }
        // Many connections at the same time.
        let many: Vec<_> = (0..20)
            .map(|n: u8| async move {
                let mut stream = TcpStream::connect(("127.0.0.1", forward.port))
                    .await
                    .expect("connect");
                stream.write_all(&[n; 100]).await.expect("write");
                let mut heard = [0; 100];
                stream.read_exact(&mut heard).await.expect("read");
                assert_eq!(heard, [n; 100]);
            })
            .collect();
        let all = tokio::time::timeout(Duration::from_secs(180), futures::future::join_all(many));
        all.await
            .unwrap_or_else(|_| panic!("{name} stalls with many connections"));
        assert_eq!(forward.end(), "", "{name}");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nothing_listens_is_told_in_every_version() {
    let cluster = with_pod().await;
    let (_held, closed) = closed_port();
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let forward = Forward::start(&kubectl, &format!("port-forward pod/web :{closed}")).await;
        let mut stream = forward.connect().await;
        let mut heard = Vec::new();
        // The connection is closed or reset.
        let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut heard)).await;
        let said = forward.end_after("refused").await;
        has(&said, &["an error occurred forwarding", "refused"]);
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_read_in_every_version() {
    let cluster = with_pod().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        assert_eq!(kubectl.run("logs web").await, "one\ntwo\n");
        assert_eq!(kubectl.run("logs web --tail=1").await, "two\n");
        assert_eq!(kubectl.run("logs -f web --limit-bytes=5").await, "one\nt");
        let said = kubectl.fail("logs two -c stopped").await;
        has(
            &said,
            &["container \"stopped\" in pod \"two\" is waiting to start: ContainerCreating"],
        );
        let said = kubectl.fail("logs web -p").await;
        has(
            &said,
            &["previous terminated container \"c\" in pod \"web\" not found"],
        );
    }
    let two = format!("{}/two/log", crate::support::PODS);
    assert_eq!(
        cluster.client.get(&two).await.refused(400),
        "a container name must be specified for pod two, choose one of: [c stopped]"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_streams() {
    let cluster = with_pod().await;
    let program = kubectls().pop().expect("a kubectl");
    let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
    let mut child = exec(
        &kubectl,
        "exec -i web",
        "while :; do echo begun; sleep 1; done",
    )
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .expect("spawn");
    let mut stdout = child.stdout.take().expect("stdout");
    let first = tokio::task::spawn_blocking(move || {
        let mut word = [0; 6];
        stdout.read_exact(&mut word).map(|()| (word, stdout))
    });
    // What it goes on to say must have somewhere to go.
    let (first, _stdout) = first.await.expect("task").expect("its first word");
    assert_eq!(&first, b"begun\n");
    assert!(child.try_wait().expect("wait").is_none(), "it still runs");
    // The command itself never ends.
    let stopped = tokio::time::timeout(Duration::from_secs(180), cluster.stop()).await;
    stopped.expect("the server stops");
    let ended = tokio::task::spawn_blocking(move || child.wait());
    let ended = tokio::time::timeout(Duration::from_secs(180), ended).await;
    assert!(!ended.expect("ends").expect("task").expect("wait").success());
}

/// A command that prints at once, many times: old clients drop what reaches them too early.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_words_of_a_command_are_never_lost() {
    let cluster = with_pod().await;
    for program in kubectls() {
        let kubectl = Kubectl::new(&program, &cluster.kubeconfig);
        let forgetful = tries(&kubectl).await > 1;
        let mut lost = 0;
        for _ in 0..4 {
            let all = (0..5).map(|_| with_input(exec(&kubectl, "exec web", "echo hello"), vec![]));
            for output in futures::future::join_all(all).await {
                let said = texts(&output);
                if forgetful && said.0.is_empty() {
                    lost += 1;
                    continue;
                }
                let expected = ("hello\n".to_owned(), String::new());
                assert_eq!(said, expected, "{}", program.display());
            }
        }
        assert!(lost <= 5, "{}: {lost} of 20", program.display());
    }
    cluster.stop().await;
}
