"""`make full` over two short trainings."""

import json
import shutil
import subprocess

import pytest

from bench import full_page, full_sizes
from bench.trainings import Training

FEW = {
    "training.samples": 128,
    "training.validate_every": 64,
    "evaluation.validation_samples": 20,
    "evaluation.test_samples": 30,
    "model.width": 16,
    "model.heads": 2,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty folder under git, in which two problems are to be trained."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for key in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{key}_NAME", "a")
        monkeypatch.setenv(f"GIT_{key}_EMAIL", "a@example.org")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *command], check=True)
    trainings = [
        Training(f"full/{problem}", f"full-{problem}", FEW)
        for problem in ("singular-values-4", "eigenvalues-5")
    ]
    monkeypatch.setattr(full_sizes, "TRAININGS", trainings)
    return tmp_path


def test_full_trains_what_is_missing_and_its_page_is_made_of_what_is_kept(place):
    full_sizes.main()
    page = (place / "docs/RESULTS.md").read_text()
    assert "0 of 2 problems are at 90% or more at 5%; below it: eigenvalues-5, singular-values-4; not" in page
    assert "| eigenvalues-5 | 100%, 40 million | 128 |" in page
    assert "| singular-values-4 | over 90% | 128 |" in page
    assert (place / "docs/results.png").stat().st_size > 10_000
    made = json.loads((place / "docs/results/full-eigenvalues-5/made.json").read_text())
    assert made["command"].startswith("matstream train full/eigenvalues-5 --run full-eigenvalues-5")
    [commit] = made["commits"]
    assert len(commit.removesuffix("-dirty")) == 12
    assert sum(path.stat().st_size for path in (place / "docs/results").rglob("*")) < 100_000

    shutil.rmtree(place / "runs/full-singular-values-4")
    before = (place / "runs/full-eigenvalues-5/result.json").stat().st_mtime_ns
    full_sizes.main()
    assert (place / "runs/full-eigenvalues-5/result.json").stat().st_mtime_ns == before
    assert (place / "runs/full-singular-values-4/result.json").exists()

    (place / "runs/full/full-eigenvalues-5.json").unlink()  # as of a run that was trained by hand
    full_sizes.main()
    assert "| eigenvalues-5 | 100%, 40 million | 128 |" in (place / "docs/RESULTS.md").read_text()
    made = json.loads((place / "docs/results/full-eigenvalues-5/made.json").read_text())
    assert made["commits"] == ["unknown"]

    shutil.rmtree(place / "runs")
    (place / "docs/RESULTS.md").unlink()
    full_sizes.main(page=True)
    assert "| eigenvalues-5 | 100%, 40 million | 128 |" in (place / "docs/RESULTS.md").read_text()


def test_samples_are_compared_with_published_ones_at_the_same_accuracy(place, monkeypatch):
    monkeypatch.setitem(full_page.PUBLISHED_SAMPLES, "singular-values-4", (1.0, 40e6))
    full_sizes.main()

    def reaches(problem: str, *shares: float) -> None:
        lines = [
            {"samples": 10_000 * number, "validation_loss": 1.0, "accuracy": share}
            for number, share in enumerate(shares, 1)
        ]
        path = place / f"docs/results/full-{problem}/metrics.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    reaches("eigenvalues-5", 0.99, 0.996, 1.0)
    reaches("singular-values-4", 0.9, 0.95, 0.99)
    full_sizes.main(page=True)
    page = (place / "docs/RESULTS.md").read_text()
    assert "eigenvalues-5 2,000. The published accuracy was not reached on singular-values-4" in page

    reaches("singular-values-4", 0.9, 0.95, 0.999)
    full_sizes.main(page=True)
    page = (place / "docs/RESULTS.md").read_text()
    assert "eigenvalues-5 2,000, singular-values-4 1,333; the median is 1,667." in page
