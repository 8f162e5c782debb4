//! A download onto a full disk. Alone in its file: the limit holds for the whole process.
#![cfg(unix)]

mod support;

use cadet_image::fetch::fetch;
use cadet_image::{ImageError, Network, http};
use support::{Server, content, serve, sha256};

#[tokio::test]
async fn a_full_disk_is_told_and_nothing_stays() {
    let limit = libc::rlimit {
        rlim_cur: 100_000,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: plain calls with a valid struct; without the signal, writes past the limit fail
    // with an error as they do on a full disk.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let dir = tempfile::tempdir().unwrap();
    let body = content(500_000);
    let server = Server::start(vec![serve(body.clone(), body.len())]);
    let client = http::client(&Network::default()).unwrap();
    let to = dir.path().join("file.img");
    let error = fetch(&client, &server.url(), &sha256(&body), &to, &|_| {}).await;
    assert!(
        matches!(error, Err(ImageError::DiskFull { .. })),
        "{error:?}"
    );
    for name in ["file.img", "file.img.partial", "file.img.origin"] {
        assert!(!dir.path().join(name).exists(), "{name} was left behind");
    }
}
