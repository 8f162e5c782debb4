//! The class's cache of images, in front of a registry that wants tokens, and may be gone.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cadet_class::mirror::{Digest, Mirror};
use cadet_class::server::Notice;
use tokio::net::TcpListener;

use crate::room::{Plan, Room, json};

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// A registry with one image.
struct Registry {
    address: std::net::SocketAddr,
    asked: AtomicUsize,
    blob: Vec<u8>,
    manifest: Vec<u8>,
    /// What it sends as the blob.
    sent: Vec<u8>,
}

impl Registry {
    async fn open(sent: impl FnOnce(&[u8]) -> Vec<u8>) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let blob: Vec<u8> = (0..500_000usize).map(|i| (i * 7 + i / 253) as u8).collect();
        let manifest = format!("{{\"layers\":[\"{}\"]}}", Digest::of(&blob)).into_bytes();
        let registry = Arc::new(Self {
            address: listener.local_addr().unwrap(),
            asked: AtomicUsize::new(0),
            sent: sent(&blob),
            blob,
            manifest,
        });
        let router = Router::new()
            .route("/token", get(|| async { "{\"token\":\"T\"}" }))
            .route("/v2/{*path}", get(answer))
            .with_state(registry.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (registry, serving)
    }

    fn blob_path(&self) -> String {
        format!("/v2/library/nginx/blobs/{}", Digest::of(&self.blob))
    }
}

async fn answer(
    State(registry): State<Arc<Registry>>,
    Path(path): Path<String>,
    headers: HeaderMap,
) -> Response {
    if headers.get("authorization").is_none_or(|v| v != "Bearer T") {
        let realm = format!("http://{}/token", registry.address);
        let challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    registry.asked.fetch_add(1, Ordering::SeqCst);
    if path == "library/nginx/manifests/latest" {
        return ([("content-type", KIND)], registry.manifest.clone()).into_response();
    }
    if format!("/v2/{path}") == registry.blob_path() {
        return registry.sent.clone().into_response();
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn room(registry: &Registry) -> Room {
    room_with(registry, |mirror, _| mirror).await
}

/// As [`room`], with a word about its cache, which gets the plan's own folder.
async fn room_with(
    registry: &Registry,
    change: impl FnOnce(Mirror, &std::path::Path) -> Mirror,
) -> Room {
    // An error means that another test installed it before us, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut plan = Plan::new();
    let client = reqwest::Client::builder()
        .no_proxy()
        // A registry that is gone is gone: no connection outlives it.
        .pool_max_idle_per_host(0)
        .tls_certs_only([])
        .build()
        .unwrap();
    let folder = plan.dir.path().join("images");
    let upstream = format!("http://{}", registry.address);
    let mirror = Mirror::new(folder, &upstream, client).unwrap();
    plan.mirror = Some(change(mirror, plan.dir.path()));
    plan.limits.spare_own = false;
    plan.open().await
}

async fn ask(room: &Room, path: &str) -> reqwest::Response {
    let teacher = room.teacher();
    teacher.http().get(room.url(path)).send().await.unwrap()
}

#[tokio::test]
async fn an_image_comes_from_the_internet_once_and_stays_when_it_is_gone() {
    let (registry, serving) = Registry::open(<[u8]>::to_vec).await;
    let room = room(&registry).await;
    let latest = "/v2/library/nginx/manifests/latest";
    // Whoever has not joined is nobody's guest.
    assert_eq!(ask(&room, latest).await.status(), 403);
    room.learner("Ada").await;
    assert_eq!(ask(&room, "/v2/").await.status(), 200);
    for _ in 0..3 {
        let manifest = ask(&room, latest).await;
        assert_eq!(manifest.headers()["content-type"], KIND);
        let digest = manifest.headers()["docker-content-digest"].clone();
        let bytes = manifest.bytes().await.unwrap();
        assert!(bytes == registry.manifest);
        assert_eq!(digest, Digest::of(&bytes).to_string());
    }
    let path = registry.blob_path();
    let many = (0..4).map(|_| async { ask(&room, &path).await.bytes().await.unwrap() });
    for blob in futures::future::join_all(many).await {
        assert!(blob == registry.blob);
    }
    // Tokens are asked for without being counted; four at once may have begun together.
    let asked = registry.asked.load(Ordering::SeqCst);
    assert!((2..=5).contains(&asked), "{asked}");
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let part = room.teacher();
    let part = part
        .http()
        .get(room.url(&path))
        .header("range", "bytes=10-19");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert!(part.bytes().await.unwrap() == registry.blob[10..20]);
    assert_eq!(ask(&room, latest).await.status(), 200);
    let unknown = ask(&room, "/v2/library/other/manifests/latest").await;
    assert_eq!(unknown.status(), 502);
}

#[tokio::test]
async fn what_the_laptop_keeps_already_is_the_classs_without_the_internet() {
    use cadet_class::mirror::{Manifest, Name, Tag};
    use cadet_mirror::store::Store;
    let (registry, serving) = Registry::open(<[u8]>::to_vec).await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
    let room = room_with(&registry, |mirror, dir| {
        let folder = dir.join("of the laptop");
        let store = Store::open(&folder).unwrap();
        let part = store.part();
        std::fs::write(&part, &registry.blob).unwrap();
        let blob = Digest::of(&registry.blob);
        store.keep_blob(&blob, &part).unwrap();
        let manifest = Manifest {
            digest: Digest::of(&registry.manifest),
            media_type: KIND.into(),
            bytes: registry.manifest.clone(),
        };
        store.keep_manifest(&manifest).unwrap();
        let (name, tag) = (Name::parse("library/nginx"), Tag::parse("latest"));
        // Long ago: the registry is asked, and does not answer.
        store
            .keep_tag(&name.unwrap(), &tag.unwrap(), &manifest.digest, 1)
            .unwrap();
        mirror.beside(&folder)
    })
    .await;
    room.learner("Ada").await;
    let manifest = ask(&room, "/v2/library/nginx/manifests/latest").await;
    assert_eq!(manifest.status(), 200);
    assert!(manifest.bytes().await.unwrap() == registry.manifest);
    let blob = ask(&room, &registry.blob_path()).await;
    assert!(blob.bytes().await.unwrap() == registry.blob);
}

#[tokio::test]
async fn a_blob_with_other_bytes_never_arrives_whole() {
    let spoil = |blob: &[u8]| {
        let mut blob = blob.to_vec();
        blob[400_000] ^= 1;
        blob
    };
    let (registry, serving) = Registry::open(spoil).await;
    let room = room(&registry).await;
    room.learner("Ada").await;
    let answer = ask(&room, &registry.blob_path()).await;
    assert!(answer.bytes().await.is_err(), "it must break off");
    let left = std::fs::read_dir(room.plan.dir.path().join("images/blobs")).unwrap();
    let whole = left.flatten().filter(|f| f.path().extension().is_none());
    assert_eq!(whole.count(), 0);
    serving.abort();
}

#[tokio::test]
async fn what_the_registry_does_not_have_is_unknown_and_writing_is_not_spoken() {
    let (registry, serving) = Registry::open(<[u8]>::to_vec).await;
    let room = room(&registry).await;
    room.learner("Ada").await;
    let answer = ask(&room, "/v2/library/nginx/manifests/other").await;
    assert_eq!(answer.status(), 404);
    let said = json(answer).await;
    assert_eq!(said["errors"][0]["code"], "NAME_UNKNOWN");
    for path in [
        "/v2/library/nginx/tags/list",
        "/v2/..%2f..%2fx/manifests/latest",
    ] {
        assert_eq!(ask(&room, path).await.status(), 404, "{path}");
    }
    let teacher = room.teacher();
    let upload = teacher
        .http()
        .post(room.url("/v2/library/nginx/blobs/uploads/"));
    assert_eq!(upload.send().await.unwrap().status(), 405);
    serving.abort();
}

#[tokio::test]
async fn a_disk_that_takes_no_image_is_told_and_the_class_goes_on() {
    let (registry, serving) = Registry::open(<[u8]>::to_vec).await;
    let mut room = room(&registry).await;
    room.learner("Ada").await;
    let images = room.plan.dir.path().join("images");
    // A file where the folder was: nothing can be written there, not even by root.
    let aside = images.with_extension("aside");
    std::fs::rename(&images, &aside).unwrap();
    std::fs::write(&images, "").unwrap();
    let path = registry.blob_path();
    let answer = ask(&room, &path).await;
    assert_eq!(answer.status(), 507);
    assert_eq!(json(answer).await["errors"][0]["code"], "UNAVAILABLE");
    let told = loop {
        match room.notice().await {
            Notice::NotFetched { image, why } => break format!("{image}: {why}"),
            other => assert!(matches!(other, Notice::Joined { .. }), "{other:?}"),
        }
    };
    assert!(told.contains("library/nginx"), "{told}");
    room.learner("Grace").await.report(1, 5).await;
    // Room was made: the next one who asks gets it.
    std::fs::remove_file(&images).unwrap();
    std::fs::rename(&aside, &images).unwrap();
    let answer = ask(&room, &path).await;
    assert!(answer.bytes().await.unwrap() == registry.blob);
    serving.abort();
}

#[tokio::test]
async fn images_take_no_more_than_the_class_may_keep() {
    let (registry, serving) = Registry::open(<[u8]>::to_vec).await;
    let most = registry.blob.len() as u64 - 1;
    let mut room = room_with(&registry, |mirror, _| mirror.within(most)).await;
    room.learner("Ada").await;
    let answer = ask(&room, &registry.blob_path()).await;
    assert_eq!(answer.status(), 507);
    let said = json(answer).await["errors"][0]["message"].clone();
    assert!(
        said.as_str().unwrap().contains("space for images"),
        "{said}"
    );
    let told = loop {
        match room.notice().await {
            Notice::NotFetched { why, .. } => break why,
            other => assert!(matches!(other, Notice::Joined { .. }), "{other:?}"),
        }
    };
    assert!(told.contains("space for images"), "{told}");
    // What is small enough still comes.
    let manifest = ask(&room, "/v2/library/nginx/manifests/latest").await;
    assert_eq!(manifest.status(), 200);
    serving.abort();
}
