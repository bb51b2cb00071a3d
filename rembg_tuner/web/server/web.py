"""The page under Gradio's web server: theme, middleware, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr
import gradio.route_utils
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from rembg_tuner.web.pages.choices import LIMITS
from rembg_tuner.web.pages.handlers import Desk
from rembg_tuner.web.pages.page import build_page, build_programs_page
from rembg_tuner.web.pages.visitors import Visitors
from rembg_tuner.web.pages.widgets import ASSETS, page_words, script
from rembg_tuner.web.server.connections import cap_connections, max_connections, quiet_accepting
from rembg_tuner.web.server.guard import Guard, GuardLimits
from rembg_tuner.web.server.heartbeat import heartbeat_route
from rembg_tuner.web.server.launch import calm_queue, launch_arguments
from rembg_tuner.web.server.uploads import temporary_upload
from rembg_tuner.web.server.waking import wake_on_arrival

if TYPE_CHECKING:
    import argparse

    from starlette.requests import Request

    from rembg_tuner.runtime.line import WaitingLine
    from rembg_tuner.web.pages.page_folder import PageFolder

_FONTS = ["Inter", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "system-ui", "sans-serif"]


def launch_page(arguments: argparse.Namespace, line: WaitingLine, folder: PageFolder) -> gr.Blocks:
    """Build the page and begin to serve it.

    Raises:
        OSError: the port cannot be had.
    """
    desk = Desk.set_up(line, folder, Visitors(folder), may_download=arguments.downloads)
    if arguments.no_ui:
        page = build_programs_page(desk)
    else:
        page = build_page(desk, preset=arguments.preset)
    calm_queue(page)
    wake_on_arrival(page)
    vars(gradio.route_utils)["NamedTemporaryFile"] = temporary_upload
    cap_connections(max_connections())

    async def health(_: Request) -> JSONResponse:
        return JSONResponse(
            {"status": "ok", "running": line.running, "waiting": line.waiting, "slots": line.slots}
        )

    events = frozenset(number for number, event in page.fns.items() if event.fn is not None)
    limits = GuardLimits(folder=folder.path, upload_bytes=LIMITS.upload_bytes, events=events)
    guard = Middleware(Guard, limits=limits)

    def leave(session: str) -> None:
        desk.visitors.leave(session)
        if (state := page.app.state_holder.session_data.get(session)) is not None:
            state.is_closed = True

    heartbeat = heartbeat_route(leave, lambda: page.app.stop_event)
    app_kwargs: dict[str, Any] = {
        "middleware": [guard],
        "routes": [Route("/healthz", health), heartbeat],
        "lifespan": quiet_accepting,
    }
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        app_kwargs=app_kwargs,
        max_file_size=LIMITS.upload_bytes,
        i18n=page_words(),
        theme=_theme(),
        css_paths=[ASSETS / "page.css"],
        head=f"<script>{script()}</script>",
        **launch_arguments(),
    )
    return page


def _theme() -> gr.themes.Base:
    """Quiet greys, one accent; fonts of the visitor's own machine."""
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        spacing_size="sm",
        text_size="md",
        font=_FONTS,
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )
