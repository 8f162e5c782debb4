"""Helm waits until what it installs is ready; threads of this script play the controllers."""

import json
import logging
import os
import sys
import threading
import zlib

import helm_python as helm
from kubernetes import client, watch
from kubernetes.client.rest import ApiException

SCRIPTS = os.environ["SCRIPTS"]
sys.path.insert(0, os.path.join(SCRIPTS, "python"))
from say import has, same, well  # noqa: E402

CHART = os.path.join(SCRIPTS, "helm", "greeter")
HERE = "default"
apps, batch = client.AppsV1Api(), client.BatchV1Api()
ready, done = [], []


def replica_set(found):
    """The ReplicaSet of a Deployment's template as it is now, made if need be."""
    template = client.ApiClient().sanitize_for_serialization(found.spec.template)
    name = f"{found.metadata.name}-{zlib.crc32(json.dumps(template).encode()):08x}"
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": found.metadata.name,
             "uid": found.metadata.uid, "controller": True, "blockOwnerDeletion": True}
    wanted = {"apiVersion": "apps/v1", "kind": "ReplicaSet",
              "metadata": {"name": name, "labels": template["metadata"]["labels"],
                           "ownerReferences": [owner]},
              "spec": {"replicas": found.spec.replicas, "template": template, "selector": {
                  "matchLabels": found.spec.selector.match_labels}}}
    apps.patch_namespaced_replica_set(
        name, HERE, wanted, field_manager="player", force=True,
        _content_type="application/apply-patch+yaml")
    return name


def control():
    """Says of every Deployment that it is as it should be."""
    for event in watch.Watch().stream(apps.list_namespaced_deployment, HERE):
        found = event["object"]
        generation = found.metadata.generation
        if event["type"] == "DELETED" or found.status.observed_generation == generation:
            continue
        try:
            make_ready(found)
        except ApiException as error:
            # Helm has seen enough before the last word, and taken it away.
            if error.status != 404:
                raise


def make_ready(found):
    """In two steps as it happens."""
    generation, wanted = found.metadata.generation, found.spec.replicas
    name, replicas = found.metadata.name, replica_set(found)
    # Of four, three are enough for Helm's older way of waiting; half of them never are.
    for part in (wanted // 2, wanted):
        counts = {"replicas": wanted, "readyReplicas": part, "availableReplicas": part,
                  "observedGeneration": generation}
        if part == wanted:
            # Said before it is so: Helm may see it sooner than this thread goes on.
            ready.append((name, wanted))
        apps.patch_namespaced_replica_set_status(replicas, HERE, {"status": counts})
        conditions = [
            {"type": "Available", "status": "True", "reason": "x", "message": ""},
            {"type": "Progressing", "status": "True", "message": "",
             "reason": "NewReplicaSetAvailable"}]
        apps.patch_namespaced_deployment_status(name, HERE, {"status": {
            **counts, "updatedReplicas": wanted, "conditions": conditions}})


def work():
    """Does every Job."""
    for event in watch.Watch().stream(batch.list_namespaced_job, HERE):
        found = event["object"]
        if event["type"] == "ADDED":
            now = found.metadata.creation_timestamp.isoformat().replace("+00:00", "Z")
            conditions = [{"type": kind, "status": "True", "lastTransitionTime": now}
                          for kind in ("SuccessCriteriaMet", "Complete")]
            name = found.metadata.name
            # Said before it is so, as above.
            done.append(name)
            batch.patch_namespaced_job_status(name, HERE, {"status": {
                "startTime": now, "completionTime": now, "succeeded": 1,
                "conditions": conditions}})


for play in (control, work):
    threading.Thread(target=play, daemon=True).start()
logging.basicConfig(level=logging.INFO)
helm.enable_logging(logging.INFO)
with helm.Config(namespace=HERE) as helmet:
    for wait in ("watcher", "legacy"):
        name = f"waited-{wait}"
        print("install", name, flush=True)
        made = helmet.install(CHART, name, {"job": True}, wait=wait, timeout=180)
        same(made["status"], "deployed")
        assert f"{name}-prepare" in done, done
        assert (name, 2) in ready, ready
        print("upgrade", name, flush=True)
        made = helmet.upgrade(CHART, name, {"replicas": 4}, wait=wait, timeout=180)
        same((made["revision"], made["status"]), (2, "deployed"))
        assert (name, 4) in ready, ready
        print("uninstall", name, flush=True)
        helmet.uninstall(name, wait=wait, timeout=180)
        names = [d.metadata.name for d in apps.list_namespaced_deployment(HERE).items]
        assert name not in names, names
    print("taken back", flush=True)
    helmet.install(CHART, "demo", timeout=180)
    try:
        helmet.upgrade(CHART, "demo", {"failing": True, "greeting": "bad"},
                       rollback_on_failure=True, wait="watcher", timeout=180)
    except helm.HelmError as error:
        has(str(error), "must be between 1 and 65535, inclusive")
    else:
        raise AssertionError("a port of 70000 is taken")
    history = [(each["revision"], each["status"]) for each in helmet.history("demo")]
    same(history, [(1, "superseded"), (2, "failed"), (3, "deployed")])
    data = client.CoreV1Api().read_namespaced_config_map("demo", HERE).data
    same(data["greeting"], "hello")
same(batch.list_namespaced_job(HERE).items, [])
well()
