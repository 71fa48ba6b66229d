# One image for all that is ours (docker-compose.yml says which command runs), and the OpenTelemetry
# collector with a wget. Versions are pinned, digests are not: see docs/install.md.
ARG PYTHON=python:3.12.13-slim-bookworm

FROM ${PYTHON} AS build
WORKDIR /build
RUN python -m venv /venv
ENV PATH=/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    # PyTorch without CUDA: the same version, a tenth of the download.
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
COPY pyproject.toml requirements.lock ./
# What pyproject.toml asks for, in the locked versions: nothing of the development tools.
RUN python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > wanted.txt \
    && pip install setuptools==80.9.0 \
    && pip install -r wanted.txt -c requirements.lock
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY noisegate noisegate
COPY flows flows
COPY observability observability
COPY dashboards dashboards
RUN pip install --no-deps --no-build-isolation -e . && python -m compileall -q /app

FROM busybox:1.37.0-musl AS busybox

FROM otel/opentelemetry-collector:0.159.0 AS otel-collector
COPY --from=busybox /bin/busybox /bin/wget
USER 10001:10001

FROM ${PYTHON} AS noisegate
# LightGBM's OpenMP runtime, of the image's own Debian release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 noisegate \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin noisegate \
    # Named volumes take their owner from here.
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/noisegate /var/lib/mlflow
COPY --from=build /venv /venv
COPY --from=build /app /app
COPY prefect.yaml /app/
COPY deploy/entrypoint.sh deploy/healthy.py deploy/ray-node.sh deploy/register-flows.sh /app/deploy/
COPY deploy/bin /app/deploy/bin
WORKDIR /app
ENV PATH=/app/deploy/bin:/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    # The file system is read-only: what libraries write goes where it may go away.
    HOME=/tmp \
    NUMBA_CACHE_DIR=/tmp/numba \
    MPLCONFIGDIR=/tmp/matplotlib \
    PREFECT_HOME=/tmp/prefect \
    NOISEGATE_HOME=/var/lib/noisegate \
    # Nobody is told that we run.
    DO_NOT_TRACK=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 10001:10001
ENTRYPOINT ["/app/deploy/entrypoint.sh"]
CMD ["noisegate", "--help"]
