"""The progress bar of long steps, in a terminal or a notebook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

from neumatc_mimo.progress.events import Callback, Event

# Characters of all that a line has but its figures: they get what a terminal has beyond.
_OTHERS = 66
# The same with a bar of its least width.
_BESIDE = 46
_LEAST = 12


class _Metrics(ProgressColumn):
    """Figures of a step, as many as there is room for: bar, count and times come first."""

    def __init__(self, console: Console, table_column: Column) -> None:
        self._console = console
        super().__init__(table_column)

    def render(self, task: Task) -> Text:
        room = self._console.width - _OTHERS - len(task.description)
        if room < _LEAST:
            return Text()
        text = Text(task.fields["metrics"], style="dim", no_wrap=True)
        text.truncate(room, overflow="ellipsis")
        return text


class _Step(ProgressColumn):
    """The name of a step; of one that would leave no room for bar, count and times, its end."""

    def __init__(self, console: Console, table_column: Column) -> None:
        self._console = console
        super().__init__(table_column)

    def render(self, task: Task) -> Text:
        room = max(self._console.width - _BESIDE, _LEAST)
        name = task.description
        return Text(name if len(name) <= room else "…" + name[1 - room :])


class ProgressBar:
    """A callback that shows a line for each running step, on standard error.

    Nothing is shown if standard error is not a terminal and the program is not a notebook. A line
    is removed when its step is done. If the step does not say when it is done, the line is removed
    when another step begins.

    .. code-block:: python

        with nm.ProgressBar() as bar:
            model = nm.train(scenario, progress=False, callback=bar)

    :param console: Where to show it. None: on standard error, or in the notebook's cell
    """

    def __init__(self, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._lines: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            _Step(console, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=min(max(console.width - 60, 6), 24)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[unit]}", table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            _Metrics(console, table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
            disable=not _can_show(console),
        )

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Older versions of rich end one that shows nothing with an empty line.
        if not self._progress.disable:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event.step not in self._lines:
            self._drop_unmeasured()
            # It is drawn at once, whole: a short step may be done before the next time.
            self._lines[event.step] = self._progress.add_task(
                event.step, total=event.total, unit=event.unit, metrics=""
            )
        values: dict[str, Any] = {"completed": event.done, "total": event.total}
        if event.metrics:
            values["metrics"] = _written(event)
        line = self._lines[event.step]
        self._progress.update(line, description=event.step, unit=event.unit, **values)
        if event.total is not None and event.done >= event.total:
            self._progress.remove_task(self._lines.pop(event.step))

    def _drop_unmeasured(self) -> None:
        """Take away the lines of steps that cannot tell when they are done."""
        for step, line in list(self._lines.items()):
            (task,) = (task for task in self._progress.tasks if task.id == line)
            if task.total is None:
                self._progress.remove_task(self._lines.pop(step))


_shown: ContextVar[ProgressBar | None] = ContextVar("_shown", default=None)


@contextmanager
def shared_bar() -> Iterator[Callback]:
    """The bar that is shown already, or a new one while the block lasts."""
    outer = _shown.get()
    with nullcontext(outer) if outer is not None else ProgressBar() as bar:
        token = _shown.set(bar)
        try:
            yield bar
        finally:
            _shown.reset(token)


def _can_show(console: Console) -> bool:
    if console.is_jupyter:
        # Without its widgets rich prints a warning instead of a bar.
        return find_spec("ipywidgets") is not None
    return console.is_terminal


def _written(event: Event) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, int) else f'{value:.3g}'}"
        for name, value in event.metrics.items()
    )
