# The image of prelabel: the server, and every other command. docs/containers.md says how to use it.
#
#   docker build -t prelabel .                                    for CPUs
#   docker build -t prelabel:cuda --build-arg VARIANT=cuda .      for NVIDIA GPUs
#   docker build -t prelabel:small --build-arg EXTRAS=pose .      without torch and Grounding DINO
#
# A package index of your own: --secret id=pip,src=pip.conf, and TORCH_INDEX for torch.

# The tag moves with Python's and Debian's security fixes; `docker build --pull` fetches them.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

# What is to be installed. A stage of its own, because its result seldom changes while
# pyproject.toml does, and only a change of the result installs anew.
FROM ${PYTHON_IMAGE} AS requirements
ARG VARIANT=cpu
ARG EXTRAS=grounding-dino,pose,scale
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=""
WORKDIR /requirements
COPY deploy/docker/requirements.py pyproject.toml ./
RUN python3 requirements.py --variant "$VARIANT" --extras "$EXTRAS" \
      --torch-version "$TORCH_VERSION" --torch-index "$TORCH_INDEX"

FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /opt/prelabel
COPY --from=requirements /requirements/torch.txt /requirements/others.txt /requirements/
# Wheels only: nothing is compiled, so nothing here needs a compiler. Torch comes first and from an
# index of its own; the rest is then content with it, and may change without torch coming again.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    /opt/prelabel/bin/pip install --only-binary :all: -r /requirements/torch.txt
# hadolint ignore=DL3059
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    /opt/prelabel/bin/pip install --only-binary :all: -r /requirements/others.txt

FROM ${PYTHON_IMAGE} AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/build \
    && /opt/build/bin/pip wheel --no-deps --wheel-dir /wheels .

FROM ${PYTHON_IMAGE} AS prelabel
# The slim Python images leave Python's own library uncompiled; nobody could write it down later.
# 0.3 to 0.5 s of each start for 14 MB.
RUN python3 -m compileall -q -x site-packages \
      "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
# Open to all, as /tmp is: the container may run as any user (`docker run -u`), and a new volume
# takes its owner and mode from here.
RUN groupadd --gid 10001 prelabel \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home \
         --home-dir /tmp --shell /usr/sbin/nologin prelabel \
    && install -d -o 10001 -g 10001 -m 1777 /data /app/models
COPY --from=dependencies /opt/prelabel /opt/prelabel
# ONNX Runtime finds the CUDA libraries in their wheels like any other library.
RUN find /opt/prelabel -type d -path '*/nvidia/*' -name lib > /etc/ld.so.conf.d/prelabel.conf \
    && ldconfig
# What changes with every release comes last: a small layer above the large ones.
RUN --mount=type=bind,from=package,source=/wheels,target=/wheels \
    /opt/prelabel/bin/pip install --no-cache-dir --disable-pip-version-check \
      --root-user-action ignore --no-index --no-deps /wheels/*.whl
COPY deploy/docker/healthcheck.py /usr/local/lib/prelabel/healthcheck.py

ARG VARIANT=cpu
ARG REVISION=""
LABEL org.opencontainers.image.title="prelabel" \
      org.opencontainers.image.description="Pre-annotation for Label Studio" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.prelabel.variant="$VARIANT"

# HOME and USER: a user without a name (`docker run -u`) has neither, and libraries ask for both.
# MALLOC_ARENA_MAX: glibc gives each thread memory of its own and seldom takes it back. With two
# such pools a server takes less after `prelabel bench memory --images 2000` (two runs each in turn:
# 330 and 336 MB instead of 389 and 385) and is no slower.
ENV PATH=/opt/prelabel/bin:$PATH \
    MALLOC_ARENA_MAX=2 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    USER=prelabel \
    HF_HOME=/app/models/huggingface \
    BIND_ADDRESS=0.0.0.0 \
    PORT=9090 \
    MODEL_DIR=/app/models \
    DATA_DIR=/data
# prelabel.toml is read from here, where there is one.
WORKDIR /app
USER 10001:10001
EXPOSE 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python3", "-I", "-S", "/usr/local/lib/prelabel/healthcheck.py"]
CMD ["prelabel", "serve"]
