//! Clients that mean harm or are broken: each gets a clear Status with the right code, the
//! server's memory stays bounded, nothing is written, and the others notice nothing.

mod bodies;
mod doors;
mod limits;
mod sockets;

use axum::body::Body;
use http::Method;
use serde_json::Value;

use crate::support::{Answer, Client, admin, app, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = "/api/v1/namespaces/default/configmaps/good";

/// A server with a few good objects, and all that is in it.
struct Ground {
    client: Client,
    before: Value,
}

impl Ground {
    async fn new() -> Ground {
        let app = app().await;
        let client = Client::new(&app, admin());
        client
            .post(MAPS, &config_map("good", "v"))
            .await
            .expect(201);
        client
            .post(crate::support::PODS, &pod("good"))
            .await
            .expect(201);
        let before = contents(&client).await;
        Ground { client, before }
    }

    async fn send(&self, method: Method, path: &str, media: &str, body: impl Into<Body>) -> Answer {
        let headers = [("content-type", media)];
        self.client.send(method, path, &headers, body).await
    }

    /// Code, reason and message of a refusal.
    async fn refusal(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: impl Into<Body>,
    ) -> (u64, String, String) {
        let answer = self.send(method, path, media, body).await;
        let status = answer.json();
        assert_eq!(status["kind"], "Status", "{status}");
        assert_eq!(status["status"], "Failure", "{status}");
        assert_eq!(status["code"], answer.code.as_u16());
        let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
        (
            status["code"].as_u64().expect("code"),
            text("reason"),
            text("message"),
        )
    }

    /// Nothing was written, and the server still works.
    async fn unharmed(&self) {
        assert_eq!(contents(&self.client).await, self.before);
        assert_eq!(self.client.get("/readyz").await.code, 200);
    }
}

async fn contents(client: &Client) -> Value {
    let mut all = vec![];
    for path in [
        "/api/v1/configmaps",
        "/api/v1/pods",
        "/api/v1/secrets",
        "/apis/apps/v1/deployments",
    ] {
        all.push(client.get(path).await.expect(200)["items"].clone());
    }
    Value::Array(all)
}

/// Memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("statm");
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number") * 4096
}
