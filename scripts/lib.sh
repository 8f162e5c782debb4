# Shared by the scripts beside it: where things are, what the machine needs, how we compile.
# Sourced, never run.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf '  fix   %s\n' "$2" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else die "this step needs root: $*" "install sudo, or run the step as root"; fi; }

OS=$(uname -s)
ARCH=$(uname -m)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/cadet

# In CI every run is a fresh clone: keep what was compiled in the user's cache.
if [ -n "${CI:-}" ] && [ -z "${CARGO_TARGET_DIR:-}" ]; then
  export CARGO_TARGET_DIR=$CACHE/target
fi

# --- packages -------------------------------------------------------------------------
apt_updated=
apt_update() { [ -n "$apt_updated" ] || { as_root apt-get update -qq; apt_updated=1; }; }

# apt_need COMMAND PACKAGE...: installs the packages unless the command is there.
apt_need() {
  local command=$1; shift
  have "$command" && return
  [ -x "/usr/sbin/$command" ] && return
  apt_update
  echo "installing $*"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# QEMU must match the qemu-utils that are already there: on Debian 12 with utils from
# backports the plain package conflicts, and the same suite has the system emulator.
need_qemu_debian() {
  local binary package
  case $ARCH in
    x86_64) binary=qemu-system-x86_64 package=qemu-system-x86 ;;
    aarch64) binary=qemu-system-aarch64 package=qemu-system-arm ;;
    *) die "no guest exists for $ARCH" ;;
  esac
  if ! have "$binary"; then
    apt_update
    echo "installing $package"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends)
    if ! as_root "${install[@]}" "$package" >/dev/null 2>&1; then
      . /etc/os-release
      local list=/etc/apt/sources.list.d/cadet-backports.list
      echo "the plain $package does not fit this machine's qemu-utils: adding $VERSION_CODENAME-backports ($list)"
      echo "deb http://deb.debian.org/debian $VERSION_CODENAME-backports main" | as_root tee "$list" >/dev/null
      as_root apt-get update -qq
      as_root "${install[@]}" -t "$VERSION_CODENAME-backports" "$package" >/dev/null
    fi
  fi
  apt_need qemu-img qemu-utils
}

# What `cadet start` needs. mmdebstrap and friends build the Debian guest where
# Ubuntu's image host cannot be reached.
need_machine() {
  case $OS in
    Linux)
      have apt-get || { have qemu-system-x86_64 || have qemu-system-aarch64 || die "QEMU is missing" "install qemu-system and qemu-img with your package manager"; return 0; }
      need_qemu_debian
      apt_need cc gcc libc6-dev
      apt_need mmdebstrap mmdebstrap
      apt_need mke2fs e2fsprogs
      apt_need newuidmap uidmap
      apt_need curl curl ca-certificates
      ;;
    Darwin)
      have brew || die "Homebrew is missing" "see https://brew.sh"
      have qemu-img || brew install qemu
      ;;
    *) die "Cadet runs on Linux and macOS; this is $OS" ;;
  esac
}

need_rust() {
  have cargo || [ ! -x "$HOME/.cargo/bin/cargo" ] || export PATH=$HOME/.cargo/bin:$PATH
  if ! have cargo; then
    echo "installing Rust with rustup into ~/.cargo"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y -q --profile minimal
    export PATH=$HOME/.cargo/bin:$PATH
  fi
}

# A Docker Engine, the kernel's rules, and the busybox without shared libraries that images
# of tests are made of.
need_docker() {
  have apt-get || { have dockerd || die "Docker Engine is missing" "install dockerd with your package manager"; return 0; }
  apt_need dockerd docker.io
  apt_need nft nftables
  apt_need iptables iptables
  apt_need ip iproute2
  apt_need busybox busybox-static
}

need_kubectl() {
  have kubectl && return
  if have brew; then brew install kubernetes-cli; return; fi
  if have apt-get && apt_update && apt-cache show kubernetes-client >/dev/null 2>&1; then
    apt_need kubectl kubernetes-client; have kubectl && return
  fi
  local version arch dir=$HOME/.local/bin
  case $ARCH in x86_64) arch=amd64 ;; aarch64 | arm64) arch=arm64 ;; esac
  version=$(curl -fsSL https://dl.k8s.io/release/stable.txt) || die "kubectl is missing and its download host cannot be reached" "install kubectl 1.27 or later"
  mkdir -p "$dir"
  curl -fsSL -o "$dir/kubectl.new" "https://dl.k8s.io/release/$version/bin/linux/$arch/kubectl"
  echo "$(curl -fsSL "https://dl.k8s.io/release/$version/bin/linux/$arch/kubectl.sha256")  $dir/kubectl.new" | sha256sum -c --quiet
  chmod +x "$dir/kubectl.new"; mv "$dir/kubectl.new" "$dir/kubectl"
  export PATH=$dir:$PATH
}

# Other people's clients for the tests of tests/api/clients, at pinned versions, in one
# folder of the cache. A stamp says what is in it; a change of a version installs anew.
CLIENTS_PYTHON="kubernetes==37.0.2 kopf==1.45.2 helm-python-sdk==0.2.2"
CLIENTS_NODE="@kubernetes/client-node@1.4.0"
need_clients() {
  export CADET_CLIENTS=${CADET_CLIENTS:-$CACHE/clients}
  have python3 || die "the tests need Python" "install python3 with its venv module"
  have npm || die "the tests need Node" "install Node 20 or later, with npm"
  local stamp=$CADET_CLIENTS/installed wanted
  wanted="$(python3 --version) $CLIENTS_PYTHON $CLIENTS_NODE"
  [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || return 0
  echo "installing $CLIENTS_PYTHON $CLIENTS_NODE"
  rm -rf "$stamp" "$CADET_CLIENTS/python" "$CADET_CLIENTS/node"
  mkdir -p "$CADET_CLIENTS/node"
  python3 -m venv "$CADET_CLIENTS/python"
  # The versions hold no spaces: each word is one package.
  # shellcheck disable=SC2086
  "$CADET_CLIENTS/python/bin/pip" install --quiet --disable-pip-version-check $CLIENTS_PYTHON
  # shellcheck disable=SC2086
  (cd "$CADET_CLIENTS/node" && npm install --silent --no-audit --no-fund --prefix . $CLIENTS_NODE)
  echo "$wanted" >"$stamp"
}

# --- compiling ------------------------------------------------------------------------
# Everything is built for one target in one profile with one set of flags, so that two
# cores compile each dependency once: host, guest, lesson apps and tests share them.
# Static, because cadet-node and the lesson apps run in guests and empty images.
rust_flags() {
  TARGET=$(rustc -vV | sed -n 's/^host: //p')
  export CARGO_BUILD_TARGET=$TARGET
  if [ "$OS" = Linux ]; then
    export RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static"
  fi
  BIN=${CARGO_TARGET_DIR:-$ROOT/target}/$TARGET/release
}

build_all() {
  rust_flags
  if [ "$OS" = Darwin ]; then
    cargo build --locked --release -p cadet
    "$ROOT/scripts/build-guest"
  else
    cargo build --locked --release --workspace --bins
  fi
}
