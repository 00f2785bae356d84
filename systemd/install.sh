#!/usr/bin/env bash
# Installs this bundle without internet: ./install.sh [FOLDER], /opt/vbq-node without one. Needs Python >= 3.11 with venv (Debian:
# python3-venv); PYTHON=/path/to/python3 chooses another one than python3. What is in FOLDER/.venv is made anew.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:-/opt/vbq-node}
python=${PYTHON:-python3}
sha256sum --quiet --check SHA256SUMS || { echo "install: a file of this bundle is not as it was made; nothing was installed" >&2; exit 1; }
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' ||
    { echo "install: $python is older than 3.11, or has no venv (Debian: apt install python3-venv)" >&2; exit 1; }
mkdir -p "$target"
rm -rf "$target/.venv.new"
"$python" -m venv "$target/.venv.new"
pip=("$target/.venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels)
"${pip[@]}" --require-hashes -r requirements.lock
"${pip[@]}" --no-deps wheels/vbq_node-*.whl
rm -rf "$target/.venv"
# The scripts of an environment name its folder: made under another name, they are corrected.
find "$target/.venv.new/bin" -type f -exec sed -i "s|$target/.venv.new/|$target/.venv/|" {} +
mv "$target/.venv.new" "$target/.venv"
cp -r conf systemd "$target/"
"$target/.venv/bin/vbq-node" --version
echo "installed to $target; next: $target/systemd/README.md"
