"""The page in Gradio's web server: theme, middleware, health check and queue."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr
import gradio.queueing
import gradio.route_utils
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from rembg_tuner.web.api.endpoint import add_cut
from rembg_tuner.web.pages.assets import page_script, style_files
from rembg_tuner.web.pages.choices import LIMITS
from rembg_tuner.web.pages.desk import Desk
from rembg_tuner.web.pages.page import build_page, build_programs_page
from rembg_tuner.web.pages.visitors import Visitors
from rembg_tuner.web.pages.widgets import page_words
from rembg_tuner.web.server.connections import (
    cap_connections,
    heartbeat_route,
    max_connections,
    quiet_accepting,
)
from rembg_tuner.web.server.guard import Guard, GuardLimits
from rembg_tuner.web.server.request_checks import temporary_upload

if TYPE_CHECKING:
    import argparse

    from starlette.requests import Request

    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import RunnerSlot
    from rembg_tuner.web.pages.page_folder import PageFolder

_MAX_SESSIONS = 300
_FONTS = ["Inter", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", "system-ui", "sans-serif"]


def launch_page(
    arguments: argparse.Namespace, slots_lane: Lane[RunnerSlot], folder: PageFolder
) -> gr.Blocks:
    """Build the page and start to serve it.

    Raises:
        OSError: the port cannot be used.
    """
    desk = Desk.set_up(slots_lane, folder, Visitors(folder), may_download=arguments.downloads)
    if arguments.no_ui:
        page = build_programs_page(desk, add_api=add_cut)
    else:
        page = build_page(desk, preset=arguments.preset, add_api=add_cut)
    calm_queue(page)
    wake_on_arrival(page)
    vars(gradio.route_utils)["NamedTemporaryFile"] = temporary_upload
    cap_connections(max_connections())

    async def health(_: Request) -> JSONResponse:
        return JSONResponse(
            {
                "status": "ok",
                "running": slots_lane.running,
                "waiting": slots_lane.waiting,
                "slots": len(slots_lane.slots),
            }
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
        css_paths=style_files(),
        head=f"<script>{page_script()}</script>",
        **launch_arguments(),
    )
    return page


def _theme() -> gr.themes.Base:
    """Return the theme: greys with one accent colour, and fonts of the visitor's system."""
    return gr.themes.Base(
        primary_hue="teal",
        neutral_hue="slate",
        radius_size="md",
        spacing_size="sm",
        text_size="md",
        font=_FONTS,
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    )


def launch_arguments() -> dict[str, Any]:
    """Return the arguments of `launch()` that do not depend on the page."""
    return {
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,
        "run_history": False,  # otherwise the browser stores the pictures of every run
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "share": False,
        "inbrowser": False,
        "footer_links": ["api", "settings"],
        "state_session_capacity": _MAX_SESSIONS,
    }


def calm_queue(page: gr.Blocks) -> None:
    """Disable API calls that bypass the queue, and reduce its polling.

    With Gradio's intervals, the idle queue uses 6 % of a core.

    The values are set directly, since `page.queue()` would create the web application again
    (0.06 s).
    """
    page.api_open = False
    for name, seconds in (("sleep_when_free", 0.05), ("progress_update_sleep_when_free", 0.1)):
        if hasattr(page._queue, name):
            setattr(page._queue, name, seconds)


def wake_on_arrival(page: gr.Blocks) -> None:
    """End the queue's sleep between two polls when an event arrives.

    Otherwise an event waits 25 ms on average at 20 polls per second. More polls would use CPU time
    while the page is idle.
    """
    queue: Any = page._queue
    arrived = asyncio.Event()
    push = queue.push

    async def push_and_wake(*values: Any, **options: Any) -> Any:
        try:
            return await push(*values, **options)
        finally:
            arrived.set()

    async def sleep(seconds: float) -> None:
        if seconds != queue.sleep_when_free:
            await asyncio.sleep(seconds)
            return
        timer = asyncio.get_running_loop().call_later(seconds, arrived.set)
        await arrived.wait()
        timer.cancel()
        arrived.clear()

    queue.push = push_and_wake
    vars(gradio.queueing)["asyncio"] = SimpleNamespace(**{**vars(asyncio), "sleep": sleep})
