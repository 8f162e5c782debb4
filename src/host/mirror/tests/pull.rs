//! Pulls through the cache, against a registry that wants tokens, counts, and goes away.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use cadet_mirror::asked::Digest;
use cadet_mirror::upstream::Upstream;
use cadet_mirror::{Counts, Mirror, STATUS_PATH};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &[u8] = &[7; 300_000];

/// A registry with one image.
#[derive(Default)]
struct Registry {
    address: Mutex<String>,
    manifest: Mutex<String>,
    /// By method and kind of path, how often it was asked and gave.
    given: Mutex<HashMap<String, usize>>,
    tokens: AtomicUsize,
    /// Status of every answer, if it is out of order.
    broken: Mutex<Option<StatusCode>>,
    /// Blobs that are not what they should be.
    lies: Mutex<bool>,
}

impl Registry {
    fn count(&self, what: &str) -> usize {
        self.given.lock().unwrap().get(what).copied().unwrap_or(0)
    }

    fn answer(&self, request: &Request) -> Response {
        if let Some(status) = *self.broken.lock().unwrap() {
            return status.into_response();
        }
        let path = request.uri().path().to_owned();
        if path == "/token" {
            self.tokens.fetch_add(1, Ordering::Relaxed);
            let query = request.uri().query().unwrap_or_default();
            assert!(
                query.contains("scope=repository%3Alibrary%2Fweb%3Apull"),
                "{query}"
            );
            assert!(query.contains("service=here"), "{query}");
            return "{\"token\": \"t\", \"expires_in\": 300}".into_response();
        }
        if request.headers().get(AUTHORIZATION) != Some(&HeaderValue::from_static("Bearer t")) {
            let realm = self.address.lock().unwrap().clone();
            let challenge = format!("Bearer realm=\"{realm}/token\",service=\"here\"");
            return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response();
        }
        let manifest = self.manifest.lock().unwrap().clone();
        let digest = Digest::of(manifest.as_bytes()).to_string();
        let kind = if path.contains("/blobs/") {
            "blob"
        } else {
            "manifest"
        };
        let what = format!("{} {kind}", request.method());
        *self.given.lock().unwrap().entry(what).or_default() += 1;
        let head = request.method() == Method::HEAD;
        let tag = "/v2/library/web/manifests/1";
        if path == tag || path == format!("/v2/library/web/manifests/{digest}") {
            assert!(
                request.headers().contains_key(ACCEPT),
                "what a client takes is told"
            );
            let headers = [("docker-content-digest", digest)];
            let headers = (headers, [(CONTENT_TYPE, INDEX)]);
            return match head {
                true => headers.into_response(),
                false => (headers, manifest).into_response(),
            };
        }
        if path == format!("/v2/library/web/blobs/{}", Digest::of(LAYER)) {
            return match *self.lies.lock().unwrap() {
                true => b"something else".to_vec().into_response(),
                false => LAYER.to_vec().into_response(),
            };
        }
        StatusCode::NOT_FOUND.into_response()
    }
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    registry.answer(&request)
}

/// A registry, a cache before it, and a client of the cache.
struct Setting {
    registry: Arc<Registry>,
    serving: JoinHandle<()>,
    cache: String,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

fn client() -> reqwest::Client {
    // Fails only if a provider is set already, which is then the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    client.build().unwrap()
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    (listener, address)
}

/// A cache in `folder` before the registry at `upstream`; it lives as long as the test.
async fn cache(folder: &Path, upstream: &str) -> String {
    let mirror = Mirror::new(folder, Upstream::new(upstream, client())).unwrap();
    let (listener, address) = listen().await;
    tokio::spawn(mirror.serve(listener, std::future::pending()));
    address
}

async fn setting() -> Setting {
    let registry = Arc::new(Registry::default());
    *registry.manifest.lock().unwrap() = "{\"manifests\": []}".into();
    let (listener, address) = listen().await;
    registry.address.lock().unwrap().clone_from(&address);
    let app = Router::new().fallback(answer).with_state(registry.clone());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path(), &address).await;
    Setting {
        registry,
        serving,
        cache,
        client: client(),
        folder,
    }
}

impl Setting {
    async fn get(&self, path: &str) -> reqwest::Response {
        let request = self.client.get(format!("{}{path}", self.cache));
        request.header(ACCEPT, INDEX).send().await.unwrap()
    }

    /// What `docker pull` does, in short.
    async fn pull(&self) -> (String, Vec<u8>) {
        let head = self.client.head(format!("{}{TAG}", self.cache));
        let head = head.header(ACCEPT, INDEX).send().await.unwrap();
        assert_eq!(head.status(), 200);
        let digest = head.headers()["docker-content-digest"].to_str().unwrap();
        let manifest = self
            .get(&format!("/v2/library/web/manifests/{digest}"))
            .await;
        assert_eq!(manifest.status(), 200);
        assert_eq!(manifest.headers()[CONTENT_TYPE], INDEX);
        assert_eq!(manifest.headers()["docker-content-digest"], digest);
        let layer = self.get(&layer_path()).await;
        assert_eq!(layer.status(), 200);
        assert_eq!(layer.content_length(), Some(LAYER.len() as u64));
        let layer = layer.bytes().await.unwrap().to_vec();
        (manifest.text().await.unwrap(), layer)
    }

    async fn counts(&self) -> Counts {
        let told = self.get(STATUS_PATH).await.bytes().await.unwrap();
        serde_json::from_slice(&told).unwrap()
    }

    /// Waits until a blob that is still on its way to the disk has arrived.
    async fn kept(&self) {
        while self.counts().await.kept.blobs == 0 {
            tokio::task::yield_now().await;
        }
    }
}

const TAG: &str = "/v2/library/web/manifests/1";

fn layer_path() -> String {
    format!("/v2/library/web/blobs/{}", Digest::of(LAYER))
}

#[tokio::test]
async fn an_image_comes_over_the_internet_once_and_then_without_it() {
    let s = setting().await;
    assert_eq!(s.get("/v2/").await.status(), 200);
    let first = s.pull().await;
    assert_eq!(first, ("{\"manifests\": []}".into(), LAYER.to_vec()));
    s.kept().await;
    for _ in 0..3 {
        assert_eq!(s.pull().await, first);
    }
    assert_eq!(s.registry.count("GET manifest"), 1);
    assert_eq!(s.registry.count("GET blob"), 1);
    assert_eq!(
        s.registry.tokens.load(Ordering::Relaxed),
        1,
        "tokens are kept"
    );
    // No internet, and another cache over the same folder, as after a restart.
    s.serving.abort();
    let offline = Setting {
        cache: cache(s.folder.path(), "http://127.0.0.1:1").await,
        ..s
    };
    assert_eq!(offline.pull().await, first);
    let unknown = offline.get("/v2/library/other/manifests/1").await;
    assert_eq!(unknown.status(), 502, "Docker asks elsewhere then");
}

#[tokio::test]
async fn a_registry_out_of_order_does_not_take_away_what_is_kept() {
    let s = setting().await;
    let first = s.pull().await;
    s.kept().await;
    // The tag is as old as can be: the registry would be asked.
    let file = s.folder.path().join("tags/library%2fweb/1.json");
    let text = std::fs::read_to_string(&file).unwrap();
    let mut tagged: serde_json::Value = serde_json::from_str(&text).unwrap();
    tagged["known"] = 1.into();
    std::fs::write(&file, tagged.to_string()).unwrap();
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY] {
        *s.registry.broken.lock().unwrap() = Some(status);
        assert_eq!(s.pull().await, first, "{status}");
    }
    assert_eq!(s.counts().await.stale, 2);
    let missing = s.get("/v2/library/web/manifests/2").await;
    assert_eq!(missing.status(), 502);
    // Back again: the tag is asked for, but nothing is got twice.
    *s.registry.broken.lock().unwrap() = None;
    assert_eq!(s.pull().await, first);
    assert_eq!(s.registry.count("GET manifest"), 1);
    // And when it means something else, that is served.
    std::fs::write(&file, tagged.to_string()).unwrap();
    *s.registry.manifest.lock().unwrap() = "{\"new\": true}".into();
    assert_eq!(s.pull().await.0, "{\"new\": true}");
}

#[tokio::test]
async fn many_machines_at_once_fetch_a_layer_once() {
    let s = setting().await;
    let pulls = (0..8).map(|_| s.pull());
    for (_, layer) in futures::future::join_all(pulls).await {
        assert_eq!(layer, LAYER);
    }
    assert_eq!(s.registry.count("GET blob"), 1);
}

#[tokio::test]
async fn what_is_not_what_it_should_be_is_not_kept() {
    let s = setting().await;
    *s.registry.lies.lock().unwrap() = true;
    let lie = s.get(&layer_path()).await.bytes().await.unwrap();
    assert_eq!(&lie[..], b"something else", "Docker itself refuses it");
    *s.registry.lies.lock().unwrap() = false;
    let layer = s.get(&layer_path()).await.bytes().await.unwrap();
    assert_eq!(&layer[..], LAYER);
    assert_eq!(s.registry.count("GET blob"), 2);
}

#[tokio::test]
async fn a_pull_that_broke_off_goes_on_where_it_was() {
    let s = setting().await;
    s.pull().await;
    s.kept().await;
    let rest = s.client.get(format!("{}{}", s.cache, layer_path()));
    let rest = rest.header(RANGE, "bytes=299990-").send().await.unwrap();
    assert_eq!(rest.status(), 206);
    assert_eq!(
        rest.headers()["content-range"],
        "bytes 299990-299999/300000"
    );
    assert_eq!(rest.bytes().await.unwrap().len(), 10);
}

#[tokio::test]
async fn nothing_is_written_and_no_other_path_is_served() {
    let s = setting().await;
    let post = s
        .client
        .post(format!("{}/v2/library/web/blobs/uploads/", s.cache));
    assert_eq!(post.send().await.unwrap().status(), 405);
    for path in [
        "/",
        "/v2/library/web/tags/list",
        "/v2/_catalog",
        "/etc/passwd",
    ] {
        assert_eq!(s.get(path).await.status(), 404, "{path}");
    }
    let private = s.get("/v2/library/web/manifests/none").await;
    assert_eq!(private.status(), 404);
}
