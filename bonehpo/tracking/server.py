"""MLflow's server as `bonehpo ui` starts it: its interface opens for model training, and not for language models.

MLflow 3.17 opens every page, those of runs and of Compare too, in the mode that was chosen in a browser last. Where none was
chosen that is the one for language models, with an assistant over a quarter of the window. Here its opening page is served
with a line that chooses model training where nothing was chosen. `mlflow server --app-name bonehpo` finds `app` by the entry
point `mlflow.app`.
"""

import json
from pathlib import Path

from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

__all__ = ["app"]

FIRST_CHOICES = {
    "mlflow.workflowType_v1": json.dumps("machine_learning"),
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": json.dumps(True),
}
"""What the interface keeps in the browser, by name: the mode, and that the assistant has opened by itself before."""


def _opening_page(_request: Request) -> HTMLResponse:
    choices = json.dumps(list(FIRST_CHOICES.items()))
    script = f"for (const [k, v] of {choices}) if (localStorage.getItem(k) === null) localStorage.setItem(k, v)"
    page = (Path(str(flask_app.static_folder)) / "index.html").read_text("utf-8")
    return HTMLResponse(page.replace("<head>", f"<head><script>{script}</script>", 1))


app.router.routes.insert(0, Route("/", _opening_page))
