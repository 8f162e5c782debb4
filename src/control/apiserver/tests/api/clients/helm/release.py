"""A release of the chart beside this file, from its installation to its end."""

import base64
import gzip
import json
import logging
import os
import sys

import helm_python as helm
from kubernetes import client
from kubernetes.client.rest import ApiException

SCRIPTS = os.environ["SCRIPTS"]
sys.path.insert(0, os.path.join(SCRIPTS, "python"))
from say import config_map, has, refused, same, well  # noqa: E402

CHART = os.path.join(SCRIPTS, "helm", "greeter")
HERE = "greetings"
core, apps, customs = client.CoreV1Api(), client.AppsV1Api(), client.CustomObjectsApi()


def greeting():
    found = customs.get_namespaced_custom_object(
        "helm.example.com", "v1", HERE, "greetings", "demo")
    return found["spec"]


def data(name="demo"):
    return core.read_namespaced_config_map(name, HERE).data


def releases():
    """What Helm keeps of its revisions, by revision."""
    secrets = core.list_namespaced_secret(HERE, label_selector="owner=helm,name=demo").items
    for secret in secrets:
        same(secret.type, "helm.sh/release.v1")
        kept = base64.b64decode(base64.b64decode(secret.data["release"]))
        same(json.loads(gzip.decompress(kept))["name"], "demo")
    return {secret.metadata.labels["version"]: secret.metadata.labels["status"]
            for secret in secrets}


def tried(helmet):
    result = helmet.install(CHART, "demo", {"greeting": "hi"}, dry_run="client")
    has(result["manifest"], 'text: "hi"')
    core.create_namespace({"metadata": {"name": HERE}})
    core.create_namespaced_config_map(HERE, config_map("before", {"a": "b"}))
    # The kind is not there yet, and a dry run does not make it.
    same(core.list_namespaced_secret(HERE).items, [])
    refused(404, "NotFound", customs.list_cluster_custom_object,
            "helm.example.com", "v1", "greetings")


def installed(helmet):
    result = helmet.install(CHART, "demo", {"greeting": "hello"}, description="the first")
    same((result["revision"], result["status"]), (1, "deployed"))
    has(result["notes"], "demo says hello in greetings.")
    same(greeting(), {"text": "hello", "loud": False})
    seen = data()
    same((seen["greeting"], seen["revision"]), ("hello", "1"))
    has(seen["version"], "v1.")
    same((seen["apps"], seen["nothing"]), ("true", "false"))
    same(json.loads(seen["found"]), {"a": "b"})
    same(seen["nodes"], "n1")
    deployment = apps.read_namespaced_deployment("demo", HERE)
    same(deployment.metadata.annotations["meta.helm.sh/release-name"], "demo")
    # Helm 4 applies on the server.
    assert "Apply" in [each.operation for each in deployment.metadata.managed_fields]
    assert core.read_namespaced_service("demo", HERE).spec.cluster_ip
    refused(404, "NotFound", core.read_namespaced_config_map, "demo-passing", HERE)
    same(data("demo-staying"), {"phase": "after 1"})
    same(releases(), {"1": "deployed"})
    same([(each["name"], each["revision"]) for each in helmet.list()], [("demo", 1)])
    try:
        helmet.install(CHART, "demo")
    except helm.HelmError as error:
        has(str(error), "cannot reuse a name that is still in use")
    else:
        raise AssertionError("installed twice")


def upgraded(helmet):
    planned = helmet.upgrade(CHART, "demo", {"greeting": "planned"}, dry_run="server")
    has(planned["manifest"], 'greeting: "planned"', 'nodes: n1')
    same(data()["greeting"], "hello")
    # What others changed and the chart does not mind stays.
    core.patch_namespaced_config_map("demo", HERE, {"data": {"mine": "kept"}})
    apps.patch_namespaced_deployment("demo", HERE, {"metadata": {"annotations": {"my": "own"}}})
    result = helmet.upgrade(CHART, "demo", {"greeting": "good day", "replicas": 3, "extra": True})
    same((result["revision"], result["status"]), (2, "deployed"))
    same(greeting()["text"], "good day")
    same((data()["greeting"], data()["revision"], data()["mine"]), ("good day", "2", "kept"))
    deployment = apps.read_namespaced_deployment("demo", HERE)
    same(deployment.spec.replicas, 3)
    same(deployment.metadata.annotations["my"], "own")
    same(deployment.spec.template.spec.containers[0].env[0].value, "good day")
    core.read_namespaced_secret("demo-extra", HERE)
    same(data("demo-staying"), {"phase": "after 2"})
    same(releases(), {"1": "superseded", "2": "deployed"})
    same(helmet.get_values("demo")["greeting"], "good day")
    same(helmet.get_values("demo", all_values=True)["failing"], False)


def failed(helmet):
    try:
        helmet.upgrade(CHART, "demo", {"failing": True}, reuse_values=True)
    except helm.HelmError as error:
        has(str(error), "spec.ports[0].port: Invalid value: 70000",
            "must be between 1 and 65535, inclusive")
    else:
        raise AssertionError("a port of 70000 is taken")
    same(releases(), {"1": "superseded", "2": "deployed", "3": "failed"})
    try:
        helmet.upgrade(CHART, "demo", {"greeting": 5})
    except helm.HelmError as error:
        has(str(error), "greeting")
    else:
        raise AssertionError("a number is a greeting")


def rolled_back(helmet):
    helmet.rollback("demo", version=1)
    same(greeting()["text"], "hello")
    same((data()["greeting"], data()["mine"]), ("hello", "kept"))
    same(apps.read_namespaced_deployment("demo", HERE).spec.replicas, 2)
    # What only later revisions have, goes.
    refused(404, "NotFound", core.read_namespaced_secret, "demo-extra", HERE)
    history = [(each["revision"], each["status"]) for each in helmet.history("demo")]
    same(history, [(1, "superseded"), (2, "superseded"), (3, "failed"), (4, "deployed")])


def uninstalled(helmet):
    result = helmet.uninstall("demo")
    same(result["release"]["status"], "uninstalled")
    refused(404, "NotFound", core.read_namespaced_config_map, "demo", HERE)
    refused(404, "NotFound", apps.read_namespaced_deployment, "demo", HERE)
    refused(404, "NotFound", core.read_namespaced_service, "demo", HERE)
    same(releases(), {})
    # Hooks and definitions are not of the release: they stay.
    same(data("demo-farewell"), {"phase": "gone"})
    same(customs.list_cluster_custom_object("helm.example.com", "v1", "greetings")["items"], [])
    try:
        helmet.uninstall("demo")
    except helm.HelmNotFoundError as error:
        has(str(error), "not found")
    else:
        raise AssertionError("uninstalled twice")


def again(helmet):
    # The definition is there already, and what others made is not taken.
    core.create_namespaced_config_map(HERE, config_map("demo"))
    try:
        helmet.install(CHART, "demo")
    except helm.HelmError as error:
        has(str(error), "exists and cannot be imported into the current release")
    else:
        raise AssertionError("took what was not its own")
    core.delete_namespaced_config_map("demo", HERE)
    customs.delete_collection_namespaced_custom_object("helm.example.com", "v1", HERE, "greetings")


def elsewhere(_):
    """In a namespace made for it, kept in ConfigMaps."""
    with helm.Config(namespace="fresh", storage_driver="configmap") as helmet:
        result = helmet.install(CHART, "demo", create_namespace=True, labels={"team": "blue"})
        same(result["status"], "deployed")
        kept = core.list_namespaced_config_map("fresh", label_selector="owner=helm,team=blue")
        same([each.metadata.labels["status"] for each in kept.items], ["deployed"])
        helmet.uninstall("demo", keep_history=True)
        same(helmet.status("demo")["status"], "uninstalled")
        refused(404, "NotFound", apps.read_namespaced_deployment, "demo", "fresh")


# What Helm says of its doings is shown when something goes wrong.
logging.basicConfig(level=logging.INFO)
helm.enable_logging(logging.INFO)
with helm.Config(namespace=HERE) as helmet:
    helmet.check_reachable()
    for part in (tried, installed, upgraded, failed, rolled_back, uninstalled, again, elsewhere):
        print(part.__name__, flush=True)
        part(helmet)
well()
