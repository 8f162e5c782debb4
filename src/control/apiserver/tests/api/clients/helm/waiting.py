"""Helm waits until what it installs is ready; threads of this script play the controllers."""

import logging
import os
import sys
import threading

import helm_python as helm
from kubernetes import client, watch

SCRIPTS = os.environ["SCRIPTS"]
sys.path.insert(0, os.path.join(SCRIPTS, "python"))
from say import has, same, well  # noqa: E402

CHART = os.path.join(SCRIPTS, "helm", "greeter")
HERE = "default"
apps, batch = client.AppsV1Api(), client.BatchV1Api()
ready, done = [], []


def control():
    """Says of every Deployment that it is as it should be, in two steps as it happens."""
    for event in watch.Watch().stream(apps.list_namespaced_deployment, HERE):
        found = event["object"]
        status, wanted = found.status, found.spec.replicas
        if event["type"] == "DELETED" or status.observed_generation == found.metadata.generation:
            continue
        name, counts = found.metadata.name, {}
        for part in (wanted - 1, wanted):
            counts = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": part,
                      "availableReplicas": part,
                      "observedGeneration": found.metadata.generation, "conditions": [
                          {"type": "Available", "status": "True", "reason": "x", "message": ""},
                          {"type": "Progressing", "status": "True", "message": "",
                           "reason": "NewReplicaSetAvailable"}]}
            apps.patch_namespaced_deployment_status(name, HERE, {"status": counts})
        ready.append((name, wanted))


def work():
    """Does every Job."""
    for event in watch.Watch().stream(batch.list_namespaced_job, HERE):
        found = event["object"]
        if event["type"] == "ADDED":
            now = found.metadata.creation_timestamp.isoformat().replace("+00:00", "Z")
            conditions = [{"type": kind, "status": "True", "lastTransitionTime": now}
                          for kind in ("SuccessCriteriaMet", "Complete")]
            name = found.metadata.name
            batch.patch_namespaced_job_status(name, HERE, {"status": {
                "startTime": now, "completionTime": now, "succeeded": 1,
                "conditions": conditions}})
            done.append(name)


for play in (control, work):
    threading.Thread(target=play, daemon=True).start()
logging.basicConfig(level=logging.INFO)
helm.enable_logging(logging.INFO)
with helm.Config(namespace=HERE) as helmet:
    for wait in ("watcher", "legacy"):
        name = f"waited-{wait}"
        print("install", name, flush=True)
        made = helmet.install(CHART, name, {"job": True}, wait=wait, timeout=60)
        same(made["status"], "deployed")
        assert f"{name}-prepare" in done, done
        assert (name, 2) in ready, ready
        print("upgrade", name, flush=True)
        made = helmet.upgrade(CHART, name, {"replicas": 4}, wait=wait, timeout=60)
        same((made["revision"], made["status"]), (2, "deployed"))
        assert (name, 4) in ready, ready
        print("uninstall", name, flush=True)
        helmet.uninstall(name, wait=wait, timeout=60)
        names = [d.metadata.name for d in apps.list_namespaced_deployment(HERE).items]
        assert name not in names, names
same(batch.list_namespaced_job(HERE).items, [])
well()
