"""Objects from their making to their end, by the typed half of the library."""

import os
import tempfile

from kubernetes import client, utils
from kubernetes.client.rest import ApiException

from say import config_map, has, refused, same, well

core, apps, version = client.CoreV1Api(), client.AppsV1Api(), client.VersionApi()
batch, policy = client.BatchV1Api(), client.PolicyV1Api()
HERE = "default"


def discovery():
    # This library asks for /version/, with a slash at its end.
    has(version.get_code().git_version, "v1.")
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    assert {"apps", "batch", "networking.k8s.io"} <= groups, groups
    assert "v1" in client.CoreApi().get_api_versions().versions
    names = {resource.name for resource in core.get_api_resources().resources}
    assert {"pods", "pods/log", "pods/exec", "services/proxy"} <= names, names
    kinds = {resource.kind for resource in apps.get_api_resources().resources}
    assert {"Deployment", "Scale", "StatefulSet"} <= kinds, kinds


def lists():
    for number in range(12):
        labels = {"set": "many", "even": str(number % 2 == 0).lower()}
        core.create_namespaced_config_map(HERE, config_map(f"many-{number:02}", labels=labels))
    wanted = [f"many-{number:02}" for number in range(12)]
    seen, more, pages = [], None, 0
    while True:
        page = core.list_namespaced_config_map(
            HERE, label_selector="set=many", limit=5, _continue=more
        )
        seen += [item.metadata.name for item in page.items]
        pages, more = pages + 1, page.metadata._continue
        if pages == 1:
            # A list is of one moment, however many pages it has.
            core.create_namespaced_config_map(
                HERE, config_map("many-99", labels={"set": "many"})
            )
        if not more:
            break
        same(page.metadata.remaining_item_count, None)  # unknown where there is a selector
    same((seen, pages), (wanted, 3))
    has(
        refused(400, "BadRequest", core.list_namespaced_config_map, HERE, _continue="nonsense"),
        "continue key is not valid",
    )
    chosen = core.list_namespaced_config_map(HERE, label_selector="set in (many),even!=true,even")
    same(len(chosen.items), 6)
    one = core.list_config_map_for_all_namespaces(field_selector="metadata.name=many-03")
    same([item.metadata.name for item in one.items], ["many-03"])
    exact = core.list_namespaced_config_map(
        HERE, label_selector="set=many", resource_version=page.metadata.resource_version,
        resource_version_match="Exact",
    )
    same(len(exact.items), 12)
    gone = core.delete_collection_namespaced_config_map(HERE, label_selector="set=many")
    same(gone.kind, "ConfigMapList")
    same(core.list_namespaced_config_map(HERE, label_selector="set=many").items, [])


def conflicts():
    first = core.create_namespaced_config_map(HERE, config_map("changed"))
    message = refused(
        409, "AlreadyExists", core.create_namespaced_config_map, HERE, config_map("changed")
    )
    same(message, 'configmaps "changed" already exists')
    first.data = {"key": "2"}
    second = core.replace_namespaced_config_map("changed", HERE, first)
    first.data = {"key": "3"}
    message = refused(
        409, "Conflict", core.replace_namespaced_config_map, "changed", HERE, first
    )
    has(message, "the object has been modified; please apply your changes to the latest version")
    same(core.read_namespaced_config_map("changed", HERE).data, {"key": "2"})
    same(second.metadata.uid, first.metadata.uid)
    message = refused(404, "NotFound", core.read_namespaced_config_map, "nothing", HERE)
    same(message, 'configmaps "nothing" not found')
    tried = core.create_namespaced_config_map(HERE, config_map("tried"), dry_run="All")
    assert tried.metadata.uid, tried
    refused(404, "NotFound", core.read_namespaced_config_map, "tried", HERE)
    made = core.create_namespaced_config_map(HERE, client.V1ConfigMap(
        metadata=client.V1ObjectMeta(generate_name="made-")))
    has(made.metadata.name, "made-")


def deployment(name, image="nginx:1.27"):
    labels = {"app": name}
    env = [client.V1EnvVar(name="A", value="1"), client.V1EnvVar(name="B", value="2")]
    container = client.V1Container(name="c", image=image, env=env)
    return client.V1Deployment(
        metadata=client.V1ObjectMeta(name=name, labels=labels),
        spec=client.V1DeploymentSpec(
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[container]),
            ),
        ),
    )


def patches():
    born = apps.create_namespaced_deployment(HERE, deployment("patched"))
    same((born.spec.replicas, born.spec.strategy.type), (1, "RollingUpdate"))
    # A dict is sent as a strategic merge patch: lists of named things merge.
    change = {"spec": {"template": {"spec": {"containers": [
        {"name": "c", "env": [{"name": "B", "value": "3"}, {"name": "A", "$patch": "delete"}]},
        {"name": "d", "image": "busybox"}]}}}}
    strategic = apps.patch_namespaced_deployment("patched", HERE, change)
    named = {container.name: container for container in strategic.spec.template.spec.containers}
    same(set(named), {"c", "d"})
    same([(e.name, e.value) for e in named["c"].env], [("B", "3")])
    same(named["c"].image, "nginx:1.27")
    # A list is sent as a JSON patch.
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 3},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "1"}},
        {"op": "remove", "path": "/spec/template/spec/containers/1"},
    ]
    by_json = apps.patch_namespaced_deployment("patched", HERE, operations)
    same(by_json.spec.replicas, 3)
    same(len(by_json.spec.template.spec.containers), 1)
    refused(422, "Invalid", apps.patch_namespaced_deployment, "patched", HERE, operations)
    merged = apps.patch_namespaced_deployment(
        "patched", HERE, {"metadata": {"annotations": {"a/b": None, "c": "2"}}},
        _content_type="application/merge-patch+json",
    )
    same(merged.metadata.annotations, {"c": "2"})
    scaled = apps.patch_namespaced_deployment_scale("patched", HERE, {"spec": {"replicas": 5}})
    same((scaled.spec.replicas, scaled.status.selector), (5, "app=patched"))
    scaled.spec.replicas = 6
    same(apps.replace_namespaced_deployment_scale("patched", HERE, scaled).spec.replicas, 6)
    status = {"status": {"replicas": 6, "readyReplicas": 4}}
    apps.patch_namespaced_deployment_status("patched", HERE, status)
    same(apps.read_namespaced_deployment_status("patched", HERE).status.ready_replicas, 4)


def applies():
    apply = {"_content_type": "application/apply-patch+yaml"}
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"},
            "data": {"a": "1", "b": "1"}}
    made = core.patch_namespaced_config_map("applied", HERE, mine, field_manager="me", **apply)
    manager = made.metadata.managed_fields[0]
    same((manager.manager, manager.operation), ("me", "Apply"))
    theirs = dict(mine, data={"b": "2"})
    message = refused(409, "Conflict", core.patch_namespaced_config_map, "applied", HERE, theirs,
                      field_manager="they", **apply)
    has(message, 'conflict with "me": .data.b')
    forced = core.patch_namespaced_config_map("applied", HERE, theirs, field_manager="they",
                                              force=True, **apply)
    same(forced.data, {"a": "1", "b": "2"})
    # What is no longer applied goes.
    less = core.patch_namespaced_config_map("applied", HERE, dict(mine, data={}),
                                            field_manager="me", **apply)
    same(less.data, {"b": "2"})


def deletions():
    owner = apps.create_namespaced_deployment(HERE, deployment("deleted"))
    core.create_namespaced_config_map(HERE, config_map("owned", owner_references=[
        client.V1OwnerReference(api_version="apps/v1", kind="Deployment", name="deleted",
                                uid=owner.metadata.uid, block_owner_deletion=True)]))
    apps.delete_namespaced_deployment("deleted", HERE, propagation_policy="Foreground")
    dying = apps.read_namespaced_deployment("deleted", HERE)
    same(dying.metadata.finalizers, ["foregroundDeletion"])
    assert dying.metadata.deletion_timestamp, dying.metadata
    apps.patch_namespaced_deployment("deleted", HERE, {"metadata": {"finalizers": None}})
    refused(404, "NotFound", apps.read_namespaced_deployment, "deleted", HERE)

    born = core.create_namespaced_config_map(HERE, config_map("guarded"))
    wrong = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="other"))
    message = refused(409, "Conflict", core.delete_namespaced_config_map, "guarded", HERE,
                      body=wrong)
    has(message, "the UID in the precondition (other) does not match the UID in record")
    right = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=born.metadata.uid))
    gone = core.delete_namespaced_config_map("guarded", HERE, body=right)
    same((gone["status"], gone["details"]["uid"]), ("Success", born.metadata.uid))

    core.create_namespaced_pod(HERE, {"metadata": {"name": "idle"},
                                      "spec": {"containers": [{"name": "c", "image": "x"}]}})
    gone = core.delete_namespaced_pod("idle", HERE, grace_period_seconds=0)
    same(gone.metadata.name, "idle")
    # One with a node is told to end, and stays until its kubelet says so.
    dying = core.delete_namespaced_pod("web", HERE, grace_period_seconds=7)
    same(dying.metadata.deletion_grace_period_seconds, 7)
    evicted = client.V1Eviction(metadata=client.V1ObjectMeta(name="two"))
    core.create_namespaced_pod_eviction("two", HERE, evicted)
    assert core.read_namespaced_pod("two", HERE).metadata.deletion_timestamp


MANY = """
apiVersion: v1
kind: Namespace
metadata: {name: from-yaml}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: from-yaml}
  spec: {selector: {app: web}, ports: [{port: 80}]}
- apiVersion: batch/v1
  kind: CronJob
  metadata: {name: nightly, namespace: from-yaml}
  spec:
    schedule: "0 3 * * *"
    jobTemplate: {spec: {template: {spec: {
      restartPolicy: Never, containers: [{name: c, image: busybox}]}}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: from-yaml}
spec: {podSelector: {}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: from-yaml}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
"""


def files():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "many.yaml")
        with open(path, "w") as file:
            file.write(MANY)
        utils.create_from_yaml(client.ApiClient(), path)
        assert core.read_namespaced_service("web", "from-yaml").spec.cluster_ip
        same(batch.read_namespaced_cron_job("nightly", "from-yaml").spec.schedule, "0 3 * * *")
        client.NetworkingV1Api().read_namespaced_network_policy("closed", "from-yaml")
        client.RbacAuthorizationV1Api().read_cluster_role("from-yaml")
        # Nothing of it can be made twice, and each is told.
        try:
            utils.create_from_yaml(client.ApiClient(), path)
        except utils.FailToCreateError as error:
            codes = [each.status for each in error.api_exceptions]
            assert codes and set(codes) == {409}, codes
        else:
            raise AssertionError("made twice")
        # And applied as often as one likes.
        with open(path, "w") as file:
            file.write("{apiVersion: v1, kind: ConfigMap, metadata: {name: twice}, data: {a: b}}")
        for _ in range(2):
            utils.create_from_yaml(client.ApiClient(), path, apply=True)
        fields = core.read_namespaced_config_map("twice", HERE).metadata.managed_fields
        same([(f.manager, f.operation) for f in fields], [("python-client", "Apply")])


def answers_are_typed():
    core.create_namespaced_event(HERE, client.CoreV1Event(
        metadata=client.V1ObjectMeta(name="said"), reason="Said", type="Normal", message="hello",
        involved_object=client.V1ObjectReference(kind="Pod", name="web", namespace=HERE)))
    found = core.list_namespaced_event(HERE, field_selector="involvedObject.name=web,reason=Said")
    same([event.message for event in found.items], ["hello"])
    secret = core.create_namespaced_secret(HERE, client.V1Secret(
        metadata=client.V1ObjectMeta(name="s"), string_data={"a": "b"}))
    same(secret.data, {"a": "Yg=="})
    space = core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="space")))
    same(space.status.phase, "Active")
    node = core.read_node("n1")
    core.patch_node("n1", {"spec": {"unschedulable": True}})
    same(core.read_node("n1").spec.unschedulable, True)
    same(node.status.addresses[0].address, "127.0.0.1")


for part in (discovery, lists, conflicts, patches, applies, answers_are_typed, files, deletions):
    print(part.__name__, flush=True)
    part()
well()
