"""The `/cut` endpoint for programs; it shares the queue, limits and slots of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator  # Gradio reads annotations at run time
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.base.errors import SettingsError, TunerError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.slots import runs_of, submit_run
from rembg_tuner.settings.presets import DEFAULT_PRESET
from rembg_tuner.settings.results import Result
from rembg_tuner.web.locale.words import message_text
from rembg_tuner.web.pages.choices import visitor_settings
from rembg_tuner.web.pages.picture_runs import follow, make_run
from rembg_tuner.web.pages.visit import Turn, public_run
from rembg_tuner.web.pages.visitors import language_of_request
from rembg_tuner.web.pages.widgets import picture_input

if TYPE_CHECKING:
    from rembg_tuner.web.pages.desk import Desk

Answer = tuple[str | None, dict[str, Any]]
_DESCRIPTION = (
    "Cut a picture out. picture: an uploaded JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF. preset: a"
    " name from presets.yaml. settings: knobs by name, over the preset's. Returns the PNG and the"
    " result, or no file and a failure with kind, code and message, in the language that"
    " Accept-Language asks for."
)


def add_cut(desk: Desk) -> None:
    """Add the endpoint for programs to the page that is being built."""

    async def cut(
        request: gr.Request,
        picture: str | None,
        preset: str = DEFAULT_PRESET,
        settings: dict[str, Any] | None = None,
    ) -> AsyncIterator[Answer]:
        language = language_of_request(request)
        try:
            chosen = visitor_settings(preset or DEFAULT_PRESET, _checked(settings))
            work = make_run(desk, picture, chosen)
        except TunerError as error:
            yield None, _refused(error, language)
            return
        task = submit_run(desk.slots_lane, work)
        ticks = follow(
            task, is_busy=False
        )  # a program that disconnects frees its slot, as a visitor does
        try:
            async for _ in ticks:
                status = task.look()
                yield (
                    None,
                    {
                        "state": status.state,
                        "place": status.queue_position,
                        "stage": status.progress.stage,
                    },
                )
        finally:
            await ticks.aclose()
        run = runs_of(task)[-1]
        turn = Turn(
            number=0,
            picture=work.job.input.rsplit("/", 1)[-1],
            picture_path=work.job.input,
            preset=preset,
            settings=work.settings,
            runs=(run,),
        )
        yield work.job.output if isinstance(run, Result) else None, public_run(turn, run, language)

    # Components instead of gr.api: they check that a file was uploaded by this visitor.
    picture = picture_input(visible=False, label="picture")
    preset = gr.Textbox(DEFAULT_PRESET, visible=False, label="preset")
    settings = gr.JSON({}, visible=False, label="settings")
    file, result = gr.File(visible=False, label="file"), gr.JSON(visible=False, label="result")
    gr.Button(visible=False).click(
        cut,
        [picture, preset, settings],
        [file, result],
        api_name="cut",
        api_description=_DESCRIPTION,
        concurrency_limit=None,
    )


def _checked(settings: object) -> dict[str, object]:
    """Check the settings of a request; None means no settings.

    Raises:
        SettingsError: the settings are not a mapping.
    """
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise SettingsError(
            [
                Message(
                    "settings must be knobs by name, such as {example}, got {value}",
                    example="{}",
                    value=f"{settings!r:.80}",
                )
            ]
        )
    return settings


def _refused(error: TunerError, language: str) -> dict[str, Any]:
    """Return a refused request as a mapping with the fields of a Failure."""
    return {
        "kind": error.kind,
        "code": error.message.code or error.kind,
        "message": message_text(error.message, language),
        "stage": "prepare",
        "input": None,
        "settings": None,
        "run_index": 0,
    }
