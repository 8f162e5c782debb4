"""A day of the operator beside this file: songs are made, changed and deleted around it."""

from kubernetes import watch

from stage import (
    GROUP, HERE, SONGS, Operator, at_rest, core, customs, define_songs, song, status, until,
)
from say import gone, has, in_time, refused, same, well


def created():
    song("ode", words="joy")
    found = until("ode", lambda s: status(s).get("phase") == "Sung" and at_rest(s))
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
          in s["metadata"].get("annotations", {}) and at_rest(s))
    refused(404, "NotFound", core.read_namespaced_config_map, "bad-words", HERE)


def resumed(operator):
    operator.stop("cannot be sung", "not learned yet")
    # What happens meanwhile is found afterwards.
    customs.patch_namespaced_custom_object(*SONGS, "ode", {"spec": {"words": "missed"}})
    song("later", words="late")
    operator = Operator("--standalone")
    until("ode", lambda s: status(s).get("resumed") and status(s).get("echo") == "missed")
    until("later", lambda s: status(s).get("phase") == "Sung" and at_rest(s))
    return operator


def deleted():
    customs.delete_namespaced_custom_object(*SONGS, "ode")
    gone("ode", customs.list_namespaced_custom_object, *SONGS, seconds=240)
    core.read_namespaced_config_map("ode-farewell", HERE)


define_songs()
operator = Operator("--standalone")
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
