"""Block the telemetry of the libraries.

The package itself imports this module, so it applies to every process that runs this program's
code, whichever library that process loads later.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = {
    # ONNX Runtime opens a database and a device id below the home folder, and sends events later.
    "ORT_DISABLE_TELEMETRY": "1",
    # Gradio asks for its newest version and sends events when a page starts.
    "GRADIO_ANALYTICS_ENABLED": "False",
    # Gradio imports huggingface_hub, which adds usage data to its requests.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}
# Reports to Google Analytics for openvino, at import, and for nncf. It treats consent as given.
# Both libraries catch the ImportError that None causes and go on without it.
MODULES = ("openvino_telemetry",)


def block_telemetry() -> None:
    """Turn off the libraries' telemetry in this process and in the processes that it starts."""
    os.environ.update(ENVIRONMENT)
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to forbid an import
