"""metrics.jsonl and TensorBoard: what is known of a run at each number of samples seen."""

import json
from pathlib import Path
from typing import Any

from matstream.shared.files import naming, written_aside
from matstream.trainer.runs.events import Events
from matstream.trainer.runs.folder import METRICS, TENSORBOARD


class Metrics:
    """Writes both; at first it cuts them back to where training goes on: to records up to `samples`, and of
    validations up to `validated`."""

    def __init__(self, folder: Path, samples: int, validated: int) -> None:
        if (folder / METRICS).exists():
            ends = {True: validated, False: samples}
            kept = [r for r in read_metrics(folder) if r["samples"] <= ends["validation_loss" in r]]
            with written_aside(folder / METRICS) as aside:
                aside.write_text("".join(map(_line, kept)), encoding="utf-8")
        self._folder = folder
        self._file = (folder / METRICS).open("a", encoding="utf-8")
        self._events = Events(folder / TENSORBOARD, purged=samples + 1)

    def write(self, record: dict[str, Any]) -> None:
        """Add a record, which has `samples` among its values."""
        with naming(self._folder / METRICS):
            self._file.write(_line(record))
            self._file.flush()
        with naming(self._folder / TENSORBOARD):
            values = {name: value for name, value in record.items() if name != "samples"}
            self._events.write(record["samples"], values)

    def close(self) -> None:
        with naming(self._folder / METRICS):
            self._file.close()
        with naming(self._folder / TENSORBOARD):
            self._events.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, numbers by name, except lines that a crash has cut."""
    records = []
    for line in (folder / METRICS).read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "samples" in record and all(map(_is_number, record.values())):
            records.append(record)
    return records


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record) + "\n"
