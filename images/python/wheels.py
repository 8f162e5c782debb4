"""Wheels from Debian's packages of Python modules, for pip to install.

A wheel is an archive of the modules, their metadata and a list with checksums
(https://packaging.python.org/en/latest/specifications/binary-distribution-format/). Debian
ships the first two. Parts compiled for one machine are left out: every module here has a
form in Python as well.
"""

import base64
import email.parser
import glob
import hashlib
import os
import re
import zipfile

TAG = "py3-none-any"

def make(folder, needs, out):
    """Makes a wheel of the one distribution unpacked in `folder`, which needs these others;
    returns its path."""
    modules = os.path.join(folder, "usr/lib/python3/dist-packages")
    (about,) = glob.glob(f"{modules}/*.dist-info") + glob.glob(f"{modules}/*.egg-info")
    said = dict(read(about))
    notes = {name: said[name] for name in ("entry_points.txt", "top_level.txt") if name in said}
    notes["METADATA"] = said.get("METADATA") or older_metadata(said["PKG-INFO"], needs)
    fields = email.parser.BytesHeaderParser().parsebytes(notes["METADATA"])
    name = re.sub(r"[-_.]+", "_", fields["Name"]).lower()
    stem = f"{name}-{fields['Version']}"
    files = {}
    for path, content in read(modules):
        first = path.split("/")[0]
        if not first.endswith((".dist-info", ".egg-info")) and not path.endswith((".so", ".pyc")):
            files[path] = content
    notes["WHEEL"] = f"Wheel-Version: 1.0\nGenerator: cadet\nRoot-Is-Purelib: true\nTag: {TAG}\n".encode()
    for path, content in notes.items():
        files[f"{stem}.dist-info/{path}"] = content
    record = "".join(f"{path},{checksum(files[path])},{len(files[path])}\n" for path in sorted(files))
    listed = f"{stem}.dist-info/RECORD"
    files[listed] = f"{record}{listed},,\n".encode()
    wheel = os.path.join(out, f"{stem}-{TAG}.whl")
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content, zipfile.ZIP_DEFLATED)
    return wheel


def older_metadata(text, needs):
    """Of an egg-info, which does not say in its metadata what a module needs."""
    first, rest = text.split(b"\n", 1)
    lines = [first, *(f"Requires-Dist: {need}".encode() for need in needs), rest]
    return b"\n".join(lines)


def read(folder):
    """Every file below `folder`: path and content."""
    for where, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = os.path.join(where, file)
            # A link to another package's file leads nowhere here.
            if not os.path.exists(path):
                continue
            with open(path, "rb") as opened:
                yield os.path.relpath(path, folder), opened.read()


def checksum(content):
    """As RECORD wants it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.rstrip(b'=').decode()}"
