//! Faults are planted, and `cadet why` must find each: the right cause and no other, from the
//! moment the fault shows. All are planted at once and then asked about one by one; while a
//! fault has not shown yet the answer may be "not yet" or "I do not know", never another fault.

mod around;
mod objects;
mod pods;
mod registry;

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::objects::{Fault, shy};
use super::{Cluster, Said};

/// Namespace of the faults.
pub const NS: &str = "why";
/// One whose quota is used up.
pub const SMALL: &str = "why-small";
/// Longest until a fault shows: images are tried again after a while, metrics take their time.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(500);

#[allow(clippy::print_stdout)] // the test's own report
pub fn play(cluster: &dyn Cluster) {
    let Some(program) = program() else {
        println!("why: not played; CADET_BIN names no program");
        return;
    };
    let asker = Asker {
        cluster,
        program,
        home: tempfile::tempdir().expect("folder"),
    };
    let _restored = Restored(cluster);
    begin(cluster);
    let faults = all(cluster.node());
    for fault in &faults {
        for object in &fault.objects {
            cluster.create(object);
        }
    }
    // What has to be done to objects before their fault shows.
    let held = "pod/held";
    cluster.kubectl(&["delete", "-n", NS, held, "--wait=false"]);
    for fault in &faults {
        asker.finds(fault);
    }
    asker.speaks_to_people();
    the_node_itself(cluster, &asker);
}

/// All of them.
fn all(node: &str) -> Vec<Fault> {
    let mut all = pods::placing();
    all.extend(pods::images());
    all.extend(pods::beginnings());
    all.extend(pods::ends());
    all.extend(pods::probes());
    all.extend(around::services());
    all.extend(around::names_and_rights());
    all.extend(around::controllers());
    // What is well is told as well.
    all.push(Fault::of(
        "pod/web",
        "NOTHING_WRONG",
        &["Running and ready"],
    ));
    all.push(Fault::of(
        "service/web",
        "NOTHING_WRONG",
        &["somebody answers"],
    ));
    all.push(Fault::of(
        &format!("node/{node}"),
        "NOTHING_WRONG",
        &["is Ready"],
    ));
    all
}

/// Of the e2e suite it is the package's own; scripts/test names it for the others.
fn program() -> Option<OsString> {
    let named = std::env::var_os("CADET_BIN").filter(|name| !name.is_empty());
    named.or_else(|| option_env!("CARGO_BIN_EXE_cadet").map(OsString::from))
}

fn begin(cluster: &dyn Cluster) {
    for namespace in [NS, SMALL] {
        cluster.kubectl(&["create", "namespace", namespace]);
        let account = "serviceaccount/default";
        let soon = cluster.soon();
        cluster.kubectl(&["wait", "-n", namespace, "--for=create", account, soon]);
    }
    let quota = ["create", "quota", "small", "--hard=pods=0", "-n", SMALL];
    cluster.kubectl(&quota);
    let counted = "--for=jsonpath={.status.hard.pods}=0";
    let small = "resourcequota/small";
    cluster.kubectl(&["wait", "-n", SMALL, counted, small, cluster.soon()]);
}

/// Undoes at its end what the area does, whatever happens.
struct Restored<'a>(&'a dyn Cluster);

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let node = self.0.node();
        self.0.try_kubectl(&["uncordon", node]);
        // Complains if there is nothing to undo.
        self.0.try_kubectl(&["taint", "node", node, "why-"]);
        let free = r#"{"metadata": {"finalizers": null}}"#;
        self.0
            .try_kubectl(&["patch", "-n", NS, "pod/held", "--type=merge", "-p", free]);
        let names = ["delete", "namespace", "--wait=false", NS, SMALL];
        self.0.try_kubectl(&names);
    }
}

struct Asker<'a> {
    cluster: &'a dyn Cluster,
    program: OsString,
    /// Nothing is kept there; the developer's own is left alone.
    home: tempfile::TempDir,
}

impl Asker<'_> {
    fn ask(&self, words: &[&str]) -> Said {
        let mut command = Command::new(&self.program);
        command.arg("why").args(words).arg("--kubeconfig");
        command.arg(self.cluster.kubeconfig());
        command
            .env("HOME", self.home.path())
            .env("CADET_HOME", self.home.path())
            .stdin(Stdio::null());
        Said::of(&mut command)
    }

    /// The answer for programs, and its text.
    #[track_caller]
    fn told(&self, object: &str, namespace: &str) -> (Value, String) {
        let said = self.ask(&[object, "-n", namespace, "-o", "json"]);
        assert!(said.code == 0, "{object}: {said}");
        let answer = serde_json::from_str(&said.out);
        let answer = answer.unwrap_or_else(|error| panic!("{object}: {error}: {said}"));
        (answer, said.out)
    }

    /// Asks until the fault shows.
    #[track_caller]
    fn finds(&self, fault: &Fault) {
        let Fault {
            object,
            cause,
            words,
            ..
        } = fault;
        let namespace = fault.namespace;
        let since = Instant::now();
        loop {
            let (answer, text) = self.told(object, namespace);
            if answer["cause"] == *cause {
                for words in *words {
                    assert!(
                        text.contains(words),
                        "{object}: {words:?} is missing in {answer:#}"
                    );
                }
                assert_eq!(answer["confident"], json!(fault.confident), "{answer:#}");
                return;
            }
            let wrong = answer["fault"] == true && answer["confident"] == true;
            assert!(
                !wrong
                    || fault
                        .before
                        .contains(&answer["cause"].as_str().unwrap_or_default()),
                "{object}: wanted {cause}, and it is not {answer:#}"
            );
            assert!(
                since.elapsed() < LONGEST,
                "{object}: {cause} does not show: {answer:#}\n{}",
                self.cluster
                    .kubectl(&["get", "pods,events", "-n", namespace])
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// As a learner sees it, and with names that are slips.
    fn speaks_to_people(&self) {
        let said = self.ask(&["pod", "crash", "-n", NS]);
        assert!(said.code == 0, "{said}");
        assert!(said.out.starts_with("pod/crash keeps ending:"), "{said}");
        assert!(
            said.out.contains("\n  log        no database here\n"),
            "{said}"
        );
        let next = format!("\n  next       kubectl logs crash -n {NS}\n");
        assert!(said.out.contains(&next), "{said}");
        let slip = self.ask(&["pod/crahs", "-n", NS]);
        slip.complains("CLUSTER_NOT_FOUND", 105);
        assert!(slip.err.contains("there is pod/crash"), "{slip}");
        let odd = self.ask(&["rose/red"]);
        odd.complains("PROGRAM_USAGE", 14);
    }
}

/// Last, because everybody feels it.
fn the_node_itself(cluster: &dyn Cluster, asker: &Asker<'_>) {
    let node = cluster.node();
    let about_node = format!("node/{node}");
    cluster.kubectl(&["taint", "node", node, "why=closed:NoSchedule"]);
    cluster.create(&shy("shy"));
    asker.finds(&Fault::of("pod/shy", "TAINT", &["why=closed:NoSchedule"]));
    cluster.kubectl(&["taint", "node", node, "why:NoSchedule-"]);
    cluster.kubectl(&["cordon", node]);
    cluster.create(&shy("late"));
    asker.finds(&Fault::of(
        "pod/late",
        "NODE_CORDONED",
        &["kubectl uncordon"],
    ));
    asker.finds(&Fault::of(
        &about_node,
        "NODE_CORDONED",
        &["takes no new ones"],
    ));
    cluster.kubectl(&["uncordon", node]);
    asker.finds(&Fault::of(&about_node, "NOTHING_WRONG", &["is Ready"]));
    asker.finds(&Fault::of(
        "pod/late",
        "NOTHING_WRONG",
        &["Running and ready"],
    ));
}
