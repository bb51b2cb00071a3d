"""The objects that the events of all tabs share: lanes, folder, visitors, example pictures."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.runtime.picture_processes import Inspector
from rembg_tuner.settings.host import read_host
from rembg_tuner.web.pages.downloads import Downloads
from rembg_tuner.web.pages.long_tasks import LongTasks

if TYPE_CHECKING:
    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import RunnerSlot
    from rembg_tuner.web.pages.page_folder import PageFolder
    from rembg_tuner.web.pages.visitors import Visitors

EXAMPLES = ("astronaut", "chelsea", "coffee")
EXAMPLES_FOLDER = Path(__file__).parent.parent.parent.parent / "examples"


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The objects that the events share; `limit_bytes` is the usable memory of the host."""

    slots_lane: Lane[RunnerSlot]
    folder: PageFolder
    visitors: Visitors
    downloads: Downloads
    long_tasks: LongTasks
    limit_bytes: int | None
    inspector: Inspector = field(default_factory=Inspector)

    @classmethod
    def set_up(
        cls,
        slots_lane: Lane[RunnerSlot],
        folder: PageFolder,
        visitors: Visitors,
        *,
        may_download: bool = False,
    ) -> Desk:
        """Create the lanes, and read the memory limit of the host.

        Args:
            slots_lane: the lane in which pictures run.
            folder: the folder of the page.
            visitors: the visitors of the page.
            may_download: whether visitors may download models to the server.
        """
        return cls(
            slots_lane=slots_lane,
            folder=folder,
            visitors=visitors,
            downloads=Downloads(are_allowed=may_download),
            long_tasks=LongTasks(slots_lane),
            limit_bytes=read_host().usable_memory_bytes,
        )


def example_of(desk: Desk, name: str = EXAMPLES[0]) -> str:
    """Return the path of an example; it is copied to the page's folder once for all visitors."""
    target = desk.folder.path / "examples" / f"{name}.png"
    target.parent.mkdir(mode=0o700, exist_ok=True)
    if target.is_file():
        target.touch()  # otherwise it could be deleted during a visit
    else:
        scratch = desk.folder.new_job() / target.name
        shutil.copyfile(EXAMPLES_FOLDER / f"{name}.png", scratch)
        scratch.replace(target)
        scratch.parent.rmdir()
    return str(target)
