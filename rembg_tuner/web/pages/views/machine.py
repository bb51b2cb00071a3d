"""The machine as the page shows it: what `doctor` says."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import size

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.diagnosis import Diagnosis


def show_machine(found: Diagnosis, *, running: int, waiting: int, language: str) -> str:
    """Draw the machine, the engines and the providers."""
    quota = (
        page_text("machine.no_quota", language)
        if found.quota_cpus is None
        else f"{found.quota_cpus:g}"
    )
    load = (
        page_text("unknown", language)
        if found.load_average is None
        else f"{found.load_average:.2f}"
    )
    limit = (
        page_text("machine.no_limit", language)
        if found.memory_limit_bytes is None
        else size(found.memory_limit_bytes, language)
    )
    facts = [
        ("machine.cpu", found.cpu),
        (
            "machine.cpus",
            page_text(
                "machine.cpus.value",
                language,
                usable=found.usable_cpus,
                affinity=found.affinity_cpus,
                quota=quota,
            ),
        ),
        ("machine.features", ", ".join(found.features) or page_text("none", language)),
        (
            "machine.memory",
            page_text(
                "machine.memory.value",
                language,
                available=size(found.available_memory_bytes, language),
                total=size(found.total_memory_bytes, language),
            ),
        ),
        ("machine.limit", limit),
        ("machine.load", load),
        (
            "machine.queue",
            page_text("machine.queue.value", language, running=running, waiting=waiting),
        ),
        ("machine.peak", page_text(f"machine.peak.{found.peak_source}", language)),
        ("machine.versions", f"Python {found.python} · libvips {found.libvips} · {found.deflate}"),
    ]
    table = "".join(
        f"<tr><th scope='row'>{page_text(key, language)}</th><td>{escape(text)}</td></tr>"
        for key, text in facts
    )
    engines = "".join(
        _state(e.name, e.version is not None, e.version or "", e.detail, language)
        for e in found.engines
    )
    providers = "".join(
        _state(p.name, p.is_present, "", p.detail, language) for p in found.providers
    )
    return (
        "<div"
        f' class="rt-machine"><section><h2>{page_text("machine.title", language)}</h2><table>{table}</table></section>'
        f"<section><h2>{page_text('machine.engines', language)}</h2><ul>{engines}</ul></section>"
        f"<section><h2>{page_text('machine.providers', language)}</h2><ul>{providers}</ul></section></div>"
    )


def show_unasked(language: str) -> str:
    """Show that the machine is being asked."""
    return f'<p class="rt-empty">{page_text("machine.asking", language)}</p>'


def _state(name: str, is_here: bool, version: str, detail: Message | None, language: str) -> str:
    """Draw one thing that is here or not, by a sign and a word, never by colour alone."""
    word = page_text("here" if is_here else "absent", language)
    kind = "rt-here" if is_here else "rt-absent"
    note = f"<p>{escape(message_text(detail, language))}</p>" if detail else ""
    return (
        f'<li class="{kind}"><b>{escape(name)}</b> <span>{word}</span>'
        f" <i>{escape(version)}</i>{note}</li>"
    )
