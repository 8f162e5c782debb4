//! Doors on the laptop: what the cluster's Services offer outside, on 127.0.0.1.
//!
//! ```text
//!  API server ─ watch ─▶ follow ─ Change ─▶ hall ─▶ a listener per door ─▶ the one SSH session
//!                                            └────▶ what `cadet tunnel --status` tells
//! ```
//!
//! * [`wanted`] reads which ports of the laptop a Service asks for. Pure.
//! * [`place`] says which port it gets when that one cannot be had. Pure.
//! * [`hall`] opens and closes listeners until both agree.
//! * [`follow`] tells every change of Services; it watches, it does not ask again and again.
//! * [`listen`] takes the best port that can be had.
//! * [`event`] is what people and programs are told.
//!
//! `cadet port-forward` uses the same parts for what it is told by hand; [`aim`] says where that
//! leads, [`pods`] to which pod of several.
//!
//! A connection goes to the Service's address in the cluster, so a door works as soon as the
//! Service does. Listeners stay when the session or the API server is away for a while.

pub mod aim;
pub mod event;
pub mod follow;
mod hall;
pub mod listen;
pub mod place;
pub mod pods;
#[cfg(test)]
mod quiet;
mod wanted;
pub mod work;

use cadet_tunnel::Tunnel;
use cadet_tunnel::control::Doors;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::cluster::Cluster;
use crate::error::Result;
use event::Event;
use hall::Hall;

/// All Services.
const SERVICES: &str = "/api/v1/services";

/// Keeps the doors as the Services want them, for ever. `find` gives a client with today's
/// credentials, `publish` gets what is open after every change, `say` hears of each change.
pub async fn keep(
    find: impl Fn() -> Result<Cluster>,
    tunnel: &Tunnel,
    publish: &watch::Sender<Doors>,
    mut say: impl FnMut(&Event),
) {
    let (tell, mut changes) = mpsc::channel(64);
    let opening = async {
        let mut hall = Hall::new(tunnel.clone());
        while let Some(change) = changes.recv().await {
            hall.take(change);
            // What came meanwhile is settled in one go.
            while let Ok(change) = changes.try_recv() {
                hall.take(change);
            }
            for event in hall.settle().await {
                say(&event);
            }
            publish.send_modify(|doors| doors.forwards = hall.doors());
        }
    };
    tokio::join!(follow::follow(find, tunnel, SERVICES, tell), opening);
}

/// True if `service` asks for a door at all.
pub fn wants_any(service: &Value) -> bool {
    !wanted::of(service).is_empty()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{HashMap, VecDeque};
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::extract::{Query, State};
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use cadet_tunnel::{Target, Tuning};
    use serde_json::json;

    use super::*;

    /// An API server that knows Services only: the next list and the events of its watch.
    #[derive(Default)]
    struct Api {
        rounds: Mutex<VecDeque<(Value, mpsc::Receiver<Value>)>>,
        watch: Mutex<Option<mpsc::Receiver<Value>>>,
    }

    impl Api {
        /// The next list, and what is told after it until the sender is dropped.
        fn round(&self, items: &[Value]) -> mpsc::Sender<Value> {
            let (tell, events) = mpsc::channel(8);
            let list = json!({"metadata": {"resourceVersion": "7"}, "items": items});
            self.rounds.lock().unwrap().push_back((list, events));
            tell
        }
    }

    async fn services(
        State(api): State<Arc<Api>>,
        Query(query): Query<HashMap<String, String>>,
    ) -> Response {
        if !query.contains_key("watch") {
            let Some((list, events)) = api.rounds.lock().unwrap().pop_front() else {
                return axum::http::StatusCode::SERVICE_UNAVAILABLE.into_response();
            };
            *api.watch.lock().unwrap() = Some(events);
            return list.to_string().into_response();
        }
        assert_eq!(query["resourceVersion"], "7");
        let events = api.watch.lock().unwrap().take().expect("listed before");
        let lines = futures::stream::unfold(events, |mut events| async move {
            let event: Value = events.recv().await?;
            Some((Ok::<_, Infallible>(format!("{event}\n")), events))
        });
        Body::from_stream(lines).into_response()
    }

    /// Its address.
    async fn serve(api: Arc<Api>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().route("/api/v1/services", get(services));
        let app = app.with_state(api);
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    fn service(name: &str, port: u16, address: &str) -> Value {
        json!({
            "metadata": {"namespace": "default", "name": name},
            "spec": {"type": "LoadBalancer", "clusterIP": address,
                "ports": [{"port": port, "protocol": "TCP"}]},
        })
    }

    #[tokio::test]
    async fn doors_come_and_go_with_the_events_of_a_watch() {
        let api = Arc::new(Api::default());
        let [web, shop] = quiet::ports();
        let first = api.round(&[service("web", web, "10.96.0.7")]);
        let server = serve(api.clone()).await;
        let nowhere = Target {
            address: "127.0.0.1:9".parse().unwrap(),
            user: "cadet".into(),
            client_key: String::new(),
            host_key: String::new(),
        };
        let tunnel = Tunnel::lazy(nowhere, Tuning::default());
        let (publish, mut seen) = watch::channel(Doors::default());
        let told = RefCell::new(Vec::new());
        let keeping = keep(
            || Ok(Cluster::plain(server.clone())),
            &tunnel,
            &publish,
            |event| told.borrow_mut().push(event.text()),
        );
        let mut until = async |services: &[&str]| {
            let as_wanted = |doors: &Doors| {
                let there = doors.forwards.iter().map(|f| f.service.as_str());
                there.eq(services.iter().copied())
            };
            seen.wait_for(as_wanted).await.unwrap().clone()
        };
        let play = async {
            let doors = until(&["default/web"]).await;
            let door = &doors.forwards[0];
            assert_eq!(door.local.to_string(), format!("127.0.0.1:{web}"));
            assert_eq!((door.host.as_str(), door.port), ("10.96.0.7", web));
            assert!(tokio::net::TcpStream::connect(door.local).await.is_ok());

            let event = json!({"type": "ADDED", "object": service("shop", shop, "10.96.0.8")});
            first.send(event).await.unwrap();
            let doors = until(&["default/shop", "default/web"]).await;
            assert_eq!(doors.forwards[0].local.port(), shop);

            let event = json!({"type": "DELETED", "object": service("web", web, "10.96.0.7")});
            first.send(event).await.unwrap();
            until(&["default/shop"]).await;
            assert!(std::net::TcpListener::bind(("127.0.0.1", web)).is_ok());

            // The server forgets where we were: the next list tells what was missed.
            let _second = api.round(&[service("late", web, "10.96.0.9")]);
            let gone = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410}});
            first.send(gone).await.unwrap();
            until(&["default/late"]).await;
        };
        let played = tokio::time::timeout(Duration::from_secs(60), async {
            tokio::select! {
                () = keeping => {}
                () = play => {}
            }
        });
        played.await.expect("the doors follow the events");
        let told = told.into_inner();
        let wanted = [
            format!("localhost:{web} → default/web"),
            format!("localhost:{shop} → default/shop"),
            format!("localhost:{web} is closed (default/web)"),
        ];
        assert_eq!(told[..3], wanted, "{told:?}");
    }
}
