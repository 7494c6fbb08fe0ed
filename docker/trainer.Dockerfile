# The trainer, for machines with NVIDIA GPUs and the container toolkit. See docs/containers.md.
#   docker build -f docker/trainer.Dockerfile -t soroban-trainer .
#   docker run --rm --gpus all --shm-size 8g -v /models:/models:ro -v "$PWD/runs:/runs" soroban-trainer \
#       --init /models/NAME --data /runs/mix --out /runs/model
# On several GPUs: --entrypoint torchrun … --nproc-per-node 8 -m trainer …
ARG BASE=nvidia/cuda:13.0.2-devel-ubuntu24.04
FROM ${BASE}
ARG PIP_INDEX_URL
# From a wheel of the project in docker/wheels/: INSTALL="soroban[train]".
ARG INSTALL=".[train]"
# gcc: torch.compile makes code for the machine it finds.
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
RUN useradd --uid 10001 --create-home trainer && mkdir /runs && chown trainer /runs
USER trainer
WORKDIR /runs
ENTRYPOINT ["python", "-m", "trainer"]
CMD ["--help"]
