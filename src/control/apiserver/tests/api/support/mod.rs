//! A server in the test's own process: memory store, requests without a network.

// Each test binary uses its own part of this.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use cadet_apiserver::{App, Config, Keys, LocalService, User};
use cadet_store::{LocalStore, MemoryDisk, Options, Store};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

pub fn config() -> Config {
    let mut config = Config::new("10.96.0.0/12", "10.0.2.15:6443".parse().expect("address"));
    let key = rcgen::KeyPair::generate().expect("key");
    config.token_keys = Some(Arc::new(Keys::new(&key.serialize_der()).expect("P-256")));
    config.authority = "the authority".to_owned();
    config
}

pub async fn app() -> App {
    app_on(Arc::new(
        LocalStore::open(MemoryDisk, Options::default()).expect("store"),
    ))
    .await
}

pub async fn app_on(store: Arc<dyn Store>) -> App {
    App::start(config(), store).await.expect("start")
}

pub fn admin() -> User {
    User::new("cadet-admin", &["system:masters"])
}

/// One user's view of a server.
#[derive(Clone)]
pub struct Client(LocalService);

/// An answer taken in whole.
#[derive(Debug)]
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {}", self.text))
    }

    pub fn warnings(&self) -> Vec<&str> {
        self.headers
            .get_all("warning")
            .iter()
            .map(|v| v.to_str().expect("ascii"))
            .collect()
    }

    #[track_caller]
    pub fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.text);
        self.json()
    }

    /// The message of a refusal with this code.
    #[track_caller]
    pub fn refused(self, code: u16) -> String {
        let status = self.expect(code);
        assert_eq!(status["kind"], "Status");
        assert_eq!(status["code"], code);
        status["message"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub fn new(app: &App, user: User) -> Client {
        Client(app.service(user))
    }

    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("request");
        self.0.clone().oneshot(request).await.expect("infallible")
    }

    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer {
            code: parts.status,
            headers: parts.headers,
            text,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[], body.to_string()).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, path, &[], body.to_string()).await
    }

    pub async fn delete(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::DELETE, path, &[], body.to_string()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let media = format!("application/{kind}-patch+json");
        let headers = [("content-type", media.as_str())];
        self.send(Method::PATCH, path, &headers, body.to_string())
            .await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Events {
        let response = self.open(Method::GET, path, &[], "").await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Events {
            body: response.into_body(),
            rest: Vec::new(),
        }
    }
}

/// The events of a watch, one by one.
pub struct Events {
    body: Body,
    rest: Vec<u8>,
}

impl Events {
    /// The next event, or `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event per line"));
            }
            let frame = self.body.frame().await?.expect("frame");
            self.rest
                .extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        }
    }

    /// Type and name of the next event.
    pub async fn brief(&mut self) -> String {
        match self.next().await {
            None => "END".to_owned(),
            Some(event) => {
                let text = |path| {
                    event
                        .pointer(path)
                        .and_then(Value::as_str)
                        .unwrap_or_default()
                };
                format!("{} {}", text("/type"), text("/object/metadata/name"))
                    .trim()
                    .to_owned()
            }
        }
    }
}

pub const PODS: &str = "/api/v1/namespaces/default/pods";

pub fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": "nginx:1.27"}]},
    })
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"key": value}})
}

/// Says where a pod of the default namespace runs.
pub async fn bind(client: &Client, name: &str, node: &str) -> Answer {
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name},
        "target": {"kind": "Node", "name": node}});
    client
        .post(&format!("{PODS}/{name}/binding"), &binding)
        .await
}
