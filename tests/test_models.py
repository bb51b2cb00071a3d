"""The models: the embedded file, the catalogue compared with rembg's source, free graphs."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import itertools
import os
import pwd
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest
import pyvips
from PIL import Image

from rembg_tuner.base.errors import MissingModelError, ModelError
from rembg_tuner.base.messages import render
from rembg_tuner.imaging.matte import foreground_of, scale_to_matte
from rembg_tuner.imaging.network_input import normalise
from rembg_tuner.models.catalogue import (
    EMBEDDED_FOLDER,
    CatalogueEntry,
    find_entry,
    find_model,
    int8_place,
    read_catalogue,
    read_unfit,
    rembg_folders,
)
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

U2NETP = EMBEDDED_FOLDER / "u2netp.onnx"
SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
MD5 = "8e83ca70e441ab06c318d82300c84806"
HOME_VARIABLES = ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME")


def rembg_sessions() -> Path:
    """Find rembg's session classes without importing rembg, which takes seconds."""
    spec = importlib.util.find_spec("rembg")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "sessions"


@cache
def rembg_models() -> dict[str, dict[str, object]]:
    """Return rembg's sessions by name, each with its class, addresses and checksums.

    The function imports rembg in this process and creates no networks.
    """
    from rembg.sessions import sessions

    models: dict[str, dict[str, object]] = {}
    for name, session in sessions.items():
        source = Path(inspect.getfile(session)).read_text(encoding="utf-8")
        texts = [
            node.value
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        models[name] = {
            "session": session,
            "urls": [text for text in texts if text.startswith("https://github.com/")],
            "checksums": [text for text in texts if text.startswith(("md5:", "sha256:"))],
        }
    return models


class StubNetwork:
    """Replaces rembg's InferenceSession: records its input and returns a fixed output."""

    def __init__(self, answer: npt.NDArray[np.float32]) -> None:
        """Store the output of every run."""
        self.answer = answer
        self.fed: Any = None

    def get_inputs(self) -> list[Any]:
        """Return one input."""
        return [SimpleNamespace(name="x")]

    def run(self, _outputs: None, feed: dict[str, npt.NDArray[np.float32]]) -> list[Any]:
        """Record the input and return the output."""
        self.fed = feed["x"]
        return [self.answer]


@cache
def rembg_base() -> Any:
    """Load rembg's BaseSession alone from its file."""
    spec = importlib.util.spec_from_file_location("rembg_base", rembg_sessions() / "base.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BaseSession


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create an empty home folder and unset rembg's variables."""
    for name in HOME_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_the_embedded_model_is_the_released_one() -> None:
    """Size and both checksums are those of the file that rembg downloads."""
    content = U2NETP.read_bytes()
    assert len(content) == 4_574_861
    assert hashlib.sha256(content).hexdigest() == SHA256
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5


def test_the_embedded_model_comes_with_its_licence() -> None:
    """The Apache licence is stored beside the model file."""
    text = (EMBEDDED_FOLDER / "LICENSE-u2netp.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text


def test_the_catalogue_has_every_session_of_rembg() -> None:
    """Every session of rembg is in the catalogue or among the unsupported ones, with the reason."""
    assert {*read_catalogue(), *read_unfit()} == set(rembg_models())
    assert all(reason.strip() for reason in read_unfit().values())


def test_no_session_that_sends_pictures_away_runs_here() -> None:
    """A session that is remote in rembg, or needs a credential, is rejected with the reason."""
    remote = [
        name
        for name, model in rembg_models().items()
        if not cast("Any", model["session"]).is_local()
        or cast("Any", model["session"]).requires_credentials()
    ]
    assert sorted(remote) == ["atlascloud", "withoutbg"]
    for name in remote:
        with pytest.raises(ModelError, match="it sends every picture to a third party"):
            find_model(name)


@pytest.mark.parametrize("name", list(read_catalogue()))
def test_an_entry_is_got_from_where_rembg_gets_it(name: str) -> None:
    """The address, checksum and file name equal those of rembg's class."""
    entry, theirs = read_catalogue()[name], rembg_models()[name]
    assert entry.name == name
    assert entry.file == f"{name}.onnx"  # rembg's f"{cls.name()}.onnx"
    if entry.url is None:
        assert entry.made_from in read_catalogue()
        return
    assert theirs["urls"] == [entry.url]
    ((algorithm, digest),) = (
        entry.checksums.items() if name != "u2netp" else [("md5", str(entry.md5))]
    )
    assert theirs["checksums"] == [f"{algorithm}:{digest}"]


@pytest.mark.parametrize("name", list(read_catalogue()))
def test_an_entry_is_fed_and_read_as_rembg_does(name: str) -> None:
    """The network input and the matte equal those of rembg's class, which runs over a stub."""
    entry = read_catalogue()[name]
    chance = np.random.default_rng(0)
    picture = chance.integers(0, 256, (entry.side, entry.side, 3), np.uint8)
    channels = 4 if entry.post == "classes" else 1
    blobs = (
        chance.standard_normal((channels, 8, 8))
        .repeat(entry.side // 8, 1)
        .repeat(entry.side // 8, 2)
    )
    answer = (blobs if entry.post != "minmax" else 1 / (1 + np.exp(-blobs)))[None].astype(
        np.float32
    )
    network = StubNetwork(answer)
    session = cast("Any", rembg_models()[name]["session"]).__new__(
        cast("Any", rembg_models()[name]["session"])
    )
    session.inner_session = network
    extras = {"cloth_category": "attire"} if entry.post == "classes" else {}
    (mask,) = session.predict(Image.fromarray(picture), **extras)
    small = pyvips.Image.new_from_memory(picture.tobytes(), entry.side, entry.side, 3, "uchar")
    ours = normalise(small, side=entry.side, mean=entry.mean, std=entry.std)
    assert network.fed.shape == (1, 3, entry.side, entry.side)
    assert float(np.abs(network.fed - ours).max()) <= 1e-5
    matte = scale_to_matte(foreground_of(answer[0], entry.post))
    assert float(np.abs(np.asarray(mask) / 255 - matte).max()) <= 1 / 255 + 1e-6


@pytest.mark.parametrize("name", list(read_catalogue()))
def test_an_entry_of_the_catalogue_is_whole(name: str) -> None:
    """Every field has the right type; the licence and the use are not empty."""
    entry = read_catalogue()[name]
    texts = (entry.file, entry.family, entry.licence, entry.good_for)
    assert [type(text) for text in texts] == [str] * 4
    assert all(text.strip() for text in texts)
    assert entry.commercial in ("yes", "no", "ask")
    assert type(entry.side) is int
    assert entry.bytes is None or type(entry.bytes) is int
    assert str(entry.size_text()) or entry.url is None
    assert all(len(bytes.fromhex(digest)) in (16, 32) for digest in entry.checksums.values())
    assert bool(entry.checksums) == (entry.url is not None)


def test_the_catalogue_knows_the_embedded_file() -> None:
    """The entry of u2netp describes the embedded file."""
    entry = read_catalogue()["u2netp"]
    assert (entry.bytes, entry.sha256, entry.md5) == (4_574_861, SHA256, MD5)
    assert entry.find() == U2NETP


def test_u2netp_is_found_without_anything_else() -> None:
    """The default model needs no download, and its spec is complete."""
    spec = find_model("u2netp")
    assert Path(spec.path) == Path(spec.graph_path) == U2NETP
    assert spec.checksums == {"sha256": SHA256}
    assert (spec.name, spec.side, spec.mean, spec.std) == (
        "u2netp",
        320,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    assert verify(spec) == SHA256


def spec_of(path: Path, checksums: dict[str, str]) -> ModelSpec:
    """Return a spec that describes a file as u2netp."""
    return ModelSpec(
        name="u2netp",
        path=str(path),
        graph_path=str(path),
        checksums=checksums,
        side=320,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize(
    ("start", "content", "size"),
    [
        pytest.param(0, U2NETP.read_bytes()[:-1], "4,574,860 bytes", id="cut-short"),
        pytest.param(0, b"", "0 bytes", id="empty"),
        pytest.param(0, b"<html>not found</html>", "22 bytes", id="a-web-page"),
        pytest.param(1_000_000, b"\xa5", "4,574,861 bytes", id="altered"),
        pytest.param(4_574_861, b"\0", "4,574,862 bytes", id="longer"),
    ],
)
def test_another_file_than_the_released_one_is_refused(
    tmp_path: Path, algorithm: str, start: int, content: bytes, size: str
) -> None:
    """The error names the file, its size, both checksums and the remedy."""
    released = U2NETP.read_bytes()
    path = tmp_path / "u2netp.onnx"
    altered = released[:start] + content + (released[start + 1 :] if start else b"")
    path.write_bytes(altered)
    expected = {"sha256": SHA256, "md5": MD5}[algorithm]
    found = hashlib.new(algorithm, altered, usedforsecurity=False).hexdigest()
    with pytest.raises(ModelError) as caught:
        verify(spec_of(path, {algorithm: expected}))
    assert str(caught.value).startswith(
        f"{path} ({size}) is not the released u2netp: its {algorithm} is {found}, expected "
        f"{expected}; if it is cut short, delete it and get it again; if it is a file of your own, "
    )


def test_a_model_that_went_away_is_told_by_name(tmp_path: Path) -> None:
    """The error for a file deleted after the lookup has its path and the reason."""
    path = tmp_path / "gone.onnx"
    with pytest.raises(ModelError) as caught:
        verify(spec_of(path, {}))
    assert str(caught.value) == f"the model's file {path} cannot be read: No such file or directory"


def test_an_own_file_is_known_by_its_sha256(tmp_path: Path) -> None:
    """Without a reference checksum, the digest still distinguishes two files."""
    path = tmp_path / "own.onnx"
    path.write_bytes(b"one")
    one = verify(spec_of(path, {}))
    assert one == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"other")
    assert verify(spec_of(path, {})) != one


def possible_places(home: Path, tmp_path: Path) -> list[Path]:
    """List places that some combination of the variables selects, and some that none selects."""
    folders = [tmp_path / "u2", tmp_path / "re", tmp_path / "xdg" / "rembg"]
    folders += [home / ".rembg", home / ".u2net", tmp_path / "xdg" / ".u2net"]
    nested = [folder / "models" / "u2net" / "u2net.onnx" for folder in folders]
    return nested + [folder / "u2net.onnx" for folder in folders]


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(names, id="+".join(names) or "none")
        for count in range(4)
        for names in itertools.combinations(HOME_VARIABLES, count)
    ],
)
def test_a_model_is_found_where_rembg_finds_it(
    bare_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: Sequence[str]
) -> None:
    """For each combination of variables and one or two copies, the choice equals rembg's."""
    values = {
        "U2NET_HOME": str(tmp_path / "u2"),
        "REMBG_HOME": str(tmp_path / "re"),
        "XDG_DATA_HOME": str(tmp_path / "xdg"),
    }
    for name in variables:
        monkeypatch.setenv(name, values[name])
    session: Any = type("Session", (rembg_base(),), {"name": classmethod(lambda *_: "u2net")})
    assert rembg_folders()[0] == Path(session.rembg_home())
    assert rembg_folders()[-1] == Path(session.legacy_home())
    entry = read_catalogue()["u2net"]
    places = possible_places(bare_home, tmp_path)
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    chosen = set()
    for copies in itertools.chain(
        itertools.combinations(places, 1), itertools.combinations(places, 2)
    ):
        for copy in copies:
            copy.touch()
        theirs = session.resolve_existing("u2net.onnx")
        assert entry.find() == (None if theirs is None else Path(theirs))
        chosen.add(theirs)
        for copy in copies:
            copy.unlink()
    assert len(chosen) == 3  # its own folder, the old flat one, and none


@pytest.mark.parametrize("name", HOME_VARIABLES)
def test_a_home_sign_in_rembgs_variables_is_understood(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`~/x` in a variable is expanded to the user's home, as rembg does."""
    monkeypatch.setenv(name, "~/x")
    assert rembg_folders()[0].is_relative_to(bare_home / "x")
    assert rembg_folders()[0] == Path(rembg_base().rembg_home())


def test_a_user_without_a_home_has_the_embedded_model(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a user ID without a passwd entry, u2netp is found, and other models raise an error."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert Path(find_model("u2netp").path) == U2NETP
    with pytest.raises(MissingModelError, match=r"^model u2net is not on disk"):
        find_model("u2net")


def test_a_model_that_is_found_is_checked_by_rembgs_checksum(
    bare_home: Path, tmp_path: Path
) -> None:
    """A file that rembg downloaded is used in place and compared with its MD5 at load."""
    path = bare_home / ".rembg" / "models" / "u2net" / "u2net.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not u2net")
    spec = find_model("u2net")
    assert Path(spec.path) == path
    assert spec.checksums == {"md5": read_catalogue()["u2net"].md5}
    with pytest.raises(ModelError, match="is not the released u2net: its md5 is"):
        verify(spec)


def test_a_stand_in_at_a_catalogue_path_runs_by_its_path(bare_home: Path) -> None:
    """The error suggests the path as the model, and the record that describes the file."""
    path = bare_home / ".rembg" / "models" / "isnet-general-use" / "isnet-general-use.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"converted")
    named = find_model("isnet-general-use")
    with pytest.raises(ModelError) as caught:
        verify(named)
    record = path.with_suffix(".json")
    advice, _, content = str(caught.value).partition(" for the released file ")
    assert advice.endswith(
        f"if it is a file of your own, run it by its path, --model {path}, and write how it takes a"
        f" picture into {record},"
    )
    record.write_text(content)
    own = find_model(str(path))
    assert verify(own) == hashlib.sha256(b"converted").hexdigest()
    assert (own.mean, own.std, own.post, own.side) == (
        named.mean,
        named.std,
        named.post,
        named.side,
    )
    with pytest.raises(ModelError, match=f"--model {path}, with what {record} says of it"):
        verify(named)


def test_a_missing_model_is_told_with_how_to_get_it(bare_home: Path) -> None:
    """The error has the address, and a folder that both rembg and this program search."""
    entry = read_catalogue()["u2net"]
    with pytest.raises(MissingModelError) as caught:
        find_model("u2net")
    place = bare_home / ".rembg" / "models" / "u2net" / "u2net.onnx"
    assert (
        str(caught.value)
        == "model u2net is not on disk; get it (168 MiB) with `python -m rembg_tuner models get"
        f" u2net`, or put {entry.url} at {place}"
    )
    on_page = "model u2net is not on disk; get it (168 MiB) on the Models tab"
    assert render(caught.value.message, is_public=True) == on_page
    place.parent.mkdir(parents=True)
    place.touch()
    assert Path(find_model("u2net").path) == place


@pytest.mark.parametrize("name", ["u2nett", "", "U2NETP", "models/u2netp", "u2netp.pth"])
def test_an_unknown_model_is_told_with_the_known_ones(name: str) -> None:
    """An unknown name that is not an .onnx path is rejected with the list of models."""
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert type(caught.value) is ModelError
    assert (
        str(caught.value)
        == f"model {name!r} is not known; the models are {', '.join(read_catalogue())}, "
        "or give a path that ends in .onnx"
    )


def test_a_size_that_is_not_known_to_the_byte_is_told_as_such() -> None:
    """An approximate size is written with "about"."""
    line = str(read_catalogue()["birefnet-portrait"].get_text())
    assert line.startswith(
        "get it (about 928 MiB) with `python -m rembg_tuner models get birefnet-portrait`, or put "
    )


def test_the_articles_name_is_understood_wherever_a_model_is_named(bare_home: Path) -> None:
    """u2net_lite is resolved to u2netp, for the release and for its int8 form."""
    assert find_entry("u2net_lite") == read_catalogue()["u2netp"]
    assert find_model("u2net_lite") == find_model("u2netp")
    assert find_model("u2net_lite", int8_for="openvino").name == "u2netp"


def test_an_int8_form_that_the_user_made_goes_before_the_one_that_comes_along(
    bare_home: Path,
) -> None:
    """The user's int8 file takes precedence; the released model is still the embedded file."""
    spec = find_model("u2netp")
    place = int8_place(spec, "openvino")
    assert place == bare_home / ".rembg" / "models" / "u2netp" / "u2netp-int8.onnx"
    shipped = find_model("u2netp", int8_for="openvino")
    assert Path(shipped.path) == EMBEDDED_FOLDER / "u2netp-int8.onnx"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"made here")
    place.with_suffix(".json").write_text('{"sha256": "0", "side": 64}')
    own = find_model("u2netp", int8_for="openvino")
    assert (own.path, own.side) == (str(place), 64)
    (place.parent / "u2netp.onnx").touch()
    assert Path(find_model("u2netp").path) == U2NETP


def test_an_own_files_int8_form_lies_beside_it(bare_home: Path) -> None:
    """The int8 form of a user's file is searched for only in the same folder."""
    (bare_home / "own.onnx").touch()
    spec = find_model(str(bare_home / "own.onnx"))
    assert int8_place(spec, "onnxruntime") == bare_home / "own-int8-onnxruntime.onnx"


@pytest.mark.parametrize("name", ["absent.onnx", "~/absent.onnx", "~no-such-user-here/absent.onnx"])
def test_an_own_file_that_is_not_there_is_told_by_its_path(bare_home: Path, name: str) -> None:
    """A missing .onnx path is named as it was typed."""
    with pytest.raises(MissingModelError) as caught:
        find_model(name)
    assert (
        str(caught.value) == f"model file {name!r} does not exist; give the path of an .onnx file"
    )


def test_an_own_file_is_found_by_its_path(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, upper-case and home paths become absolute; the graph determines the side."""
    (bare_home / "own.ONNX").touch()
    monkeypatch.chdir(bare_home)
    for name in ("own.ONNX", "~/own.ONNX", str(bare_home / "own.ONNX")):
        spec = find_model(name)
        assert Path(spec.path) == bare_home / "own.ONNX"
        assert (spec.name, spec.side, spec.checksums) == (name, None, {})


def test_a_spec_crosses_to_the_worker_as_it_is() -> None:
    """A spec is rebuilt from its fields by name."""
    spec = find_model("u2netp")
    assert ModelSpec(**spec.to_dict()) == spec  # type: ignore[arg-type]  # its own fields


def test_every_entry_says_where_its_file_goes(bare_home: Path) -> None:
    """The text names the address, and a file in the folder that rembg would download to."""
    for name, entry in read_catalogue().items():
        assert isinstance(entry, CatalogueEntry)
        place = f"{bare_home}{os.sep}.rembg/models/{name}/{entry.file}"
        told = (
            f"or put {entry.url} at {place}"
            if entry.url
            else f"rembg makes it of {entry.made_from}"
        )
        assert told in str(entry.get_text())


def test_a_folder_that_is_called_as_a_model_is_told_to_be_one(tmp_path: Path) -> None:
    """A folder with the name of a model file is rejected as a folder."""
    folder = tmp_path / "own.onnx"
    folder.mkdir()
    with pytest.raises(MissingModelError) as caught:
        find_model(str(folder))
    assert str(caught.value) == f"model {str(folder)!r} is a folder; give the path of an .onnx file"
