"""Keras, imported once and quietly: TensorFlow writes ten lines of its own to the console before it can be told not to."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what native code writes to the console; show it only if the block fails."""
    sys.stderr.flush()
    console = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(console, held.read())
            raise
        finally:
            os.dup2(console, 2)
            os.close(console)


with _quiet():
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        for gpu in tensorflow.config.list_physical_devices("GPU"):
            tensorflow.config.experimental.set_memory_growth(gpu, True)  # workers share a card

__all__ = ["accelerators", "keras"]


def accelerators() -> tuple[str, ...]:
    """Names of the GPUs that TensorFlow sees; none under another backend."""
    if keras.backend.backend() != "tensorflow":
        return ()
    gpus = tensorflow.config.list_physical_devices("GPU")
    details = [tensorflow.config.experimental.get_device_details(gpu) for gpu in gpus]
    return tuple(str(found.get("device_name", "GPU")) for found in details)


def compute_capability() -> tuple[int, int] | None:
    """Of the first GPU, as (major, minor); None without one."""
    if not accelerators():
        return None
    gpu = tensorflow.config.list_physical_devices("GPU")[0]
    major, minor = tensorflow.config.experimental.get_device_details(gpu).get("compute_capability", (0, 0))
    return int(major), int(minor)
