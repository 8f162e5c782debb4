//! Downloads against a server that misbehaves in every way a real one has.

mod support;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use cadet_image::fetch::{Part, announced, fetch, fetch_part};
use cadet_image::{ImageError, Network, Progress, http};
use support::{Answer, Server, content, range, serve, serve_without_ranges, sha256, status};

const SIZE: usize = 600_000;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("file.img")
    }

    /// Names in the folder, lock files aside.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|n| !n.ends_with(".lock")).collect();
        names.sort();
        names
    }
}

async fn get(server: &Server, sum: &str, to: &Path) -> Result<(), ImageError> {
    // A machine that is busy elsewhere is no stall.
    get_within(Duration::from_secs(120), server, sum, to).await
}

async fn get_within(
    stall_timeout: Duration,
    server: &Server,
    sum: &str,
    to: &Path,
) -> Result<(), ImageError> {
    let network = Network {
        stall_timeout,
        ..Network::default()
    };
    let client = http::client(&network).unwrap();
    fetch(&client, &server.url(), sum, to, &|_| {}).await
}

#[tokio::test]
async fn a_plain_download_reports_progress_and_is_not_repeated() {
    let place = Place::new();
    let body = content(SIZE);
    let server = Server::start(vec![serve(body.clone(), SIZE)]);
    let seen = Mutex::new(vec![]);
    let client = http::client(&Network::default()).unwrap();
    let sink = |p: Progress| {
        if let Progress::Bytes { done, total } = p {
            assert_eq!(total, Some(SIZE as u64));
            seen.lock().unwrap().push(done);
        }
    };
    let sum = sha256(&body);
    for _ in 0..2 {
        fetch(&client, &server.url(), &sum, &place.file(), &sink)
            .await
            .unwrap();
    }
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
    assert_eq!(place.names(), ["file.img"]);
    assert_eq!(server.heard().len(), 1);
    let seen = seen.into_inner().unwrap();
    assert!(seen.is_sorted() && seen.last() == Some(&(SIZE as u64)));
}

#[tokio::test]
async fn a_cut_connection_is_continued_where_it_broke() {
    let place = Place::new();
    let body = content(SIZE);
    let server = Server::start(vec![
        serve(body.clone(), 250_000),
        serve(body.clone(), SIZE),
    ]);
    get(&server, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    let from = range(&heard[1]).unwrap();
    assert!((1..=250_000).contains(&from), "{from}");
    assert!(heard[1].contains("if-range: \"v1\""), "{}", heard[1]);
}

#[tokio::test]
async fn a_stalled_connection_is_given_up_and_continued() {
    let place = Place::new();
    let body = content(SIZE);
    let mut half = serve(body.clone(), 100_000);
    let stall: Answer = Box::new(move |head, stream| {
        half(head, stream);
        let held = stream.try_clone().unwrap();
        // Keeps the connection open in silence, without blocking the server.
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(600));
            drop(held);
        });
    });
    let server = Server::start(vec![stall, serve(body.clone(), SIZE)]);
    let (sum, file) = (sha256(&body), place.file());
    get_within(Duration::from_secs(2), &server, &sum, &file)
        .await
        .unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
    assert!(range(&server.heard()[1]).is_some());
}

#[tokio::test]
async fn a_server_without_ranges_sends_all_again() {
    let place = Place::new();
    let body = content(SIZE);
    let server = Server::start(vec![
        serve(body.clone(), 250_000),
        serve_without_ranges(body.clone()),
    ]);
    get(&server, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
}

#[tokio::test]
async fn a_wrong_checksum_leaves_nothing_behind() {
    let place = Place::new();
    let server = Server::start(vec![serve(content(SIZE), SIZE)]);
    let error = get(&server, &sha256(b"other"), &place.file()).await;
    let Err(ImageError::WrongChecksum {
        expected, found, ..
    }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(expected, sha256(b"other"));
    assert_eq!(found, sha256(&content(SIZE)));
    assert!(place.names().is_empty(), "{:?}", place.names());
    assert_eq!(server.heard().len(), 1, "wrong bytes are not fetched twice");
}

#[tokio::test]
async fn halves_of_different_files_are_thrown_away_once() {
    let place = Place::new();
    let (old, new) = (vec![7u8; SIZE], content(SIZE));
    // The server ignores If-Range and continues with the new file.
    let server = Server::start(vec![
        serve(old, 250_000),
        serve(new.clone(), SIZE),
        serve(new.clone(), SIZE),
    ]);
    get(&server, &sha256(&new), &place.file()).await.unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), new);
    assert_eq!(range(&server.heard()[2]), None);
}

#[tokio::test]
async fn a_damaged_file_at_hand_is_replaced() {
    let place = Place::new();
    let body = content(SIZE);
    std::fs::write(place.file(), "damaged").unwrap();
    let server = Server::start(vec![serve(body.clone(), SIZE)]);
    get(&server, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
}

#[tokio::test]
async fn what_is_not_there_is_told_at_once_and_trouble_is_retried() {
    let place = Place::new();
    let body = content(1000);
    let server = Server::start(vec![status("404 Not Found", "")]);
    let error = get(&server, &sha256(&body), &place.file()).await;
    assert!(matches!(error, Err(ImageError::Status { status: 404, .. })));
    assert_eq!(server.heard().len(), 1);

    let server = Server::start(vec![
        status("503 Service Unavailable", ""),
        serve(body.clone(), SIZE),
    ]);
    get(&server, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(server.heard().len(), 2);
}

#[tokio::test]
async fn redirects_are_followed() {
    let place = Place::new();
    let body = content(SIZE);
    let real = Server::start(vec![serve(body.clone(), SIZE)]);
    let location = format!("Location: {}\r\n", real.url());
    let first = Server::start(vec![status("302 Found", &location)]);
    get(&first, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(std::fs::read(place.file()).unwrap(), body);
}

#[tokio::test]
async fn when_all_attempts_break_the_part_is_kept_for_the_next_call() {
    let place = Place::new();
    let body = content(SIZE);
    let sum = sha256(&body);
    let server = Server::start(vec![
        serve(body.clone(), 250_000),
        // Announces the rest and sends nothing of it, for ever.
        serve(body.clone(), 0),
    ]);
    let error = get(&server, &sum, &place.file()).await;
    assert!(
        matches!(error, Err(ImageError::Cut { done: 1.., .. })),
        "{error:?}"
    );
    assert_eq!(place.names(), ["file.img.origin", "file.img.partial"]);

    // The next call, perhaps days later: same address, so the part counts.
    let port = server.base.clone();
    let again = Server::start(vec![serve(body.clone(), SIZE)]);
    let origin = place.dir.path().join("file.img.origin");
    let text = std::fs::read_to_string(&origin).unwrap();
    std::fs::write(&origin, text.replace(&port, &again.base)).unwrap();
    get(&again, &sum, &place.file()).await.unwrap();
    assert!(range(&again.heard()[0]).is_some());
    assert_eq!(place.names(), ["file.img"]);
}

#[tokio::test]
async fn a_part_of_something_else_is_not_continued() {
    let place = Place::new();
    let body = content(SIZE);
    std::fs::write(place.dir.path().join("file.img.partial"), "stranger").unwrap();
    let server = Server::start(vec![serve(body.clone(), SIZE)]);
    get(&server, &sha256(&body), &place.file()).await.unwrap();
    assert_eq!(range(&server.heard()[0]), None);
}

#[tokio::test]
async fn two_at_once_download_once() {
    let place = Place::new();
    let body = content(SIZE);
    let sum = sha256(&body);
    let mut all = serve(body.clone(), SIZE);
    let slow: Answer = Box::new(move |head, stream| {
        std::thread::sleep(Duration::from_millis(200));
        all(head, stream);
    });
    let server = Server::start(vec![slow]);
    let file = place.file();
    let (a, b) = tokio::join!(get(&server, &sum, &file), get(&server, &sum, &file));
    a.unwrap();
    b.unwrap();
    assert_eq!(server.heard().len(), 1);
}

#[tokio::test]
async fn checksums_are_looked_up_by_file_name() {
    let sums = format!("{} *file.img\n", sha256(b"x"));
    let server = Server::start(vec![serve_without_ranges(sums.into_bytes())]);
    let client = http::client(&Network::default()).unwrap();
    let list = format!("{}/SHA256SUMS", server.base);
    let found = announced(&client, &list, &server.url()).await.unwrap();
    assert_eq!(found, sha256(b"x"));
    let error = announced(&client, &list, "http://h/other.img").await;
    assert!(matches!(error, Err(ImageError::NoChecksum { file, .. }) if file == "other.img"));
}

#[tokio::test]
async fn reachability_counts_success_only() {
    let client = http::client(&Network::default()).unwrap();
    let ask = |url: String| {
        let client = client.clone();
        async move { http::trouble_reaching(&client, &url, Duration::from_secs(120)).await }
    };
    let good = Server::start(vec![status("200 OK", "")]);
    assert_eq!(ask(good.url()).await, None);
    let walled = Server::start(vec![status("403 Blocked by policy", "")]);
    assert!(ask(walled.url()).await.unwrap().contains("403"));
    // Accepts and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let brief = Duration::from_millis(200);
    let trouble = http::trouble_reaching(&client, &url, brief).await;
    assert!(trouble.unwrap().contains("did not answer"));
}

/// The first and the last byte asked for by a Range header with both.
fn asked(head: &str) -> (usize, usize) {
    let line = head.lines().find_map(|l| l.strip_prefix("range: bytes="));
    let (first, last) = line.unwrap().split_once('-').unwrap();
    (first.parse().unwrap(), last.trim().parse().unwrap())
}

/// A file server that sends at most `limit` bytes of the range it is asked for.
fn serve_part(body: Vec<u8>, limit: usize) -> Answer {
    Box::new(move |head, stream| {
        use std::io::Write;
        let (first, last) = asked(head);
        let (total, length) = (body.len(), last + 1 - first);
        let answer = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{last}/{total}\r\n\
             Content-Length: {length}\r\nETag: \"v1\"\r\nConnection: close\r\n\r\n"
        );
        // The client may have gone.
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.write_all(&body[first..first + length.min(limit)]);
    })
}

async fn get_part(server: &Server, part: Part, sum: &str, to: &Path) -> Result<(), ImageError> {
    let client = http::client(&Network::default()).unwrap();
    fetch_part(&client, &server.url(), part, sum, to, &|_| {}).await
}

const PART: Part = Part {
    start: 100_000,
    length: 300_000,
};

#[tokio::test]
async fn a_part_is_fetched_and_goes_on_where_it_broke() {
    let place = Place::new();
    let body = content(SIZE);
    let wanted = &body[100_000..400_000];
    let server = Server::start(vec![
        serve_part(body.clone(), 120_000),
        serve_part(body.clone(), SIZE),
    ]);
    get_part(&server, PART, &sha256(wanted), &place.file())
        .await
        .unwrap();
    assert!(std::fs::read(place.file()).unwrap() == wanted);
    assert_eq!(place.names(), ["file.img"]);
    let heard = server.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(asked(&heard[0]), (100_000, 399_999));
    let (first, last) = asked(&heard[1]);
    assert!((100_001..=220_000).contains(&first), "{first}");
    assert_eq!(last, 399_999);
}

#[tokio::test]
async fn a_part_with_other_bytes_leaves_nothing_behind() {
    let place = Place::new();
    let server = Server::start(vec![serve_part(content(SIZE), SIZE)]);
    let error = get_part(&server, PART, &sha256(b"other"), &place.file()).await;
    assert!(
        matches!(error, Err(ImageError::WrongChecksum { .. })),
        "{error:?}"
    );
    assert!(place.names().is_empty(), "{:?}", place.names());
}

#[tokio::test]
async fn a_server_without_parts_is_given_up_at_once() {
    let place = Place::new();
    let body = content(SIZE);
    for answer in [
        serve_without_ranges(body.clone()),
        status("416 Range Not Satisfiable", ""),
    ] {
        let server = Server::start(vec![answer]);
        let sum = sha256(&body[100_000..400_000]);
        let error = get_part(&server, PART, &sum, &place.file()).await;
        assert!(
            matches!(
                error,
                Err(ImageError::Status {
                    status: 200 | 416,
                    ..
                })
            ),
            "{error:?}"
        );
        assert!(!place.file().exists());
    }
}

#[tokio::test]
async fn the_beginning_of_a_file_comes_with_its_size() {
    let body = content(SIZE);
    let client = http::client(&Network::default()).unwrap();
    let server = Server::start(vec![serve_part(body.clone(), SIZE)]);
    let found = http::beginning(&client, &server.url(), 1000).await.unwrap();
    assert!(found.bytes == body[..1000]);
    assert_eq!(found.size, Some(SIZE as u64));
    let whole = Server::start(vec![serve_without_ranges(body)]);
    let refused = http::beginning(&client, &whole.url(), 1000).await;
    assert!(
        matches!(refused, Err(ImageError::Status { status: 200, .. })),
        "{refused:?}"
    );
}
