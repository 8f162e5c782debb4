//! Containers that do not begin, and containers that end.

use cadet_why::Kind;
use serde_json::{Value, json};

use crate::world::{World, app, crashed, owned, pod, running, waiting, with_status};

fn shows(container: Value, status: Value) -> World {
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, with_status("web", container, status))
}

#[test]
fn a_configmap_that_is_missing_names_the_variable() {
    let mut one = app();
    one["env"] = json!([{"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "color"}}}]);
    let world = shows(
        one,
        waiting(
            "CreateContainerConfigError",
            "configmap \"settings\" not found",
        ),
    );
    world.says(
        "CONFIGMAP_MISSING",
        &[
            "ConfigMap settings does not exist",
            "variable COLOR of container app",
            "kubectl create configmap settings",
        ],
    );
}

#[test]
fn a_secret_and_a_key_are_other_causes() {
    shows(
        app(),
        waiting("CreateContainerConfigError", "secret \"door\" not found"),
    )
    .says("SECRET_MISSING", &["Secret door does not exist"]);
    shows(
        app(),
        waiting(
            "CreateContainerConfigError",
            "couldn't find key colour in ConfigMap shop/settings",
        ),
    )
    .says(
        "KEY_MISSING",
        &[
            "ConfigMap settings has no key colour",
            "kubectl describe configmap settings -n shop",
        ],
    );
}

#[test]
fn root_is_not_wanted() {
    let world = shows(
        app(),
        waiting(
            "CreateContainerConfigError",
            "container has runAsNonRoot and image will run as root (pod: \"web_shop(u)\", container: app)",
        ),
    );
    world.says("RUN_AS_ROOT", &["runAsNonRoot", "its image runs as root"]);
}

#[test]
fn other_trouble_of_configuration_is_shown_as_it_is() {
    shows(
        app(),
        waiting(
            "CreateContainerConfigError",
            "the path \"/x\" leaves its volume",
        ),
    )
    .says("CONTAINER_CONFIG", &["leaves its volume"]);
}

fn mounting(reason: &str, message: &str) -> World {
    let mut one = with_status("web", app(), waiting("ContainerCreating", ""));
    one["spec"]["volumes"] = json!([
        {"name": "data", "hostPath": {"path": "/no/such", "type": "Directory"}},
        {"name": "cm", "configMap": {"name": "settings"}}]);
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .event(Kind::Pod, "web", reason, message)
}

#[test]
fn volumes_are_told_apart() {
    mounting("FailedMount", "MountVolume.SetUp failed for volume \"data\" : hostPath type check failed: /no/such is not a directory")
        .says("HOST_PATH", &["/no/such on node cadet is not a directory", "hostPath of type Directory"]);
    mounting(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"cm\" : configmap \"settings\" not found",
    )
    .says(
        "CONFIGMAP_MISSING",
        &["ConfigMap settings does not exist", "volume cm of the pod"],
    );
    mounting("FailedMount", "MountVolume.SetUp failed for volume \"cm\" : configmap references non-existent config key: colour")
        .says("KEY_MISSING", &["has no key colour"]);
    mounting(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"nfs\" : mount failed: exit status 32",
    )
    .says("MOUNT_FAILED", &["volume nfs cannot be mounted"]);
    mounting(
        "FailedCreatePodSandBox",
        "Failed to create pod sandbox: could not attach the pod: no address is left",
    )
    .says("SANDBOX", &["no address is left"]);
}

#[test]
fn a_mount_that_worked_in_the_end_is_not_the_cause() {
    let world = mounting(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"cm\" : configmap \"settings\" not found",
    )
    .event_at(
        Kind::Pod,
        "web",
        "Pulled",
        "Container image already present",
        "2026-01-01T00:07:00Z",
    );
    assert_ne!(world.answer().cause.id(), "CONFIGMAP_MISSING");
}

#[test]
fn a_command_that_is_not_there() {
    let mut one = app();
    one["command"] = json!(["/no/such/program"]);
    let message = "failed to start container \"app\": Error response from daemon: failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"/no/such/program\": stat /no/such/program: no such file or directory: unknown";
    shows(one.clone(), waiting("RunContainerError", message)).says(
        "COMMAND_NOT_FOUND",
        &["there is no program /no/such/program in image web:1"],
    );
    // The same after a while, when the loop hides the words.
    let world = shows(
        one,
        waiting(
            "CrashLoopBackOff",
            "back-off 20s restarting failed container=app pod=web_shop(u)",
        ),
    )
    .event(Kind::Pod, "web", "Failed", &format!("Error: {message}"));
    world.says("COMMAND_NOT_FOUND", &["/no/such/program"]);
    let denied = "failed to start container \"app\": OCI runtime create failed: exec: \"/app/run.sh\": permission denied: unknown";
    shows(app(), waiting("RunContainerError", denied))
        .says("COMMAND_NOT_EXECUTABLE", &["/app/run.sh"]);
}

#[test]
fn a_hook_that_fails() {
    let world = shows(
        app(),
        waiting("PostStartHookError", "command 'false' exited with 1: "),
    );
    world.says("HOOK_FAILED", &["postStart hook"]);
    // Later only the end of the container is seen, which is a good one.
    let world = shows(app(), crashed(0, "Completed")).event_at(
        Kind::Pod,
        "web",
        "FailedPostStartHook",
        "PostStartHook failed",
        "2026-01-01T00:08:10Z",
    );
    world.says("HOOK_FAILED", &["postStart hook"]);
}

#[test]
fn an_exit_code_is_told_with_the_last_words() {
    let world = shows(app(), crashed(3, "Error")).log(
        "web",
        "app",
        false,
        "starting\nno database at db:5432\n",
    );
    world.says(
        "CRASH",
        &[
            "pod/web keeps ending: container app fails with exit code 3",
            "log no database at db:5432",
            "4 restarts so far",
            "after 20 s",
            "kubectl logs web -n shop",
        ],
    );
}

#[test]
fn signals_have_names() {
    shows(app(), crashed(139, "Error")).says("KILLED_BY_SIGNAL", &["SIGSEGV"]);
    shows(app(), crashed(137, "Error")).says("KILLED_BY_SIGNAL", &["SIGKILL"]);
}

#[test]
fn memory_is_told_from_other_kills() {
    let mut one = app();
    one["resources"] = json!({"limits": {"memory": "64Mi"}});
    shows(one, crashed(137, "OOMKilled")).says(
        "OUT_OF_MEMORY",
        &["more than its limit of 64Mi of memory", "OOMKilled"],
    );
    let mut limited = app();
    limited["resources"] = json!({"limits": {"memory": "64Mi"}});
    let one = owned(
        with_status("web", limited, crashed(137, "OOMKilled")),
        Kind::StatefulSet,
        "web",
    );
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .says(
            "OUT_OF_MEMORY",
            &["kubectl set resources statefulset web -c app --limits=memory=128Mi -n shop"],
        );
}

#[test]
fn a_shells_codes_are_about_commands() {
    shows(app(), crashed(127, "Error"))
        .log("web", "app", false, "sh: pyhton: not found")
        .says("COMMAND_NOT_FOUND", &["pyhton: not found"]);
    shows(app(), crashed(126, "Error")).says("COMMAND_NOT_EXECUTABLE", &["may not be executed"]);
}

#[test]
fn a_program_for_another_processor_complains_in_its_log() {
    shows(app(), crashed(255, "Error"))
        .log("web", "app", false, "exec /app: exec format error")
        .says("IMAGE_ARCHITECTURE", &["another processor"]);
}

#[test]
fn work_that_is_done_is_no_service() {
    shows(app(), crashed(0, "Completed")).says(
        "ENDS_AT_ONCE",
        &["does its work and ends", "restartPolicy Always"],
    );
}

#[test]
fn an_init_container_holds_up_the_others() {
    let mut one = pod("web", json!([app()]));
    one["spec"]["initContainers"] =
        json!([{"name": "setup", "image": "tool:1", "command": ["sh", "-c", "exit 5"]}]);
    let mut status = crashed(5, "Error");
    status["name"] = json!("setup");
    one["status"]["initContainerStatuses"] = json!([status]);
    one["status"]["containerStatuses"] = json!([{"name": "app", "restartCount": 0, "ready": false, "state": {"waiting": {"reason": "PodInitializing"}}}]);
    let world = World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one.clone())
        .log("web", "setup", false, "no schema");
    world.says(
        "INIT_FAILED",
        &[
            "its init container setup fails with exit code 5",
            "no schema",
            "kubectl logs web -c setup -n shop",
        ],
    );
    one["status"]["initContainerStatuses"] = json!([{"name": "setup", "restartCount": 0, "ready": false, "state": {"running": {"startedAt": "2026-01-01T00:05:00Z"}}}]);
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .says("NOT_YET", &["waiting for its init container setup"]);
}

#[test]
fn a_run_after_an_end_is_told_while_it_is_fresh() {
    let mut again = running();
    again["restartCount"] = json!(1);
    again["state"]["running"]["startedAt"] = json!("2026-01-01T00:08:30Z");
    again["lastState"] = crashed(1, "Error")["lastState"].clone();
    shows(app(), again.clone())
        .log("web", "app", true, "lost the database")
        .says(
            "CRASH",
            &["runs again after an end", "lost the database", "--previous"],
        );
    let mut old = again;
    old["state"]["running"]["startedAt"] = json!("2025-12-31T20:00:00Z");
    shows(app(), old).says("NOTHING_WRONG", &["1 restart so far"]);
}

#[test]
fn a_pod_that_may_not_start_again_has_ended() {
    let mut one = with_status(
        "web",
        app(),
        json!({"ready": false, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}),
    );
    one["spec"]["restartPolicy"] = json!("Never");
    one["status"]["phase"] = json!("Failed");
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .says(
            "CRASH",
            &["has ended: container app fails with exit code 1"],
        );
}

#[test]
fn success_is_no_fault() {
    let mut one = with_status(
        "web",
        app(),
        json!({"ready": false, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}),
    );
    one["spec"]["restartPolicy"] = json!("Never");
    one["status"]["phase"] = json!("Succeeded");
    World::about(Kind::Pod, "web")
        .node()
        .with(Kind::Pod, one)
        .says("NOTHING_WRONG", &["has done its work"]);
    shows(app(), running()).says("NOTHING_WRONG", &["it is Running and ready"]);
}

#[test]
fn what_cannot_be_known_is_not_claimed() {
    let world = World::about(Kind::Pod, "web").node().with(
        Kind::Pod,
        with_status("web", app(), waiting("SomethingNew", "never heard of")),
    );
    world.may_say(
        "UNKNOWN",
        &["I do not know why", "SomethingNew never heard of"],
    );
    assert_eq!(cadet_why::reason(&world.facts), None);
}
