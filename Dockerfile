# Two images from one file: `proxy`, the sidecar and its redirect, and `control`, the services, the command
# line and a NATS server. Both are built from the versions and hashes of requirements.lock.
#
#   docker build --target proxy   --tag tulle-proxy .
#   docker build --target control --tag tulle-control .
ARG PYTHON=3.12-slim-bookworm

# Every locked package as a wheel, checked against its hash, and Tulle's own wheel beside them.
FROM python:${PYTHON} AS wheels
WORKDIR /src
COPY requirements.lock ./
RUN pip wheel --quiet --no-deps --require-hashes --requirement requirements.lock --wheel-dir /wheels
COPY pyproject.toml README.md LICENSE ./
COPY packaging/ packaging/
COPY common/ common/
COPY proxy/ proxy/
COPY services/ services/
COPY cli/ cli/
COPY demo/ demo/
COPY k8s/ k8s/
RUN pip install --quiet --no-index --find-links /wheels hatchling \
 && python -m hatchling build --target wheel --directory /wheels

# What each image needs of those and no more: pip follows the metadata, and finds nothing but /wheels.
FROM wheels AS proxy-environment
RUN python -m venv --without-pip /opt/tulle \
 && pip --python /opt/tulle/bin/python install --quiet --no-index --find-links /wheels tulle

FROM wheels AS control-environment
RUN python -m venv --without-pip /opt/tulle \
 && pip --python /opt/tulle/bin/python install --quiet --no-index --find-links /wheels "tulle[control,cli,embedded]"

FROM python:${PYTHON} AS base
ENV PATH=/opt/tulle/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
STOPSIGNAL SIGTERM

# The services; `tulle`; `nats-server`. Writes nothing but what is mounted at /mesh or /var/lib/tulle.
FROM base AS control
RUN groupadd --gid 2103 tulle \
 && useradd --uid 2103 --gid 2103 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tulle \
 && install -d -o 2103 -g 2103 -m 0700 /mesh /var/lib/tulle
COPY --from=control-environment /opt/tulle /opt/tulle
USER 2103:2103
EXPOSE 9990
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9990/ready', timeout=2)"]
CMD ["tulle", "--help"]

# The sidecar: no aiohttp, no Kubernetes client, no YAML. iptables is here for `python -m proxy.redirect`,
# which runs in a container of its own before the workload starts; the proxy itself never needs it.
FROM base AS proxy
RUN apt-get update \
 && apt-get install --yes --no-install-recommends iptables \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 2102 tulle-proxy \
 && useradd --uid 2102 --gid 2102 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tulle-proxy \
 && install -d -o 2102 -g 2102 -m 0700 /var/lib/tulle
COPY --from=proxy-environment /opt/tulle /opt/tulle
USER 2102:2102
EXPOSE 4140 4143 4191
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:4191/ready', timeout=2)"]
CMD ["python", "-m", "proxy"]
