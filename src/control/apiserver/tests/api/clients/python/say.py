"""What the scripts beside this file share: the connection, and saying what is expected."""

import json
import threading

from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()


def same(is_, wanted):
    assert is_ == wanted, f"{is_!r} instead of {wanted!r}"


def has(text, *words):
    for word in words:
        assert word in text, f"no {word!r} in {text!r}"


def refused(code, reason, call, *arguments, **options):
    """Calls what must be refused; gives the message of the Status."""
    try:
        answer = call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, f"{error.status} instead of {code}: {error.body}"
        status = json.loads(error.body)
        same(status["kind"], "Status")
        same(status["reason"], reason)
        return status["message"]
    raise AssertionError(f"not refused: {answer}")


def config_map(name, data=None, **metadata):
    return client.V1ConfigMap(
        metadata=client.V1ObjectMeta(name=name, **metadata), data=data or {"key": "1"}
    )


def in_time(work, seconds=180):
    """Runs what waits for the server, in a thread, and gives what it returns."""
    result = {}

    def run():
        try:
            result["value"] = work()
        except BaseException as error:
            result["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive(), f"{work} still waits after {seconds} s"
    if "error" in result:
        raise result["error"]
    return result["value"]


def gone(name, listing, *arguments, seconds=180):
    """Waits until no object of this name is listed.

    The watch goes on from the list: with none, a deletion between the two would be missed.
    """
    chosen = f"metadata.name={name}"

    def work():
        listed = listing(*arguments, field_selector=chosen)
        if isinstance(listed, dict):
            left, version = listed["items"], listed["metadata"]["resourceVersion"]
        else:
            left, version = listed.items, listed.metadata.resource_version
        if not left:
            return
        for event in watch.Watch().stream(
            listing, *arguments, field_selector=chosen, resource_version=version,
        ):
            if event["type"] == "DELETED":
                return
    in_time(work, seconds)


def well():
    print("all is well", flush=True)
