#!/usr/bin/env bash
# Installs this bundle without internet: ./install.sh [--upgrade] [FOLDER], /opt/vbq-node without one. Needs Python >= 3.11 with
# venv (Debian: python3-venv); PYTHON=/path/to/python3 chooses another one than python3. What is in FOLDER/.venv is made anew.
#
# --upgrade also stops the services, has `vbq-node upgrade` copy, migrate and check the database, and starts them again. Where a
# check fails, the database and the software are as they were, and the version before is started. After a kill the same command
# again ends it: FOLDER/.upgrading has how far it was, and which services ran. VBQ_NODE_CONFIG names the settings
# (/etc/vbq-node/node.toml), VBQ_NODE_USER the user of the node (vbq-node).
set -euo pipefail
# Everybody may run it and nobody else change it, whatever the umask of who installs.
umask 022
say() { echo "install: $*" >&2; }
usage() { say "$*; usage: install.sh [--upgrade] [FOLDER]"; exit 2; }
upgrade=
if [[ ${1:-} == --upgrade ]]; then upgrade=yes; shift; fi
[[ ${1:-} != -* ]] || usage "$1 is no option"
[[ $# -le 1 ]] || usage "one FOLDER, not $#"
target=$(realpath -m -- "${1:-/opt/vbq-node}")
config=$(realpath -m -- "${VBQ_NODE_CONFIG:-/etc/vbq-node/node.toml}")
noted=$target/.upgrading
python=${PYTHON:-python3}
cd "$(dirname "$0")"

# What an upgrade stops: the roles, and the timer of the backup.
running() {
    systemctl list-units --plain --no-legend --state=active,activating vbq-node.target 'vbq-node-*.service' 'vbq-node-*.timer' \
        2>/dev/null | awk '$1 !~ /^vbq-node-(backup\.service|failed@)/ {print $1}'
}
note() { printf '%s\n' "$1" >>"$noted"; sync "$noted"; }
is() { [[ -f $noted ]] && grep -q "^$1" "$noted"; }
ran() { sed -n 's/^ran //p' "$noted"; }
# What ran before an upgrade, of this run or of one that was killed, runs again; false: not all of it does.
start() {
    local unit dead=()
    # shellcheck disable=SC2046  # names of units
    ! is ran || systemctl start $(ran) || true
    for unit in $(ran); do systemctl --quiet is-active "$unit" || dead+=("$unit"); done
    rm -f "$noted"
    ((${#dead[@]} == 0)) || { say "these do not run: ${dead[*]}; systemctl status and journalctl -u say why"; return 1; }
}
# The scripts of an environment name its folder: made under another name, they are corrected.
change_over() {
    find "$target/.venv.new/bin" -type f -exec sed -i "s|$target/.venv.new|$target/.venv|g" {} +
    [[ ! -d $target/.venv ]] || { rm -rf "$target/.venv.old"; mv "$target/.venv" "$target/.venv.old"; }
    mv "$target/.venv.new" "$target/.venv"
}

sha256sum --quiet --check SHA256SUMS || { say "a file of this bundle is not as it was made; nothing was installed"; exit 1; }
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' ||
    { say "$python is older than 3.11, or has no venv (Debian: apt install python3-venv)"; exit 1; }
if [[ -z $upgrade && -f $noted ]]; then
    say "an upgrade of $target was killed; nothing was installed: install.sh --upgrade ends it"; exit 1
fi
if [[ -z $upgrade && -d $target/.venv && -n $(running) ]]; then
    say "services run from $target; nothing was installed: install.sh --upgrade stops them and checks the database"; exit 1
fi
mkdir -p "$target"
exec 9<"$target"
flock --nonblock 9 || { say "another installation is at work in $target; nothing was done"; exit 1; }
# What one that was killed has left: where the database was of its version already it is ended, else all is as before.
if is migrated; then
    [[ ! -d $target/.venv.new ]] || change_over
    sed -i '/^migrated/d' "$noted"
fi
[[ -d $target/.venv || ! -d $target/.venv.old ]] || mv "$target/.venv.old" "$target/.venv"
rm -rf "$target/.venv.new" "$target/.venv.old"
"$python" -m venv "$target/.venv.new"
pip=("$target/.venv.new/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links wheels)
"${pip[@]}" --require-hashes -r requirements.lock
"${pip[@]}" --no-deps wheels/vbq_node-*.whl
# Where man looks for a program of FOLDER/.venv/bin.
mkdir -p "$target/.venv.new/share/man/man1"
cp man/*.1 "$target/.venv.new/share/man/man1/"
"$target/.venv.new/bin/vbq-node" --version >/dev/null

if [[ -n $upgrade ]]; then
    # Also after Ctrl-C, with the terminal closed, or the disk full.
    trap 'start || true; rm -rf "$target/.venv.new"; say "not upgraded; the database and the software are as they were" || true' EXIT
    [[ -f $noted ]] || note begun
    for unit in $(running); do is "ran $unit\$" || note "ran $unit"; done
    # shellcheck disable=SC2046  # names of units
    ! is ran || systemctl stop $(ran)
    as=()
    [[ $(id -u) != 0 ]] || as=(runuser -u "${VBQ_NODE_USER:-vbq-node}" --)
    "${as[@]}" "$target/.venv.new/bin/vbq-node" upgrade --config "$config" || exit 1
    # There is only one way from here on.
    trap '' HUP INT TERM
    trap 'say "the database is of the new version, and the software is not yet in its place: the same command again ends it"' EXIT
    note migrated
fi
change_over
cp -r conf systemd "$target/"
"$target/.venv/bin/vbq-node" --version
if [[ -z $upgrade ]]; then rm -rf "$target/.venv.old"; echo "installed to $target; next: $target/systemd/README.md"; exit 0; fi
trap - EXIT
changed=()
for unit in systemd/vbq-node*.{service,timer,target}; do
    there=/etc/systemd/system/${unit##*/}
    [[ ! -f $there ]] || cmp -s "$unit" "$there" || changed+=("${unit##*/}")
done
((${#changed[@]} == 0)) ||
    say "these units are not those of this version: ${changed[*]}; copy them from $target/systemd, then systemctl daemon-reload"
start || { say "upgraded, and not all services run"; exit 1; }
rm -rf "$target/.venv.old"
echo "upgraded $target"
