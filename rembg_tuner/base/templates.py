"""HTML and SVG from Jinja2 templates; every value that is not `Markup` is escaped."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from rembg_tuner.base.escapes import escape_text

if TYPE_CHECKING:
    from pathlib import Path

    from jinja2 import Environment
    from markupsafe import Markup


@cache
def environment_of(folder: Path) -> Environment:
    """Return the environment of the templates in a folder.

    The filter `visible` writes control characters and direction marks as escapes.
    """
    # Imported here: commands that render nothing start faster.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["visible"] = lambda value: escape_text(str(value))
    return environment


def render(template: Path, **values: object) -> Markup:
    """Render a template file, which may include and import others of its folder."""
    from markupsafe import Markup

    found = environment_of(template.parent).get_template(template.name)
    return Markup(found.render(values))  # the template escaped its values
