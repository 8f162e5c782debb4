//! The dashboard in a real browser: signing in, the moving picture, lists, what can be done, and
//! what cannot without the right. Logs and the terminal need containers: tests/areas has them.

use cadet_apiserver::User;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::browser::Browser;
use crate::cluster::Cluster;

/// Pods behind a Service, an account that may do everything and one that may look at one
/// namespace.
const WORLD: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: c, image: 'nginx:1.29', ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: boss}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: boss}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, name: boss, namespace: default}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: guest}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: guest}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: guest, namespace: default}]
";

/// Pods of `web` in the picture that are well and behind their Service.
const WELL: &str = "[...document.querySelectorAll('.stage .tile.ok')].filter((one) => \
    one.title.startsWith('Pod default/web-') && one.title.endsWith('1 of 1 ready, behind web')).length";

/// A cluster, its dashboard and a browser that looks at it.
struct Desk {
    cluster: Cluster,
    browser: Browser,
    _stop: DropGuard,
}

impl Desk {
    async fn of(cluster: Cluster) -> Desk {
        cluster.apply(WORLD).await;
        let listener = cadet_dashboard::bind(0).await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let api = cluster.app.service(User::anonymous());
        let stop = CancellationToken::new();
        tokio::spawn(cadet_dashboard::serve(listener, api, stop.clone()));
        let browser = Browser::open(&format!("http://127.0.0.1:{port}/"), None);
        Desk {
            cluster,
            browser,
            _stop: stop.drop_guard(),
        }
    }

    async fn sign_in(&mut self, account: &str) {
        let token = token(&self.cluster, account).await;
        self.browser.fill("#token", &token);
        self.browser.press("form", "Sign in");
        self.browser.until("document.querySelector('.state.live')");
    }
}

async fn token(cluster: &Cluster, account: &str) -> String {
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
    let body =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body.to_string().into_bytes());
    let answer = cluster.client.request::<Value>(request.expect("request"));
    let answer = answer.await.expect("a token");
    answer["status"]["token"].as_str().expect("text").to_owned()
}

/// Everything that was asked for is there and nothing older.
fn rolled_out(deployment: Option<&Deployment>, replicas: i32) -> bool {
    let Some((deployment, status)) = deployment.and_then(|d| Some((d, d.status.as_ref()?))) else {
        return false;
    };
    status.observed_generation == deployment.metadata.generation
        && [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
        ]
        .iter()
        .all(|count| *count == Some(replicas))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_seen_and_changed_with_the_rights_of_a_token() {
    let mut desk = Desk::of(Cluster::start().await).await;
    desk.browser.until("document.querySelector('#token')");
    desk.browser.shot("sign-in");
    desk.browser.fill("#token", "not.a.token");
    desk.browser.press("form", "Sign in");
    desk.browser
        .until("document.querySelector('.trouble').textContent.includes('does not know')");
    desk.sign_in("boss").await;

    // The picture moves as the cluster moves.
    desk.browser.until(&format!("{WELL} === 2"));
    desk.cluster
        .apply(&WORLD.replace("replicas: 2", "replicas: 3"))
        .await;
    desk.browser.until(&format!("{WELL} === 3"));
    for scheme in ["dark", "light"] {
        desk.browser.scheme(scheme);
        desk.browser.shot(&format!("picture-{scheme}"));
    }

    desk.browser.go("#/object/deployments/default/web");
    desk.browser.press(".actions", "Scale");
    desk.browser.fill("#replicas", "5");
    desk.browser.press("dialog", "Scale");
    desk.cluster
        .until::<Deployment>("default", "web", |web| rolled_out(web, 5))
        .await;
    desk.browser.until(
        "document.querySelectorAll('table[aria-labelledby=table-pods] tbody tr').length === 5",
    );
    desk.browser.press(".actions", "Restart");
    desk.browser.press("dialog", "Restart");
    desk.cluster
        .until::<Deployment>("default", "web", |web| {
            let template = web.and_then(|web| web.spec.as_ref()?.template.metadata.as_ref());
            let notes = template.and_then(|metadata| metadata.annotations.as_ref());
            notes.is_some_and(|notes| notes.contains_key("kubectl.kubernetes.io/restartedAt"))
                && rolled_out(web, 5)
        })
        .await;
    desk.browser.shot("deployment");

    let pods = desk
        .cluster
        .until_all::<Pod>("app=web", |pods| {
            pods.len() == 5 && pods.iter().all(Cluster::is_ready)
        })
        .await;
    let name = pods[0].name_any();
    desk.browser.go(&format!("#/object/pods/default/{name}"));
    desk.browser.press(".actions", "Delete");
    desk.browser.shot("delete");
    desk.browser.press("dialog", "Delete");
    desk.cluster
        .until::<Pod>("default", &name, |pod| pod.is_none())
        .await;
    desk.browser
        .until("document.querySelector('main .trouble').textContent.includes('any more')");

    with_keys_alone(&mut desk.browser);
    without_rights(&mut desk).await;
    assert_eq!(desk.browser.troubles(), [""; 0]);
}

/// The picture has one stop of the Tab key, arrows move in it, Enter opens.
fn with_keys_alone(browser: &mut Browser) {
    browser.go("#/");
    browser.until(&format!("{WELL} === 5"));
    let stops = browser.eval("document.querySelectorAll('.stage [tabindex=\"0\"]').length");
    assert_eq!(stops, 1);
    browser.eval("document.querySelector('.stage [tabindex=\"0\"]').focus()");
    let first = browser.eval("document.activeElement.dataset.key");
    browser.key("ArrowDown");
    browser.until(&format!(
        "document.activeElement.dataset.key && document.activeElement.dataset.key !== {first}"
    ));
    browser.key("Enter");
    browser.until("location.hash.startsWith('#/object/') && document.querySelector('main h1')");
    browser.go("#/list/pods");
    browser.until("document.querySelectorAll('table.list a').length >= 5");
    browser.eval("document.querySelector('table.list [tabindex=\"0\"]').focus()");
    browser.key("ArrowDown");
    browser.until("document.activeElement.closest('tr').getAttribute('aria-rowindex') === '3'");
}

/// Who may look at one namespace sees it, is told what is closed, and cannot press anything.
async fn without_rights(desk: &mut Desk) {
    desk.browser.press("header", "Sign out");
    desk.sign_in("guest").await;
    desk.browser.go("#/");
    desk.browser
        .until("document.querySelector('#namespace').value === 'default'");
    desk.browser.until(&format!("{WELL} === 5"));
    desk.browser
        .until("document.querySelector('.bar .count').textContent.includes('forbidden')");
    desk.browser.go("#/object/deployments/default/web");
    desk.browser.until(
        "document.querySelectorAll('.actions button').length === 3 && \
         [...document.querySelectorAll('.actions button')].every((one) => one.disabled && one.title.includes('may not'))",
    );
    desk.browser.shot("guest");
}

/// A thousand tiles are drawn, but never a thousand rows; what a frame costs while most of them
/// go and come is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_pods_do_not_make_a_thousand_rows() {
    let mut desk = Desk::of(Cluster::with_nodes(3).await).await;
    let many = WORLD.replace("replicas: 2", "replicas: 1000");
    desk.cluster.apply(&many).await;
    desk.sign_in("boss").await;
    desk.browser.until(&format!("{WELL} === 1000"));
    desk.browser.shot("picture-1000");

    desk.browser.eval(
        "window.frames1000 = []; (function next(last) { requestAnimationFrame((now) => { \
         window.frames1000.push(now - last); if (window.frames1000.length < 3000) next(now); }); })(performance.now())",
    );
    for replicas in [400, 1000] {
        let some = WORLD.replace("replicas: 2", &format!("replicas: {replicas}"));
        desk.cluster.apply(&some).await;
        desk.cluster
            .until::<Deployment>("default", "web", |web| rolled_out(web, replicas))
            .await;
    }
    desk.browser.until(&format!("{WELL} === 1000"));
    let told = desk.browser.eval(
        "(() => { const all = [...window.frames1000].sort((a, b) => a - b); const at = (share) => \
         all[Math.min(all.length - 1, Math.floor(all.length * share))].toFixed(1); \
         return `${all.length} frames: median ${at(0.5)} ms, 99 of 100 ${at(0.99)} ms, longest ${at(1)} ms`; })()",
    );
    tell(&format!("600 of 1000 pods go and come: {told}"));

    desk.browser.go("#/list/pods");
    desk.browser
        .until("document.querySelector('main .count').textContent === '1000'");
    let rows = "document.querySelectorAll('table.list tbody tr').length";
    let drawn = desk.browser.eval(rows).as_u64().expect("a number");
    assert!((10..100).contains(&drawn), "{drawn}");
    let top = desk
        .browser
        .eval("const box = document.querySelector('.scroll'); box.scrollTop = box.scrollHeight; box.scrollTop");
    assert!(top.as_f64().is_some_and(|top| top > 10_000.0), "{top}");
    desk.browser.until(
        "[...document.querySelectorAll('table.list tbody tr')].some((row) => row.getAttribute('aria-rowindex') === '1001')",
    );
    let drawn = desk.browser.eval(rows).as_u64().expect("a number");
    assert!((10..100).contains(&drawn), "{drawn}");
    desk.browser.shot("list-1000");
    assert_eq!(desk.browser.troubles(), [""; 0]);
}

#[allow(clippy::print_stdout)] // the test's own report
fn tell(text: &str) {
    println!("{text}");
}
