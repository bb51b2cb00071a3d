"""Run pictures in another release's interpreter; requests and answers are JSON lines.

It is run as a file, with that release's folder first on the module path, so that all imports below
are from that release. It uses only features that releases from 0.1.0 on have.

    request   {"op": "run", "name": ..., "settings": {...}, "input": ..., "output": ...}
              {"op": "restart", "name": ...}: stop the worker of that name; its compiled model
              remains in the cache
              {"op": "hello"}: return the version and the folder of the release
    answer    the fields of a Result or a Failure; {"error": sentence} for invalid settings
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import rembg_tuner


def _from(name: str, *modules: str) -> Any:
    """Return a name from the first of these modules that the release has.

    Raises:
        ImportError: the release does not have the name in these modules.
    """
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    message = f"this release has {name} in none of {modules}"
    raise ImportError(message)


# The second module is that of releases up to 0.1.0.
TunerError = _from("TunerError", "rembg_tuner.base.errors", "rembg_tuner.errors")
Runner = _from("Runner", "rembg_tuner.runtime.runner", "rembg_tuner.running.runner")
Settings = _from("Settings", "rembg_tuner.settings.settings", "rembg_tuner.settings")
Job = _from("Job", "rembg_tuner.worker.pipeline", "rembg_tuner.pipeline")


def main() -> None:
    """Answer requests until standard input ends, then stop the workers."""
    runners: dict[str, Any] = {}
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(json.loads(line), runners)), flush=True)
    finally:
        for runner in runners.values():
            runner.__exit__(None, None, None)


def _answer(request: dict[str, Any], runners: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request."""
    if request["op"] == "hello":
        return {
            "version": rembg_tuner.__version__,
            "folder": str(Path(rembg_tuner.__file__).parents[1]),
        }
    runner = runners.setdefault(request["name"], Runner())
    if request["op"] == "restart":
        runner.close()
        return {}
    try:
        settings = Settings(**request["settings"])
    except TunerError as error:
        return {"error": str(error)}
    done = runner.run(Job(input=request["input"], output=request["output"]), settings)
    result: dict[str, Any] = done.to_dict()
    return result


if __name__ == "__main__":
    main()
