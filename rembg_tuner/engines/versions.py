"""Which packages of the engines are installed, and their versions, without importing any."""

from __future__ import annotations

from importlib.util import find_spec

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from rembg_tuner.engines.spec import EngineSpec


def is_installed(spec: EngineSpec) -> bool:
    """Return whether an engine's packages can be imported."""
    return all(find_spec(package) is not None for package in spec.packages)


def installed_version(spec: EngineSpec) -> str | None:
    """Return the version of an engine's own package; None: it is not installed."""
    return _versions_of(spec)[0][1]


def package_versions() -> dict[str, str | None]:
    """Return the versions of all engines' packages, each by its distribution.

    None for those not installed.
    """
    from rembg_tuner.engines.table import ENGINES

    return dict(found for spec in ENGINES.values() for found in _versions_of(spec))


def _versions_of(spec: EngineSpec) -> list[tuple[str, str | None]]:
    """Return each package's distribution with its version.

    The usual distribution where none is installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    found: list[tuple[str, str | None]] = []
    for distributions in spec.packages.values():
        name, number = distributions[0], None
        for one in distributions:
            try:
                name, number = one, version(one)
                break
            except PackageNotFoundError:
                continue
        found.append((name, number))
    return found
