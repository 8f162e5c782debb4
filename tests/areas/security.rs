//! What containers are told and what they may: users, rights, limits, namespaces, names,
//! variables, last words, and the ways kubectl has into them.

use serde_json::{Value, json};

use super::patience::{ended, once, told};
use super::{BUSYBOX, Cluster, SERVE, Said, WAIT, shell};

/// Bits of capability sets (capabilities(7)).
const CHOWN: u64 = 1;
const NET_ADMIN: u64 = 1 << 12;
const SYS_ADMIN: u64 = 1 << 21;

pub fn play(cluster: &dyn Cluster) {
    cluster.create(
        &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "my-db"},
        "spec": {"ports": [{"name": "sql", "port": 5432}]}}),
    );
    cluster.kubectl(&["create", "configmap", "paint", "--from-literal=COLOR=red"]);
    let key = "--from-literal=key=s3same";
    cluster.kubectl(&["create", "secret", "generic", "chamber", key]);
    // All begin at once; each is then looked at in turn.
    begin(cluster);
    variables_come_from_everywhere(cluster);
    words_are_said_as_written(cluster);
    what_is_missing_is_named_and_awaited(cluster);
    users_and_groups(cluster);
    rights(cluster);
    the_refused(cluster);
    limits_are_the_kernels(cluster);
    ends_are_explained(cluster);
    namespaces_of_the_node(cluster);
    a_shared_pod(cluster);
    a_running_container_gets_other_limits(cluster);
    usage_is_told(cluster);
    ways_in(cluster);
    cluster.forget(&[
        "service/my-db",
        "secret/chamber",
        "configmap/paint",
        "configmap/later",
    ]);
    let mut all = vec![
        "pod", "informed", "spoken", "lacking", "who", "rights", "refused",
    ];
    all.extend(["unsafe", "limited", "ends", "host", "shared"]);
    cluster.forget(&all);
}

fn begin(cluster: &dyn Cluster) {
    informed_pod(cluster);
    spoken_pod(cluster);
    let mut app = shell("app", "echo $A");
    app["envFrom"] = json!([{"configMapRef": {"name": "later"}}]);
    never(cluster, "lacking", json!({"containers": [app]}));

    let mut who = shell(
        "who",
        "id -u; id -g; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; echo; \
         stat -c '%a %g' /v; touch /v/x; stat -c '%u %g' /v/x; \
         cat /proc/sys/net/ipv4/tcp_syncookies",
    );
    who["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
    let other = secured("other", "id -u; id -g", json!({"runAsUser": 1001}));
    never(
        cluster,
        "who",
        json!({"containers": [who, other], "volumes": [{"name": "v", "emptyDir": {}}],
            "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000,
                "supplementalGroups": [4000],
                "sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "0"}]}}),
    );

    let look = "grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status | tr -d ' \\t'";
    let narrow = json!({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "allowPrivilegeEscalation": false, "seccompProfile": {"type": "RuntimeDefault"}});
    let fixed = json!({"readOnlyRootFilesystem": true});
    let mut containers = vec![
        secured("narrow", look, narrow),
        secured("plain", look, json!({})),
        secured("fixed", "touch /x 2>&1; true", fixed),
    ];
    if has_all_rights(cluster) {
        containers.push(secured("mighty", look, json!({"privileged": true})));
    }
    never(cluster, "rights", json!({"containers": containers}));

    let zero = json!({"runAsUser": 0});
    cluster.pod(
        "refused",
        json!({"securityContext": {"runAsNonRoot": true},
            "containers": [shell("app", WAIT), secured("zero", WAIT, zero)]}),
    );
    cluster.pod(
        "unsafe",
        json!({"containers": [shell("app", WAIT)],
            "securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}),
    );

    // One line for either kind of control group (cgroups(7)).
    let mut app = shell(
        "app",
        "cd /sys/fs/cgroup; \
         if [ -e cpu.max ]; then cat cpu.max memory.max; else \
         echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); \
         cat memory/memory.limit_in_bytes; fi; cat /proc/self/oom_score_adj",
    );
    app["resources"] = json!({"limits": {"cpu": "200m", "memory": "64Mi"}});
    never(cluster, "limited", json!({"containers": [app]}));

    let mut greedy = shell("greedy", "exec tail /dev/zero");
    greedy["resources"] = json!({"limits": {"memory": "32Mi"}});
    let mut talks = shell("talks", "echo out; echo err >&2; exit 1");
    talks["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let mut words = shell("words", "echo farewell > /last/words; echo not this");
    words["terminationMessagePath"] = json!("/last/words");
    never(
        cluster,
        "ends",
        json!({"containers": [greedy, talks, words]}),
    );

    // Names of the cluster are for those who ask for them.
    let look = "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; \
                cat /proc/self/oom_score_adj; grep -c 10.96.0.10 /etc/resolv.conf; true";
    never(
        cluster,
        "host",
        json!({"hostNetwork": true, "hostPID": true, "containers": [shell("app", look)]}),
    );
    shared_pod(cluster);
}

/// A pod that runs to its end.
#[track_caller]
fn never(cluster: &dyn Cluster, name: &str, mut spec: Value) {
    spec["restartPolicy"] = json!("Never");
    cluster.pod(name, spec);
}

fn secured(name: &str, line: &str, context: Value) -> Value {
    let mut container = shell(name, line);
    container["securityContext"] = context;
    container
}

#[track_caller]
fn succeeded(cluster: &dyn Cluster, pod: &str) {
    cluster.until(&format!("pod/{pod}"), ".status.phase", "Succeeded");
}

fn logs(cluster: &dyn Cluster, pod: &str, container: &str) -> String {
    cluster.kubectl(&["logs", pod, "-c", container])
}

/// Everything an environment can be made of.
fn informed_pod(cluster: &dyn Cluster) {
    let mut app = shell(
        "app",
        "for name in CM_COLOR KEY GREETING POD SPACE WHICH LABEL NOTE NODE ACCOUNT HOST IP CPU \
         CORES MEMORY FILED; do eval \"echo \\\"\\${$name}\\\"\"; done; \
         echo ${ABSENT-unset}; pwd; \
         echo $MY_DB_SERVICE_HOST $MY_DB_SERVICE_PORT $MY_DB_SERVICE_PORT_SQL; \
         echo $MY_DB_PORT $MY_DB_PORT_5432_TCP; \
         echo $MY_DB_PORT_5432_TCP_PROTO $MY_DB_PORT_5432_TCP_PORT $MY_DB_PORT_5432_TCP_ADDR; \
         echo $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT",
    );
    let field = |name: &str, path: &str| {
        let source = json!({"fieldRef": {"fieldPath": path}});
        json!({"name": name, "valueFrom": source})
    };
    let amount = |name: &str, resource: &str, divisor: &str| {
        json!({"name": name, "valueFrom": {"resourceFieldRef":
            {"resource": resource, "divisor": divisor}}})
    };
    app["workingDir"] = json!("/work");
    app["resources"] = json!({"limits": {"cpu": "500m", "memory": "64Mi"},
        "requests": {"cpu": "100m"}});
    app["envFrom"] = json!([{"prefix": "CM_", "configMapRef": {"name": "paint"}},
        {"secretRef": {"name": "no-such-secret", "optional": true}}]);
    app["env"] = json!([
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "chamber", "key": "key"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef":
            {"name": "paint", "key": "no-such-key", "optional": true}}},
        {"name": "GREETING", "value": "hi-$(CM_COLOR)-$$(CM_COLOR)-$(NONE)"},
        field("POD", "metadata.name"),
        field("SPACE", "metadata.namespace"),
        field("WHICH", "metadata.uid"),
        field("LABEL", "metadata.labels['app']"),
        field("NOTE", "metadata.annotations['note']"),
        field("NODE", "spec.nodeName"),
        field("ACCOUNT", "spec.serviceAccountName"),
        field("HOST", "status.hostIP"),
        field("IP", "status.podIP"),
        amount("CPU", "limits.cpu", "1m"),
        // In whole cores unless told otherwise, rounded up.
        amount("CORES", "limits.cpu", "0"),
        amount("MEMORY", "limits.memory", "1Mi"),
        json!({"name": "FILED", "valueFrom": {"fileKeyRef":
            {"volumeName": "files", "path": "some", "key": "FILED"}}}),
    ]);
    // The container itself has no such mount.
    let mut first = shell("first", "echo \"FILED='from a file'\" > /files/some");
    first["volumeMounts"] = json!([{"name": "files", "mountPath": "/files"}]);
    cluster.create(&json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "informed", "labels": {"app": "informed"},
            "annotations": {"note": "well"}},
        "spec": {"restartPolicy": "Never", "initContainers": [first], "containers": [app],
            "volumes": [{"name": "files", "emptyDir": {}}]}}));
}

fn variables_come_from_everywhere(cluster: &dyn Cluster) {
    succeeded(cluster, "informed");
    let pod = cluster.object("pod/informed");
    let text = |path: &str| {
        let found = pod.pointer(path).and_then(Value::as_str);
        found
            .unwrap_or_else(|| panic!("no {path}: {pod:#}"))
            .to_owned()
    };
    let service = cluster.field("service/my-db", ".spec.clusterIP");
    let expected = [
        "red".to_owned(),
        "s3same".to_owned(),
        "hi-red-$(CM_COLOR)-$(NONE)".to_owned(),
        "informed".to_owned(),
        "default".to_owned(),
        text("/metadata/uid"),
        "informed".to_owned(),
        "well".to_owned(),
        cluster.node().to_owned(),
        "default".to_owned(),
        text("/status/hostIP"),
        text("/status/podIP"),
        "500".to_owned(),
        "1".to_owned(),
        "64".to_owned(),
        "from a file".to_owned(),
        "unset".to_owned(),
        "/work".to_owned(),
        format!("{service} 5432 5432"),
        format!("tcp://{service}:5432 tcp://{service}:5432"),
        format!("tcp 5432 {service}"),
        "10.96.0.1 443".to_owned(),
    ];
    let said = logs(cluster, "informed", "app");
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert_eq!(text("/status/qosClass"), "Burstable");
}

/// Command and arguments in every mixture.
fn spoken_pod(cluster: &dyn Cluster) {
    let spoken = |name: &str, words: Value| {
        let mut container = json!({"name": name, "image": BUSYBOX,
            "env": [{"name": "WORD", "value": "hi"}]});
        for part in ["command", "args"] {
            if let Some(given) = words.get(part) {
                container[part] = given.clone();
            }
        }
        container
    };
    never(
        cluster,
        "spoken",
        json!({"enableServiceLinks": false, "containers": [
            spoken("both", json!({"command": ["echo"],
                "args": ["$(WORD)", "$$(WORD)", "$(NONE)", "$WORD"]})),
            spoken("args", json!({"args": ["echo", "args", "$(WORD)"]})),
            spoken("command", json!({"command": ["echo", "command"]})),
            spoken("neither", json!({})),
            shell("links", "env | grep -c MY_DB; echo $KUBERNETES_SERVICE_HOST"),
        ]}),
    );
}

fn words_are_said_as_written(cluster: &dyn Cluster) {
    succeeded(cluster, "spoken");
    for (container, said) in [
        ("both", "hi $(WORD) $(NONE) $WORD"),
        // The image has no entry point, so these are a command of their own.
        ("args", "args hi"),
        // The image's own arguments do not follow.
        ("command", "command"),
        // The image's shell, with nothing to read.
        ("neither", ""),
        ("links", "0\n10.96.0.1"),
    ] {
        assert_eq!(logs(cluster, "spoken", container), said, "{container}");
        assert_eq!(ended(cluster, "spoken", container, "exitCode"), "0");
    }
    let row = cluster.row("pod/spoken");
    assert!(row.starts_with("spoken 0/5 Completed 0 "), "{row}");
}

/// Waits until a container waits for this reason; the message beside it.
#[track_caller]
fn waiting(cluster: &dyn Cluster, pod: &str, container: &str, reason: &str) -> String {
    let object = format!("pod/{pod}");
    let path = |field: &str| {
        format!(
            "jsonpath={{.status.containerStatuses[?(@.name==\"{container}\")].state.waiting.{field}}}"
        )
    };
    let (now, why) = (path("reason"), path("message"));
    let get = ["get", object.as_str(), "-o", now.as_str()];
    cluster.until_said(&get, &|now| now == reason);
    cluster.kubectl(&["get", object.as_str(), "-o", &why])
}

fn what_is_missing_is_named_and_awaited(cluster: &dyn Cluster) {
    let message = waiting(cluster, "lacking", "app", "CreateContainerConfigError");
    assert_eq!(message, "configmap \"later\" not found");
    let row = cluster.row("pod/lacking");
    let wanted = "lacking 0/1 CreateContainerConfigError 0 ";
    assert!(row.starts_with(wanted), "{row}");
    told(
        cluster,
        "lacking",
        "Failed",
        "Error: configmap \"later\" not found",
    );
    cluster.kubectl(&["create", "configmap", "later", "--from-literal=A=here"]);
    succeeded(cluster, "lacking");
    assert_eq!(logs(cluster, "lacking", "app"), "here");
}

fn users_and_groups(cluster: &dyn Cluster) {
    succeeded(cluster, "who");
    assert_eq!(
        logs(cluster, "who", "who").lines().collect::<Vec<_>>(),
        [
            "1000",
            "3000",
            "2000 3000 4000 ",
            "2777 2000",
            "1000 2000",
            "0"
        ]
    );
    assert_eq!(logs(cluster, "who", "other"), "1001\n3000");
}

fn rights(cluster: &dyn Cluster) {
    succeeded(cluster, "rights");
    assert_eq!(
        logs(cluster, "rights", "narrow"),
        "CapEff:0000000000001000\nNoNewPrivs:1\nSeccomp:2"
    );
    let of = |container: &str| {
        let said = logs(cluster, "rights", container);
        let set = said.lines().next().unwrap_or_default();
        let set = set.strip_prefix("CapEff:").unwrap_or_default();
        let set = u64::from_str_radix(set, 16);
        (set.unwrap_or_else(|_| panic!("{container}: {said}")), said)
    };
    let (plain, said) = of("plain");
    assert!(said.ends_with("NoNewPrivs:0\nSeccomp:0"), "{said}");
    assert_eq!(plain & (CHOWN | NET_ADMIN | SYS_ADMIN), CHOWN, "{said}");
    if has_all_rights(cluster) {
        let (mighty, said) = of("mighty");
        let all = CHOWN | NET_ADMIN | SYS_ADMIN;
        assert_eq!(mighty & all, all, "{said}");
    }
    assert_eq!(
        logs(cluster, "rights", "fixed"),
        "touch: /x: Read-only file system"
    );
}

/// Whether the node itself has every right there is; one inside a container may lack some, and
/// then its engine cannot give them (capabilities(7), bounding set).
fn has_all_rights(cluster: &dyn Cluster) -> bool {
    let bounds = cluster.node_says("sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status");
    let last = cluster.node_says("cat /proc/sys/kernel/cap_last_cap");
    let last: u32 = last.parse().expect("a number");
    let bounds = u64::from_str_radix(&bounds, 16).expect("a set");
    bounds == u64::MAX >> (63 - last)
}

fn the_refused(cluster: &dyn Cluster) {
    let uid = cluster.field("pod/refused", ".metadata.uid");
    for (container, why) in [
        (
            "app",
            "container has runAsNonRoot and image will run as root",
        ),
        ("zero", "container's runAsUser breaks non-root policy"),
    ] {
        let words = format!("{why} (pod: \"refused_default({uid})\", container: {container})");
        let message = waiting(cluster, "refused", container, "CreateContainerConfigError");
        assert_eq!(message, words);
        told(cluster, "refused", "Failed", &format!("Error: {words}"));
    }
    let row = cluster.row("pod/refused");
    let wanted = "refused 0/2 CreateContainerConfigError 0 ";
    assert!(row.starts_with(wanted), "{row}");

    cluster.until("pod/unsafe", ".status.phase", "Failed");
    let pod = cluster.object("pod/unsafe");
    assert_eq!(pod["status"]["reason"], "SysctlForbidden");
    let words = "forbidden sysctl: \"kernel.msgmax\" not allowlisted";
    assert_eq!(
        pod["status"]["message"],
        format!("Pod was rejected: {words}")
    );
    told(cluster, "unsafe", "SysctlForbidden", words);
    let row = cluster.row("pod/unsafe");
    assert!(row.starts_with("unsafe 0/1 SysctlForbidden 0 "), "{row}");
}

fn limits_are_the_kernels(cluster: &dyn Cluster) {
    succeeded(cluster, "limited");
    // Below zero needs a right that not every node has (proc_pid_oom_score_adj(5)).
    let score = if has_all_rights(cluster) { "-997" } else { "0" };
    assert_eq!(
        logs(cluster, "limited", "app"),
        format!("20000 100000\n67108864\n{score}")
    );
    let class = cluster.field("pod/limited", ".status.qosClass");
    assert_eq!(class, "Guaranteed");
}

fn ends_are_explained(cluster: &dyn Cluster) {
    cluster.until("pod/ends", ".status.phase", "Failed");
    let end = |container: &str, field: &str| ended(cluster, "ends", container, field);
    assert_eq!(end("greedy", "reason"), "OOMKilled");
    assert_eq!(end("greedy", "exitCode"), "137");
    assert_eq!(end("talks", "reason"), "Error");
    // Two pipes: which the engine reads first is its own affair.
    let message = end("talks", "message");
    let mut lines: Vec<&str> = message.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["err", "out"]);
    assert_eq!(end("words", "reason"), "Completed");
    assert_eq!(end("words", "message"), "farewell");
}

fn namespaces_of_the_node(cluster: &dyn Cluster) {
    succeeded(cluster, "host");
    let node = cluster.node_says("readlink /proc/self/ns/net; readlink /proc/self/ns/pid");
    assert_eq!(logs(cluster, "host", "app"), format!("{node}\n1000\n0"));
    let pod = cluster.object("pod/host");
    let status = &pod["status"];
    assert_eq!(status["podIP"], status["hostIP"], "{status}");
    assert_eq!(status["qosClass"], "BestEffort");
}

/// Two containers that see each other's processes, with names and a port of the node.
fn shared_pod(cluster: &dyn Cluster) {
    let mut serve = shell("serve", SERVE);
    serve["ports"] = json!([{"containerPort": 8080, "hostPort": 18080}]);
    serve["resources"] = resources("100m");
    let mut talk = shell("talk", "read word; echo heard $word");
    talk["stdin"] = json!(true);
    // Without it the end of what is typed ends the answers as well.
    talk["stdinOnce"] = json!(true);
    never(
        cluster,
        "shared",
        json!({"shareProcessNamespace": true, "containers": [serve, talk],
            "hostname": "busy", "subdomain": "nodes", "setHostnameAsFQDN": true,
            "hostAliases": [{"ip": "10.1.2.3", "hostnames": ["foo.local", "bar.local"]}],
            "dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.1"],
                "searches": ["my.dns.search"], "options": [{"name": "ndots", "value": "2"}]}}),
    );
}

fn resources(cpu: &str) -> Value {
    let amounts = json!({"cpu": cpu, "memory": "64Mi"});
    json!({"limits": amounts, "requests": amounts})
}

/// Other resources in place, and such as no node of ours has.
fn a_running_container_gets_other_limits(cluster: &dyn Cluster) {
    let ask = |cpu: &str| {
        let mut pod = cluster.object("pod/shared");
        pod["spec"]["containers"][0]["resources"] = resources(cpu);
        // What is known of it changes meanwhile.
        let meta = pod["metadata"].as_object_mut().expect("metadata");
        meta.remove("resourceVersion");
        let path = "/api/v1/namespaces/default/pods/shared/resize";
        let mut command = cluster.kubectl_command(&["replace", "--raw", path, "-f", "-"]);
        let said = Said::fed(&mut command, pod.to_string().as_bytes());
        assert!(said.code == 0, "{said}");
    };
    let has = |field: &str| {
        let path = format!(".status.containerStatuses[?(@.name==\"serve\")].{field}");
        cluster.field("pod/shared", &path)
    };
    ask("300m");
    let limit = "cd /sys/fs/cgroup; \
                 if [ -e cpu.max ]; then cat cpu.max; else \
                 echo $(cat cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us); fi";
    let line = once(&format!("[ \"$({limit})\" = \"30000 100000\" ]"), limit);
    assert_eq!(cluster.inside("shared", &line), "30000 100000");
    assert_eq!(has("resources.limits.cpu"), "300m");

    ask("1000");
    let condition = |field: &str| {
        let path = format!(".status.conditions[?(@.type==\"PodResizePending\")].{field}");
        format!("jsonpath={{{path}}}")
    };
    let (reason, message) = (condition("reason"), condition("message"));
    let get = ["get", "pod/shared", "-o", reason.as_str()];
    cluster.until_said(&get, &|reason| reason == "Infeasible");
    let why = cluster.kubectl(&["get", "pod/shared", "-o", &message]);
    let words = "Node didn't have enough capacity: cpu, requested: 1000000, capacity: ";
    assert!(why.starts_with(words), "{why}");
    assert_eq!(has("resources.limits.cpu"), "300m", "as before");
    ask("300m");
    cluster.until_said(&get, &|reason| reason.is_empty());
    assert_eq!(has("restartCount"), "0");
}

fn a_shared_pod(cluster: &dyn Cluster) {
    cluster.ready("shared");
    let ip = cluster.field("pod/shared", ".status.podIP");
    let look = "hostname; ps | grep -q '[r]ead word' && echo seen; cat /etc/resolv.conf /etc/hosts";
    let said = cluster.inside("shared", look);
    let long = "busy.nodes.default.svc.cluster.local";
    let begins =
        format!("{long}\nseen\nnameserver 192.0.2.1\nsearch my.dns.search\noptions ndots:2\n");
    assert!(said.starts_with(&begins), "{said}");
    let own = format!("\n{ip}\t{long}\tbusy\n");
    assert!(said.contains(&own), "{said}");
    let aliases = "# Entries added by HostAliases.\n10.1.2.3\tfoo.local\tbar.local";
    assert!(said.ends_with(aliases), "{said}");

    let node = cluster.field("pod/shared", ".status.hostIP");
    let page = cluster.page(&format!("{node}:18080"));
    assert!(page.ends_with(long), "{page}");
}

fn usage_is_told(cluster: &dyn Cluster) {
    let used = |words: &[&str], name: &str| {
        let row = cluster.until_said(words, &|row| row.starts_with(name));
        let columns: Vec<String> = row.split_whitespace().map(str::to_owned).collect();
        assert_eq!(columns[0], name, "{row}");
        assert!(columns[1].ends_with('m'), "{row}");
        columns
    };
    let columns = used(&["top", "pod", "shared", "--no-headers"], "shared");
    assert!(
        columns.len() == 3 && columns[2].ends_with("Mi"),
        "{columns:?}"
    );
    let node = cluster.node();
    // CPU, its share, memory, its share.
    let columns = used(&["top", "node", node, "--no-headers"], node);
    assert!(
        columns.len() == 5 && columns[2].ends_with('%') && columns[4].ends_with('%'),
        "{columns:?}"
    );
}

/// Files in and out, and a word to a program that waits for one.
fn ways_in(cluster: &dyn Cluster) {
    let folder = tempfile::tempdir().expect("folder");
    let (here, back) = (folder.path().join("here"), folder.path().join("back"));
    // More than a buffer, and a line's end where nobody expects one.
    let text = "a line\n\r\n".repeat(40_000);
    std::fs::write(&here, &text).expect("write");
    let (here, back) = (here.display().to_string(), back.display().to_string());
    cluster.kubectl(&["cp", &here, "shared:/www/page", "-c", "serve"]);
    let size = cluster.inside("shared", "wc -c < /www/page");
    assert_eq!(size, text.len().to_string());
    // kubectl 1.30 to 1.33 may lose the beginning (kubernetes/kubernetes#131203).
    let copy = || {
        let said = cluster.try_kubectl(&["cp", "shared:/www/page", &back, "-c", "serve"]);
        said.code == 0 && std::fs::read_to_string(&back).is_ok_and(|copied| copied == text)
    };
    assert!((0..10).any(|_| copy()), "it does not come back whole");

    let mut attach = cluster.kubectl_command(&["attach", "-i", "shared", "-c", "talk"]);
    let said = Said::fed(&mut attach, b"hello\n");
    assert!(said.code == 0 && said.out.contains("heard hello"), "{said}");
    let logs = ["logs", "shared", "-c", "talk"];
    cluster.until_said(&logs, &|said| said == "heard hello");
}
