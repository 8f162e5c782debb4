"""A root file system from this machine's own Debian packages, for images made offline.

`installed` takes what the machine has installed, with all that it depends on; `kept` takes
packages that lie here without being installed (KEPT; the Debian guest is built with them) or,
on other guests, asks apt for them. Nothing is changed on the machine but a cache of packages.
Used by the `prepare` scripts beside it; needs Python 3 and dpkg only.
"""

import compileall
import fnmatch
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile

KEPT = "/usr/share/cadet/packages"
CACHE = "/var/cache/cadet/packages"

# Dependencies that only matter to packages being installed, or that a container never uses.
NEEDLESS = {
    "debconf", "debconf-2.0", "cdebconf", "perl-base", "dpkg", "install-info", "adduser",
    "init-system-helpers", "iproute2", "lsb-base", "sysvinit-utils", "libpam-modules",
}

# Never useful in a container.
LEFT_OUT = (
    "usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*", "usr/share/info/*",
    "usr/share/lintian/*", "usr/share/bash-completion/*", "usr/share/bug/*", "usr/share/vim/*",
    "usr/share/apport/*", "usr/share/gcc/*", "usr/share/gdb/*", "usr/share/initramfs-tools/*",
    "usr/share/applications/*", "usr/share/pixmaps/*", "usr/share/python3/*", "usr/lib/systemd/*",
    "usr/lib/sysusers.d/*", "usr/lib/tmpfiles.d/*", "etc/init.d/*", "etc/default/*",
    "etc/logrotate.d/*", "etc/cron*", "etc/ufw/*", "etc/skel/*", "etc/update-motd.d/*",
    "usr/lib/*/gconv/*", "usr/share/keyrings/*", "EXTERNALLY-MANAGED", "*/EXTERNALLY-MANAGED",
)

# Folders whose old names are links on every system of today.
MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")


def fail(words):
    """Ends with one line for whoever asked for the image."""
    sys.exit(words)


class Tree:
    """What will be in the image: path without leading slash, and where it comes from."""

    def __init__(self):
        self.entries = {}
        self.scratch = tempfile.mkdtemp(prefix="tree-", dir=".")
        for path, mode in (
            ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("proc", 0o755), ("root", 0o700),
            ("run", 0o755), ("sys", 0o755), ("tmp", 0o1777), ("usr/local/bin", 0o755),
            ("var/tmp", 0o1777),
        ):
            self.folder(path, mode)

    def installed(self, *names):
        """Adds files of installed packages and of all they depend on."""
        known, provided = installed_packages()
        wanted, todo = set(), list(names)
        while todo:
            name = todo.pop()
            name = name if name in known else provided.get(name)
            if name is None or name in wanted or name in NEEDLESS:
                continue
            wanted.add(name)
            todo.extend(known[name][1])
        for name in names:
            if name not in known and name not in provided:
                fail(f"the package {name} is not installed on this machine")
        for name in sorted(wanted):
            for path in package_files(name, known[name][0]):
                self.add("/", path)

    def kept(self, *names):
        """Adds files of packages that are not installed, and what they depend on."""
        folder = self.unpack(*names)
        for file in find_kept(names):
            for group in field(file, "Depends").split(","):
                choices = [one for part in group.split("|") for one in words(part)]
                if not NEEDLESS.union(names).intersection(choices):
                    self.installed(*choices[:1])
        for where, folders, files in os.walk(folder):
            for name in sorted(folders) + sorted(files):
                self.add(folder, os.path.relpath(os.path.join(where, name), folder))

    def unpack(self, *names):
        """Unpacks packages that are not installed into a folder of their own."""
        folder = tempfile.mkdtemp(dir=self.scratch)
        for file in find_kept(names):
            subprocess.run(["dpkg-deb", "-x", file, folder], check=True)
        return folder

    def add(self, root, path):
        """Adds one file, link or folder of `root`; what is not there is left out."""
        path = path.strip("/")
        source = os.path.join(root, path)
        first, _, rest = path.partition("/")
        if first in MERGED:
            path = f"usr/{first}/{rest}".rstrip("/")
        if path in ("", ".", "usr") or any(fnmatch.fnmatch(path, p) for p in LEFT_OUT):
            return
        if os.path.islink(source) and os.path.isdir(source) and first in MERGED and not rest:
            return
        if not os.path.lexists(source):
            return
        if os.path.isdir(source) and path in self.entries:
            return
        self.entries[path] = source
        if path.endswith(".py"):
            self.add_compiled(root, path, source)

    def add_compiled(self, root, path, source):
        """Python's compiled form of a module, if it is there: it saves seconds at each start."""
        where, name = os.path.split(source)
        cached = os.path.join(where, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")
        if os.path.exists(cached):
            inside = os.path.join(os.path.dirname(path), "__pycache__", os.path.basename(cached))
            self.entries[inside] = cached

    def file(self, path, text, mode=0o644):
        """Adds a file of these bytes or this text."""
        made = tarfile.TarInfo(path)
        made.mode = mode
        self.entries[path] = (made, text.encode() if isinstance(text, str) else text)

    def copy(self, path, source, mode=0o644):
        """Adds a file that lies beside the script."""
        with open(source, "rb") as file:
            self.file(path, file.read(), mode)

    def link(self, path, target):
        """Adds a symbolic link."""
        made = tarfile.TarInfo(path)
        made.type, made.linkname, made.mode = tarfile.SYMTYPE, target, 0o777
        self.entries[path] = (made, None)

    def folder(self, path, mode=0o755):
        """Adds an empty folder."""
        made = tarfile.TarInfo(path)
        made.type, made.mode = tarfile.DIRTYPE, mode
        self.entries[path] = (made, None)

    def people(self, *more, shell="/bin/bash"):
        """Users and groups: Debian's own, and `name:number` for each of `more`."""
        masters = "/usr/share/base-passwd"
        with open(f"{masters}/passwd.master", encoding="utf-8") as file:
            users = file.read().replace(":*:", ":x:").replace("/bin/bash", shell)
        with open(f"{masters}/group.master", encoding="utf-8") as file:
            groups = file.read().replace(":*:", ":x:")
        for one in more:
            name, number = one.split(":")
            users += f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
            groups += f"{name}:x:{number}:\n"
        self.file("etc/passwd", users)
        self.file("etc/group", groups)
        self.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")

    def shell(self):
        """A shell and the tools one looks around with."""
        self.installed(
            "base-files", "bash", "coreutils", "dash", "debianutils", "findutils", "grep",
            "gzip", "hostname", "libc-bin", "mawk", "procps", "sed", "tar",
        )
        self.people()
        for path, target in (("sh", "dash"), ("awk", "mawk"), ("which", "which.debianutils")):
            if f"usr/bin/{target}" in self.entries:
                self.link(f"usr/bin/{path}", target)
        # Authorities that the machine trusts, a company's own among them.
        authorities = "etc/ssl/certs/ca-certificates.crt"
        if os.path.exists(f"/{authorities}"):
            self.copy(authorities, f"/{authorities}")

    def write(self, name="rootfs.tar"):
        """Writes the archive, everything owned by root."""
        for old in MERGED:
            if any(path.startswith(f"usr/{old}/") for path in self.entries):
                self.link(old, f"usr/{old}")
        with tarfile.open(name, "w") as archive:
            for path in sorted(self.entries):
                entry = self.entries[path]
                if isinstance(entry, tuple):
                    made, content = entry
                    made.size = len(content or b"")
                    archive.addfile(made, io.BytesIO(content or b""))
                    continue
                made = archive.gettarinfo(entry, arcname=path)
                made.uid = made.gid = 0
                made.uname = made.gname = "root"
                if made.isreg():
                    with open(entry, "rb") as file:
                        archive.addfile(made, file)
                else:
                    archive.addfile(made)


def installed_packages():
    """Installed packages by name: architecture and dependencies; and who provides what."""
    form = "${Package}\t${Architecture}\t${db:Status-Status}\t${Pre-Depends}, ${Depends}\t${Provides}\n"
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", form], check=True, stdout=subprocess.PIPE, text=True
    )
    lines = [line.split("\t") for line in said.stdout.splitlines()]
    lines = [line for line in lines if line[2] == "installed"]
    names = {line[0] for line in lines}
    provided = {}
    for name, _, _, _, provides in lines:
        for one in words(provides):
            provided.setdefault(one, name)
    known = {}
    for name, architecture, _, depends, _ in lines:
        first = []
        for group in depends.split(","):
            choices = [one for part in group.split("|") for one in words(part)]
            first.extend([c for c in choices if c in names or c in provided][:1])
        known[name] = (architecture, first)
    return known, provided


def words(text):
    """Names of packages in a field, without versions and architectures."""
    return re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9+.-]+)", text)


def package_files(name, architecture):
    """Paths a package owns, as dpkg keeps them."""
    for known in (name, f"{name}:{architecture}"):
        path = f"/var/lib/dpkg/info/{known}.list"
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                return file.read().splitlines()
    fail(f"dpkg knows no files of the package {name}")


def field(file, name):
    """One field of a package that is not installed."""
    said = subprocess.run(
        ["dpkg-deb", "-f", file, name], check=True, stdout=subprocess.PIPE, text=True
    )
    return said.stdout


def find_kept(names):
    """Files of packages, fetched by apt where the machine keeps none."""
    missing = [name for name in names if not kept_file(name)]
    if missing:
        fetch(missing)
    files = [kept_file(name) for name in names]
    lost = [name for name, file in zip(names, files) if not file]
    if lost:
        fail(f"packages are missing, and apt fetched none: {' '.join(lost)}")
    return files


def kept_file(name):
    """The newest file of a package."""
    for folder in (KEPT, CACHE):
        if os.path.isdir(folder):
            files = [f for f in os.listdir(folder) if f.startswith(f"{name}_") and f.endswith(".deb")]
            if files:
                return os.path.join(folder, max(files, key=lambda f: os.path.getmtime(os.path.join(folder, f))))
    return None


def fetch(names):
    """Lets apt download packages, with new lists if the old ones do not do."""
    os.makedirs(CACHE, mode=0o755, exist_ok=True)
    apt = [
        "apt-get", "-q", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=15",
        "-o", "Acquire::https::Timeout=15", "-o", "APT::Sandbox::User=root",
    ]
    download = [*apt, "download", *names]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    try:
        first = subprocess.run(download, cwd=CACHE, check=False, **quiet)
        if first.returncode == 0:
            return
        subprocess.run([*apt, "update"], check=False, **quiet)
        again = subprocess.run(download, cwd=CACHE, check=False, **quiet)
    except FileNotFoundError:
        fail(f"this machine has no apt to fetch {' '.join(names)} with")
    if again.returncode != 0:
        last = (again.stderr.strip().splitlines() or ["it said nothing"])[-1]
        fail(f"no registry and no package mirror answers ({' '.join(names)}: {last})")


def compile_modules(folder):
    """Compiles Python modules below `folder` for their place below /."""
    compileall.compile_dir(folder, quiet=2, stripdir=folder, prependdir="/")
