#!/bin/sh
# Makes .venv with the pinned packages, and the system libraries where it may.
# `make env` runs it again only when requirements.lock, pyproject.toml or it changed.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv

say() { printf 'set-up: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

# --- Python -----------------------------------------------------------------------

command -v "$python" >/dev/null ||
    stop "there is no $python here. Install Python 3.11 or later, or name one:" \
        "make env PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$("$python" --version) is too old. Name Python 3.11 or later:" \
        "make env PYTHON=/path/to/python3"
"$python" -c 'import sys; sys.exit(sys.version_info >= (3, 14))' ||
    say "gensim has no wheel for $("$python" --version) and needs a C compiler;" \
        "Python 3.11 to 3.13 do without one"

# --- System libraries -------------------------------------------------------------

has_venv() { "$python" -c 'import ensurepip, venv' 2>/dev/null; }
has_openmp() { "$python" -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null; }
has_imagemagick() {
    [ -n "${MAGICK_HOME:-}" ] || "$python" - 2>/dev/null <<'END'
import sys
from ctypes.util import find_library

names = [f"MagickWand-{v}.{q}" for v in (7, 6) for q in ("Q16HDRI", "Q16", "Q8")]
sys.exit(not any(find_library(name) for name in names))
END
}

missing_packages() {
    has_venv || "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
    # The names of the library's own packages differ between releases; that of the
    # programs which bring it does not.
    has_imagemagick || echo imagemagick
    has_openmp || echo libgomp1
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120 \
        -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" </dev/null >/dev/null
}

if [ "$(uname -s)" = Linux ]; then
    missing=$(missing_packages | xargs)
    if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing $missing"
        # $missing is a list of words. The package lists are fetched only if need be.
        # shellcheck disable=SC2086
        apt install -y --no-install-recommends $missing 2>/dev/null ||
            { apt update && apt install -y --no-install-recommends $missing; } ||
            say "apt-get could not install $missing"
        missing=$(missing_packages | xargs)
    fi
    if [ -n "$missing" ]; then
        say "missing: $missing (as root: apt-get install $missing)"
    fi
    has_openmp || say "LightGBM does not load without libgomp1"
fi
has_venv || stop "$python cannot make virtual environments (no ensurepip)"
has_imagemagick || say "without ImageMagick, XCF, PSB and PSD of 16 bits are not read"

# --- The virtual environment ------------------------------------------------------

"$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    "$python" -m venv --clear "$venv"

# uv, one of the pinned packages itself, installs the others ten times faster than pip.
# pip takes over where uv cannot (a mirror that only pip has been told of).
awk '/^[^ #]/ { ours = /^uv==/ } ours' requirements.lock >"$venv/uv.lock"
pip_install() { "$venv/bin/python" -m pip install -q --require-hashes -r "$1"; }
uv_install() { "$venv/bin/uv" pip install -q --python "$venv/bin/python" "$@"; }

# Where Python is told to keep no bytecode, as in many containers, every process would
# compile its libraries anew: half of what it takes to load torch. So it is done here.
if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
    say "compiling the libraries"
    export UV_COMPILE_BYTECODE=1
fi

pip_install "$venv/uv.lock"
uv_install --require-hashes -r requirements.lock || pip_install requirements.lock
uv_install --no-deps --no-build-isolation -e .

touch "$venv/ready"
say "ready: $("$venv/bin/python" --version) in $venv"
