# The agent and the central server in one image. docs/packaging.md says how to build it without a registry too.
ARG BASE=python:3.11-slim-bookworm
ARG NODE_BASE=node:22-bookworm-slim

# The pages.
FROM ${NODE_BASE} AS pages
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

# The program, from locked wheels alone, in a virtual environment of its own.
FROM ${BASE} AS program
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN python3 -m venv /opt/edgeflow && python3 -m venv /opt/build \
 && /opt/edgeflow/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.txt \
 && /opt/build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements-build.txt
COPY . ./
COPY --from=pages /src/edgeflow/web/pages edgeflow/web/pages
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && /opt/edgeflow/bin/pip install --no-cache-dir --no-index --no-deps /tmp/wheel/*.whl \
 && /opt/edgeflow/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM ${BASE}
LABEL org.opencontainers.image.title="EdgeFlow" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=program /opt/edgeflow /opt/edgeflow
RUN install -d -m 0700 -o 10001 -g 10001 /var/lib/edgeflow
ENV PATH=/opt/edgeflow/bin:$PATH \
    EDGEFLOW_STATE=/var/lib/edgeflow \
    MALLOC_ARENA_MAX=1 \
    EDGEFLOW_HEALTH=http://127.0.0.1:8080/healthz
USER 10001:10001
VOLUME /var/lib/edgeflow
EXPOSE 8080 8090
STOPSIGNAL SIGTERM
# For the central server: EDGEFLOW_HEALTH=http://127.0.0.1:8090/healthz
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
  CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(os.environ['EDGEFLOW_HEALTH'], timeout=4)"]
ENTRYPOINT ["edgeflow"]
CMD ["run", "/etc/edgeflow/gateway.yaml"]
