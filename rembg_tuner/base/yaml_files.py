"""Read and write YAML; the one door to PyYAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from pathlib import Path


class YamlFileError(ValueError):
    """A file that is not YAML, or whose top is not a mapping.

    Attributes:
        message: what is said; `str(error)` writes it in English.
    """

    def __init__(self, message: Message) -> None:
        """Keep what is said."""
        super().__init__(message)
        self.message = message


def read_mapping(path: Path) -> dict[str, object]:
    """Read a YAML file whose top is a mapping with text keys.

    Raises:
        YamlFileError: the file is not YAML, or something else stands at its top.
        OSError: the file cannot be read.
    """
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no text, or a date that cannot be
        raise YamlFileError(
            Message(
                "{file}: not valid YAML: {reason}",
                file=path.name,
                reason=Quoted(" ".join(str(error).split())),
            )
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise YamlFileError(Message("{file}: the top must be a mapping of names", file=path.name))
    return content


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as it stands, in a block that a person can read."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Choose a text's style."""
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _write_text)


def format_mapping(mapping: dict[str, object]) -> str:
    """Write a mapping as YAML text, keys in the order given."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
