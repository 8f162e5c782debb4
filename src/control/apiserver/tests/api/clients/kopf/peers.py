"""Two operators for one kind agree, through an object of the API, on who works."""

from kubernetes import watch

from stage import HERE, Operator, at_rest, customs, define, define_songs, song, status, until
from say import in_time, same, well

PEERS = ("kopf.dev", "v1", HERE, "kopfpeerings")


def define_peerings():
    keep = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True,
              "properties": {"status": keep}}
    define("kopf.dev", "Namespaced", "kopfpeerings", "KopfPeering", schema)
    customs.create_namespaced_custom_object(*PEERS, {
        "apiVersion": "kopf.dev/v1", "kind": "KopfPeering", "metadata": {"name": "stage"}})


def present(count):
    """Waits until so many operators have told of themselves; gives their priorities."""
    def work():
        watcher = watch.Watch()
        for event in watcher.stream(customs.list_namespaced_custom_object, *PEERS):
            peers = event["object"].get("status") or {}
            if len(peers) == count:
                return sorted(peer["priority"] for peer in peers.values())
    return in_time(work)


def by(name):
    """Sung by this one, and nothing is left to do."""
    return lambda song: status(song).get("by") == name and at_rest(song)


define_songs()
define_peerings()
low = Operator("--peering=stage", "--priority=100", name="low")
high = None
try:
    same(present(1), [100])
    song("first", words="one")
    until("first", by("low"))
    high = Operator("--peering=stage", "--priority=200", name="high")
    same(present(2), [100, 200])
    low.says("Pausing operations in favour of")
    # It is said first and done then: a song made in between would be sung by both.
    low.says("Pausing the watch-stream for songs", after="Pausing operations in favour of")
    song("second", words="two")
    until("second", by("high"))
    high.stop("Possibly conflicting")
    low.says("Resuming operations after the pause", after="Pausing operations in favour of")
    song("third", words="three")
    until("third", by("low"))
    low.stop("Possibly conflicting", "Pausing operations", "Resuming operations")
    same(present(0), [])
finally:
    for operator in (low, high):
        if operator:
            operator.process.kill()
            print("".join(operator.log))
well()
