"""HTML and SVG from Jinja2 templates; every value that is not `Markup` is escaped.

Line breaks and indentation between tags are not part of the output.
"""

from __future__ import annotations

import re
from functools import cache, partial
from typing import TYPE_CHECKING

from rembg_tuner.base.escapes import escape_text

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment
    from markupsafe import Markup

_BETWEEN_TAGS = re.compile(r"(?<=[>}])\s*\n\s*(?=[<{])")


def create_environment(folder: Path) -> Environment:
    """Create an environment for the templates of a folder; each is compiled once.

    The filter `visible` writes control characters and direction marks as escapes.
    """
    # Imported here: commands that render nothing start faster.
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(partial(_read, folder)),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
    )
    environment.filters["visible"] = lambda value: escape_text(str(value))
    return environment


def _read(folder: Path, name: str) -> str:
    """Read a template, without the line breaks between its tags."""
    return _BETWEEN_TAGS.sub("", (folder / name).read_text(encoding="utf-8")).strip()


def render(template: Path, **values: object) -> Markup:
    """Render a template file, which may include and import others of its folder."""
    from markupsafe import Markup

    found = _environment_of(template.parent).get_template(template.name)
    return Markup(found.render(values))  # the template escaped its values


_environment_of = cache(create_environment)
