//! Doors on the laptop while a tunnel runs: a Service at its own port of 127.0.0.1, ports that were
//! asked for by name, and the machine's Docker Engine at a socket.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Run, Sealed, eventually};

const MINUTE: Duration = Duration::from_secs(60);

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: door}
spec:
  type: LoadBalancer
  selector: {door: open}
  ports: [{port: 6000, targetPort: 80}]
";

/// Plays it on the pod `telescope-pod`, which must run; everything is undone at the end.
pub fn play(home: &Sealed) {
    let was_free = TcpListener::bind("127.0.0.1:6000").is_ok();
    let manifest = home.dir.path().join("door.yaml");
    std::fs::write(&manifest, SERVICE).unwrap();
    kubectl(home, &["label", "pod", "telescope-pod", "door=open"]);
    kubectl(home, &["apply", "-f", manifest.to_str().unwrap()]);

    // The Service was made a moment ago: the command waits for its door.
    let printed = home.ok(&["service", "door", "--url"]).out;
    let url = printed.trim();
    let doors = home.ok(&["tunnel", "--status"]).out;
    assert!(doors.contains("→ default/door"), "{doors}");
    if was_free {
        assert_eq!(url, "http://127.0.0.1:6000/");
        assert!(doors.contains("localhost:6000 → default/door"), "{doors}");
        let status = home.ok(&["status"]).out;
        assert!(status.contains("localhost:6000 → default/door"), "{status}");
    }
    eventually("the door leads to the page", MINUTE * 2, || {
        let code = curl(&["-o", "/dev/null", "-w", "%{http_code}", url]).out;
        (code == "200").then_some(())
    });

    forwarded(home, "pod/telescope-pod");
    forwarded(home, "svc/door");
    docker(home);

    kubectl(home, &["delete", "-f", manifest.to_str().unwrap()]);
    kubectl(home, &["label", "pod", "telescope-pod", "door-"]);
    eventually("the door is closed", MINUTE, || {
        // curl(1): 7 is "failed to connect".
        (curl(&[url]).code == 7).then_some(())
    });
}

/// A port of the laptop leads to what is named, for as long as the command runs.
fn forwarded(home: &Sealed, target: &str) {
    let ports = if target.starts_with("svc") {
        ":6000"
    } else {
        ":80"
    };
    let mut command = home.command(&["port-forward", target, ports, "-o", "json"]);
    let mut forward = command.stdout(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(forward.stdout.take().unwrap()).lines();
    let mut told = told.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let opened = told.next().unwrap();
    assert_eq!(opened["type"], "forward.opened", "{opened}");
    let url = format!("http://{}/", opened["local"].as_str().unwrap());
    let code = curl(&["-o", "/dev/null", "-w", "%{http_code}", &url]);
    assert_eq!(code.out, "200", "{target}: {code}");
    let pid = forward.id().to_string();
    Run::of(Command::new("kill").args(["-INT", &pid]));
    let done = told.last().unwrap();
    assert_eq!(done["type"], "done", "{done}");
    assert!(forward.wait().unwrap().success());
    assert_eq!(curl(&[&url]).code, 7, "{target}");
}

/// The laptop's own docker would speak to the machine's engine; curl does here.
fn docker(home: &Sealed) {
    let told: Value = serde_json::from_str(&home.ok(&["docker-env", "-o", "json"]).out).unwrap();
    let host = told["set"]["DOCKER_HOST"].as_str().unwrap();
    let socket = host.strip_prefix("unix://").unwrap();
    let rights = std::fs::metadata(socket).unwrap().permissions().mode();
    assert_eq!(rights & 0o777, 0o600);
    let ping = curl(&["--unix-socket", socket, "http://docker/_ping"]);
    assert_eq!(ping.out, "OK", "{ping}");

    let folder = home.dir.path().join("hello");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("Dockerfile"), "FROM scratch\nCOPY hello /\n").unwrap();
    std::fs::write(folder.join("hello"), "hello\n").unwrap();
    home.ok(&[
        "image",
        "build",
        "-t",
        "hello-door:1",
        folder.to_str().unwrap(),
    ]);
    let images = home.ok(&["image", "list", "--cluster"]).out;
    assert!(images.contains("hello-door"), "{images}");
    // Out of the cluster into a file, and back from it.
    let archive = home.dir.path().join("hello.tar");
    let archive = archive.to_str().unwrap();
    home.ok(&["image", "save", "hello-door:1", "-f", archive]);
    home.ok(&["image", "rm", "--cluster", "hello-door:1"]);
    home.run(&["image", "save", "hello-door:1", "-f", "/nowhere/x"])
        .fails_with("HOST_NOT_READABLE", 37);
    home.ok(&["image", "load", archive]);
    home.ok(&["image", "rm", "--cluster", "hello-door:1"]);
}

fn curl(args: &[&str]) -> Run {
    Run::of(
        Command::new("curl")
            .args(["-sS", "--noproxy", "*", "--max-time", "20"])
            .args(args),
    )
}

#[track_caller]
fn kubectl(home: &Sealed, args: &[&str]) {
    let mut command = Command::new("kubectl");
    command
        .args(args)
        .env("KUBECONFIG", home.kubeconfig())
        .env("HOME", home.dir.path());
    let run = Run::of(command.stdin(Stdio::null()));
    assert!(run.code == 0, "kubectl {args:?}: {run}");
}
