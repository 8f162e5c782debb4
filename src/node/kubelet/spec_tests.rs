//! Container descriptions from manifests.

use serde_json::json;

use super::*;
use crate::testing::pod;

fn made(spec: serde_json::Value) -> Result<ContainerSpec, ConfigError> {
    let pod = pod(spec);
    let first = pod.spec.as_ref().unwrap().containers[0].clone();
    let mut variables = Variables::default();
    variables.set("PORT".into(), "27017".into());
    let parts = Parts {
        role: Role::App,
        attempt: 2,
        sandbox: "s1",
        image: "cadet.local/lessons/mongo:latest".into(),
        variables: &variables,
        mounts: Vec::new(),
        devices: Vec::new(),
        node_memory: 1 << 30,
        image_user: None,
        target: None,
        seccomp_dir: Path::new("/nowhere"),
    };
    container(&pod, &first, parts)
}

#[test]
fn command_and_arguments_keep_or_replace_the_images() {
    let spec = made(json!({"containers": [{"name": "db", "image": "mongo",
        "args": ["--port", "$(PORT)", "$$(PORT)"]}]}))
    .unwrap();
    assert_eq!(spec.entrypoint, None);
    assert_eq!(spec.args.unwrap(), ["--port", "27017", "$(PORT)"]);
    let spec =
        made(json!({"containers": [{"name": "db", "command": ["sh"], "args": []}]})).unwrap();
    assert_eq!(
        (spec.entrypoint.unwrap(), spec.args),
        (vec!["sh".to_owned()], None)
    );
}

#[test]
fn the_container_joins_its_sandbox_and_says_what_it_is() {
    let spec = made(json!({"shareProcessNamespace": true,
        "containers": [{"name": "db", "image": "mongo"}]}))
    .unwrap();
    assert_eq!(spec.namespaces.network, "container:s1");
    assert_eq!(spec.namespaces.ipc, "container:s1");
    assert_eq!(spec.namespaces.pid, "container:s1");
    assert_eq!(spec.name, "cadet_db_web_shop_u-1_2");
    assert_eq!(
        spec.labels[labels::SPEC_IMAGE],
        "mongo",
        "the manifest's, not the stand-in's"
    );
    assert_eq!(spec.labels[labels::ATTEMPT], "2");
    assert_eq!(spec.image, "cadet.local/lessons/mongo:latest");
}

#[test]
fn security_settings_are_kept_or_refused_never_dropped() {
    let spec = made(json!({"securityContext": {"runAsUser": 5, "fsGroup": 7},
        "containers": [{"name": "db", "securityContext": {
            "runAsUser": 1000, "runAsGroup": 3000, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}}]}))
    .unwrap();
    assert_eq!(spec.user.as_deref(), Some("1000:3000"));
    assert_eq!(spec.groups, ["7"]);
    assert!(spec.read_only_root && spec.no_new_privileges && !spec.privileged);
    assert_eq!(
        (spec.cap_add, spec.cap_drop),
        (vec!["NET_ADMIN".into()], vec!["ALL".into()])
    );
    let root = json!({"containers": [{"name": "db",
        "securityContext": {"runAsNonRoot": true, "runAsUser": 0}}]});
    assert!(made(root).is_err());
}

#[test]
fn the_sandbox_has_the_pods_name_address_and_no_rights() {
    let spec = sandbox(
        &pod(json!({"containers": []})),
        "cadet/pause:v1",
        0,
        Some("10.244.0.9"),
        "web".into(),
    );
    assert_eq!(spec.hostname.as_deref(), Some("web"));
    assert_eq!(
        (
            spec.namespaces.network.as_str(),
            spec.namespaces.ipc.as_str()
        ),
        ("none", "shareable")
    );
    assert_eq!(spec.labels[labels::POD_IP], "10.244.0.9");
    assert_eq!(spec.cap_drop, ["ALL"]);
    assert_eq!(spec.sysctls["net.ipv4.ip_unprivileged_port_start"], "0");
    let host = pod(json!({"hostNetwork": true, "containers": []}));
    let spec = sandbox(&host, "cadet/pause:v1", 0, None, "web".into());
    assert_eq!(
        (spec.namespaces.network.as_str(), spec.hostname),
        ("host", None)
    );
    assert!(
        spec.sysctls.is_empty(),
        "the host's settings are not ours to change"
    );
}

#[test]
fn long_names_make_valid_host_names() {
    let mut pod = pod(json!({"containers": []}));
    pod.metadata.name = Some(format!("{}-tail", "a".repeat(62)));
    assert_eq!(hostname(&pod), "a".repeat(62));
}

#[test]
fn the_hosts_file_names_localhost_the_pod_and_its_aliases() {
    let pod = pod(json!({"hostname": "db", "containers": [], "hostAliases": [
        {"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
    let text = hosts_file(&pod, "10.244.0.9", "cluster.local");
    assert!(text.contains("127.0.0.1\tlocalhost\n"));
    assert!(text.contains("10.244.0.9\tdb\n"));
    assert!(text.ends_with("1.2.3.4\ta\tb\n"));
}

#[test]
fn a_subdomain_makes_a_long_name_and_the_kernel_takes_sixty_four_letters() {
    let named = |host: &str| {
        pod(
            json!({"hostname": host, "subdomain": "nodes", "setHostnameAsFQDN": true,
            "containers": []}),
        )
    };
    let long = "db.nodes.shop.svc.cluster.local";
    assert_eq!(kernel_name(&named("db"), "cluster.local").unwrap(), long);
    let hosts = hosts_file(&named("db"), "10.244.0.9", "cluster.local");
    assert!(
        hosts.contains(&format!("10.244.0.9\t{long}\tdb\n")),
        "{hosts}"
    );
    let error = kernel_name(&named(&"d".repeat(60)), "cluster.local").unwrap_err();
    assert!(
        error.to_string().contains("64 characters is the max, 89"),
        "{error}"
    );
    let plain = pod(json!({"subdomain": "nodes", "containers": []}));
    assert_eq!(kernel_name(&plain, "cluster.local").unwrap(), "web");
    let mut other = named("db");
    other.spec.as_mut().unwrap().hostname_override = Some("other.name".into());
    let name = kernel_name(&other, "cluster.local").unwrap();
    assert_eq!(name, "other.name", "whatever else is asked for");
}

#[test]
fn a_container_may_name_the_signal_that_stops_it() {
    let spec = made(json!({"containers": [{"name": "db",
        "lifecycle": {"stopSignal": "SIGUSR1"}}]}))
    .unwrap();
    assert_eq!(spec.stop_signal.as_deref(), Some("SIGUSR1"));
    let spec = made(json!({"containers": [{"name": "db"}]})).unwrap();
    assert_eq!(spec.stop_signal, None, "the image's");
}
