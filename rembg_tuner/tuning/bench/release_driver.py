"""Run pictures in another release's own interpreter: requests in as JSON lines, results out.

Run as a file, with that release's folder first on the module path, so that every import below is
that release's. Uses only what releases from 0.1.0 on have.

    request   {"op": "run", "name": ..., "settings": {...}, "input": ..., "output": ...}
              {"op": "restart", "name": ...}: end the worker of that name, its compiled model is
              kept
    answer    a Result's or a Failure's fields; {"error": sentence} where the settings are not
    allowed
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import rembg_tuner


def _from(name: str, *modules: str) -> Any:
    """Return a name of the first of these modules that the release has."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except (ModuleNotFoundError, AttributeError):
            continue
    message = f"this release has {name} in none of {modules}"
    raise ImportError(message)


# The second is where releases up to 0.1.0 have it.
TunerError = _from("TunerError", "rembg_tuner.base.errors", "rembg_tuner.errors")
Runner = _from("Runner", "rembg_tuner.runtime.runner", "rembg_tuner.running.runner")
Settings = _from("Settings", "rembg_tuner.settings.settings", "rembg_tuner.settings")
Job = _from("Job", "rembg_tuner.worker.pipeline", "rembg_tuner.pipeline")


def main() -> None:
    """Answer until standard input ends, then end the workers."""
    runners: dict[str, Any] = {}
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(json.loads(line), runners)), flush=True)
    finally:
        for runner in runners.values():
            runner.__exit__(None, None, None)


def _answer(request: dict[str, Any], runners: dict[str, Any]) -> dict[str, Any]:
    """Answer one request."""
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
