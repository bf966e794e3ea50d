"""What all tests share: no test writes into the records of whoever runs them."""

import pytest


@pytest.fixture(autouse=True)
def own_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test away from an MLflow server that the environment names."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
