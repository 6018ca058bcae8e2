"""Training."""

from collections.abc import Callable
from os import PathLike
from typing import Any

from . import _softalign
from .types import Pairs


def train(
    data: str | tuple[Pairs, Pairs] | dict[str, Any],
    folder: str | PathLike[str],
    *,
    epochs: int | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    patience: int | None = None,
    overwrite: bool = False,
    callback: Callable[[dict[str, Any]], object] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Trains a model into a folder, and says how far the run has come.

    ``data`` is the name of a built-in task (``"numbers"``, ``"dates"``, ``"opinions"``, ``"stories"``), a tuple of two lists of
    pairs of texts, to learn from and to check with, or what ``run.json`` says of files: ``{"files": {"train": .., "valid": ..}}``,
    ``{"text": {"train": ..}}`` or ``{"questions": {"train": .., "valid": ..}}``.

    The run ends at the first limit that it reaches: passes over the data (without any limit 3 of a task, 10 of other data),
    steps, minutes, or validations in a row without an improvement. A folder that holds the same run goes on, unless
    ``overwrite``. ``options`` have the names and values of ``run.json``: ``hidden=256``, ``architecture="luong"``,
    ``target_unit="bpe:4000"``, ``from_="runs/other"``.

    ``callback`` is called with each event, a dict whose ``"event"`` is ``"started"``, ``"step"`` (every tenth: ``"step"``,
    ``"loss"``, ``"norm"``, ..), ``"validated"`` (scores, samples), ``"averaged"`` or ``"bounded"``. What it raises ends the run
    where it stands, and so does Ctrl-C: the run is saved, the exception raised, and the same call goes on.
    """
    # `from` is a word of Python's.
    named = {name.rstrip("_"): value for name, value in options.items()}
    budget = {"epochs": epochs, "steps": steps, "minutes": minutes, "patience": patience}
    source = {"task": data} if isinstance(data, str) else data
    return _softalign.train(source, (folder, overwrite), budget, named, callback)
