# Two images from one file: `docker build .` serves, `docker build --target train .` trains.
#
#     docker run --publish 8000:8000 --read-only --tmpfs /tmp --volume evergreen:/var/lib/evergreen IMAGE
#     docker run --volume evergreen:/var/lib/evergreen TRAINING-IMAGE fashion-cnn --out /var/lib/evergreen/repository
#
# EXTRAS says what the serving image can do beside serving on the CPU: --build-arg EXTRAS=gpu,grpc,postgres,s3,sign,trace adds CUDA's libraries,
# train lets it train on its own machine.
#
# Everything is installed from wheels, so no stage holds a compiler. The install is editable: the environment is built from the
# project's metadata alone, which changes rarely, and the code is laid beside it last, where it also finds models/repository.

FROM python:3.11-slim AS base
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1

FROM base AS install
ARG EXTRAS=grpc,postgres,s3,sign,trace
COPY pyproject.toml constraints.txt README.md LICENSE ./
# An editable install remembers this folder only if the packages are packages.
COPY service/__init__.py service/
COPY models/__init__.py models/
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -e ".[$EXTRAS]"

FROM install AS install-train
RUN .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check -c constraints.txt -e '.[train]'

FROM base AS runtime
RUN groupadd --system --gid 10001 evergreen \
    && useradd --system --uid 10001 --gid 10001 --no-create-home evergreen \
    && install --directory --owner evergreen --group evergreen /var/lib/evergreen
COPY service service
COPY models models
RUN python -m compileall -q service models
# Whoever trains keeps data there, and nothing is written elsewhere: the root may be read-only.
ENV EVERGREEN_STATE=/var/lib/evergreen \
    EVERGREEN_DATA=/var/lib/evergreen/data \
    MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1
VOLUME /var/lib/evergreen

FROM runtime AS train
COPY --from=install-train /app/.venv .venv
WORKDIR /var/lib/evergreen
USER 10001
ENTRYPOINT ["python", "-m", "models.train"]

FROM runtime AS serve
COPY --from=install /app/.venv .venv
# On every address: without a token nothing can be changed from outside, and EVERGREEN_PROTECT=all asks for one to predict as well.
ENV EVERGREEN_HOST=0.0.0.0 \
    EVERGREEN_PORT=8000
EXPOSE 8000
USER 10001
# A first start measures batch sizes, and copies what the registry has: until it answers, it is not called unhealthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; r.urlopen('http' + 's' * ('EVERGREEN_TLS__CERTIFICATE' in os.environ) + '://127.0.0.1:' + os.environ['EVERGREEN_PORT'] + '/v2/health/ready', timeout=4, context=ssl._create_unverified_context())"]
CMD ["evergreen", "serve"]
