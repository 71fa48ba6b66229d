"""From history to a promise kept: training, back-test, registry. Ray and MLflow only here."""

import os

# Read when MLflow is first imported, so before any of our modules imports it: no telemetry, and
# no chatter between our own lines.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# A server that is away is named in seconds: the flows retry by themselves.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
