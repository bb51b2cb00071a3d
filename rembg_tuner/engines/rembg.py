"""The stock pipeline `rembg.remove`, for comparison; the only module that imports rembg and PIL.

It uses the same session options, and rembg's own environment and defaults: bytes in, PNG out. For 0
threads, ONNX Runtime chooses the number.
"""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import EngineError, PictureError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.engines.onnxruntime import session as ours
from rembg_tuner.engines.onnxruntime.loading import session_options
from rembg_tuner.engines.onnxruntime.providers import refuse_another_provider, require_provider
from rembg_tuner.imaging.complaints import meaning_of

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.settings import Value


# Errors that Pillow raises for a damaged picture, besides its own classes.
_PILLOWS_FAULTS = (OSError, ValueError, SyntaxError, EOFError, struct.error)


def version() -> str:
    """Return rembg's version."""
    from importlib.metadata import version as version_of

    return version_of("rembg")


class _StoppableSession:
    """An InferenceSession for rembg that is timed and can be terminated."""

    def __init__(self, session: Any) -> None:
        """Wrap a session."""
        self._session = session
        self.run_options = ours.fresh_run_options(is_shrinking=False)
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the session."""
        return getattr(self._session, name)

    def run(self, outputs: list[str] | None, feed: dict[str, NetworkInput]) -> list[RawOutput]:
        """Run the session, and add the time to `seconds`."""
        started = time.perf_counter()
        result = ours.run_session(self._session, feed, self.run_options, outputs)
        self.seconds += time.perf_counter() - started
        return result


class RembgEngine:
    """A rembg session."""

    def __init__(self, request: EngineRequest) -> None:
        """Create the session as users of rembg do.

        Raises:
            MissingProviderError: the requested provider is missing, or is not the one that runs.
        """
        settings, model = request.settings, request.model
        # The folder of the file that was found, so that rembg downloads nothing.
        os.environ["U2NET_HOME"] = str(Path(model.path).parent)
        import rembg

        provider = require_provider(settings.provider)
        threads_before = ours.count_threads()
        options = session_options(settings, threads=0)
        session = rembg.new_session(model.name, sess_opts=options, providers=[provider])
        refuse_another_provider(session.inner_session, settings.provider)
        self._rembg = rembg
        # For clothes rembg returns three pictures; for this category, only the one that this
        # program returns.
        self._extras = {"cloth_category": "attire"} if model.post == "classes" else {}
        self._session = session
        self._inner = _StoppableSession(session.inner_session)
        session.inner_session = self._inner
        effective = ours.read_back(self._inner._session)
        if effective["intra_op_threads"] is None and threads_before is not None:
            # 0 was requested: count the threads of ONNX Runtime's pool and the calling thread.
            effective["intra_op_threads"] = (ours.count_threads() or 0) - threads_before + 1
        self.effective: dict[str, Value] = {
            "model": model.name,
            "engine": "rembg",
            **effective,
            "network_size": model.side,
        }
        self.warnings: tuple[Message, ...] = ()

    def remove_background(self, picture: bytes, max_side: int) -> tuple[bytes, float]:
        """Cut out a picture as rembg does; see `StockEngine`."""
        from PIL import Image, UnidentifiedImageError

        self._inner.run_options = ours.fresh_run_options(is_shrinking=False)
        self._inner.seconds = 0.0
        try:
            if not max_side:
                cutout: bytes = self._rembg.remove(picture, session=self._session, **self._extras)
                return cutout, self._inner.seconds
            image = self._rembg.bg.fix_image_orientation(Image.open(io.BytesIO(picture)))
            image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
            file = io.BytesIO()
            self._rembg.remove(image, session=self._session, **self._extras).save(file, "PNG")
            return file.getvalue(), self._inner.seconds
        except UnidentifiedImageError as error:
            raise PictureError(
                Message(
                    "rembg does not read this kind of picture; choose another engine, or save it"
                    " as PNG"
                )
            ) from error
        except (*_PILLOWS_FAULTS, Image.DecompressionBombError) as error:
            meaning = meaning_of(str(error))
            raise PictureError(
                Message("rembg cannot cut this picture out: {reason}", reason=meaning)
            ) from error

    def cancel(self) -> None:
        """Stop the running inference; rembg's other steps continue."""
        self._inner.run_options.terminate = True

    def close(self) -> None:
        """Release the session."""
        del self._session, self._inner


def import_rembg() -> str:
    """Import rembg before the first load, and return its version.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import rembg  # noqa: F401
    except ImportError as error:
        raise EngineError(
            Message(
                "engine rembg is not installed ({error}); pip install 'rembg-tuner[rembg]'",
                error=Quoted(str(error)),
            )
        ) from error
    return version()
