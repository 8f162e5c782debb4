"""An operator: a Song asks for a ConfigMap with its words, and is told when it is sung."""

import logging
import os

import kopf
from kubernetes import client, config

GROUP = "kopf.example.com"
config.load_kube_config()
core = client.CoreV1Api()


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    settings.posting.level = 20
    # On a busy machine what is in the middle of something needs its time: left alone, kopf
    # stops it at once and complains, or goes on from what it knows no better.
    settings.background.instant_exit_timeout = 60
    settings.queueing.exit_timeout = 60
    settings.persistence.consistency_timeout = 60
    # The streams themselves tell when a pause has reached them.
    logging.getLogger("kopf._cogs.clients.watching").setLevel(logging.DEBUG)


@kopf.on.create(GROUP, "v1", "songs")
def create(spec, name, namespace, body, patch, **_):
    if spec["words"] == "bad":
        raise kopf.PermanentError("these words cannot be sung")
    child = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-words"},
             "data": {"words": spec["words"]}}
    kopf.adopt(child)
    kopf.label(child, {"song": name})
    core.create_namespaced_config_map(namespace, child)
    kopf.event(body, type="Normal", reason="Sung", message=f"{name} is sung")
    patch.status["phase"] = "Sung"
    patch.status["by"] = os.environ["SINGER"]
    return {"child": f"{name}-words"}


@kopf.on.update(GROUP, "v1", "songs", retries=5)
def update(spec, name, namespace, diff, retry, patch, **_):
    if spec["words"] == "hard" and retry < 2:
        raise kopf.TemporaryError("not learned yet", delay=0.1)
    core.patch_namespaced_config_map(
        f"{name}-words", namespace, {"data": {"words": spec["words"]}})
    patch.status["changes"] = [list(field) for _, field, _, _ in diff]
    patch.status["tries"] = retry + 1


@kopf.on.field(GROUP, "v1", "songs", field="spec.loud")
def loud(old, new, patch, **_):
    patch.status["loudness"] = f"{old} to {new}"


@kopf.on.resume(GROUP, "v1", "songs")
def resume(patch, **_):
    patch.status["resumed"] = True


@kopf.on.delete(GROUP, "v1", "songs")
def delete(name, namespace, **_):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-farewell"}})


@kopf.on.event("", "v1", "configmaps", labels={"song": kopf.PRESENT})
def seen(type, name, namespace, labels, body, **_):
    if type == "MODIFIED":
        song = labels["song"]
        client.CustomObjectsApi().patch_namespaced_custom_object_status(
            GROUP, "v1", namespace, "songs", song,
            {"status": {"echo": body["data"]["words"]}})


@kopf.timer(GROUP, "v1", "songs", interval=1)
def beat(patch, status, **_):
    if status.get("beats", 0) < 3:
        patch.status["beats"] = status.get("beats", 0) + 1


@kopf.daemon(GROUP, "v1", "songs", cancellation_timeout=60)
async def play(stopped, name, namespace, **_):
    # What a daemon puts into `patch` is sent when it ends, so it says this itself.
    client.CustomObjectsApi().patch_namespaced_custom_object_status(
        GROUP, "v1", namespace, "songs", name, {"status": {"playing": True}})
    await stopped.wait()


@kopf.index("", "v1", "configmaps", labels={"song": kopf.PRESENT})
def words(name, body, **_):
    return {name: body["data"]["words"]}
