#!/bin/sh
# Puts the official MongoDB drivers for Python and Node.js into a folder, once.
# Usage: setup.sh DIR    Prints nothing; leaves DIR/venv/bin/python and DIR/node.
# Versions are pinned, so that a test that fails means that we changed.
set -eu

PYMONGO=4.20.0
NODE_MONGODB=6.22.0

dir=${1:?usage: setup.sh DIR}
mkdir -p "$dir"
# Several tests may come at once; the first installs, the others wait.
exec 9>"$dir/lock"
flock 9

stamp="$dir/done-$PYMONGO-$NODE_MONGODB"
[ -e "$stamp" ] && exit 0

python3 -m venv "$dir/venv"
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check "pymongo==$PYMONGO"

if command -v npm >/dev/null 2>&1; then
    mkdir -p "$dir/node"
    (cd "$dir/node" && [ -e package.json ] || echo '{"private":true}' >"$dir/node/package.json")
    (cd "$dir/node" && npm install --silent --no-audit --no-fund "mongodb@$NODE_MONGODB")
fi
touch "$stamp"
