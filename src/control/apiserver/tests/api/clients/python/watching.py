"""Watches: resumed, cut by their own time, too late, and kept up by an informer."""

import queue

from kubernetes import client, watch
from kubernetes.client.rest import ApiException
from kubernetes.informer import SharedInformer

from say import config_map, has, in_time, same, well

core = client.CoreV1Api()
HERE = "default"


def brief(event):
    return f"{event['type']} {event['object'].metadata.name}"


def take(count, **options):
    """The first events of a watch."""
    def work():
        watcher, seen = watch.Watch(), []
        for event in watcher.stream(core.list_namespaced_config_map, HERE, **options):
            seen.append(event)
            if len(seen) == count:
                watcher.stop()
        return seen
    return in_time(work)


def follows():
    start = core.list_namespaced_config_map(HERE).metadata.resource_version
    core.create_namespaced_config_map(HERE, config_map("a", labels={"l": "1"}))
    core.create_namespaced_config_map(HERE, config_map("b"))
    core.patch_namespaced_config_map("a", HERE, {"data": {"key": "2"}})
    core.delete_namespaced_config_map("b", HERE)
    events = take(4, resource_version=start)
    same([brief(event) for event in events], ["ADDED a", "ADDED b", "MODIFIED a", "DELETED b"])
    same(events[2]["object"].data, {"key": "2"})
    # From the middle, and only some.
    middle = events[1]["object"].metadata.resource_version
    same([brief(e) for e in take(2, resource_version=middle)], ["MODIFIED a", "DELETED b"])
    chosen = take(2, resource_version=start, label_selector="l")
    same([brief(e) for e in chosen], ["ADDED a", "MODIFIED a"])
    named = take(2, resource_version=start, field_selector="metadata.name=b")
    same([brief(e) for e in named], ["ADDED b", "DELETED b"])


def leaves_a_selection():
    start = core.list_namespaced_config_map(HERE).metadata.resource_version
    core.patch_namespaced_config_map("a", HERE, {"metadata": {"labels": {"l": None}}})
    seen = take(1, resource_version=start, label_selector="l=1")
    same([brief(e) for e in seen], ["DELETED a"])


def ends_when_told():
    def work():
        watcher = watch.Watch()
        stream = watcher.stream(core.list_namespaced_config_map, HERE, timeout_seconds=1)
        return [brief(event) for event in stream]
    # Without a version a watch begins with all there is.
    assert "ADDED a" in in_time(work)


def bookmarks():
    def work():
        watcher = watch.Watch()
        stream = watcher.stream(
            core.list_namespaced_config_map, HERE, allow_watch_bookmarks=True,
            send_initial_events=True, resource_version_match="NotOlderThan",
        )
        kinds = []
        for event in stream:
            kinds.append(event["type"])
            if event["type"] == "BOOKMARK":
                notes = event["raw_object"]["metadata"]["annotations"]
                same(notes, {"k8s.io/initial-events-end": "true"})
                watcher.stop()
        return kinds
    kinds = in_time(work)
    assert set(kinds[:-1]) == {"ADDED"}, kinds


def too_late():
    old = core.list_namespaced_config_map(HERE).metadata.resource_version
    for number in range(120):
        core.patch_namespaced_config_map("a", HERE, {"data": {"key": str(number)}})
    # With a time of its own it tells at once.
    try:
        take(1, resource_version=old, timeout_seconds=30)
    except ApiException as error:
        same(error.status, 410)
        has(error.reason, "Expired: too old resource version")
    else:
        raise AssertionError("not expired")
    # Without, the library tries once more with the same version, then tells.
    try:
        take(1, resource_version=old)
    except ApiException as error:
        same(error.status, 410)
    else:
        raise AssertionError("not expired")
    # As its documentation says: list, and go on from there.
    fresh = core.list_namespaced_config_map(HERE).metadata.resource_version
    core.patch_namespaced_config_map("a", HERE, {"data": {"key": "fresh"}})
    same([brief(e) for e in take(1, resource_version=fresh)], ["MODIFIED a"])


def informer():
    heard = queue.Queue()
    told = SharedInformer(core.list_namespaced_config_map, namespace=HERE, label_selector="i")
    for kind in ("ADDED", "MODIFIED", "DELETED"):
        told.add_event_handler(
            kind, lambda thing, kind=kind: heard.put(f"{kind} {thing.metadata.name}"))
    core.create_namespaced_config_map(HERE, config_map("before", labels={"i": "1"}))
    told.start()
    same(heard.get(timeout=180), "ADDED before")
    core.create_namespaced_config_map(HERE, config_map("after", labels={"i": "1"}))
    same(heard.get(timeout=180), "ADDED after")
    core.patch_namespaced_config_map("after", HERE, {"data": {"key": "2"}})
    same(heard.get(timeout=180), "MODIFIED after")
    core.delete_namespaced_config_map("before", HERE)
    same(heard.get(timeout=180), "DELETED before")
    same([thing.metadata.name for thing in told.cache.list()], ["after"])
    in_time(told.stop)


for part in (follows, leaves_a_selection, ends_when_told, bookmarks, too_late, informer):
    print(part.__name__, flush=True)
    part()
well()
