"""Records in MLflow, its registry and its user interface: the only importer of mlflow, configured here."""

import os

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
for _name, _value in {
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # it prints tracebacks of errors that it raises as well
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # its own settings let a dead server hold a call for 245 s
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _value)
