"""What happens when a picture is chosen, without a browser: shown, refused with the reason, or overtaken."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from PIL import Image
from test_ui_visit import RESULT, turn

from rembg_tuner.errors import PictureError, PictureTooLargeError
from rembg_tuner.running.previewer import Inspector
from rembg_tuner.ui.arrival import Arrival
from rembg_tuner.ui.choices import preset_settings
from rembg_tuner.ui.handlers import Handlers
from rembg_tuner.ui.page_folder import PageFolder
from rembg_tuner.ui.picture_handlers import PictureHandlers
from rembg_tuner.ui.visitors import Visitor
from rembg_tuner.ui.widgets import grey_updates, picture_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.running.ticket import Ticket
    from rembg_tuner.ui.handlers import Desk, Shown

CUP = Image.new("RGB", (60, 40), (200, 30, 30))


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    """Keep one process that reads pictures."""
    inspector = Inspector()
    yield inspector
    inspector.close()


@pytest.fixture
def desk(inspector: Inspector, tmp_path: Path) -> Iterator[Desk]:
    """Make what picture handlers need of a desk."""
    with PageFolder(tmp_path) as folder:
        yield cast("Desk", SimpleNamespace(folder=folder, inspector=inspector))


def upload(desk: Desk, name: str, content: bytes | None = None) -> str:
    """Lay a file where uploads lie."""
    path = desk.folder.new_job() / name
    if content is None:
        CUP.save(path)
    else:
        path.write_bytes(content)
    return str(path)


def choose(handlers: PictureHandlers, visitor: Visitor, picture: str | None) -> Shown:
    """Choose a picture and give all that is shown in the end."""

    async def collect() -> Shown:
        shown: Shown = {}
        async for part in handlers.choose(visitor, picture):
            shown |= part
        return shown

    return asyncio.run(collect())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "avif", "bmp"])
def test_a_picture_is_shown_before_it_is_run(desk: Desk, suffix: str) -> None:
    """The file itself where every browser shows it, else a preview; the old result and its download are gone."""
    visitor, path = Visitor(language="en"), upload(desk, f"cup.{suffix}")
    shown = choose(PictureHandlers(desk), visitor, path)
    assert visitor.chosen is not None
    viewer: dict[str, Any] = shown["viewer"]
    assert (viewer["turn"], "download" in viewer, viewer["alt"]) == (0, False, f"cup.{suffix}")
    assert (visitor.chosen.shown == path) == (suffix not in {"tif", "avif", "bmp"})
    assert "60 × 40 px" in shown["result"]
    assert 'data-state="empty"' in shown["result"]
    with Image.open(visitor.chosen.shown) as image:
        assert image.size == (60, 40)
    gone = choose(PictureHandlers(desk), visitor, None)
    assert gone["viewer"] is None
    assert "Nothing has run yet" in gone["result"]
    assert visitor.chosen is None


def test_a_result_stays_when_its_picture_is_taken_away(desk: Desk) -> None:
    """It goes when another picture is chosen; a run that goes on is left alone, and no picture is nothing to take."""
    handlers, visitor = PictureHandlers(desk), Visitor(language="en")
    assert handlers.take_away(visitor) == {"picture_note": ""}
    first, second = upload(desk, "a.png"), upload(desk, "b.png")
    choose(handlers, visitor, first)
    visitor.visit = visitor.visit.add(replace(turn(RESULT), picture_path=first))
    assert handlers.take_away(visitor) == {"picture_note": ""}
    choose(handlers, visitor, second)
    visitor.ticket = cast("Ticket", object())
    assert handlers.take_away(visitor) == {"picture_note": ""}
    visitor.ticket = None
    choose(handlers, visitor, second)
    assert handlers.take_away(visitor)["viewer"] is None


def test_a_picture_that_was_run_is_new_when_it_is_chosen_again(desk: Desk) -> None:
    """The result has left with the choice: a removal leaves nothing, and no reload or pin brings it back."""
    handlers, visitor = PictureHandlers(desk), Visitor(language="en")
    first = upload(desk, "a.png")
    choose(handlers, visitor, first)
    visitor.visit = visitor.visit.add(replace(turn(RESULT), picture_path=first))
    choose(handlers, visitor, first)
    assert visitor.visit.current is None
    gone = handlers.take_away(visitor)
    assert gone["viewer"] is None
    assert "No picture chosen" in gone["result"]
    handlers.take_example(visitor, "coffee")
    visitor.visit = visitor.visit.add(turn(RESULT))
    handlers.take_example(visitor, "coffee")
    assert handlers.take_away(visitor)["viewer"] is None


def test_a_picture_is_the_visitors_while_it_is_checked(desk: Desk) -> None:
    """So that one which is taken away before the answer leaves nothing behind."""
    handlers, visitor = PictureHandlers(desk), Visitor(language="en")

    async def take_away_early() -> list[Shown]:
        answers = handlers.choose(visitor, upload(desk, "a.png"))
        await anext(answers)
        return [handlers.take_away(visitor), *[shown async for shown in answers]]

    gone, *late = asyncio.run(take_away_early())
    assert gone["viewer"] is None
    assert late == []
    assert visitor.chosen is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.jpg", b"no picture at all", "is not a picture that is read here"),
        ("empty.png", b"", "is empty (0 bytes)"),
        ("bad.png", b"\x89PNG\r\n\x1a\n" + b"junk" * 9, "damaged"),
        ("great.gif", b"GIF89a" + (9000).to_bytes(2, "little") * 2 + bytes(60), "great.gif"),
    ],
)
def test_a_bad_file_is_refused_beside_the_picture(desk: Desk, name: str, content: bytes, told: str) -> None:  # fmt: skip
    """As an alert with the file's name and not its place; the picture is taken away."""
    visitor = Visitor(language="en")
    shown = choose(PictureHandlers(desk), visitor, upload(desk, name, content))
    assert shown["picture"] is None
    assert shown["viewer"] is None
    assert told in shown["picture_note"]
    assert name in shown["picture_note"]
    assert 'role="alert"' in shown["picture_note"]
    assert str(desk.folder.path) not in shown["picture_note"]
    assert visitor.chosen is None


def test_a_late_answer_is_left(desk: Desk) -> None:
    """About a picture that another one replaced meanwhile, whether it was good or bad."""
    handlers, visitor = PictureHandlers(desk), Visitor(language="en")

    async def overtake() -> list[Shown]:
        slow = handlers.choose(visitor, upload(desk, "notes.txt", b"no picture"))
        first = await anext(slow)
        visitor.choice += 1
        return [first, *[shown async for shown in slow]]

    shown = asyncio.run(overtake())
    assert len(shown) == 1
    assert "picture" not in shown[0]


def test_a_foreign_path_is_not_read(desk: Desk) -> None:
    """Only uploads are looked at."""
    shown = choose(PictureHandlers(desk), Visitor(language="en"), "/etc/hostname")
    assert "must be uploaded to this page first" in shown["picture_note"]


def test_an_example_is_one_file_for_all(desk: Desk) -> None:
    """Two runs of it are of the same picture, for any visitor."""
    handlers = Handlers(desk)
    assert handlers.example("coffee") == handlers.example("coffee")
    assert Path(handlers.example("coffee")).is_file()
    visitor = Visitor(language="en")
    shown = PictureHandlers(desk).take_example(visitor, "coffee")
    assert visitor.chosen is not None
    assert shown["picture"] == visitor.chosen.path


def test_the_inspector_keeps_limits_and_starts_anew(inspector: Inspector, tmp_path: Path) -> None:
    """Too many pixels are refused by kind; after its process was killed, one picture at most is refused."""
    CUP.save(tmp_path / "cup.tif")
    preview = tmp_path / "preview.webp"
    with pytest.raises(PictureTooLargeError, match="60 x 40 px"):
        inspector.inspect(tmp_path / "cup.tif", max_pixels=2399, preview=preview)
    process = inspector._process._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(PictureError, match="not there"):
        inspector.inspect(tmp_path / "absent.png", max_pixels=2400, preview=preview)
    found = inspector.inspect(tmp_path / "cup.tif", max_pixels=2400, preview=preview)
    assert (found.width, found.height, found.preview) == (60, 40, preview)


def test_a_session_s_own_copy_of_the_input_opens_no_file() -> None:
    """Gradio makes a component anew from its class when a session updates it: that one opens nothing either."""
    picture = picture_input(label="a")
    again = type(picture)(**picture.constructor_args)
    payload: Any = SimpleNamespace(path="/nowhere/notes.txt")
    assert again.preprocess(payload) == picture.preprocess(payload) == "/nowhere/notes.txt"
    assert again.preprocess(None) is None
    assert again.get_block_name() == "image"


def test_answers_about_a_preset_hold_no_values() -> None:
    """The browser has filled the form in; a late answer must not put another preset's values into it."""
    shown = Arrival(cast("Desk", None), preset="balanced").choose_preset(Visitor(language="en"), "smallest")  # fmt: skip
    assert shown["knobs"]
    assert all("value" not in update for update in shown["knobs"].values())
    model = preset_settings("balanced").model
    updates = grey_updates("rembg", model, "en", None, resets=False)
    assert all("value" not in update for update in updates.values())
    updates = grey_updates("rembg", model, "en", None, resets=True)
    assert updates["network_size"]["value"] == 0
