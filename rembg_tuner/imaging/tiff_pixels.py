"""Open the pixels of a TIFF picture, including kinds that libvips misreads or rejects.

Those are read as numbers: libvips reads the file with a substitute directory, in which each sample
is plain grey or RGB and each plane of a planar picture is a separate picture. Strips, tiles and
libtiff's decoders still work, in one pass from top to bottom. The meaning of the numbers is applied
afterwards.
"""

from __future__ import annotations

import os
import struct
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.tiff import GREY, LAB
from rembg_tuner.imaging.tiff_tags import Code, Colour, TagError
from rembg_tuner.imaging.views import WHOLE_FILE, load_view

if TYPE_CHECKING:
    from rembg_tuner.imaging.tiff import TiffPicture
    from rembg_tuner.imaging.tiff_tags import Tag
    from rembg_tuner.imaging.views import PictureFile

# libvips keeps two strips of a TIFF file. If colours and transparency are read separately and a
# strip has more than 16 rows, one thread may request a strip that another has just evicted ("out
# of order read"). `sequential` reads rows once, in order, and keeps 64 of them.
_CACHED_ROWS = 8


def open_tiff(file: PictureFile, picture: TiffPicture) -> tuple[pyvips.Image, pyvips.Image | None]:
    """Open a TIFF picture for one pass from top to bottom; the file may be closed afterwards.

    Args:
        file: the file.
        picture: the chosen picture.

    Returns:
        The colours in libvips' interpretation (8 or 16 bits, with the profile, and with
        transparency if libvips reads it correctly), and otherwise the transparency, 8-bit.

    Raises:
        TagError: the file is damaged or too large.
        pyvips.Error: the file is damaged.
    """
    if picture.is_plain:
        where = {"page": picture.page, "subifd": picture.sub_page}
        image = load_view(file, WHOLE_FILE, "tiffload", **where, **_options(picture))
        image = _in_order(image, picture)
        return (image[:3] if picture.colour == Colour.YCBCR else image), None
    numbers = _scale(_open_numbers(file, picture), picture)
    colours, alpha = numbers[: picture.channels], None
    if picture.colour == Colour.MIN_IS_WHITE:
        colours ^= _top(colours)
    if picture.alpha is not None:
        alpha = numbers[picture.channels]
        if picture.is_premultiplied:
            colours = _unpremultiply(colours, alpha)
        if alpha.format == "ushort":
            alpha = (alpha >> 8).cast("uchar")
    return _name_colours(colours, picture), alpha


def _open_numbers(file: PictureFile, picture: TiffPicture) -> pyvips.Image:
    """Open the samples that are used: the colours, then the transparency if there is one."""
    wanted = [*range(picture.channels), *([] if picture.alpha is None else [picture.alpha])]
    if picture.is_planar:
        bands = [_load(file, picture, plane) for plane in wanted]
    else:
        image = _load(file, picture, None)
        if len(wanted) == image.bands:
            return image
        bands = [image[i] for i in wanted]
    joined: pyvips.Image = bands[0].bandjoin(bands[1:]) if len(bands) > 1 else bands[0]
    return joined


def _load(file: PictureFile, picture: TiffPicture, plane: int | None) -> pyvips.Image:
    """Open a substitute with libvips; 64-bit numbers are assembled from halves."""
    image = load_substitute(file, picture, plane, **_options(picture))
    if picture.bits == 64:
        if picture.order == ">":
            # libtiff reverses the bytes of each half, but not the order of the halves
            halves = [image[i ^ 1] for i in range(image.bands)]
            image = halves[0].bandjoin(halves[1:])
        image = image.copy(format="double", bands=image.bands // 2, interpretation="multiband")
    return _in_order(image, picture)


def _options(picture: TiffPicture) -> dict[str, object]:
    """Return libvips' options, which make damage an error.

    libvips leaves missing strips black below "error", and missing tiles below "warning". At
    "warning", libtiff's warnings about unusual tags would stop the reading of strips, but not of
    tiles. libtiff's memory limit, 50 MiB, is disabled if its memory was estimated.
    """
    return {
        "fail_on": "warning" if picture.is_tiled else "error",
        "unlimited": picture.held_bytes > 0,
    }


def _in_order(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Make strips readable once each in any access pattern; tiles can be read again."""
    return image if picture.is_tiled else image.sequential(tile_height=_CACHED_ROWS)


def _top(image: pyvips.Image) -> int:
    """Return the maximum value of an 8- or 16-bit image."""
    return 255 if image.format == "uchar" else 65535


def _scale(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Scale numbers to 16 bits, floats from [0, 1]; 8- and 16-bit numbers are unchanged."""
    if picture.is_float:
        # NaN becomes 0
        image = (image > 0).ifthenelse(image, 0)
        image = (image < 1).ifthenelse(image, 1)
        return (image * 65535 + 0.5).cast("ushort")
    return (image >> 16).cast("ushort") if image.format == "uint" else image


def _unpremultiply(colours: pyvips.Image, alpha: pyvips.Image) -> pyvips.Image:
    """Divide colours by their alpha."""
    top = _top(colours)
    straight = colours.bandjoin(alpha).unpremultiply(max_alpha=top)
    return (straight[: colours.bands] + 0.5).cast(colours.format)


def _name_colours(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Set libvips' interpretation of the numbers, or convert them to 8-bit RGB."""
    if picture.colour in LAB:
        return _lab_to_rgb(image, picture)
    if picture.colour == Colour.YCBCR:
        return _ycbcr_to_rgb(image, picture)
    is_deep = image.format == "ushort"
    if picture.colour == Colour.CMYK:
        return image.copy(interpretation="cmyk")
    if picture.colour in GREY:
        grey = image.copy(interpretation="grey16" if is_deep else "b-w")
        is_linear = picture.is_float and profile_space(image) == b"RGB "
        return _float_to_rgb(image.bandjoin([image, image]), picture) if is_linear else grey
    if picture.is_float:
        return _float_to_rgb(image, picture)
    return image.copy(interpretation="rgb16" if is_deep else "srgb")


def _float_to_rgb(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Convert RGB floats to sRGB with their profile, or from linear light without a profile.

    The numbers are often linear: 8 bits with the profile would be too few for dark colours.
    """
    if picture.has_profile:
        image = image.copy(interpretation="rgb16")
        return image.icc_transform("srgb", embedded=True, depth=8)
    return (image / 65535).copy(interpretation="scrgb").colourspace("srgb")


def profile_space(image: pyvips.Image) -> bytes:
    """Return the colour space of an image's profile; b"": no profile."""
    has_profile = image.get_typeof("icc-profile-data")
    return bytes(image.get("icc-profile-data"))[16:20] if has_profile else b""


def _lab_to_rgb(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Convert CIELAB (D50) codes to sRGB.

    CIELAB has signed a and b. ICCLAB shifts them by half the range, and its 16-bit L ends at
    0xFF00 (TIFF Technical Note of Photoshop, 2002).
    """
    per_step = 256 if image.format == "ushort" else 1
    lightness, chroma = image[0], image[1:]
    if picture.colour == Colour.ICCLAB:
        white = 65280 if per_step > 1 else 255
        chroma = chroma / per_step - 128
    else:
        white = _top(image)
        chroma = chroma.copy(format="short" if per_step > 1 else "char") / per_step
    lab = (lightness * (100 / white)).bandjoin(chroma).cast("float").copy(interpretation="lab")
    if profile_space(lab):
        lab.remove("icc-profile-data")  # redundant: it is D50 too
    return lab.icc_export(output_profile="srgb", depth=8)


def _ycbcr_to_rgb(image: pyvips.Image, picture: TiffPicture) -> pyvips.Image:
    """Convert YCbCr codes to RGB (TIFF 6.0, section 21, and section 20's ReferenceBlackWhite)."""
    red, green, blue = picture.luma
    black, white = picture.reference[::2], picture.reference[1::2]
    scale = [top / (w - b) for top, b, w in zip((255, 127, 127), black, white, strict=True)]
    codes = image.linear(scale, [-b * factor for b, factor in zip(black, scale, strict=True)])
    from_red, from_blue = 2 - 2 * red, 2 - 2 * blue
    matrix = [
        [1, 0, from_red],
        [1, -blue * from_blue / green, -red * from_red / green],
        [1, from_blue, 0],
    ]
    rgb = codes.recomb(matrix)
    return (rgb + 0.5).cast("uchar").copy(interpretation="srgb")


_SHORT = 3
_KEPT = (
    Code.WIDTH,
    Code.HEIGHT,
    Code.COMPRESSION,
    Code.FILL_ORDER,
    Code.STRIP_OFFSETS,
    Code.ORIENTATION,
    Code.ROWS_PER_STRIP,
    Code.STRIP_BYTES,
    Code.X_RESOLUTION,
    Code.Y_RESOLUTION,
    Code.T4_OPTIONS,
    Code.T6_OPTIONS,
    Code.RESOLUTION_UNIT,
    Code.PREDICTOR,
    Code.TILE_WIDTH,
    Code.TILE_HEIGHT,
    Code.TILE_OFFSETS,
    Code.TILE_BYTES,
    Code.JPEG_TABLES,
    Code.ICC_PROFILE,
)
_BY_PLANE = (Code.STRIP_OFFSETS, Code.STRIP_BYTES, Code.TILE_OFFSETS, Code.TILE_BYTES)
_GAP_BYTES = 64  # between the file's end and the directory: a truncated strip ends there


def load_substitute(
    file: PictureFile, picture: TiffPicture, plane: int | None, **options: object
) -> pyvips.Image:
    """Open a picture's samples as numbers, for one pass from top to bottom.

    The file may be closed afterwards.

    Args:
        file: the file.
        picture: the chosen picture.
        plane: the only sample to read; None: all samples.
        options: of libvips' loader.

    Raises:
        TagError: the file is damaged or too large.
        pyvips.Error: the file is damaged.
        OSError: the file cannot be read.
    """
    shown = _Substitute(file, picture, plane)
    source = pyvips.SourceCustom()
    source.on_read(shown.read)
    source.on_seek(shown.seek)
    image = pyvips.Image.tiffload_source(source, access="sequential", **options)
    # As in pyvips' new_from_source: images derived from this one keep the callbacks alive.
    image._references.append(source)
    return image


class _Substitute:
    """A TIFF file with a substitute directory that declares its samples as plain numbers.

    The new directory follows the file's end. Only the header's offset of the first directory
    differs; strips, tiles and other values are at their original offsets.
    """

    def __init__(self, file: PictureFile, picture: TiffPicture, plane: int | None) -> None:
        """Duplicate the file's descriptor and create the directory.

        Args:
            file: the file; it may be closed afterwards.
            picture: the chosen picture.
            plane: the only sample to read; None: all samples.

        Raises:
            TagError: the file is damaged or too large.
            OSError: the file cannot be read.
        """
        self._file = file
        self._start = (file.size + _GAP_BYTES + 7) // 8 * 8
        self._tail = self._directory(picture, plane)
        if not picture.is_big and self._start + len(self._tail) > 2**32:
            raise TagError(
                Message("it has more than 4 GiB and is not a BigTIFF; save it as a BigTIFF")
            )
        pointer = struct.pack(picture.order + ("Q" if picture.is_big else "I"), self._start)
        self._head = file.read_at(0, len(pointer)) + pointer
        self._size = file.size
        self._position = 0
        self._descriptor = os.dup(file.descriptor)
        weakref.finalize(self, os.close, self._descriptor)

    def read(self, length: int) -> bytes | None:
        """Return up to `length` bytes from the position; None at the end of file or directory."""
        start = self._position
        if start >= self._start:
            data = self._tail[start - self._start :][:length]
        elif start < len(self._head):
            data = self._head[start : start + length]
        else:
            left = max(0, self._size - start)
            data = os.pread(self._descriptor, min(length, left), start) if left else b""
        self._position += len(data)
        return data or None

    def seek(self, offset: int, whence: int) -> int:
        """Change the position, as `io.IOBase.seek` does."""
        end = self._start + len(self._tail)
        self._position = max(0, offset + (0, self._position, end)[whence])
        return self._position

    def _directory(self, picture: TiffPicture, plane: int | None) -> bytes:
        """Return the directory, which declares samples as grey or RGB numbers."""
        samples = 1 if plane is not None else picture.samples
        bits, sample_format = picture.bits, 3 if picture.is_float else 1
        if bits == 64:
            samples, bits, sample_format = 2 * samples, 32, 1
        colour, named = (Colour.RGB, 3) if samples >= 3 else (Colour.MIN_IS_BLACK, 1)
        entries: dict[int, tuple[int, int, bytes]] = {}  # tag: type, count, values or their offset
        for code in _KEPT:
            tag = picture.directory.tags.get(code)
            if tag is not None:
                if plane is not None and code in _BY_PLANE:
                    tag = self._plane_values(tag, plane, picture)
                entries[code] = (tag.type, tag.count, tag.field)
        shorts: dict[int, list[int]] = {
            Code.BITS: [bits] * samples,
            Code.PHOTOMETRIC: [colour],
            Code.SAMPLES: [samples],
            Code.PLANAR: [1],
            Code.SAMPLE_FORMAT: [sample_format] * samples,
        }
        if samples > named:
            shorts[Code.EXTRA_SAMPLES] = [0] * (samples - named)
        for number, values in shorts.items():
            data = struct.pack(f"{picture.order}{len(values)}H", *values)
            entries[number] = (_SHORT, len(values), data)
        return _write_directory(entries, picture, self._start)

    def _plane_values(self, tag: Tag, plane: int, picture: TiffPicture) -> Tag:
        """Return the part of a list of strips or tiles that belongs to one plane."""
        count = tag.count // picture.samples
        if count * picture.samples != tag.count or not count:
            raise TagError(Message("its planes have no strips or tiles"))
        skipped, length = plane * count * tag.value_bytes, count * tag.value_bytes
        if tag.offset is None:
            return replace(tag, count=count, field=tag.field[skipped : skipped + length])
        where = tag.offset + skipped
        if length <= len(tag.field):
            field = self._file.read_at(where, length)
            return replace(tag, count=count, field=field, offset=None)
        field = struct.pack(picture.order + ("Q" if picture.is_big else "I"), where)
        return replace(tag, count=count, field=field, offset=where)


def _write_directory(
    entries: dict[int, tuple[int, int, bytes]], picture: TiffPicture, start: int
) -> bytes:
    """Return entries as a directory, followed by values that are too long for their entry."""
    letter, count_letter, width = ("Q", "Q", 8) if picture.is_big else ("I", "H", 4)
    order = picture.order
    table = struct.pack(order + count_letter, len(entries))
    values_start = start + len(table) + len(entries) * (4 + 2 * width) + width
    behind = b""
    for code in sorted(entries):
        kind, count, field = entries[code]
        if len(field) > width:
            where, behind = values_start + len(behind), behind + field + bytes(len(field) % 2)
            field = struct.pack(order + letter, where)
        table += struct.pack(f"{order}HH{letter}", code, kind, count) + field.ljust(width, b"\0")
    return table + bytes(width) + behind
