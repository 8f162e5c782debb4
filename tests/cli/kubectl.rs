//! `cadet kubectl` on a laptop with an old kubectl, or none: one is fetched and checked.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use crate::support::{Run, Sealed};

const PROGRAM: &str = "#!/bin/sh\necho \"fetched $*\"; echo \"$KUBECONFIG\"; exit 3\n";

/// A publisher's server on the laptop: its address, and what it was asked for.
fn publisher(checksum: String) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = first.split(' ').nth(1).unwrap().to_string();
            let body = match path.ends_with(".sha256") {
                true => checksum.clone(),
                false => PROGRAM.into(),
            };
            heard.lock().unwrap().push(path);
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length";
            write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    (address, asked)
}

fn right() -> String {
    let hash = Sha256::digest(PROGRAM);
    hash.iter().map(|b| format!("{b:02x}")).collect()
}

/// A laptop whose PATH has nothing but what is written here.
fn laptop(kubectl: Option<&str>) -> Sealed {
    let home = Sealed::new();
    home.profile("cadet");
    home.credentials("cadet");
    let bin = home.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    if let Some(text) = kubectl {
        let file = bin.join("kubectl");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }
    home
}

fn kubectl(home: &Sealed, mirror: &str) -> Command {
    let mut command = home.command(&["kubectl", "--", "get", "pods"]);
    command
        .env("PATH", home.dir.path().join("bin"))
        .env("CADET_KUBECTL_MIRROR", mirror);
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

fn says(version: &str, minor: &str) -> String {
    format!(
        "#!/bin/sh\nif [ \"$1\" = version ]; then\n\
         echo '{{\"clientVersion\": {{\"major\": \"1\", \"minor\": \"{minor}\", \"gitVersion\": \"{version}\"}}}}'\n\
         else echo \"own $*\"; fi\n"
    )
}

#[test]
fn none_on_the_path_one_is_fetched_once_and_kept() {
    let home = laptop(None);
    let (mirror, asked) = publisher(right());
    let run = Run::of(&mut kubectl(&home, &mirror));
    assert_eq!(run.code, 3, "its own exit code: {run}");
    assert!(run.out.starts_with("fetched get pods\n"), "{run}");
    assert!(run.out.contains("profiles/cadet/kubeconfig"), "{run}");
    assert!(run.err.contains("fetching kubectl v1."), "{run}");
    let paths = asked.lock().unwrap().clone();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert_eq!(paths[0], format!("{}.sha256", paths[1]));
    // Offline from now on.
    let run = Run::of(&mut kubectl(&home, "http://127.0.0.1:1"));
    assert!(run.out.starts_with("fetched get pods\n"), "{run}");
    assert!(run.err.is_empty(), "{run}");
}

#[test]
fn one_that_fits_is_used_and_an_old_one_is_not() {
    let home = laptop(Some(&says("v1.28.1", "28")));
    let run = Run::of(&mut kubectl(&home, "http://127.0.0.1:1"));
    assert_eq!((run.code, run.out.as_str()), (0, "own get pods\n"), "{run}");
    let home = laptop(Some(&says("v1.18.0", "18")));
    let (mirror, _) = publisher(right());
    let run = Run::of(&mut kubectl(&home, &mirror));
    assert!(run.out.starts_with("fetched get pods\n"), "{run}");
}

#[test]
fn what_is_not_what_was_announced_is_never_run() {
    let home = laptop(None);
    for checksum in ["0".repeat(64), "<html>sign in</html>".into(), String::new()] {
        let (mirror, _) = publisher(checksum);
        let run = Run::of(&mut kubectl(&home, &mirror));
        run.fails_with("HOST_KUBECTL_MISSING", 35);
        assert!(!run.out.contains("fetched"), "{run}");
    }
    let run = Run::of(&mut kubectl(&home, "http://127.0.0.1:1"));
    run.fails_with("HOST_KUBECTL_MISSING", 35);
    assert!(run.err.contains("cannot be reached"), "{run}");
    let left = home.files();
    let programs = left.iter().filter(|f| f.ends_with("kubectl"));
    assert_eq!(programs.count(), 0, "{left:?}");
}
