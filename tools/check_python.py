"""Says in one line why this Python cannot run the book, and exits with 1; silent where it can.

tools/install.sh runs it before it installs anything. Any Python must be able to read it, those
that are too old included: no annotations, no f-strings.
"""

from __future__ import print_function

import os
import platform
import struct
import sys

# The versions that the pins of requirements.txt have wheels for, and the least glibc and macOS.
LEAST, NEWEST = (3, 11), (3, 14)
GLIBC, MACOS = (2, 28), (14,)
MACHINES = {"Linux": ("x86_64", "aarch64"), "Darwin": ("arm64",)}


def facts():
    """What is known about this Python and the system under it."""
    try:
        glibc = os.confstr("CS_GNU_LIBC_VERSION")  # "glibc 2.36"; musl knows no such name
    except (AttributeError, ValueError, OSError):
        glibc = " ".join(platform.libc_ver())  # where the Python is too old to ask
    flags = getattr(sys, "abiflags", "")
    return {
        "version": tuple(sys.version_info[:3]),
        "implementation": platform.python_implementation(),
        "bits": 8 * struct.calcsize("P"),
        "free_threaded": "t" in flags,
        "system": platform.system(),
        "machine": platform.machine(),
        "glibc": glibc.replace("glibc ", "") if glibc.startswith("glibc ") else "",
        "macos": platform.mac_ver()[0],
    }


def numbers(text):
    """(2, 28) of "2.28"."""
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def dotted(version):
    """ "2.28" of (2, 28)."""
    return ".".join(str(part) for part in version)


def why_not(known):
    """The reason why the book cannot be installed with such a Python on such a system, or ""."""
    return unfit_system(known) or unfit_python(known)


def unfit_system(known):
    system, machine = known["system"], known["machine"]
    if system not in MACHINES:
        return "the book runs on Linux, on macOS and inside WSL, not on %s itself" % system
    if system == "Darwin" and machine != "arm64":
        return (
            "PyTorch has no build for Macs with an Intel processor "
            "(on Apple silicon: this Python runs under Rosetta, take a native one)"
        )
    if machine not in MACHINES[system]:
        expected = " or ".join(MACHINES[system])
        return "PyTorch has no build for %s on %s, only for %s" % (system, machine, expected)
    if system == "Darwin" and numbers(known["macos"]) < MACOS:
        return "PyTorch needs macOS %s or newer, this is %s" % (dotted(MACOS), known["macos"])
    if system == "Linux" and not known["glibc"]:
        return "PyTorch needs a Linux with glibc; this one has another C library (Alpine: musl)"
    if system == "Linux" and numbers(known["glibc"]) < GLIBC:
        return "PyTorch needs glibc %s or newer, this is %s" % (dotted(GLIBC), known["glibc"])
    return ""


def unfit_python(known):
    if known["implementation"] != "CPython":
        return "it is %s; the book needs CPython" % known["implementation"]
    if known["bits"] != 64:
        return "it is a %d-bit Python; the book needs one of 64 bits" % known["bits"]
    if known["free_threaded"]:
        return "it is a free-threaded build, for which some packages have no wheels"
    if not LEAST <= known["version"][:2] <= NEWEST:
        versions = dotted(known["version"]), dotted(LEAST), dotted(NEWEST)
        return "it is Python %s; the book needs %s to %s" % versions
    return ""


if __name__ == "__main__":
    reason = why_not(facts())
    if reason:
        print(reason)
    sys.exit(1 if reason else 0)
