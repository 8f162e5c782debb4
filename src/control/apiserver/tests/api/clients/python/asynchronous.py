"""The half of the library that is built on aiohttp."""

import asyncio

from kubernetes.aio import client, config, watch
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic import DynamicClient
from kubernetes.aio.stream import WsApiClient

HERE = "default"


def same(is_, wanted):
    assert is_ == wanted, f"{is_!r} instead of {wanted!r}"


async def objects(core):
    start = (await core.list_namespaced_config_map(HERE)).metadata.resource_version
    await core.create_namespaced_config_map(HERE, {"metadata": {"name": "a"}, "data": {"k": "1"}})
    changed = await core.patch_namespaced_config_map("a", HERE, {"data": {"k": "2"}})
    same(changed.data, {"k": "2"})
    try:
        await core.create_namespaced_config_map(HERE, {"metadata": {"name": "a"}})
    except ApiException as error:
        same(error.status, 409)
    else:
        raise AssertionError("made twice")
    await core.delete_namespaced_config_map("a", HERE)
    seen = []
    async with watch.Watch() as watcher:
        stream = watcher.stream(core.list_namespaced_config_map, HERE, resource_version=start)
        async for event in stream:
            seen.append(f"{event['type']} {event['object'].metadata.name}")
            if len(seen) == 3:
                break
    same(seen, ["ADDED a", "MODIFIED a", "DELETED a"])


async def dynamically(api):
    dynamic = await DynamicClient(api)
    maps = await dynamic.resources.get(api_version="v1", kind="ConfigMap")
    made = await maps.create(body={"apiVersion": "v1", "kind": "ConfigMap",
                                   "metadata": {"name": "d"}}, namespace=HERE)
    same(made.metadata.name, "d")


async def commands():
    async with WsApiClient() as sockets:
        core = client.CoreV1Api(sockets)
        # This half speaks only the fourth protocol.
        said = await core.connect_get_namespaced_pod_exec(
            "web", HERE, command=["sh", "-c", "echo out; echo err >&2"], stderr=True, stdin=False,
            stdout=True, tty=False)
        same(sorted(said.splitlines()), ["err", "out"])
        session = await core.connect_get_namespaced_pod_exec_without_preload_content(
            "web", HERE, command=["sh", "-c", "read a; echo got $a; exit 3"], stderr=True,
            stdin=True, stdout=True, tty=False)
        async with session as socket:
            await socket.send_bytes(b"\0word\n")
            heard = {}
            async for message in socket:
                channel = message.data[0]
                heard[channel] = heard.get(channel, b"") + message.data[1:]
        same(heard[1], b"got word\n")
        same(WsApiClient.parse_error_data(heard[3].decode()), 3)


async def main():
    await config.load_kube_config()
    async with client.ApiClient() as api:
        await objects(client.CoreV1Api(api))
        await dynamically(api)
    await commands()


asyncio.run(asyncio.wait_for(main(), 400))
print("all is well")
