"""Resolve settings on a machine: replace `auto` and 0 by the actual values.

`auto` becomes a number format, 0 threads become the slot's CPUs, and network size 0 becomes the
network's own size. Equal settings can then be recognised as equal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.settings.check import no_size_reason
from rembg_tuner.settings.machine import ABSENT, LIBVIPS_PACKAGE, Machine, ModelFile
from rembg_tuner.settings.precision import resolve_precision
from rembg_tuner.settings.settings import KNOBS, Settings

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import EngineName, Precision, ProviderName, Value

WorkerKey = tuple["Value", ...]
_FOCUS = ("focus", "focus_box", "focus_max_share")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedSettings:
    """Settings whose values are all resolved.

    Attributes:
        settings: as requested.
        precision: the number format; never auto.
        threads: inside one operator; 0 in engine rembg: its own default.
        inter_op_threads: across operators; 1 if they run one after another; 0 in engine rembg: its
            own default.
        network_size: side of the network's input, px; 0 only for a file that is not a graph.
        model: the file that the engine loads, or from which the loaded file is made.
        cpus: the slot's share of the machine's CPUs.
        notes: messages on how it was resolved.
        machine: the machine on which it was resolved.
    """

    settings: Settings
    precision: Precision
    threads: int
    inter_op_threads: int
    network_size: int
    model: ModelFile
    cpus: int
    notes: tuple[Message, ...] = field(default=(), compare=False)
    machine: Machine = field(compare=False, repr=False)

    @property
    def engine(self) -> EngineName:
        """The name of the engine that runs the network."""
        return self.settings.engine

    @property
    def provider(self) -> ProviderName:
        """ONNX Runtime's execution provider."""
        return self.settings.provider

    @property
    def worker_settings(self) -> Settings:
        """The settings that a worker is started with.

        They contain no `auto`, and 0 for the network's own size, which needs no converted graph.
        """
        size = 0 if self.network_size == self.model.side else self.network_size
        return replace(self.settings, precision=self.precision, network_size=size)

    @property
    def _held(self) -> dict[str, Value]:
        """The values that a session depends on, by knob."""
        # The keys contain the model's file instead of its name.
        held = [name for name, knob in KNOBS.items() if knob.reload and name != "model"]
        asked = {name: getattr(self.settings, name) for name in held}
        return asked | {
            "precision": self.precision,
            "intra_op_threads": self.threads,
            "inter_op_threads": self.inter_op_threads,
            "network_size": self.network_size,
            "mem_pattern": self.settings.mem_pattern and not _wants_unused_pattern(self.settings),
        }

    @property
    def worker_key(self) -> WorkerKey:
        """What a loaded session depends on: settings with equal keys can run in one worker."""
        return (self.cpus, *self.model.key, *self._held.values())

    @property
    def measurement_key(self) -> str:
        """What the figures of a run depend on besides the machine and the picture, as JSON.

        Raises:
            OSError: the model's file can no longer be read.
        """
        spec, held = self.model.spec, self._held
        content = {
            **held,
            "cpus": self.cpus,
            "weights": [self.model.sha256, self.model.side, spec.mean, spec.std, spec.post],
            **{name: getattr(self.settings, name) for name in _FOCUS},
            "versions": _versions(self.engine, self.machine),
        }
        return json.dumps(content, sort_keys=True)


def _wants_unused_pattern(settings: Settings) -> bool:
    """Return whether a memory pattern is requested that ONNX Runtime does not use."""
    return settings.mem_pattern and settings.execution_mode == "parallel"


def _pattern_notes(settings: Settings) -> tuple[Message, ...]:
    """Return a note if a memory pattern has no effect."""
    if not _wants_unused_pattern(settings):
        return ()
    return (
        Message(
            "mem_pattern has no effect with execution_mode parallel: ONNX Runtime does not use one"
            " then",
            code="mem_pattern_unused",
        ),
    )


def _versions(engine: str, machine: Machine) -> dict[str, str]:
    """Return the versions that figures depend on, by distribution."""
    found = {name: machine.version(name) for name in (LIBVIPS_PACKAGE, "rembg-tuner")}
    for distributions in ENGINES[engine].packages.values():
        installed = [name for name in distributions if machine.version(name) != ABSENT]
        found |= {name: machine.version(name) for name in installed[:1] or distributions[:1]}
    return found


def resolve(settings: Settings, machine: Machine) -> ResolvedSettings:
    """Resolve settings on a machine; does not fail if `check` finds nothing wrong.

    Args:
        settings: as requested.
        machine: with the share of CPUs that a run has; see `Machine.shared_by`.

    Raises:
        ModelError: the model's file is missing or not valid, or its input size is unknown.
    """
    precision, notes = resolve_precision(settings, machine)
    model = machine.find(settings.model, settings.engine if precision == "int8" else None)
    size = settings.network_size or model.side
    if size is None:
        raise ModelError(no_size_reason(model))
    own_default = 0 if settings.engine_spec.is_stock else machine.cpus
    is_parallel = settings.execution_mode == "parallel"
    return ResolvedSettings(
        settings=settings,
        precision=precision,
        threads=settings.intra_op_threads or own_default,
        inter_op_threads=(settings.inter_op_threads or own_default) if is_parallel else 1,
        network_size=size,
        model=model,
        cpus=machine.cpus,
        notes=(*notes, *_pattern_notes(settings)),
        machine=machine,
    )
