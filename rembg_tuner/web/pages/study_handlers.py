"""What happens on the tabs that compare and sweep: values in, what they show out."""

from __future__ import annotations

import asyncio
import math
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError, SettingsError, TunerError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB, format_guess
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.settings.settings import Settings, best_installed_engine
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.plot import draw_plot, lay_out_plot
from rembg_tuner.tuning.recommend import Recommendation, recommend
from rembg_tuner.tuning.report import write_sweep_report
from rembg_tuner.tuning.stress_test import summarise_stress_test
from rembg_tuner.tuning.sweep import open_sweep
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.choices import most_pixels
from rembg_tuner.web.pages.failures import disk_text
from rembg_tuner.web.pages.task_tabs import error_above, refuse_absent, uploads_of
from rembg_tuner.web.pages.templating import guess_range
from rembg_tuner.web.pages.views.soak import show_soak
from rembg_tuner.web.pages.views.sweep import show_sweep
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.settings import Value
    from rembg_tuner.tuning.trials import Trial
    from rembg_tuner.web.pages.handlers import Desk
    from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
    from rembg_tuner.web.pages.visitors import Visitor

MOST_TRIALS = 120  # of one visitor's sweep
MOST_PICTURES = 6
FOLLOW_EVERY_S = 0.4
MOST_GUESSED_S = 15 * 60.0  # of one visitor's sweep; the slot is everyone's
SOAKED, LEAST_SOAKED = 60, 10  # runs
SOAK_S = 30.0  # of the page's slot, about
LEAST_COMPARED = 2


class StudyHandlers:
    """The tabs' handlers."""

    def __init__(self, desk: Desk) -> None:
        """Work at a desk."""
        self.desk = desk

    # Stress test

    async def soak(
        self, visitor: Visitor, picture: str, settings: Settings
    ) -> AsyncGenerator[str, None]:
        """Run a picture many times in one worker, in one turn of the line, and show what stays."""
        try:
            [path] = uploads_of(self.desk, [picture])

            def work(study: LongTask, runner: QueuedTrialRunner, _: Comparer) -> None:
                job = Job(
                    input=str(path),
                    output=str(study.folder / "soak.png"),
                    max_pixels=most_pixels(path),
                )
                first = _results(runner.measure([job], settings))[0][0]
                # A turn is one visitor's: a slow setting is soaked less, so that others need not
                # wait long.
                count = min(SOAKED, max(LEAST_SOAKED, int(SOAK_S / first.total_s)))
                results, failed = _results(runner.measure([job] * count, settings))
                # One after another, in one turn.
                elapsed_s = sum(run.total_s for run in results[1:])
                study.soaked = summarise_stress_test(
                    results, elapsed_s, results[-1].retained_rss_bytes, failed
                )

            study = self.desk.long_tasks.start(self.desk.folder.new_job(), work)
        except TunerError as error:
            yield error_above(error, self.soaked(visitor), visitor.language)
            return
        study.subject, visitor.soaking = (settings, path.name), study
        while study.is_running:
            yield self.soaked(visitor)
            await asyncio.sleep(FOLLOW_EVERY_S)
        yield self.soaked(visitor)

    def soaked(self, visitor: Visitor) -> str:
        """Draw the visitor's soak; empty where there is none."""
        study = visitor.soaking
        return "" if study is None else show_soak(study, visitor.language, most=SOAKED)

    # Sweep

    def plan(
        self,
        pictures: Sequence[str],
        axes: Mapping[str, Sequence[Value]],
        *,
        reference: str,
        trials: int | None,
    ) -> Plan:
        """Make the plan that the tab asks for.

        Args:
            pictures: paths of uploads.
            axes: knobs with their values.
            reference: a preset's or model's name; empty: the model in fp32.
            trials: of a guided search; None: all.

        Raises:
            SettingsError: it cannot be, or is too much for a page.
        """
        refuse_absent([reference] if reference in read_presets() else [])
        chosen = {name: tuple(values) for name, values in axes.items() if values}
        plan = Plan(
            pictures=tuple(uploads_of(self.desk, pictures)),
            axes=chosen,
            base=Settings(engine=best_installed_engine()),
            reference=reference,
            trials=trials,
            max_pixels=most_pixels,
        )
        if plan.count() > MOST_TRIALS:
            raise SettingsError(
                [
                    Message(
                        "at most {most} trials on this page, got {count}; choose fewer values, or a"
                        " guided search",
                        most=MOST_TRIALS,
                        count=plan.count(),
                    )
                ]
            )
        if plan.guess_s() > MOST_GUESSED_S:
            raise SettingsError(
                [
                    Message(
                        "a sweep of about {time} is too long for this page, which others use;"
                        " choose fewer values or pictures, or sweep on the command line",
                        time=format_guess(plan.guess_s()),
                    )
                ]
            )
        return plan

    def with_masks(self, plan: Plan, masks: Sequence[str]) -> Plan:
        """Take uploaded masks as what the pictures' mattes are held against, if there are any.

        Raises:
            SettingsError: one is no upload of this page, or no picture.
        """
        if not masks:
            return plan
        files = uploads_of(self.desk, masks)
        if len(files) == len(plan.pictures) == 1:
            return replace(plan, reference=str(files[0]))
        names = [file.name for file in files]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise SettingsError(
                [
                    Message(
                        "two masks are called {name!r}; a mask is named as its picture", name=twice
                    )
                ]
            )
        folder = self.desk.folder.new_job()
        for file in files:
            shutil.copyfile(file, folder / file.name)
        return replace(plan, reference=str(folder))

    def announce(self, plan: Plan, language: str) -> str:
        """Say how many trials there will be and about how long they take."""
        key = "sweep.announce.one" if plan.count() == 1 else "sweep.announce"
        text = page_text(
            key,
            language,
            count=plan.count(),
            of=len(plan.grid()),
            time=guess_range(plan.guess_range_s(), language),
        )
        return " ".join([text, *(message_text(out, language) for out in plan.left_out())])

    async def sweep(
        self, visitor: Visitor, plan: Plan, budgets: Budgets
    ) -> AsyncGenerator[str, None]:
        """Sweep, and show how it goes; the visitor who leaves ends it."""

        def work(study: LongTask, runner: QueuedTrialRunner, comparer: Comparer) -> None:
            # Visitors' cut-outs stay in the page's folder, and go with it.
            thumbnails = self.desk.folder.path / "trial-thumbnails"
            study.sweep = open_sweep(plan, study.folder, runner, comparer, thumbnails=thumbnails)
            study.progress = study.sweep.progress(0.0)

            def note(progress: object) -> None:
                study.progress = progress  # type: ignore[assignment]

            study.sweep.run(on_trial=note, is_cancelled=lambda: study.is_stopped)
            study.sweep.confirm(study.budgets, on_trial=note, is_cancelled=lambda: study.is_stopped)
            study.progress = study.sweep.progress(study.elapsed_s())

        try:
            study = self.desk.long_tasks.start(self.desk.folder.new_job(), work)
        except TunerError as error:
            yield error_above(error, self.show(visitor, budgets), visitor.language)
            return
        study.plan, study.budgets, visitor.sweeping = plan, budgets, study
        drawn: tuple[object, object] = (study, None)  # nothing was drawn yet
        while study.is_running:
            latest = (study.progress, study.measuring)
            # A hundred points take a quarter of a second to draw.
            if any(old is not new for old, new in zip(drawn, latest, strict=True)):
                drawn = latest
                yield await asyncio.to_thread(self.show, visitor, study.budgets)
            await asyncio.sleep(FOLLOW_EVERY_S)
        await asyncio.to_thread(self._write, study, study.budgets)
        yield await asyncio.to_thread(self.show, visitor, study.budgets)

    def show(self, visitor: Visitor, budgets: Budgets) -> str:
        """Draw the visitor's sweep under these budgets; empty where there is none."""
        study = visitor.sweeping
        if study is None:
            return ""
        return show_sweep(study, self._found(study, budgets), budgets, visitor.language)

    def rebudget(self, visitor: Visitor, budgets: Budgets) -> str:
        """Recommend anew under other budgets; nothing is measured."""
        study = visitor.sweeping
        if study is not None:
            study.budgets = budgets
        if study is not None and not study.is_running:
            study.shown = None
            self._write(study, budgets)
        return self.show(visitor, budgets)

    def look_at(self, visitor: Visitor, number: int, budgets: Budgets) -> str:
        """Show one of the trials."""
        if visitor.sweeping is not None:
            visitor.sweeping.shown = number
        return self.show(visitor, budgets)

    def take(self, visitor: Visitor, number: int, budgets: Budgets) -> str:
        """Tell on a trial's card that its setting is on the first tab now."""
        if visitor.sweeping is not None:
            visitor.sweeping.taken = number
        return self.look_at(visitor, number, budgets)

    def trial(self, visitor: Visitor, number: int) -> Trial | None:
        """Find one of the visitor's trials."""
        study = visitor.sweeping
        if study is None or study.progress is None:
            return None
        return next((t for t in study.progress.trials if t.number == number), None)

    def found(self, visitor: Visitor, budgets: Budgets) -> Recommendation | None:
        """Recommend of the visitor's sweep; None: there is none, or it has measured nothing yet."""
        study = visitor.sweeping
        if study is None or study.progress is None:
            return None
        is_measured = any(trial.is_measured for trial in study.progress.trials)
        return self._found(study, budgets) if is_measured else None

    def _found(self, study: LongTask, budgets: Budgets) -> Recommendation:
        """Recommend of what was measured so far."""
        return recommend(study.progress.trials if study.progress else (), budgets)

    def _write(self, study: LongTask, budgets: Budgets) -> None:
        """Write the report and the plot beside the trials; what cannot be written is told."""
        if study.progress is None or not study.progress.trials or study.plan is None:
            return
        found = self._found(study, budgets)
        chosen = None if found.chosen is None else found.chosen.number
        info = lay_out_plot(study.progress.trials, budgets, chosen=chosen)
        try:
            write_sweep_report(
                study.folder, study.sweep, study.plan, found, budgets, is_public=True
            )
            with replacing(study.folder / "plot.svg") as file:
                file.write(draw_plot(info, is_standalone=True).encode())
        except (TunerError, OSError) as error:
            study.file_problem = (
                error.message if isinstance(error, TunerError) else disk_text(error)
            )


def _results(runs: Sequence[Result | Failure]) -> tuple[list[Result], Message | None]:
    """Give the runs that went through, and why the others did not.

    Raises:
        OutputError: none went through.
    """
    results = [run for run in runs if isinstance(run, Result)]
    failed = next((run.message for run in runs if isinstance(run, Failure)), None)
    if not results:
        raise OutputError(failed or Message("nothing was run"))
    return results, failed


def budgets_of(
    memory_mib: float | None, time_ms: float | None, agreement: float | None, *, commercial: bool
) -> Budgets:
    """Make budgets of the tab's fields; an empty one is none, of agreement the default.

    Raises:
        SettingsError: with every one that cannot be.
    """
    problems = [
        Message("{budget} must be 0, for any, or more, got {value:g}", budget=budget, value=value)
        for budget, value in ((Message("peak"), memory_mib), (Message("time"), time_ms))
        if value is not None and not 0 <= value < math.inf
    ]
    if agreement is not None and not 0 <= agreement <= 1:
        problems.append(Message("agreement must be from 0 to 1, got {value:g}", value=agreement))
    if problems:
        raise SettingsError(problems)
    models = None
    if commercial:
        models = frozenset(n for n, entry in read_catalogue().items() if entry.commercial == "yes")
    plain = Budgets()
    return Budgets(
        max_memory_bytes=int(memory_mib * MIB) if memory_mib else None,
        max_time_s=time_ms / 1000 if time_ms else None,
        min_agreement=plain.min_agreement if agreement is None else agreement,
        models=models,
    )
