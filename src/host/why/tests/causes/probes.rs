//! Probes that fail: by port, by path, by time, and what the kubelet does about it.

use cadet_why::Kind;
use serde_json::{Value, json};

use crate::world::{World, app, running, with_status};

fn probed(probe: &str, check: Value, status: Value) -> World {
    let mut one = app();
    one["ports"] = json!([{"containerPort": 8080}]);
    one[probe] = check;
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, with_status("web", one, status))
}

fn unready() -> Value {
    json!({"ready": false, "started": true, "state": {"running": {"startedAt": "2026-01-01T00:04:00Z"}}})
}

fn http(port: u16, path: &str) -> Value {
    json!({"httpGet": {"port": port, "path": path}, "periodSeconds": 5})
}

/// A container that was killed a minute ago and runs again.
fn restarted(code: i64) -> Value {
    json!({"ready": true, "started": true, "restartCount": 3,
        "state": {"running": {"startedAt": "2026-01-01T00:09:05Z"}},
        "lastState": {"terminated": {"exitCode": code, "reason": "Error",
            "startedAt": "2026-01-01T00:08:00Z", "finishedAt": "2026-01-01T00:09:00Z"}}})
}

#[test]
fn a_readiness_probe_at_another_port_than_the_containers() {
    let world = probed("readinessProbe", http(9090, "/ok"), unready())
        .event(Kind::Pod, "web", "Unhealthy", "Readiness probe failed: Get \"http://10.244.0.5:9090/ok\": dial tcp 10.244.0.5:9090: connect: connection refused");
    world.says(
        "PROBE_PORT",
        &[
            "runs but is not ready",
            "port 9090, where nobody listens; its container declares port 8080",
            "GET /ok at port 9090",
        ],
    );
}

#[test]
fn refused_at_the_right_port_is_the_programs_matter() {
    let world = probed("readinessProbe", http(8080, "/ok"), unready())
        .event(Kind::Pod, "web", "Unhealthy", "Readiness probe failed: Get \"http://10.244.0.5:8080/ok\": dial tcp 10.244.0.5:8080: connect: connection refused")
        .log("web", "app", false, "waiting for migrations");
    world.says(
        "READINESS_PROBE",
        &[
            "nobody listening at port 8080",
            "log waiting for migrations",
        ],
    );
}

#[test]
fn a_page_that_does_not_exist_is_told_from_one_that_fails() {
    let world = probed("readinessProbe", http(8080, "/helth"), unready()).event(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    );
    world.says(
        "PROBE_PATH",
        &["asks for /helth, and the program has no such page (404)"],
    );
    let world = probed("readinessProbe", http(8080, "/ok"), unready()).event(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
    );
    world.says("READINESS_PROBE", &["answered with status 503"]);
}

#[test]
fn commands_slowness_and_names_of_ports() {
    let world = probed(
        "readinessProbe",
        json!({"exec": {"command": ["cat", "/tmp/ready"]}}),
        unready(),
    )
    .event(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Readiness probe failed: cat: can't open '/tmp/ready': No such file or directory\n",
    );
    world.says(
        "READINESS_PROBE",
        &[
            "the command of its readiness probe fails",
            "can't open '/tmp/ready'",
            "runs cat /tmp/ready",
        ],
    );
    let world = probed("readinessProbe", json!({"httpGet": {"port": 8080}, "timeoutSeconds": 2}), unready())
        .event(Kind::Pod, "web", "Unhealthy", "Readiness probe failed: Get \"http://10.244.0.5:8080/\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)");
    world.says("READINESS_PROBE", &["no answer within 2 s"]);
    let world = probed(
        "readinessProbe",
        json!({"httpGet": {"port": "web"}}),
        unready(),
    )
    .event(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Readiness probe errored: strconv.Atoi: parsing \"web\": invalid syntax",
    );
    world.says(
        "PROBE_PORT",
        &["asks at port \"web\", and its container has no port of that name"],
    );
}

#[test]
fn a_liveness_probe_that_kills() {
    let world = probed("livenessProbe", http(8080, "/alive"), restarted(137))
        .event_at(
            Kind::Pod,
            "web",
            "Unhealthy",
            "Liveness probe failed: HTTP probe failed with statuscode: 500",
            "2026-01-01T00:08:30Z",
        )
        .event_at(
            Kind::Pod,
            "web",
            "Killing",
            "Container app failed liveness probe, will be restarted",
            "2026-01-01T00:08:30Z",
        );
    world.says(
        "LIVENESS_PROBE",
        &[
            "restarted again and again because its liveness probe is answered with status 500",
            "3 restarts so far",
        ],
    );
}

#[test]
fn a_kill_without_a_probes_word_is_no_probes_doing() {
    let world = probed("livenessProbe", http(8080, "/alive"), restarted(137));
    world.says("KILLED_BY_SIGNAL", &["SIGKILL"]);
    // That of an earlier run neither.
    let world = probed("livenessProbe", http(8080, "/alive"), restarted(1)).event_at(
        Kind::Pod,
        "web",
        "Killing",
        "Container app failed liveness probe, will be restarted",
        "2026-01-01T00:06:00Z",
    );
    world.says("CRASH", &["exit code 1"]);
}

#[test]
fn a_startup_probe_that_is_not_met() {
    let status = json!({"ready": false, "started": false, "state": {"running": {"startedAt": "2026-01-01T00:09:00Z"}}});
    let world = probed("startupProbe", json!({"tcpSocket": {"port": 8080}}), status).event_at(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Startup probe failed: dial tcp 10.244.0.5:8080: connect: connection refused",
        "2026-01-01T00:09:30Z",
    );
    world.says(
        "STARTUP_PROBE",
        &["has not come up yet", "connects to port 8080"],
    );
}

#[test]
fn a_first_answer_takes_its_time() {
    let status = json!({"ready": false, "started": true, "state": {"running": {"startedAt": "2026-01-01T00:09:50Z"}}});
    let mut check = http(8080, "/ok");
    check["initialDelaySeconds"] = json!(30);
    probed("readinessProbe", check, status).says("NOT_YET", &["it begins 30 s after the start"]);
}

#[test]
fn what_a_probe_said_of_an_earlier_run_does_not_count() {
    let status = json!({"ready": false, "started": true, "state": {"running": {"startedAt": "2026-01-01T00:09:55Z"}}});
    let world = probed("readinessProbe", http(8080, "/ok"), status).event(
        Kind::Pod,
        "web",
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 404",
    );
    world.says("NOT_YET", &[]);
}

#[test]
fn a_gate_that_somebody_else_must_open() {
    let mut one = with_status("web", app(), running());
    one["spec"]["readinessGates"] = json!([{"conditionType": "example.com/in-pool"}]);
    one["status"]["conditions"][1] = json!({"type": "Ready", "status": "False", "reason": "ReadinessGatesNotReady",
        "message": "corresponding condition of pod readiness gate \"example.com/in-pool\" does not exist."});
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .says("READINESS_GATE", &["example.com/in-pool"]);
}
