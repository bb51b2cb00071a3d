"""Read and write YAML; the only module that imports PyYAML."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from rembg_tuner.base.messages import Message, Quoted

if TYPE_CHECKING:
    from pathlib import Path


class YamlFileError(ValueError):
    """A file that is not YAML, or whose top level is not a mapping.

    Attributes:
        message: the text; `str(error)` returns it in English.
    """

    def __init__(self, message: Message) -> None:
        """Store the message."""
        super().__init__(message)
        self.message = message


def read_mapping(path: Path) -> dict[str, object]:
    """Read a YAML file whose top level is a mapping with text keys.

    Raises:
        YamlFileError: the file is not YAML, or its top level is not such a mapping.
        OSError: the file cannot be read.
    """
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not text, or an impossible date
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
    """A dumper that writes text of several lines as a readable block."""


def _write_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Represent text: in block style if it has several lines."""
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _write_text)


def format_mapping(mapping: dict[str, object]) -> str:
    """Return a mapping as YAML text, keys in the given order."""
    return yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
