# The service alone, without torch, transformers and onnx. The registry is mounted, not copied:
#   python -m tutorial_utils optimize MODEL --data labelled.csv --out build
#   docker build -t transformer-service .
#   docker run --rm --read-only --cap-drop ALL -p 127.0.0.1:8000:8000 \
#     -v "$PWD/build/registry:/registry:ro" transformer-service --model model
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt '.[serve]'

FROM python:3.11-slim
RUN useradd --system --no-create-home --uid 10001 serve
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8000
HEALTHCHECK --start-period=20s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
ENTRYPOINT ["python", "-m", "tutorial_utils", "serve", "--registry", "/registry", "--host", "0.0.0.0"]
