# The evaluator with vLLM, for machines with an NVIDIA GPU and its container toolkit. See docs/containers.md.
#   docker build -f docker/evaluator.Dockerfile -t soroban-evaluator .
#   docker run --rm --gpus all --shm-size 8g -v /models:/models:ro -v "$PWD/runs:/runs" soroban-evaluator \
#       run --model /models/NAME --benchmark gsm8k --no-tools --out /runs/NAME
# Tools need a sandbox beside it: docker/compose.yaml. The devel image, because vLLM compiles kernels for the GPU it finds.
ARG BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04
FROM ${BASE}
ARG PIP_INDEX_URL
# What pip installs: the project with its engine. For an image without a GPU engine: INSTALL=".[sandbox]". From a wheel of
# the project in docker/wheels/: INSTALL="soroban[sandbox,vllm]".
ARG INSTALL=".[sandbox,vllm]"
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        python3 python3-dev python3-venv ca-certificates gcc >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/soroban
COPY docker/certs /usr/local/share/ca-certificates/
RUN update-ca-certificates
ENV PATH=/opt/soroban/bin:$PATH \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    LANG=C.UTF-8 PYTHONUNBUFFERED=1 HF_HOME=/tmp/huggingface
COPY docker/wheels /build/wheels
COPY pyproject.toml README.md LICENSE /build/
COPY sandbox /build/sandbox
COPY dataset /build/dataset
COPY trainer /build/trainer
COPY evaluator /build/evaluator
RUN cd /build && pip install -q --find-links wheels "${INSTALL}" && rm -rf /build
RUN useradd --uid 10001 --create-home evaluator && mkdir /runs && chown evaluator /runs
USER evaluator
WORKDIR /runs
# The sandbox's token comes as a file; the command reads it from the environment.
ENTRYPOINT ["/bin/sh", "-c", "[ ! -r /run/secrets/token ] || export SOROBAN_SANDBOX_TOKEN=$(cat /run/secrets/token); exec python -m evaluator \"$@\"", "evaluator"]
CMD ["--help"]
