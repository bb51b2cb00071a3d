"""The pictures of the bench, generated once into the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rembg_tuner.base.errors import OutputError, PictureError
from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.complaints import unwritable_text
from rembg_tuner.imaging.sample_pictures import make_sample

_PACKAGE = Path(__file__).parent.parent.parent
_PLACES = [folder / "examples" / "coffee.png" for folder in (_PACKAGE.parent, _PACKAGE)]
# A product shot: beside the package in a checkout, inside the package when installed.
EXAMPLE = next((path for path in _PLACES if path.is_file()), _PLACES[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPicture:
    """One picture: its name in tables, its size, its file format, and the scale of its subject."""

    name: str
    width: int
    height: int
    suffix: str = ".jpg"
    turned: bool = False
    interlaced: bool = False
    scale: float = 1.0

    def make(self, source: Path = EXAMPLE) -> Path:
        """Return the picture's path, and generate the file if it is missing.

        Raises:
            PictureError: the example from which it is generated is missing.
            OutputError: it cannot be written.
        """
        if not source.is_file():
            raise PictureError(
                Message(
                    "{picture} is not there; bench runs in a checkout, which has examples/",
                    picture=source,
                )
            )
        folder = open_cache()[0] / "bench-pictures"
        target = folder / f"{self.name.replace(' ', '-')}-{source.stem}-3{self.suffix}"
        if not target.is_file():
            try:
                folder.mkdir(exist_ok=True)
                self._write(source, target)
            except OSError as error:
                raise OutputError(unwritable_text(target, error)) from error
        return target

    def _write(self, source: Path, target: Path) -> None:
        """Write the picture to a temporary file, and rename it when it is complete.

        Raises:
            OSError: it cannot be written.
        """
        scratch = target.with_name(f"part-{target.name}")
        try:
            make_sample(
                source,
                scratch,
                size=(self.width, self.height),
                turned=self.turned,
                interlaced=self.interlaced,
                scale=self.scale,
            )
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)


P1080 = BenchPicture(name="1080p", width=1920, height=1080)
P1080_SMALL = BenchPicture(name="1080p small subject", width=1920, height=1080, scale=0.4)
P12 = BenchPicture(name="12 MP", width=4000, height=3000)
P48 = BenchPicture(name="48 MP", width=8000, height=6000)
# The same picture in file formats that need more memory; measured only with our pipeline.
STORED_OTHERWISE = (
    BenchPicture(name="48 MP turned", width=8000, height=6000, turned=True),
    BenchPicture(name="48 MP PNG", width=8000, height=6000, suffix=".png"),
    BenchPicture(name="48 MP TIFF", width=8000, height=6000, suffix=".tif"),
    BenchPicture(name="48 MP progressive", width=8000, height=6000, interlaced=True),
    BenchPicture(name="48 MP WebP", width=8000, height=6000, suffix=".webp"),
    BenchPicture(name="12 MP AVIF", width=4000, height=3000, suffix=".avif"),
)
