"""The report: it is self-contained, escapes all text, and reads back."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_trials import make_trial

from rembg_tuner.base.messages import Message, quoted
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.settings import KNOBS, Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.report import (
    CSV_FILE,
    HTML_FILE,
    JSON_FILE,
    ReportData,
    write_csv,
    write_report,
)
from rembg_tuner.tuning.trials import PictureTrial, Trial, read_trial

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&"
DATA = ReportData(
    title="A sweep",
    environment={"cpu": "made up", "cores": "2"},
    how=["Each setting ran alone."],
    recommendation="Take the second.",
    chosen=1,
    budgets=Budgets(max_memory_bytes=250 * MIB, max_time_s=0.5, min_agreement=0.9),
)


@pytest.fixture
def trials() -> list[Trial]:
    """Two on the front, one dominated by the second, one possibly unstable, one failed."""
    first = replace(make_trial(0, 100, 0.3, 0.95), boundary_f=0.96)
    unstable = replace(make_trial(3, 90, 0.4, 0.99), spread=0.2, time_low_s=0.3, time_high_s=0.7)
    failed = Trial(number=4, settings=Settings(), failure=quoted(HOSTILE), failure_kind="crash")
    return [first, make_trial(1, 200, 0.1, 0.98), make_trial(2, 210, 0.11, 0.97), unstable, failed]


def page_of(folder: Path, trials: list[Trial], data: ReportData = DATA) -> str:
    """Write a report and return its page."""
    write_report(folder, trials, data)
    return (folder / HTML_FILE).read_text(encoding="utf-8")


def test_three_files_and_nothing_else(tmp_path: Path, trials: list[Trial]) -> None:
    """No temporary file is left."""
    written = write_report(tmp_path, trials, DATA)
    assert written == [tmp_path / name for name in (HTML_FILE, CSV_FILE, JSON_FILE)]
    assert sorted(tmp_path.iterdir()) == sorted(written)


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, trials: list[Trial]) -> None:
    """The error is the system's, and the caller reports it."""
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "none", trials, DATA)


def test_the_page_needs_nothing_else(tmp_path: Path, trials: list[Trial]) -> None:
    """The page refers to no address and loads no script or style.

    It has a point for each measured trial, and a row for each trial.
    """
    page = page_of(tmp_path, trials)
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"<link|<script[^>]+src|@import|url\(", page)
    assert sorted(re.findall(r'data-trial="(\d+)"', page)) == ["0", "1", "2", "3"]
    assert sorted(re.findall(r'id="trial-(\d+)"', page)) == ["0", "1", "2", "3", "4"]
    assert page.index("Take the second.") < page.index("<svg") < page.index("<table")
    assert "Each setting ran alone." in page
    assert "<dt>cpu</dt><dd>made up</dd>" in page
    assert "may be unstable" in page[page.index("<table") :]


def test_what_was_said_is_no_markup(tmp_path: Path, trials: list[Trial]) -> None:
    """Titles, reasons, sentences and machine names are escaped."""
    data = replace(
        DATA, title=HOSTILE, recommendation=HOSTILE, how=[HOSTILE], environment={HOSTILE: HOSTILE}
    )
    page = page_of(tmp_path, trials, data)
    assert "<img src=x" not in page
    assert page.count("</script>") == 1
    assert page.count("&lt;/script&gt;&lt;img") == 7


def test_thumbnails_lie_in_the_page(tmp_path: Path, trials: list[Trial]) -> None:
    """Thumbnails are embedded, and a missing one is omitted."""
    file = tmp_path / "a.webp"
    file.write_bytes(b"made up")
    pictures = tuple(
        PictureTrial(input=f"/{HOSTILE}.jpg", times_s=(0.1,), thumbnail=str(tmp_path / name))
        for name in ("a.webp", "gone.webp")
    )
    page = page_of(tmp_path, [replace(trials[0], pictures=pictures)])
    assert re.findall(r"data:image/webp;base64,([^\"]+)", page) == [
        base64.b64encode(b"made up").decode()
    ]
    assert "<img src=x" not in page


def test_csv_reads_back(trials: list[Trial]) -> None:
    """Each trial is a row with every knob and figure; lines end as in RFC 4180."""
    text = write_csv(trials, DATA)
    assert text.count("\r\n") == len(trials) + 1
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [int(row["number"]) for row in rows] == [0, 1, 2, 3, 4]
    assert set(KNOBS) < set(rows[0])
    assert [float(row["time_s"]) for row in rows[:4]] == [trial.time_s for trial in trials[:4]]
    assert rows[4]["failure"] == HOSTILE
    assert rows[4]["time_s"] == ""


def test_json_reads_back(tmp_path: Path, trials: list[Trial]) -> None:
    """The trials read back equal, together with the data of the report."""
    write_report(tmp_path, trials, DATA)
    content = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))
    assert [read_trial(one) for one in content["trials"]] == trials
    assert content["chosen"] == 1
    assert content["fits"] is True
    assert content["budgets"] == DATA.budgets.to_dict()
    assert content["how"] == DATA.how


def test_what_misses_the_budgets_is_never_called_recommended(
    tmp_path: Path, trials: list[Trial]
) -> None:
    """No file, table or plot marks a setting as recommended.

    The nearest setting is marked, with the budgets that it misses.
    """
    misses = ("peak 100 MiB of 50 MiB allowed", "time 300 ms of 10 ms allowed")
    data = replace(DATA, recommendation="Nothing fits.", chosen=None, nearest=0, misses=misses)
    page = page_of(tmp_path, trials, data)
    assert "recommended" not in page.lower()
    assert 'class="chosen"' not in page
    assert 'class="rt-ring"' not in page
    assert f'<span class="choice">nearest, misses {" and ".join(misses)}</span>' in page
    content = json.loads((tmp_path / JSON_FILE).read_text(encoding="utf-8"))
    assert (content["chosen"], content["fits"], content["nearest"]) == (None, False, 0)
    assert content["misses"] == list(misses)
    rows = list(csv.DictReader(io.StringIO((tmp_path / CSV_FILE).read_text(), newline="")))
    assert [row["choice"] for row in rows] == ["nearest", "", "", "", ""]


def test_the_recommended_one_is_said_to_be(tmp_path: Path, trials: list[Trial]) -> None:
    """The recommended trial is marked in words, in the row of its number."""
    page = page_of(tmp_path, trials)
    assert re.search(
        r'id="trial-1" class="chosen"><td>1</td>.*?<span class="choice">recommended<', page
    )
    assert page.count('class="rt-ring"') == 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / CSV_FILE).read_text(), newline="")))
    assert [row["choice"] for row in rows] == ["", "recommended", "", "", ""]


def test_no_trials_is_a_report_too(tmp_path: Path) -> None:
    """The page says that nothing was measured."""
    assert "nothing was measured" in page_of(tmp_path, [], replace(DATA, chosen=None))


def test_names_are_shown_escaped_and_are_no_formula(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 and direction marks are escaped; text is no spreadsheet formula."""
    thumbnail = tmp_path / "thumbnail.webp"
    thumbnail.write_bytes(b"RIFF")
    part = PictureTrial(input="f/\udce9\u202e.jpg", thumbnail=str(thumbnail), times_s=(0.3,))
    measured = replace(make_trial(0, 100, 0.3, 0.95), pictures=(part,))
    failed = Trial(
        number=1,
        settings=Settings(),
        failure=Message("{text}", text="=1+1 \udce9"),
        failure_kind="bad_input",
    )
    data = replace(DATA, chosen=0, how=["Left out: \udce9.jpg."])
    page = page_of(tmp_path, [measured, failed], data)
    assert 'alt="\\xe9\\u202e.jpg"' in page
    assert "Left out: \\xe9.jpg." in page
    assert "\u202e" not in page
    text = (tmp_path / CSV_FILE).read_text(encoding="utf-8")
    assert [row["failure"] for row in csv.DictReader(io.StringIO(text))] == ["", "'=1+1 \\xe9"]
    kept = json.loads((tmp_path / JSON_FILE).read_text(encoding="ascii"))
    assert kept["trials"][0]["pictures"][0]["input"] == part.input


def test_a_pages_report_names_no_place_of_the_server(tmp_path: Path) -> None:
    """Pictures, cut-outs and reasons appear by name only in all three files."""
    trial = make_trial(0, 100, 0.1, 0.99)
    place = tmp_path / "page" / "ab12"
    pictures = tuple(
        replace(one, input=str(place / "cup.png"), thumbnail=str(place / "cup.webp"))
        for one in trial.pictures
    )
    said = Message("{path} could not be compared", path=place / "cup.png")
    trials = [
        replace(trial, pictures=pictures, warnings=(said,)),
        Trial(number=1, settings=Settings(), failure=said, failure_kind="bad_output"),
    ]
    for path in write_report(tmp_path, trials, DATA, is_public=True):
        text = path.read_text(encoding="utf-8")
        assert str(place) not in text, path
        assert "cup.png could not be compared" in text, path
