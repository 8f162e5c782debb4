//! What an agent does just before it is called silent, against an API in this process.

use std::convert::Infallible;
use std::sync::MutexGuard;

use http::{Request, Response};
use kube::client::Body;
use serde_json::Value;
use tower::service_fn;

use super::*;

const NODE: &str = "/api/v1/nodes/n";
const STATUS: &str = "/api/v1/nodes/n/status";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";

/// What the agent wrote at first, and what it writes later.
const FIRST: &str = "2026-11-28T02:20:00Z";
const LATER: &str = "2026-11-28T02:26:59Z";

/// A node, its lease, and what is still to happen.
struct World {
    version: u64,
    conditions: Vec<Value>,
    taints: Value,
    renewed: &'static str,
    /// When the agent posts just before the next patch arrives.
    meanwhile: Option<&'static str>,
    /// Patches that were taken.
    written: usize,
}

impl World {
    fn node(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {"name": "n", "resourceVersion": self.version.to_string(),
                "annotations": {TTL: "0"}},
            "spec": {"taints": self.taints},
            "status": {"conditions": self.conditions},
        })
    }

    fn lease(&self) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "n", "namespace": LEASES},
            "spec": {"holderIdentity": "n", "renewTime": self.renewed},
        })
    }

    /// The agent says that all is well.
    fn post(&mut self, at: &str) {
        let said = [
            ("MemoryPressure", "False"),
            ("DiskPressure", "False"),
            ("PIDPressure", "False"),
            ("Ready", "True"),
        ];
        let said = said
            .map(|(kind, status)| json!({"type": kind, "status": status, "lastHeartbeatTime": at}));
        self.conditions = said.into();
        self.version += 1;
    }

    /// As the API does: a patch that names no version is applied to whatever there is.
    fn patch(&mut self, patch: &Value) -> (u16, Value) {
        if let Some(at) = self.meanwhile.take() {
            self.post(at);
        }
        let version = patch["metadata"]["resourceVersion"].as_str();
        if version.is_some_and(|version| version != self.version.to_string()) {
            return failure(409, "Conflict");
        }
        for new in patch["status"]["conditions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            self.conditions.retain(|old| old["type"] != new["type"]);
            self.conditions.push(new.clone());
        }
        if patch["spec"]["taints"].is_array() {
            self.taints = patch["spec"]["taints"].clone();
        }
        self.version += 1;
        self.written += 1;
        (200, self.node())
    }
}

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let status = json!({"apiVersion": "v1", "kind": "Status", "metadata": {},
        "status": "Failure", "message": reason, "reason": reason, "code": code});
    (code, status)
}

struct Stage {
    world: Arc<Mutex<World>>,
    context: Context,
    start: Instant,
}

impl Stage {
    /// A node whose agent has been heard of now.
    async fn new() -> Stage {
        let mut world = World {
            version: 1,
            conditions: Vec::new(),
            taints: json!([]),
            renewed: FIRST,
            meanwhile: None,
            written: 0,
        };
        world.post(FIRST);
        let world = Arc::new(Mutex::new(world));
        let served = Arc::clone(&world);
        let service = service_fn(move |request: Request<Body>| {
            let world = Arc::clone(&served);
            async move { Ok::<_, Infallible>(answer(&world, request).await) }
        });
        let stage = Stage {
            world,
            context: Context {
                client: Client::new(service, "default"),
                nodes: Store::default(),
                seen: Mutex::default(),
            },
            start: Instant::now(),
        };
        let first = stage.look(stage.node(), Duration::ZERO).await;
        assert_eq!(first, Action::requeue(GRACE));
        stage
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// A copy of the node as it is now.
    fn node(&self) -> Arc<Node> {
        Arc::new(serde_json::from_value(self.world().node()).unwrap())
    }

    /// What follows from a look so long after the start.
    async fn look(&self, copy: Arc<Node>, after: Duration) -> Action {
        let now = self.start + after;
        self.context.look(copy, &|| now).await.unwrap()
    }

    /// The condition Ready, and when it was last heard of.
    fn ready(&self) -> (String, String) {
        let world = self.world();
        let mut conditions = world.conditions.iter();
        let ready = conditions.find(|one| one["type"] == "Ready").unwrap();
        let text = |member: &str| ready[member].as_str().unwrap().to_owned();
        (text("status"), text("lastHeartbeatTime"))
    }
}

async fn answer(world: &Mutex<World>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect_bytes().await.unwrap();
    let (code, body) = {
        let mut world = world.lock().unwrap();
        match (parts.method.as_str(), parts.uri.path()) {
            ("GET", NODE) => (200, world.node()),
            ("GET", LEASE) => (200, world.lease()),
            ("PATCH", NODE | STATUS) => world.patch(&serde_json::from_slice(&body).unwrap()),
            ("GET", _) => failure(404, "NotFound"),
            _ => failure(405, "MethodNotAllowed"),
        }
    };
    let response = Response::builder().status(code);
    response
        .body(Body::from(body.to_string().into_bytes()))
        .unwrap()
}

fn says(status: &str, heard: &str) -> (String, String) {
    (status.to_owned(), heard.to_owned())
}

#[tokio::test]
async fn an_agent_that_is_silent_is_called_so_once_and_kept_off() {
    let stage = Stage::new().await;
    stage.look(stage.node(), GRACE).await;
    assert_eq!(stage.ready(), says("Unknown", FIRST));
    assert_eq!(stage.world().written, 1);
    stage.look(stage.node(), GRACE).await;
    assert_eq!(stage.ready(), says("Unknown", FIRST));
    let taints = stage.world().taints.clone();
    assert_eq!(taints[0]["key"], "node.kubernetes.io/unreachable");
    assert_eq!(stage.world().written, 2);
    assert_eq!(
        stage.look(stage.node(), GRACE).await,
        Action::await_change()
    );
    assert_eq!(stage.world().written, 2, "all is said");
}

#[tokio::test]
async fn a_lease_renewed_just_before_the_end_keeps_the_node_ready() {
    let stage = Stage::new().await;
    stage.world().renewed = LATER;
    let action = stage.look(stage.node(), GRACE).await;
    assert_eq!(action, Action::requeue(GRACE), "it counts anew");
    assert_eq!(stage.ready(), says("True", FIRST));
    assert_eq!(stage.world().written, 0);
}

#[tokio::test]
async fn a_status_our_copy_does_not_show_yet_keeps_the_node_ready() {
    let stage = Stage::new().await;
    let copy = stage.node();
    stage.world().post(LATER);
    let action = stage.look(copy, GRACE).await;
    assert_eq!(action, Action::requeue(GRACE), "it counts anew");
    assert_eq!(stage.ready(), says("True", LATER));
    assert_eq!(stage.world().written, 0);
}

#[tokio::test]
async fn an_agent_that_comes_back_is_heard_before_it_renews_its_lease() {
    let stage = Stage::new().await;
    let minute = Duration::from_secs(60);
    stage.look(stage.node(), minute).await;
    stage.look(stage.node(), minute).await;
    assert_eq!(stage.ready(), says("Unknown", FIRST));
    // The status comes first, and its change wakes us; the lease is still the old one.
    stage.world().post(LATER);
    let action = stage.look(stage.node(), 2 * minute).await;
    assert_eq!(action, Action::requeue(GRACE));
    assert_eq!(stage.ready(), says("True", LATER));
    assert_eq!(stage.world().taints, json!([]), "pods may come again");
}

#[tokio::test]
async fn what_an_agent_posts_while_it_is_called_silent_stands() {
    let stage = Stage::new().await;
    stage.world().meanwhile = Some(LATER);
    let action = stage.look(stage.node(), GRACE).await;
    assert_eq!(action, Action::requeue(Duration::ZERO), "look again");
    assert_eq!(stage.ready(), says("True", LATER));
    let action = stage.look(stage.node(), GRACE).await;
    assert_eq!(action, Action::requeue(GRACE), "it counts anew");
    assert_eq!(stage.ready(), says("True", LATER));
    assert_eq!(stage.world().written, 0);
}

#[tokio::test]
async fn a_node_that_is_gone_is_not_called_silent() {
    let stage = Stage::new().await;
    let mut copy = Node::clone(&stage.node());
    copy.metadata.name = Some("gone".to_owned());
    let copy = Arc::new(copy);
    stage.look(Arc::clone(&copy), Duration::ZERO).await;
    assert_eq!(stage.look(copy, GRACE).await, Action::await_change());
    assert_eq!(stage.world().written, 0);
}

#[test]
fn silence_counts_from_the_last_change_we_saw() {
    let mut seen = Seen::default();
    let start = Instant::now();
    let at = |s| start + Duration::from_secs(s);
    let signs = |renewed: &str, posted: &str| Signs {
        renewed: renewed.parse().ok(),
        posted: posted.parse().ok(),
    };
    let (old, new) = (FIRST, LATER);
    assert_eq!(
        seen.silence("n", signs(old, old), at(0)),
        Duration::ZERO,
        "a chance after our own start"
    );
    let long = seen.silence("n", signs(old, old), at(39));
    assert_eq!(long, Duration::from_secs(39));
    assert_eq!(seen.silence("n", signs(new, old), at(40)), Duration::ZERO);
    assert_eq!(seen.silence("n", signs(new, new), at(41)), Duration::ZERO);
    assert_eq!(seen.silence("m", signs("", ""), at(41)), Duration::ZERO);
    assert_eq!(
        seen.silence("n", signs("", ""), at(90)),
        Duration::from_secs(49),
        "what is missing is no news"
    );
    assert_eq!(seen.silence("n", signs(new, new), at(91)), GRACE);
    assert_eq!(
        seen.silence("n", signs(new, new), at(1)),
        Duration::ZERO,
        "clocks never run backwards here"
    );
}
