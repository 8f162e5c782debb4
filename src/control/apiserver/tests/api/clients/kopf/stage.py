"""The stage of the scripts beside this file: the kind, the operator's process, and waiting."""

import itertools
import os
import signal
import subprocess
import sys
import threading

from kubernetes import client, watch

SCRIPTS = os.environ["SCRIPTS"]
sys.path.insert(0, os.path.join(SCRIPTS, "python"))
from say import in_time, same  # noqa: E402

GROUP, HERE = "kopf.example.com", "default"
core, customs = client.CoreV1Api(), client.CustomObjectsApi()
SONGS = (GROUP, "v1", HERE, "songs")


def define(group, scope, plural, kind, schema):
    client.ApiextensionsV1Api().create_custom_resource_definition({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope,
                 "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                 "versions": [{
                     "name": "v1", "served": True, "storage": True,
                     "schema": {"openAPIV3Schema": schema},
                     **({"subresources": {"status": {}}} if group == GROUP else {})}]}})


def define_songs():
    keep = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {"type": "object", "required": ["words"], "properties": {
        "words": {"type": "string"}, "loud": {"type": "boolean"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": keep}}
    define(GROUP, "Namespaced", "songs", "Song", schema)


class Operator:
    """The program singer.py, run by kopf."""

    def __init__(self, *options, name="singer"):
        program = os.path.join(SCRIPTS, "kopf", "singer.py")
        self.log, self.heard = [], threading.Condition()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kopf", "run", *options, "--namespace", HERE, program],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "SINGER": name})
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            with self.heard:
                self.log.append(line)
                self.heard.notify_all()

    def says(self, words, after="", seconds=240):
        """Waits for a line with these words, below the first one with `after`."""
        def heard():
            rest = itertools.dropwhile(lambda line: after not in line, self.log)
            return any(words in line for line in rest)

        with self.heard:
            said = self.heard.wait_for(heard, seconds)
        assert said, f"no {words!r} in {''.join(self.log)}"

    def stop(self, *expected):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(240)
        self.reader.join(240)
        same(code, 0)
        for line in self.log:
            wanted = any(words in line for words in expected)
            assert wanted or "[INFO " in line or "[DEBUG " in line, line


def song(name, **spec):
    return customs.create_namespaced_custom_object(
        *SONGS, {"apiVersion": f"{GROUP}/v1", "kind": "Song",
                 "metadata": {"name": name}, "spec": spec})


def until(name, wanted):
    """The first state of a song that is as wanted."""
    def work():
        watcher = watch.Watch()
        for event in watcher.stream(customs.list_namespaced_custom_object, *SONGS,
                                    field_selector=f"metadata.name={name}"):
            if event["type"] != "DELETED" and wanted(event["object"]):
                return event["object"]
    return in_time(work, 240)


def status(song):
    return song.get("status", {})


def at_rest(song):
    """Its timer has counted to its end and its daemon plays: who stops then breaks nothing off."""
    return status(song).get("beats") == 3 and status(song).get("playing")
