"""The choice of a picture without a browser: shown, rejected with the reason, or replaced."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import pytest
from made_tasks import task_of_runs
from PIL import Image
from test_ui_visit import FAILURE, RESULT, turn

from rembg_tuner.base.errors import OutputError, PictureError, PictureTooLargeError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.picture_processes import Inspector
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.choices import preset_settings
from rembg_tuner.web.pages.cut_tab.form import FormEvents
from rembg_tuner.web.pages.cut_tab.picture import PictureEvents
from rembg_tuner.web.pages.cut_tab.runs import RunEvents
from rembg_tuner.web.pages.desk import example_of
from rembg_tuner.web.pages.page_folder import PageFolder
from rembg_tuner.web.pages.picture_runs import Look, make_run
from rembg_tuner.web.pages.visitors import Original, Originals, Visitor
from rembg_tuner.web.pages.widgets import grey_updates, picture_input

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.runtime.slots import Runs
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.web.pages.desk import Desk
from rembg_tuner.web.pages.events import Shown

CUP = Image.new("RGB", (60, 40), (200, 30, 30))


@pytest.fixture(scope="module")
def inspector() -> Iterator[Inspector]:
    """Start one process that reads pictures."""
    inspector = Inspector()
    yield inspector
    inspector.close()


@pytest.fixture
def desk(inspector: Inspector, tmp_path: Path) -> Iterator[Desk]:
    """Create the parts of a desk that picture handlers use."""
    with PageFolder(tmp_path) as folder:
        lane = SimpleNamespace(running=0, waiting=0)
        yield cast("Desk", SimpleNamespace(folder=folder, inspector=inspector, slots_lane=lane))


def upload(desk: Desk, name: str, content: bytes | None = None) -> str:
    """Write a file to the folder of uploads."""
    path = desk.folder.new_job() / name
    if content is None:
        CUP.save(path)
    else:
        path.write_bytes(content)
    return str(path)


def choose_in_turn(handlers: PictureEvents, visitor: Visitor, picture: str) -> list[Shown]:
    """Choose a picture and return each response."""

    async def collect() -> list[Shown]:
        return [shown async for shown in handlers.choose(visitor, picture)]

    return asyncio.run(collect())


def choose(handlers: PictureEvents, visitor: Visitor, picture: str | None) -> Shown:
    """Choose a picture and return the merged responses."""

    async def collect() -> Shown:
        shown: Shown = {}
        async for part in handlers.choose(visitor, picture):
            shown |= part
        return shown

    return asyncio.run(collect())


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tif", "avif", "bmp"])
def test_a_picture_is_shown_before_it_is_run(desk: Desk, suffix: str) -> None:
    """The file itself is shown at once if every browser can show it, then its JPEG.

    The previous result and its download are removed.
    """
    visitor, path = Visitor(language="en"), upload(desk, f"cup.{suffix}")
    first, *later = choose_in_turn(PictureEvents(desk), visitor, path)
    assert 'data-state="empty"' in first["result"]
    assert "60 × 40 px" in later[0]["result"]
    is_shown = suffix not in {"tif", "avif", "bmp"}
    assert (path in unquote(later[0]["viewer"]["before"])) == is_shown
    assert len(later) == 1 + is_shown
    viewer: dict[str, Any] = later[-1]["viewer"]
    assert (viewer["turn"], "download" in viewer, viewer["alt"]) == (0, False, f"cup.{suffix}")
    assert visitor.chosen is not None
    with Image.open(visitor.chosen.shown) as image:
        assert (image.format, image.size) == ("JPEG", (60, 40))
    gone = choose(PictureEvents(desk), visitor, None)
    assert gone["viewer"] is None
    assert "Nothing has run yet" in gone["result"]
    assert visitor.chosen is None


@pytest.mark.parametrize(("running", "waiting"), [(1, 0), (0, 1)])
def test_nothing_is_made_of_a_picture_beside_a_run(desk: Desk, running: int, waiting: int) -> None:
    """During a run only the file itself is shown, so that the run's figures do not change."""
    desk.slots_lane = SimpleNamespace(running=running, waiting=waiting)  # type: ignore[misc, assignment]
    visitor, path = Visitor(language="en"), upload(desk, "cup.png")
    choose(PictureEvents(desk), visitor, path)
    assert visitor.chosen is not None
    assert visitor.chosen.shown == path
    assert visitor.originals.find(path) is None


def test_a_run_waits_for_what_is_made_of_its_picture(desk: Desk) -> None:
    """A run waits until the JPEG of its picture has been made, or has failed.

    The run of a damaged picture reports the reason.
    """
    handlers, visitor = PictureEvents(desk), Visitor(language="en")
    whole = BytesIO()
    Image.effect_noise((400, 300), 90).save(whole, "PNG")
    damaged = whole.getvalue()[:9000] + bytes(200) + whole.getvalue()[9200:]
    paths = upload(desk, "cup.png"), upload(desk, "damaged.png", damaged)

    async def choose_and_run(path: str) -> Original | None:
        answers = handlers.choose(visitor, path)
        shown = [await anext(answers), await anext(answers)]
        assert "picture" not in shown[1]
        rest = asyncio.create_task(anext(answers, {}))
        while visitor.preparing is None:
            await asyncio.sleep(0)
        await visitor.prepared()
        found = visitor.originals.find(path)
        await rest
        return found

    made = [asyncio.run(choose_and_run(path)) for path in paths]
    assert made[0] is not None
    assert made[1] is None


def test_an_order_is_for_what_the_browser_can_show(desk: Desk) -> None:
    """A mask is requested if the browser supports masks.

    Otherwise, and for the stock pipeline, the cut-out with its colours is requested.
    """
    path = upload(desk, "cup.png")
    original = Original(colours="/made/before.jpg", shown="/made/before.webp")
    for engine, has_masks, name in (
        ("openvino", True, "mask.png"),
        ("openvino", False, "after.webp"),
        ("rembg", True, "after.webp"),
    ):
        settings = (
            replace(preset_settings("balanced"), engine="openvino")
            if engine == "openvino"
            else Settings(engine="rembg")
        )
        for made in (original, None):
            look = Look(original=made, has_masks=has_masks)
            job = make_run(desk, path, (settings, ()), look=look).job
            shown = [Path(file).name for file in (job.mask, job.preview) if file]
            assert shown == [name]
            assert Path(job.before_preview or "").name == "before.jpg"
            assert (job.before_preview == "/made/before.jpg") == (made is not None)
    plain = make_run(desk, path, (settings, ())).job
    assert (plain.mask, plain.preview, plain.before_preview) == (None, None, None)


def test_an_original_is_found_by_picture_and_side(tmp_path: Path) -> None:
    """An original is found while all its files exist; a run that uses it renews their times."""
    for name in ("before.jpg", "before.webp"):
        (tmp_path / name).write_bytes(b"a")
        os.utime(tmp_path / name, (0, 0))
    original, originals = Original.of(str(tmp_path / "before.jpg")), Originals()
    assert original.shown.endswith(".webp")
    originals.add("a.png", original, Settings(max_side=1024))
    assert originals.find("a.png", Settings(max_side=1024)) == original
    assert originals.find("a.png", Settings()) is None
    originals.add("a.png", original)
    assert originals.find("a.png", Settings(max_side=4096)) == original
    original.keep()
    assert min(path.stat().st_mtime for path in tmp_path.iterdir()) > 1
    (tmp_path / "before.webp").unlink()
    assert originals.find("a.png") is None
    original.keep()
    assert [path.name for path in tmp_path.iterdir()] == ["before.jpg"]


def test_a_result_stays_when_its_picture_is_taken_away(desk: Desk) -> None:
    """The result is removed when another picture is chosen.

    A current run is not affected, and removing without a picture changes nothing.
    """
    handlers, visitor = PictureEvents(desk), Visitor(language="en")
    assert handlers.remove(visitor) == {"picture_note": ""}
    first, second = upload(desk, "a.png"), upload(desk, "b.png")
    choose(handlers, visitor, first)
    visitor.visit = visitor.visit.add(replace(turn(RESULT), picture_path=first))
    assert handlers.remove(visitor) == {"picture_note": ""}
    choose(handlers, visitor, second)
    visitor.task = cast("Task[Runs]", object())
    assert handlers.remove(visitor) == {"picture_note": ""}
    visitor.task = None
    choose(handlers, visitor, second)
    assert handlers.remove(visitor)["viewer"] is None


def test_a_picture_that_was_run_is_new_when_it_is_chosen_again(desk: Desk) -> None:
    """The previous result is removed with the choice.

    A later removal leaves nothing, and no result returns.
    """
    handlers, visitor = PictureEvents(desk), Visitor(language="en")
    first = upload(desk, "a.png")
    choose(handlers, visitor, first)
    visitor.visit = visitor.visit.add(replace(turn(RESULT), picture_path=first))
    choose(handlers, visitor, first)
    assert visitor.visit.current is None
    gone = handlers.remove(visitor)
    assert gone["viewer"] is None
    assert "No picture chosen" in gone["result"]
    handlers.choose_example(visitor, {"example": "coffee"})
    visitor.visit = visitor.visit.add(turn(RESULT))
    handlers.choose_example(visitor, {"example": "coffee"})
    assert handlers.remove(visitor)["viewer"] is None


def test_a_picture_is_the_visitors_while_it_is_checked(desk: Desk) -> None:
    """A picture that is removed before the response leaves nothing behind."""
    handlers, visitor = PictureEvents(desk), Visitor(language="en")

    async def take_away_early() -> list[Shown]:
        answers = handlers.choose(visitor, upload(desk, "a.png"))
        await anext(answers)
        return [handlers.remove(visitor), *[shown async for shown in answers]]

    gone, *late = asyncio.run(take_away_early())
    assert gone["viewer"] is None
    assert late == []
    assert visitor.chosen is None


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("notes.jpg", b"no picture at all", "is not a picture in a supported format"),
        ("empty.png", b"", "is empty (0 bytes)"),
        ("bad.png", b"\x89PNG\r\n\x1a\n" + b"junk" * 9, "damaged"),
        ("great.gif", b"GIF89a" + (9000).to_bytes(2, "little") * 2 + bytes(60), "great.gif"),
    ],
)
def test_a_bad_file_is_refused_beside_the_picture(
    desk: Desk, name: str, content: bytes, told: str
) -> None:
    """The alert has the file's name without its path, and the picture is removed."""
    visitor = Visitor(language="en")
    shown = choose(PictureEvents(desk), visitor, upload(desk, name, content))
    assert shown["picture"] is None
    assert shown["viewer"] is None
    assert told in shown["picture_note"]
    assert name in shown["picture_note"]
    assert 'role="alert"' in shown["picture_note"]
    assert str(desk.folder.path) not in shown["picture_note"]
    assert visitor.chosen is None


@pytest.mark.parametrize("is_done", [False, True], ids=["running", "done"])
def test_a_run_that_is_quicker_than_the_check_stays_in_sight(desk: Desk, is_done: bool) -> None:
    """Run was pressed as soon as the picture was uploaded.

    The result of the check replaces neither the run nor its result.
    """
    visitor, path = Visitor(language="en"), upload(desk, "cup.png")

    async def run_meanwhile() -> list[Shown]:
        answers = PictureEvents(desk).choose(visitor, path)
        first = await anext(answers)
        if is_done:
            visitor.visit = visitor.visit.add(replace(turn(RESULT), picture_path=path))
        else:
            work = SimpleNamespace(job=SimpleNamespace(input=path))
            visitor.task = cast("Task[Runs]", SimpleNamespace(work=work))
        return [first, *[shown async for shown in answers]]

    first, *later = asyncio.run(run_meanwhile())
    assert "result" in first
    assert not any({"result", "viewer"} & shown.keys() for shown in later)
    assert visitor.chosen is not None
    assert (visitor.visit.current is not None) == is_done


def test_a_run_that_came_before_its_picture_is_not_replaced(desk: Desk) -> None:
    """The two events are sent at the same time, and either may arrive first."""
    visitor, path = Visitor(language="en"), upload(desk, "cup.png")
    work = SimpleNamespace(job=SimpleNamespace(input=path))
    visitor.task = cast("Task[Runs]", SimpleNamespace(work=work))
    assert choose(PictureEvents(desk), visitor, path) == {"picture_note": ""}


def test_a_late_answer_is_left(desk: Desk) -> None:
    """A response about a replaced picture is ignored, whether the picture was valid or not."""
    handlers, visitor = PictureEvents(desk), Visitor(language="en")

    async def overtake() -> list[Shown]:
        slow = handlers.choose(visitor, upload(desk, "notes.txt", b"no picture"))
        first = await anext(slow)
        visitor.choice += 1
        return [first, *[shown async for shown in slow]]

    shown = asyncio.run(overtake())
    assert len(shown) == 1
    assert "picture" not in shown[0]


def test_a_foreign_path_is_not_read(desk: Desk) -> None:
    """Only uploaded files are read."""
    shown = choose(PictureEvents(desk), Visitor(language="en"), "/etc/hostname")
    assert "must be uploaded to this page first" in shown["picture_note"]


@pytest.mark.parametrize("backdrop", ["no-colour", "white"])
def test_a_colour_that_cannot_be_written_is_told_as_a_message(
    desk: Desk, tmp_path: Path, backdrop: str
) -> None:
    """An invalid colour or a failed run is reported as a message, rendered for the visitor."""
    picture = upload(desk, "cup.png")
    done = replace(turn(RESULT), picture_path=picture, download=str(tmp_path / "x" / "cup.png"))
    visitor = Visitor(language="zh-CN")
    visitor.visit = visitor.visit.add(done)
    failed = task_of_runs(FAILURE)

    async def no_ticks(*_: object, **__: object) -> Any:
        none: tuple[object, ...] = ()
        for tick in none:
            yield tick

    async def collect() -> list[Shown]:
        sent = {"turn": "1", "backdrop": backdrop}
        found = RunEvents(desk).change_backdrop(visitor, sent)
        return [shown async for shown in found]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("rembg_tuner.web.pages.cut_tab.runs.follow", no_ticks)
        cast("Any", desk).slots_lane.submit = lambda *_, **__: failed
        (told,) = [shown["warning"] for shown in asyncio.run(collect()) if "warning" in shown]
    assert isinstance(told, Message)


def test_an_example_is_one_file_for_all(desk: Desk) -> None:
    """All visitors share the file of an example."""
    assert example_of(desk, "coffee") == example_of(desk, "coffee")
    assert Path(example_of(desk, "coffee")).is_file()
    visitor = Visitor(language="en")
    shown = PictureEvents(desk).choose_example(visitor, {"example": "coffee"})
    assert visitor.chosen is not None
    assert shown["picture"] == visitor.chosen.path


def test_the_inspector_keeps_limits_and_starts_anew(inspector: Inspector, tmp_path: Path) -> None:
    """Too many pixels raise their own kind of error.

    After its process was killed, at most one picture is rejected.
    """
    picture, target = tmp_path / "cup.tif", tmp_path / "before.jpg"
    CUP.save(picture)
    with pytest.raises(PictureTooLargeError, match="60 x 40 px"):
        inspector.inspect(picture, max_pixels=2399)
    with pytest.raises(PictureTooLargeError, match="60 x 40 px"):
        inspector.make_original(picture, target, max_pixels=2399)
    inspector._process.kill()
    with pytest.raises(PictureError, match="does not exist"):
        inspector.inspect(tmp_path / "absent.png", max_pixels=2400)
    found = inspector.inspect(picture, max_pixels=2400)
    assert (found.width, found.height, found.is_shown) == (60, 40, False)
    with pytest.raises(OutputError, match="cannot be written"):
        inspector.make_original(picture, tmp_path / "absent" / "before.jpg", max_pixels=2400)
    inspector.make_original(picture, target, max_pixels=2400)
    assert target.is_file()


def test_a_session_s_own_copy_of_the_input_opens_no_file() -> None:
    """Gradio creates a component again from its class when a session updates it.

    The new component opens no file either.
    """
    picture = picture_input(label="a")
    again = type(picture)(**picture.constructor_args)
    payload: Any = SimpleNamespace(path="/nowhere/notes.txt")
    assert again.preprocess(payload) == picture.preprocess(payload) == "/nowhere/notes.txt"
    assert again.preprocess(None) is None
    assert again.get_block_name() == "image"


def test_answers_about_a_preset_hold_no_values() -> None:
    """The browser has filled in the form.

    A late response must not overwrite it with another preset's values.
    """
    shown = FormEvents(cast("Desk", None), preset="balanced").choose_preset(
        Visitor(language="en"), "smallest"
    )
    assert shown["knobs"]
    assert all("value" not in update for update in shown["knobs"].values())
    model = preset_settings("balanced").model
    updates = grey_updates("rembg", model, "off", "en", None, resets=False)
    assert all("value" not in update for update in updates.values())
    updates = grey_updates("rembg", model, "off", "en", None, resets=True)
    assert updates["network_size"]["value"] == 0
