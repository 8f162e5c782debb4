//! A real Chromium loads a page that only the proxy can reach.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use cadet_browser::launch::launch_with;
use cadet_browser::{Family, Page, Plan, World};

/// A port browsers refuse by default (X11), as lessons use it.
const UNSAFE_PORT: u16 = 6000;

/// Answers every request with one page.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(1..) => request.extend_from_slice(&buffer),
            _ => return,
        }
    }
    let page = "<html><body><h1 id=seen>telescope seen</h1></body></html>";
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        page.len()
    );
    let _ = stream.write_all(format!("{head}{page}").as_bytes());
}

/// A SOCKS5 server that knows one name and one address, whatever they really are, and
/// reports everything it is asked for.
fn proxy(to: SocketAddr, asked: mpsc::Sender<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            thread::spawn(move || socks(stream, to, &asked));
        }
    });
    address
}

fn socks(mut stream: TcpStream, to: SocketAddr, asked: &mpsc::Sender<String>) -> Option<()> {
    let take = |stream: &mut TcpStream, count: usize| {
        let mut bytes = vec![0; count];
        stream.read_exact(&mut bytes).ok().map(|()| bytes)
    };
    let head = take(&mut stream, 2)?;
    take(&mut stream, head[1].into())?;
    stream.write_all(&[5, 0]).ok()?;
    let request = take(&mut stream, 4)?;
    let host = match request[3] {
        1 => take(&mut stream, 4)?
            .iter()
            .map(u8::to_string)
            .collect::<Vec<_>>()
            .join("."),
        3 => {
            let length = take(&mut stream, 1)?[0];
            String::from_utf8(take(&mut stream, length.into())?).ok()?
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(take(&mut stream, 2)?.try_into().ok()?);
    asked.send(format!("{host}:{port}")).ok()?;
    let known = ["telescope.default.svc.cluster.local", "10.244.0.7"].contains(&host.as_str());
    if !known {
        stream.write_all(&[5, 4, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
        return None;
    }
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let mut far = TcpStream::connect(to).ok()?;
    let (mut near_read, mut far_write) = (stream.try_clone().ok()?, far.try_clone().ok()?);
    thread::spawn(move || std::io::copy(&mut near_read, &mut far_write));
    std::io::copy(&mut far, &mut stream).ok()?;
    Some(())
}

fn world() -> World {
    // SAFETY: reads a number of the calling process.
    let is_root = unsafe { libc::geteuid() } == 0;
    World {
        system: cadet_browser::find::System::Linux,
        path: std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect(),
        home: std::env::var_os("HOME").map(PathBuf::from),
        program_folders: vec![],
        is_root,
        has_display: false,
    }
}

/// Loads `url` headless; returns the page and what the proxy was asked for.
fn load(url: &str) -> (String, Vec<String>) {
    let (asked, heard) = mpsc::channel();
    let page = Page::new(url, proxy(web(), asked)).unwrap();
    let world = world();
    let chromium = world
        .choose(Some("Chromium"), |path| path.is_file())
        .expect("this test needs Chromium: apt-get install chromium");
    assert_eq!(chromium.family, Family::Chromium);
    let profiles = tempfile::tempdir().unwrap();
    let mut running = launch_with(profiles.path(), Stdio::piped(), |profile| {
        Plan::new(&chromium, &page, profile, &world).headless(&["--disable-gpu", "--dump-dom"])
    })
    .unwrap();
    let mut text = String::new();
    running.stdout().unwrap().read_to_string(&mut text).unwrap();
    assert!(running.wait().unwrap().success());
    assert_eq!(
        std::fs::read_dir(profiles.path()).unwrap().count(),
        0,
        "the profile was left"
    );
    (text, heard.try_iter().collect())
}

#[test]
fn a_name_only_the_proxy_knows() {
    let (text, asked) = load("http://telescope.default.svc.cluster.local/");
    assert!(text.contains("telescope seen"), "{text}\n{asked:?}");
    assert!(
        asked.contains(&"telescope.default.svc.cluster.local:80".to_owned()),
        "{asked:?}"
    );
}

#[test]
fn a_pod_address_on_a_port_browsers_refuse() {
    let (text, asked) = load(&format!("http://10.244.0.7:{UNSAFE_PORT}/"));
    assert!(text.contains("telescope seen"), "{text}\n{asked:?}");
    assert!(
        asked.contains(&format!("10.244.0.7:{UNSAFE_PORT}")),
        "{asked:?}"
    );
}
