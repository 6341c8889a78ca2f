import json

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from matstream.trainer.runs.folder import METRICS, TENSORBOARD
from matstream.trainer.runs.metrics import Metrics, read_metrics

LINES = [
    {"samples": 64, "loss": 2.0},
    {"samples": 64, "validation_loss": 2.1},
    {"samples": 128, "loss": 1.0},
    {"samples": 128, "validation_loss": 1.1},
    {"samples": 192, "loss": 0.5},
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / METRICS).write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path


@pytest.mark.parametrize(
    ("samples", "validated", "kept"),
    [(192, 192, LINES), (128, 128, LINES[:4]), (128, 64, LINES[:3]), (100, 64, LINES[:2]), (0, 0, [])],
)
def test_lines_of_what_will_be_done_again_are_cut(folder, samples, validated, kept):
    metrics = Metrics(folder, samples, validated)
    metrics.write({"samples": 200, "loss": 0.1})
    metrics.close()
    assert read_metrics(folder) == [*kept, {"samples": 200, "loss": 0.1}]


def test_a_full_disk_is_said_of_its_file(tmp_path, monkeypatch):
    metrics = Metrics(tmp_path, 0, 0)
    monkeypatch.setattr(metrics, "_file", open("/dev/full", "a"))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left") as full:
        metrics.write({"samples": 64, "loss": 2.0})
    assert full.value.filename == str(tmp_path / METRICS)


def test_a_full_disk_is_said_of_the_events_for_tensorboard_where_it_is_met(tmp_path, monkeypatch):
    metrics = Metrics(tmp_path, 0, 0)
    monkeypatch.setattr(metrics._events, "_records", RecordWriter(open("/dev/full", "wb")))  # noqa: SIM115
    with pytest.raises(OSError, match="No space left") as full:
        metrics.write({"samples": 64, "loss": 2.0})
    assert full.value.filename == str(tmp_path / TENSORBOARD)


@pytest.mark.parametrize(
    "torn",
    [
        '{"samples": 256, "lo',
        "{bad",
        "5",
        "[]",
        "{}",
        "\xff",
        '{"samples": null}',
        '{"samples": 9, "loss": []}',
    ],
)
def test_a_line_that_is_no_record_is_left_out(folder, torn):
    with (folder / METRICS).open("ab") as file:
        file.write(torn.encode("latin-1"))
    assert read_metrics(folder) == LINES
    Metrics(folder, 192, 192).close()
    assert (folder / METRICS).read_text().splitlines() == [json.dumps(line) for line in LINES]
