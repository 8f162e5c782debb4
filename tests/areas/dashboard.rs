//! The dashboard in a real browser, on real containers: a token opens it, the picture moves, logs
//! are followed, a terminal works, and what is pressed happens.

use serde_json::{Value, json};

use super::browser::Browser;
use super::{Cluster, SERVE, shell};

/// Who signs in.
const ACCOUNT: &str = "dashboard-boss";

pub fn play(cluster: &dyn Cluster) {
    cluster.create(&board());
    cluster.create(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "board"},
        "spec": {"selector": {"app": "board"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
    );
    cluster.rolled_out("deployment/board");
    let browser = sign_in(cluster);
    let mut desk = Desk { cluster, browser };
    desk.the_picture_moves();
    desk.buttons_do_what_they_say();
    desk.logs_are_followed();
    desk.a_terminal_works();
    desk.a_deleted_pod_is_replaced();
    assert_eq!(desk.browser.troubles(), [""; 0]);
    cluster.forget(&[
        "deployment/board",
        "service/board",
        &format!("serviceaccount/{ACCOUNT}"),
        &format!("clusterrolebinding/{ACCOUNT}"),
    ]);
}

/// Pods that say so when they begin.
fn board() -> Value {
    let app = shell("app", &format!("echo the board is up; {SERVE}"));
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "board"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "board"}},
            "template": {"metadata": {"labels": {"app": "board"}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [app]}}}})
}

/// As the fourth lesson has it: an account, a role for it, its token.
fn sign_in(cluster: &dyn Cluster) -> Browser {
    cluster.kubectl(&["create", "serviceaccount", ACCOUNT]);
    let account = format!("--serviceaccount=default:{ACCOUNT}");
    let role = "--clusterrole=cluster-admin";
    cluster.kubectl(&["create", "clusterrolebinding", ACCOUNT, role, &account]);
    let token = cluster.kubectl(&["create", "token", ACCOUNT]);
    let (url, proxy) = cluster.dashboard();
    let mut browser = Browser::open(&url, proxy.as_deref());
    browser.fill("#token", &token);
    browser.press("form", "Sign in");
    browser.until("document.querySelector('.state.live')");
    browser
}

/// Tiles of the picture that are pods of ours, ready and behind their Service.
const WELL: &str = "[...document.querySelectorAll('.stage .tile.ok')].filter((one) => \
    one.title.startsWith('Pod default/board-') && one.title.endsWith('1 of 1 ready, behind board')).length";

struct Desk<'a> {
    cluster: &'a dyn Cluster,
    browser: Browser,
}

impl Desk<'_> {
    fn the_picture_moves(&mut self) {
        self.browser.until(&format!("{WELL} === 1"));
        let scale = ["scale", "deployment/board", "--replicas=2"];
        self.cluster.kubectl(&scale);
        self.browser.until(&format!("{WELL} === 2"));
        self.browser.shot("areas-picture");
    }

    fn buttons_do_what_they_say(&mut self) {
        self.browser.go("#/object/deployments/default/board");
        self.browser.press(".actions", "Scale");
        self.browser.fill("#replicas", "1");
        self.browser.press("dialog", "Scale");
        self.cluster
            .until("deployment/board", ".status.replicas", "1");
        self.browser.press(".actions", "Restart");
        self.browser.press("dialog", "Restart");
        self.cluster
            .until("deployment/board", ".metadata.generation", "4");
        self.cluster.rolled_out("deployment/board");
        self.browser.until(
            "[...document.querySelectorAll('section td')].some((one) => one.textContent === 'ScalingReplicaSet')",
        );
    }

    /// The only pod once the others are gone.
    fn pod(&self) -> String {
        let path = "jsonpath={.items[*].metadata.name}";
        let words = ["get", "pods", "-l", "app=board", "-o", path];
        self.cluster
            .until_said(&words, &|names| !names.is_empty() && !names.contains(' '))
    }

    fn logs_are_followed(&mut self) {
        let pod = self.pod();
        let says = |words: &str| {
            let words = json!(words);
            format!(
                "[...document.querySelectorAll('.log div')].some((one) => one.textContent === {words})"
            )
        };
        self.browser
            .go(&format!("#/object/pods/default/{pod}/logs"));
        self.browser.until(&says("the board is up"));
        self.cluster
            .inside(&pod, "echo one more line > /proc/1/fd/1");
        self.browser.until(&says("one more line"));
        self.browser.shot("areas-logs");
    }

    fn a_terminal_works(&mut self) {
        let pod = self.pod();
        let shows = |words: &str| {
            let words = json!(words);
            format!("document.querySelector('.screen').textContent.includes({words})")
        };
        self.browser
            .go(&format!("#/object/pods/default/{pod}/terminal"));
        self.browser.press(".content", "Connect");
        self.browser
            .until("document.activeElement.matches('.keys')");
        self.browser.until(&shows("#"));
        // What is typed is echoed: only a shell knows the product.
        self.browser.type_text("echo six-$((6 * 7)); tty");
        self.browser.key("Enter");
        self.browser.until(&shows("six-42"));
        self.browser.until(&shows("/dev/pts/"));
        self.browser.shot("areas-terminal");
        self.browser.type_text("exit 3");
        self.browser.key("Enter");
        self.browser
            .until("document.querySelector('.content .count').textContent.includes('exit code 3')");
        self.browser.key("F6");
        self.browser
            .until("document.activeElement.textContent === 'Connect again'");
    }

    fn a_deleted_pod_is_replaced(&mut self) {
        let pod = self.pod();
        self.browser.go(&format!("#/object/pods/default/{pod}"));
        self.browser.press(".actions", "Delete");
        self.browser.press("dialog", "Delete");
        self.browser
            .until("document.querySelector('main .trouble').textContent.includes('any more')");
        self.cluster.rolled_out("deployment/board");
        assert_ne!(self.pod(), pod);
    }
}
