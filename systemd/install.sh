#!/usr/bin/env bash
# Installs this bundle without internet: ./install.sh [--upgrade] [FOLDER], /opt/vbq-node without one. Needs Python >= 3.11 with
# venv (Debian: python3-venv); PYTHON=/path/to/python3 chooses another one than python3. What is in FOLDER/.venv is made anew.
#
# --upgrade also stops the services, has `vbq-node upgrade` copy, migrate and check the database, and starts them again. Where a
# check fails, the database and the software are as they were, and the version before is started. VBQ_NODE_CONFIG names the
# settings (/etc/vbq-node/node.toml), VBQ_NODE_USER the user of the node (vbq-node).
set -euo pipefail
cd "$(dirname "$0")"
upgrade=
if [[ ${1:-} == --upgrade ]]; then upgrade=yes; shift; fi
target=${1:-/opt/vbq-node}
python=${PYTHON:-python3}
config=${VBQ_NODE_CONFIG:-/etc/vbq-node/node.toml}
sha256sum --quiet --check SHA256SUMS || { echo "install: a file of this bundle is not as it was made; nothing was installed" >&2; exit 1; }
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' ||
    { echo "install: $python is older than 3.11, or has no venv (Debian: apt install python3-venv)" >&2; exit 1; }
mkdir -p "$target"
# What an installation that was killed has left.
[[ -d $target/.venv || ! -d $target/.venv.old ]] || mv "$target/.venv.old" "$target/.venv"
rm -rf "$target/.venv.new" "$target/.venv.old"
"$python" -m venv "$target/.venv.new"
pip=("$target/.venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels)
"${pip[@]}" --require-hashes -r requirements.lock
"${pip[@]}" --no-deps wheels/vbq_node-*.whl
# Where man looks for a program of FOLDER/.venv/bin.
mkdir -p "$target/.venv.new/share/man/man1"
cp man/*.1 "$target/.venv.new/share/man/man1/"

services() { [[ -z ${active:-} ]] || systemctl "$1" vbq-node.target; }
if [[ -n $upgrade ]]; then
    ! systemctl --quiet is-active vbq-node.target 2>/dev/null || active=yes
    services stop
    as=()
    [[ $(id -u) != 0 ]] || as=(runuser -u "${VBQ_NODE_USER:-vbq-node}" --)
    if ! "${as[@]}" "$target/.venv.new/bin/vbq-node" upgrade --config "$config"; then
        rm -rf "$target/.venv.new"
        services start
        echo "install: not upgraded; the database and the software are as they were" >&2
        exit 1
    fi
fi
# The scripts of an environment name its folder: made under another name, they are corrected.
find "$target/.venv.new/bin" -type f -exec sed -i "s|$target/.venv.new/|$target/.venv/|" {} +
[[ ! -d $target/.venv ]] || mv "$target/.venv" "$target/.venv.old"
mv "$target/.venv.new" "$target/.venv"
rm -rf "$target/.venv.old"
cp -r conf systemd "$target/"
"$target/.venv/bin/vbq-node" --version
services start
if [[ -n $upgrade ]]; then echo "upgraded $target"; else echo "installed to $target; next: $target/systemd/README.md"; fi
