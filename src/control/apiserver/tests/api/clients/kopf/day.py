"""A day of the operator beside this file: songs are made, changed and deleted around it."""

import os
import signal
import subprocess
import sys
import threading

from kubernetes import client, watch

SCRIPTS = os.environ["SCRIPTS"]
sys.path.insert(0, os.path.join(SCRIPTS, "python"))
from say import has, in_time, refused, same, well  # noqa: E402

GROUP, HERE = "kopf.example.com", "default"
core, customs = client.CoreV1Api(), client.CustomObjectsApi()
SONGS = (GROUP, "v1", HERE, "songs")


def definition():
    keep = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "required": ["words"], "properties": {
        "words": {"type": "string"}, "loud": {"type": "boolean"}}}
    client.ApiextensionsV1Api().create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"songs.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced",
                 "names": {"plural": "songs", "singular": "song", "kind": "Song"},
                 "versions": [{
                     "name": "v1", "served": True, "storage": True,
                     "subresources": {"status": {}},
                     "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                         "spec": spec, "status": keep}}}}]}})


class Operator:
    def __init__(self):
        program = os.path.join(SCRIPTS, "kopf", "singer.py")
        self.log = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", "--standalone", "--namespace", HERE, program],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.log.append(line)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.reader.join(60)
        same(code, 0)
        for line in self.log:
            wanted = "cannot be sung" in line or "not learned yet" in line
            assert wanted or "[INFO " in line, line


def song(name, **spec):
    return customs.create_namespaced_custom_object(
        *SONGS, {"apiVersion": f"{GROUP}/v1", "kind": "Song",
                 "metadata": {"name": name}, "spec": spec})


def until(name, wanted):
    """The first state of a song that is as wanted; None stands for deleted."""
    def work():
        watcher = watch.Watch()
        for event in watcher.stream(customs.list_namespaced_custom_object, *SONGS,
                                    field_selector=f"metadata.name={name}"):
            found = None if event["type"] == "DELETED" else event["object"]
            if (found is None) if wanted is None else (found and wanted(found)):
                return found
    return in_time(work, 90)


def status(song):
    return song.get("status", {})


def created():
    song("ode", words="joy")
    found = until("ode", lambda s: status(s).get("phase") == "Sung"
                  and status(s).get("beats") == 3 and status(s).get("playing"))
    same(found["metadata"]["finalizers"], [f"{GROUP}/finalizer"])
    same(found["status"]["create"], {"child": "ode-words"})
    has(found["metadata"]["annotations"], "kopf.zalando.org/last-handled-configuration")
    child = core.read_namespaced_config_map("ode-words", HERE)
    same(child.data, {"words": "joy"})
    owner = child.metadata.owner_references[0]
    same((owner.kind, owner.name, owner.uid, owner.controller, owner.block_owner_deletion),
         ("Song", "ode", found["metadata"]["uid"], True, True))


def told():
    def work():
        watcher = watch.Watch()
        for event in watcher.stream(core.list_namespaced_event, HERE,
                                    field_selector="involvedObject.name=ode,reason=Sung"):
            return event["object"]
    event = in_time(work)
    same((event.type, event.message, event.involved_object.kind), ("Normal", "ode is sung", "Song"))


def changed():
    customs.patch_namespaced_custom_object(*SONGS, "ode", {"spec": {"words": "more joy"}})
    found = until("ode", lambda s: status(s).get("echo") == "more joy" and status(s).get("changes"))
    same(found["status"]["changes"], [["spec", "words"]])
    same(core.read_namespaced_config_map("ode-words", HERE).data, {"words": "more joy"})
    customs.patch_namespaced_custom_object(*SONGS, "ode", {"spec": {"loud": True}})
    until("ode", lambda s: status(s).get("loudness") == "None to True")
    # Tried again until it works.
    customs.patch_namespaced_custom_object(*SONGS, "ode", {"spec": {"words": "hard"}})
    until("ode", lambda s: status(s).get("echo") == "hard" and status(s).get("tries") == 3)


def hopeless():
    song("bad", words="bad")
    until("bad", lambda s: "kopf.zalando.org/last-handled-configuration"
          in s["metadata"].get("annotations", {}))
    refused(404, "NotFound", core.read_namespaced_config_map, "bad-words", HERE)


def resumed(operator):
    operator.stop()
    # What happens meanwhile is found afterwards.
    customs.patch_namespaced_custom_object(*SONGS, "ode", {"spec": {"words": "missed"}})
    song("later", words="late")
    operator = Operator()
    until("ode", lambda s: status(s).get("resumed") and status(s).get("echo") == "missed")
    until("later", lambda s: status(s).get("phase") == "Sung")
    return operator


def deleted():
    customs.delete_namespaced_custom_object(*SONGS, "ode")
    if "ode" in names():
        until("ode", None)
    core.read_namespaced_config_map("ode-farewell", HERE)


def names():
    return [s["metadata"]["name"] for s in customs.list_namespaced_custom_object(*SONGS)["items"]]


definition()
operator = Operator()
try:
    for part in (created, told, changed, hopeless):
        print(part.__name__, flush=True)
        part()
    operator = resumed(operator)
    print("resumed", flush=True)
    deleted()
    operator.stop()
finally:
    operator.process.kill()
    print("".join(operator.log))
well()
