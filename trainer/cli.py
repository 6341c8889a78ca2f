"""What `matstream train`, `report` and `recipes` do, once generators are known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from matstream.shared.errors import UserError
from matstream.trainer import report as reports
from matstream.trainer.client import PATIENCE, Client
from matstream.trainer.display.tables import say, show_scores
from matstream.trainer.learning.train import Trained, train, validate
from matstream.trainer.model.transformer import parameters
from matstream.trainer.runs.export import export
from matstream.trainer.runs.folder import ANSWERS, RESULT
from matstream.trainer.runs.pretrained import best_of
from matstream.trainer.runs.run import Run, begun, write_result
from matstream.trainer.scoring.answers import save, sizes_done_well, summaries
from matstream.trainer.scoring.baselines import baselines


class StoppedEarlyError(UserError):
    """Training that was stopped, with a checkpoint to go on from."""


def train_run(run: Run, urls: Sequence[str], *, resume: bool) -> None:
    """Train a prepared run, score it on held-out samples, write its result and its picture.

    Raises StoppedEarlyError if training was stopped before its last sample, and KeyboardInterrupt, with a
    sentence, if the final test was interrupted.
    """
    fetch = run.recipe.fetch
    with (
        Client(urls, patience=fetch.patience or PATIENCE, numerics=fetch.numerics) as client,
        begun(run, client, resume=resume),
    ):
        trained = train(run, client)
        if trained.stopped_by is not None:
            raise StoppedEarlyError(
                f"stopped by {trained.stopped_by} after {trained.position.samples:,} samples, as asked; all "
                f"of it is kept in {run.folder}: go on with --resume"
            )
        try:
            result = _score(run, client, trained)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"interrupted in the final test; the trained model is kept in {run.folder}, and --resume "
                "scores it"
            ) from None
        picture = reports.draw(run.folder)
    _show(run, result, picture)


def report(folders: Sequence[Path], out: Path | None) -> None:
    """Write one page about several runs."""
    say(str(reports.write(folders, out)))


def _score(run: Run, client: Client, trained: Trained) -> dict[str, Any]:
    """Score the best model on the test samples; export the model, save its answers and the result."""
    found = validate(run, best_of(run.folder, run.recipe).solver, client, "test")
    result = _result(run, trained) | summaries(found)
    result |= {"largest_entry": sizes_done_well(found), "baselines": baselines(found)}
    save(found, run.folder / ANSWERS, run.recipe.stream.spec())
    export(run.folder, run.recipe, result)
    write_result(run.folder, result)
    return result


def _result(run: Run, trained: Trained) -> dict[str, Any]:
    position, stream = trained.position, run.recipe.stream
    return {
        "run": run.name,
        "spec": stream.spec().fields(),
        "seed": stream.seed,
        "fingerprints": [
            {"fingerprint": fingerprint, "start": samples}
            for fingerprint, samples in position.fingerprints.items()
        ],
        "samples_seen": position.samples,
        "train_seconds": round(position.seconds, 2),
        "data_wait": round(position.waited / position.seconds, 4),
        "parameters": parameters(run.recipe),
        "precision": run.recipe.training.precision,
        "torch": torch.__version__,
    }


def _show(run: Run, result: dict[str, Any], picture: Path) -> None:
    operation, dim = result["spec"]["operation"], result["spec"]["dim"]
    say(
        f": {operation} of dimension {dim}, learned from {result['samples_seen']:,} streamed samples in "
        f"{result['train_seconds']:.0f} s ({result['data_wait']:.1%} waiting for data)\n",
        bold=f"\n{run.name}",
    )
    show_scores(result)
    say(
        f"\naccuracy {result['accuracy']['0.05']:.4f} at 5% tolerance on {result['test_samples']:,} held-out "
        f"samples, {result['invalid']} outputs invalid\n{run.folder / RESULT}\n{picture}"
    )
