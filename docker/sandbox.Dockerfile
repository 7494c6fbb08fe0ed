# syntax keeps to what the classic builder understands: no build secrets, no cache mounts.
#
# The sandbox service with the mathematics stack: non-root, made to run with a read-only root. See docs/containers.md.
#   docker build -f docker/sandbox.Dockerfile -t soroban-sandbox .
# Behind a private certificate authority put its PEM into docker/certs/; without a package index put wheels into
# docker/wheels/ (`pip download -r docker/sandbox.lock --only-binary :all: -d docker/wheels`): then pip asks nobody.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG PIP_INDEX_URL
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 python3-venv ca-certificates binutils fonts-wqy-microhei >/dev/null \
    && python3 -m venv /opt/soroban
COPY docker/certs /usr/local/share/ca-certificates/
RUN update-ca-certificates
COPY docker/sandbox.lock /build/
COPY docker/wheels /build/wheels
# pip's own certificates do not include those of docker/certs.
RUN export PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    && if ls /build/wheels/*.whl >/dev/null 2>&1; then export PIP_NO_INDEX=1 PIP_FIND_LINKS=/build/wheels; fi \
    && /opt/soroban/bin/pip install -q --require-hashes --only-binary :all: --no-compile -r /build/sandbox.lock \
    && cd /opt/soroban/lib/python3.11/site-packages \
    # Test suites of the libraries (100 MB), what builds against them, and pip: no program needs them at run time.
    # numpy and sympy import their own `testing`, which stays; so do the modules that are not named tests.
    && find . -depth -type d \( -name tests -o -name test \) ! -path './sympy/testing/*' -exec rm -rf {} + \
    && rm -rf pip pip-* setuptools setuptools-* pkg_resources _distutils_hack distutils-precedence.pth \
    # Without the AVIF codec Pillow still reads and writes all else; /docs shows Swagger UI, not Redoc.
    && rm -rf fastapi_offline/static/redoc* matplotlib/mpl-data/sample_data numpy/_core/include PIL/_avif* pillow.libs/libavif* \
    # The system has its own time zones, and scipy brings two of numpy's libraries a second time.
    && rm -rf *.dist-info/RECORD *.dist-info/sboms tzdata/zoneinfo pytz/zoneinfo \
    && ln -s /usr/share/zoneinfo pytz/zoneinfo \
    && (cd scipy.libs && for file in *; do if cmp -s "$file" "../numpy.libs/$file"; then ln -sf "../numpy.libs/$file" .; fi; done) \
    # Chinese, Japanese and Korean in plots for 5 MB, where Noto takes 90. It and the settings lie in matplotlib's own
    # folder: a program sees Python's libraries and nothing else of the system.
    && cp /usr/share/fonts/truetype/wqy/wqy-microhei.ttc matplotlib/mpl-data/fonts/ttf/ \
    && sed -i 's/^#font.family:.*/#font.family: DejaVu Sans, WenQuanYi Micro Hei/' matplotlib/mpl-data/matplotlibrc \
    && grep -q WenQuanYi matplotlib/mpl-data/matplotlibrc \
    && find . -name '*.py[ix]' -delete && find . -name '*.pxd' -delete && find . -name '*.[ach]' -delete \
    # Not in *.libs: auditwheel has moved the sections of what lies there, and strip breaks such files.
    && find . -name '*.so' ! -path '*.libs/*' -exec strip --strip-unneeded {} + \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .

FROM ${BASE}
LABEL org.opencontainers.image.title="soroban sandbox" \
      org.opencontainers.image.description="Runs untrusted Python for mathematics over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN apt-get update -qq \
    && apt-get install -y -qq --no-install-recommends python3 >/dev/null \
    && find /usr/share/doc -type f ! -name copyright -delete \
    && rm -rf /usr/lib/python3.11/pydoc_data/topics.py /usr/lib/python3.11/lib2to3 /usr/share/man /usr/share/locale \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* /root/.cache
COPY --from=build /opt/soroban /opt/soroban
ENV PATH=/opt/soroban/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp TMPDIR=/tmp
COPY sandbox /opt/soroban/lib/python3.11/site-packages/sandbox
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/soroban/lib/python3.11/site-packages/sandbox \
    # A token is put here by `python -m sandbox up`; the folder is a volume so that the root can be read-only.
    && install -d -o 65534 -g 65534 -m 0700 /run/soroban
VOLUME /run/soroban
USER 65534:65534
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-m", "sandbox.containers.liveness"]
# By way of env: what the engine or a cluster puts into the environment, secrets too, never reaches the service, whose
# environment every program can read under gVisor.
ENTRYPOINT ["/usr/bin/env", "-i", "PATH=/opt/soroban/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1", \
    "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp", "TMPDIR=/tmp", "python", "-m", "sandbox.containers.init"]
CMD ["--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/soroban/token"]
