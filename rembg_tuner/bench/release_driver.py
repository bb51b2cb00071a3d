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
from pathlib import Path
from typing import Any

import rembg_tuner
from rembg_tuner.errors import TunerError
from rembg_tuner.pipeline import Job
from rembg_tuner.running.runner import Runner
from rembg_tuner.settings import Settings


def main() -> None:
    """Answer until standard input ends, then end the workers."""
    runners: dict[str, Runner] = {}
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(json.loads(line), runners)), flush=True)
    finally:
        for runner in runners.values():
            runner.__exit__(None, None, None)


def _answer(request: dict[str, Any], runners: dict[str, Runner]) -> dict[str, Any]:
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
    return runner.run(Job(input=request["input"], output=request["output"]), settings).to_dict()


if __name__ == "__main__":
    main()
