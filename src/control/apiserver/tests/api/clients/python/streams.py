"""Commands in pods, ports of pods, and what pods say."""

import json
import os
import select

from kubernetes import client, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import portforward, stream

from say import has, in_time, refused, same, well

core = client.CoreV1Api()
HERE = "default"


def run(*command, pod="web", **options):
    given = dict(stdin=False, stdout=True, stderr=True, tty=False)
    return stream(core.connect_get_namespaced_pod_exec, pod, HERE, command=list(command),
                  **{**given, **options})


def script(text, **options):
    return run("sh", "-c", text, _preload_content=False, **options)


def simple():
    same(run("echo", "hello"), "hello\n")
    same(run("echo", "with", "a b", "&c=d"), "with a b &c=d\n")
    same(run("cat", "/dev/null"), "")
    same(run("printf", "\\101\\303\\244", container="c"), "Aä")


def apart():
    session = script("echo out; echo err >&2; exit 7")
    session.run_forever(timeout=180)
    same((session.read_stdout(), session.read_stderr()), ("out\n", "err\n"))
    same(session.returncode, 7)
    session = script("true")
    session.run_forever(timeout=180)
    same(session.returncode, 0)
    # The newest of what the library offers is spoken.
    same(session.subprotocol, "v5.channel.k8s.io")


def talk():
    session = script("read a; echo got $a; cat; echo end", stdin=True)
    session.write_stdin("one\n")
    same(session.readline_stdout(timeout=180), "got one")
    session.write_stdin("two\n")
    same(session.readline_stdout(timeout=180), "two")
    # Only the fifth protocol can say that there is no more input.
    session.close_channel(0)
    session.run_forever(timeout=180)
    same((session.read_stdout(), session.returncode), ("end\n", 0))


def much():
    session = run("sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' x", _preload_content=False)
    session.run_forever(timeout=180)
    same(len(session.read_stdout()), 3_000_000)
    session = script("wc -c", stdin=True, binary=True)
    for _ in range(30):
        session.write_stdin(b"\x00\xff" * 5_000)
    session.close_channel(0)
    session.run_forever(timeout=180)
    same(session.read_stdout().strip(), b"300000")


def terminal():
    session = script("read line", stdin=True, tty=True)
    session.write_channel(4, '{"Width": 101, "Height": 31}')
    has(session.readline_stdout(timeout=180), "resized to 101x31")
    session.write_stdin("\n")
    session.run_forever(timeout=180)


def attach():
    session = stream(core.connect_get_namespaced_pod_attach, "web", HERE, stdin=True,
                     stdout=True, stderr=True, tty=False, _preload_content=False)
    session.write_stdin("to the main process\n")
    same(session.readline_stdout(timeout=180), "to the main process")
    session.close()


def unhappy():
    for pod, options, code, words in (
        ("nothing", {}, 404, 'pods "nothing" not found'),
        ("two", {"container": "nosuch"}, 400, "container nosuch is not valid for pod two"),
    ):
        try:
            run("true", pod=pod, **options)
        except ApiException as error:
            # All the library keeps of the answer is this text.
            answer = json.loads(error.reason.split(" -+-+- ")[-1])
            same((answer["kind"], answer["code"], answer["message"]), ("Status", code, words))
        else:
            raise AssertionError(f"{pod} accepts a command")


def ports():
    echo, closed = int(os.environ["ECHO_PORT"]), int(os.environ["CLOSED_PORT"])
    forward = portforward(core.connect_get_namespaced_pod_portforward, "web", HERE,
                          ports=f"{echo},{closed}")
    socket = forward.socket(echo)
    socket.setblocking(True)
    for size in (5, 200_000):
        sent, heard = b"e" * size, b""
        socket.sendall(sent)
        while len(heard) < size:
            assert select.select([socket], [], [], 180)[0], f"only {len(heard)} of {size}"
            part = socket.recv(65_536)
            assert part, f"ends after {len(heard)} of {size}"
            heard += part
        assert heard == sent
    assert forward.error(echo) is None
    # The other port tells on its own channel, and ends.
    refused_one = forward.socket(closed)
    refused_one.settimeout(180)
    same(refused_one.recv(1), b"")
    has(forward.error(closed), "refused")
    forward.close()


def logs():
    same(core.read_namespaced_pod_log("web", HERE), "one\ntwo\n")
    same(core.read_namespaced_pod_log("web", HERE, tail_lines=1), "two\n")
    same(core.read_namespaced_pod_log("web", HERE, limit_bytes=3), "one")

    def follow():
        watcher, lines = watch.Watch(), []
        for line in watcher.stream(core.read_namespaced_pod_log, name="web", namespace=HERE):
            lines.append(line)
            if len(lines) == 2:
                watcher.stop()
        return lines
    same(in_time(follow), ["one", "two"])
    message = refused(400, "BadRequest", core.read_namespaced_pod_log, "two", HERE)
    has(message, "a container name must be specified for pod two, choose one of: [c stopped]")


for part in (simple, apart, talk, much, terminal, attach, unhappy, ports, logs):
    print(part.__name__, flush=True)
    in_time(part, 400)
well()
