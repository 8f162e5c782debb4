//! Proxies come from the usual variables. Alone in its file: they hold for the whole process.

mod support;

use cadet_image::fetch::fetch;
use cadet_image::{Network, http};
use support::{Server, content, serve, sha256};

#[test]
fn requests_go_through_the_proxy_except_to_excluded_hosts() {
    let body = content(5000);
    let proxy = Server::start(vec![serve(body.clone(), body.len())]);
    let direct = Server::start(vec![serve(body.clone(), body.len())]);
    // SAFETY: the test's server threads do not read the environment, and no other test runs here.
    unsafe {
        std::env::set_var("http_proxy", &proxy.base);
        for name in ["no_proxy", "NO_PROXY"] {
            std::env::set_var(name, "127.0.0.1");
        }
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let client = http::client(&Network::default()).unwrap();
        let sum = sha256(&body);
        let far = "http://images.example.invalid/file.img";
        let to = dir.path().join("a");
        fetch(&client, far, &sum, &to, &|_| {}).await.unwrap();
        assert!(proxy.heard()[0].starts_with(&format!("get {far} ")));
        let to = dir.path().join("b");
        fetch(&client, &direct.url(), &sum, &to, &|_| {})
            .await
            .unwrap();
        assert_eq!(proxy.heard().len(), 1);
        assert!(direct.heard()[0].starts_with("get /file.img "));
    });
}
