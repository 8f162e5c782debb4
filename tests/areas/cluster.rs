//! A cluster as the areas see it: kubectl, and a shell on its node.

use std::fmt;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Name of the image with a static busybox in it, which the suites put into the engine.
pub const BUSYBOX: &str = "busybox:test";

/// Longest wait: under software emulation a few pods need minutes.
const LONGEST: Duration = Duration::from_secs(480);
/// Between two questions of a kubectl.
const PAUSE: Duration = Duration::from_millis(200);

/// What a suite says of its cluster, and what follows from it.
pub trait Cluster: Sync {
    /// The real kubectl with the kubeconfig that Cadet wrote.
    fn kubectl_command(&self, words: &[&str]) -> Command;

    /// Runs a line of shell as root on the node; `docker` there means the cluster's engine.
    fn on_node(&self, line: &str) -> Said;

    /// Name of the only node.
    fn node(&self) -> &str;

    /// The kubeconfig that kubectl is given.
    fn kubeconfig(&self) -> std::path::PathBuf;

    /// How long kubectl waits for what must come, as its flag.
    fn soon(&self) -> &str;

    /// Whether areas may be played side by side; a machine under emulation has enough to do
    /// with one.
    fn is_fast(&self) -> bool;

    /// Where the dashboard is, and the SOCKS server that leads there if one does.
    fn dashboard(&self) -> (String, Option<String>);

    /// What kubectl prints; it must succeed.
    #[track_caller]
    fn kubectl(&self, words: &[&str]) -> String {
        let said = self.try_kubectl(words);
        assert!(said.code == 0, "kubectl {words:?}: {said}");
        said.out.trim_end().to_owned()
    }

    fn try_kubectl(&self, words: &[&str]) -> Said {
        Said::of(&mut self.kubectl_command(words))
    }

    /// What a line of shell on the node prints; it must succeed.
    #[track_caller]
    fn node_says(&self, line: &str) -> String {
        let said = self.on_node(line);
        assert!(said.code == 0, "{line}: {said}");
        said.out.trim_end().to_owned()
    }

    /// What a line of shell prints inside a pod's first container; it must succeed. The pod may
    /// be named by several words: `-n elsewhere web`, `web -c side`.
    #[track_caller]
    fn inside(&self, pod: &str, line: &str) -> String {
        let said = self.try_inside(pod, line);
        assert!(said.code == 0, "{pod}: {line}: {said}");
        said.out.trim_end().to_owned()
    }

    fn try_inside(&self, pod: &str, line: &str) -> Said {
        // kubectl 1.30 to 1.33 drops what reaches it before it knows where to put it
        // (kubernetes/kubernetes#131203). Once it has sent something, it knows.
        let line = format!("read -r go; {line}");
        let mut words = vec!["exec", "-i"];
        words.extend(pod.split(' '));
        words.extend(["--", "sh", "-c", line.as_str()]);
        Said::fed(&mut self.kubectl_command(&words), b"go\n")
    }

    #[track_caller]
    fn create(&self, object: &Value) {
        self.fed("create", object);
    }

    #[track_caller]
    fn apply(&self, object: &Value) {
        self.fed("apply", object);
    }

    #[track_caller]
    fn fed(&self, verb: &str, object: &Value) {
        let mut command = self.kubectl_command(&[verb, "-f", "-"]);
        let said = Said::fed(&mut command, object.to_string().as_bytes());
        assert!(said.code == 0, "{object:#}: {said}");
    }

    /// A pod of this spec, labelled `app=NAME`, which may be killed after a second.
    #[track_caller]
    fn pod(&self, name: &str, mut spec: Value) {
        let fields = spec.as_object_mut().expect("spec");
        fields
            .entry("terminationGracePeriodSeconds")
            .or_insert(json!(1));
        self.create(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}));
    }

    /// Waits, by kubectl's watch, until a field of an object has this value.
    #[track_caller]
    fn until(&self, object: &str, path: &str, value: &str) {
        let condition = format!("--for=jsonpath={{{path}}}={value}");
        let said = self.try_kubectl(&["wait", &condition, object, self.soon()]);
        if said.code != 0 {
            let seen = self.try_kubectl(&["describe", object]);
            panic!("{object} {path} is not {value}: {said}\n{seen}");
        }
    }

    /// Waits until a condition of an object is true.
    #[track_caller]
    fn until_condition(&self, object: &str, condition: &str) {
        let condition = format!("--for=condition={condition}");
        let said = self.try_kubectl(&["wait", &condition, object, self.soon()]);
        if said.code != 0 {
            let seen = self.try_kubectl(&["describe", object]);
            panic!("{object} {condition}: {said}\n{seen}");
        }
    }

    #[track_caller]
    fn ready(&self, pod: &str) {
        self.until_condition(&format!("pod/{pod}"), "Ready");
    }

    /// Waits until a pod's first container was started again, once or more.
    #[track_caller]
    fn restarted(&self, pod: &str) {
        let path = "jsonpath={.status.containerStatuses[0].restartCount}";
        let count = ["get", "pod", pod, "-o", path];
        self.until_said(&count, &|count| {
            count.parse::<u32>().is_ok_and(|count| count > 0)
        });
    }

    /// Waits until an object's line of `kubectl get`, with single blanks, begins so.
    #[track_caller]
    fn until_row(&self, object: &str, begin: &str) {
        let row = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.until_said(&["get", object, "--no-headers"], &|text| {
            row(text).starts_with(begin)
        });
    }

    /// Waits until no object is left that `words` name.
    #[track_caller]
    fn until_gone(&self, words: &[&str]) {
        let mut all = vec!["wait", "--for=delete", self.soon()];
        all.extend(words);
        self.kubectl(&all);
    }

    #[track_caller]
    fn rolled_out(&self, object: &str) -> String {
        self.kubectl(&["rollout", "status", object, self.soon()])
    }

    /// A field of an object.
    #[track_caller]
    fn field(&self, object: &str, path: &str) -> String {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// The object whole.
    #[track_caller]
    fn object(&self, object: &str) -> Value {
        let text = self.kubectl(&["get", object, "-o", "json"]);
        serde_json::from_str(&text).expect("kubectl prints JSON")
    }

    /// An object's line of `kubectl get`, with single blanks.
    #[track_caller]
    fn row(&self, object: &str) -> String {
        let listed = self.kubectl(&["get", object, "--no-headers"]);
        listed.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// What a pod says that runs to its end.
    #[track_caller]
    fn says(&self, name: &str, line: &str) -> String {
        self.pod(
            name,
            json!({"restartPolicy": "Never", "containers": [shell("app", line)]}),
        );
        self.until(&format!("pod/{name}"), ".status.phase", "Succeeded");
        self.kubectl(&["logs", name])
    }

    /// Asks kubectl again until it succeeds with what fits; what it printed then.
    #[track_caller]
    fn until_said(&self, words: &[&str], fits: &dyn Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let said = self.try_kubectl(words);
            let out = said.out.trim_end();
            if said.code == 0 && fits(out) {
                return out.to_owned();
            }
            assert!(
                since.elapsed() < LONGEST,
                "kubectl {words:?}: {said}\n{}",
                self.kubectl(&["get", "events"])
            );
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits for an event of this reason about an object; its message.
    #[track_caller]
    fn event(&self, name: &str, reason: &str) -> String {
        let fields = format!("involvedObject.name={name},reason={reason}");
        let path = "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}";
        let words = ["get", "events", "--field-selector", &fields, "-o", path];
        let messages = self.until_said(&words, &|messages| !messages.is_empty());
        messages.lines().last().unwrap_or_default().to_owned()
    }

    /// Id of a pod's first container, and how often it was started again.
    #[track_caller]
    fn container(&self, pod: &str) -> (String, String) {
        let object = format!("pod/{pod}");
        let id = self.field(&object, ".status.containerStatuses[0].containerID");
        let restarts = self.field(&object, ".status.containerStatuses[0].restartCount");
        (id.trim_start_matches("docker://").to_owned(), restarts)
    }

    /// Kills a container behind everybody's back.
    #[track_caller]
    fn kill_container(&self, id: &str) {
        self.node_says(&format!("docker kill {id}"));
    }

    /// The page at `HOST:PORT`, as the node sees it, once somebody answers there.
    #[track_caller]
    fn page(&self, address: &str) -> String {
        let (host, port) = address.rsplit_once(':').expect("HOST:PORT");
        let ask = format!(
            "exec 3<>/dev/tcp/{host}/{port} && printf \"GET / HTTP/1.0\\r\\n\\r\\n\" >&3 && cat <&3"
        );
        // Rules follow the API; nextest ends a test that waits for ever.
        let line = format!("until timeout 5 bash -c '{ask}' 2>/dev/null; do sleep 0.1; done");
        self.node_says(&line)
    }

    /// Deletes objects without waiting for their end.
    #[track_caller]
    fn forget(&self, objects: &[&str]) {
        let mut words = vec!["delete", "--wait=false", "--ignore-not-found"];
        words.extend(objects);
        self.kubectl(&words);
    }
}

/// A container that runs this line of shell.
pub fn shell(name: &str, line: &str) -> Value {
    json!({"name": name, "image": BUSYBOX, "command": ["sh", "-c", line]})
}

/// Waits for ever and ends at once when asked to.
pub const WAIT: &str = "trap 'exit 0' TERM; sleep 99999 & wait";

/// Serves the name of the pod at port 8080.
pub const SERVE: &str = "mkdir /www; hostname > /www/index.html; \
                         trap 'exit 0' TERM; httpd -f -p 8080 -h /www & wait";

/// What a program did.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(command: &mut Command) -> Self {
        let output = command.output();
        Self::from(output.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// With something on its standard input.
    pub fn fed(command: &mut Command, input: &[u8]) -> Self {
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start");
        let mut stdin = child.stdin.take().expect("stdin");
        stdin.write_all(input).expect("feed");
        drop(stdin);
        Self::from(child.wait_with_output().expect("wait"))
    }

    /// Wants this trouble with its exit code, a reason and a command to type.
    #[track_caller]
    pub fn complains(&self, id: &str, code: i32) {
        let line = format!("error {id} (exit {code}):");
        assert!(self.err.contains(&line), "wanted {id}: {self}");
        assert!(
            self.err.contains("\n  why   ") && self.err.contains("\n  fix   "),
            "{self}"
        );
        assert!(!self.err.contains("panicked"), "{self}");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, out, err } = self;
        write!(f, "exit {code}\n--- stdout\n{out}--- stderr\n{err}")
    }
}
