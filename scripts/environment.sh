# Sourced by the scripts: finds Python and keeps virtual environments in step with the lock files.
# shellcheck shell=bash

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The first Python that is new enough, of $PYTHON or those on the PATH.
find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer was not found: apt-get install python3 python3-venv, or set PYTHON to its path"
}

# make_environment FOLDER LOCK_FILE: FOLDER becomes a virtual environment that holds exactly what LOCK_FILE
# says, and this source tree as an editable package. Does nothing if it is that already.
make_environment() {
    local folder=$1 lock=$2 python wanted
    python=$(find_python)
    # What the environment depends on: the interpreter, the place (its scripts hold absolute paths), the locks.
    wanted=$("$python" -c 'import sys; print(sys.version)'; pwd; cat "$lock" pyproject.toml)
    wanted=$(printf '%s' "$wanted" | sha256sum)
    if [ -f "$folder/made-from" ] && [ "$(cat "$folder/made-from")" = "$wanted" ]; then
        return
    fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python cannot make virtual environments: apt-get install python3-venv (as root), then start this again"
    printf 'Setting up %s from %s ...\n' "$folder" "$lock" >&2
    rm -rf "$folder"
    "$python" -m venv "$folder"
    local install=("$folder/bin/python" -m pip --disable-pip-version-check install --quiet)
    "${install[@]}" --require-hashes --only-binary :all: --requirement "$lock"
    "${install[@]}" --no-deps --no-build-isolation --no-index --editable .
    printf '%s' "$wanted" >"$folder/made-from"
}

# make_js_sdk FOLDER: FOLDER holds exactly what its package-lock.json says: matrix-js-sdk, and a Node to run it.
# Where npm is missing or fails nothing is there; the tests that need it say so.
make_js_sdk() {
    local folder=$1 wanted
    wanted=$(cat "$folder/package.json" "$folder/package-lock.json" | sha256sum)
    if ! command -v npm >/dev/null ||
        { [ -f "$folder/node_modules/made-from" ] && [ "$(cat "$folder/node_modules/made-from")" = "$wanted" ]; }; then
        return
    fi
    printf 'Setting up matrix-js-sdk in %s ...\n' "$folder" >&2
    # The Node that is locked runs it, not the one of the machine, whose age npm would complain of.
    if npm ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null; then
        printf '%s' "$wanted" >"$folder/node_modules/made-from"
    else
        rm -rf "$folder/node_modules"
    fi
}

# The folder for what comes and goes: in memory, where 2 GB are free there. Nothing waits for a disk then, as SQLite would
# after every write, and a disk's file system takes long to find room for the hundreds of files of each new database.
quick_folder() {
    if [ -w /dev/shm ] && [ "$(df --output=avail --block-size=1M /dev/shm | tail -n 1)" -gt 2000 ]; then
        echo /dev/shm
    else
        echo "${TMPDIR:-/tmp}"
    fi
}
