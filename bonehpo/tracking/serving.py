"""The code that is shipped with a registered model, so that a server without bonehpo can serve it.

MLflow copies this file into the model and runs it there ("models from code"); therefore it imports nothing of bonehpo, and
is the one file outside `learning/` that imports keras, when it loads the network.
"""

from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

BATCH = 32
"""Images in one step: 32 of 200 × 200 pixels need about 0.5 GB in the largest network of the paper."""


class FailureClassifier(PythonModel):  # type: ignore[misc]
    """Tells failed from pristine bone on 8-bit slices."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network of the model.

        Args:
            context: Knows where the `network` file is.
        """
        import keras

        self._network: Any = keras.saving.load_model(context.artifacts["network"], compile=False, safe_mode=True)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002
        model_input: np.ndarray,  # an element type here would make MLflow infer a schema of its own
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> np.ndarray:
        """Classify slices.

        Args:
            context: Not used.
            model_input: 8-bit slices as they lie in a slice store, uint8, shape (n, side, side).
            params: Not used.

        Returns:
            Softmax output, float32, shape (n, 2), columns pristine and failed.
        """
        images = np.asarray(model_input, np.uint8)[..., np.newaxis]
        return np.asarray(self._network.predict(images, batch_size=BATCH, verbose=0), np.float32)


set_model(FailureClassifier())
