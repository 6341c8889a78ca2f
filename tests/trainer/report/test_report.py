import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import zarr
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection

from matstream.shared.errors import UserError
from matstream.shared.spec import StreamSpec
from matstream.shared.tasks import tasks_of
from matstream.trainer import report
from matstream.trainer.recipes.reading import read_recipe, write_recipe
from matstream.trainer.report import figures
from matstream.trainer.report.cases import cases
from matstream.trainer.report.published_results import published
from matstream.trainer.report.reading import read_findings
from matstream.trainer.scoring import failures

TOLERANCES = ("0.05", "0.02", "0.01", "0.005")
VOID = {"img", "link", "meta"}
RNG = np.random.default_rng


class Page(HTMLParser):
    """What a page shows and what it would load; asserts that its elements are closed in order."""

    def __init__(self, path):
        super().__init__()
        self.open, self.words, self.loads, self.pictures, self.headers = [], [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.loads += [attributes[name] for name in ("src", "href", "srcset", "data") if name in attributes]
        if tag == "img":
            self.pictures.append(attributes)
        if tag == "th":
            self.headers.append(attributes.get("scope"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def _scores(accuracy, samples=200, ceiling=1.0):
    falling = [accuracy, accuracy / 2, accuracy / 4, accuracy / 8]
    by_tolerance = dict(zip(TOLERANCES, falling, strict=True))
    whole = {"accuracy": by_tolerance, "accuracy_strict": by_tolerance, "accuracy_unrounded": by_tolerance}
    return whole | {"ceiling": dict.fromkeys(TOLERANCES, ceiling), "invalid": 3, "test_samples": samples}


def _records(steps=4):
    for step in range(1, steps + 1):
        seen = {"samples": 1000 * step, "seconds": 2.0 * step}
        yield seen | {"loss": 5 / step, "learning_rate": 1e-3, "samples_per_second": 500, "data_wait": 0.25}
        shares = {f"accuracy_{tau}": 0.1 * step for tau in TOLERANCES[1:]}
        yield (
            seen
            | shares
            | {"validation_loss": 5 / step, "accuracy": 0.2 * step, "accuracy_strict": 0.1 * step}
        )


def _answers(folder, spec, errors):
    """An evaluation.zarr with these errors, of the first kind of problem of the spec and the last."""
    kinds = tasks_of(spec)
    kinds = [kinds[0], kinds[-1]]
    inputs, targets = (
        RNG(0).normal(size=(len(errors), *np.max([getattr(kind, shape) for kind in kinds], axis=0)))
        for shape in ("input_shape", "target_shape")
    )
    predictions = targets * (1 + np.nan_to_num(errors, nan=1))[:, None, None]
    predictions[np.isnan(errors), 0, 0] = np.nan
    of = np.arange(len(errors)) % 2
    group = zarr.open_group(
        folder / "evaluation.zarr",
        mode="w",
        attributes={"spec": spec.canonical(), "operations": ",".join(spec.operation)},
    )
    columns = {"inputs": inputs, "targets": targets, "predictions": predictions, "errors": np.array(errors)}
    columns["operation"] = np.array([spec.operation.index(kind.operation) for kind in kinds])[of]
    columns["index"] = np.arange(len(errors))
    for name, (shape, axis) in {
        "rows": ("input_shape", 0),
        "columns": ("input_shape", 1),
        "target_rows": ("target_shape", 0),
        "target_columns": ("target_shape", 1),
    }.items():
        columns[name] = np.array([getattr(kind, shape)[axis] for kind in kinds])[of]
    for name, values in columns.items():
        group.create_array(name, data=values)


FEW_ERRORS = (0.5, 0.01)
ERRORS = (*FEW_ERRORS, 0.06, np.nan, 30.0, 0.02, -1.0, 0.3)


def _run(folder, accuracy=0.75, errors=FEW_ERRORS, finished=True, recipe=None, **stream):
    """The folder of a run that was never trained."""
    folder.mkdir(parents=True)
    document = {"stream": {"operation": "eigenvalues", "dim": 5} | stream, "training": {"samples": 4000}}
    settled = read_recipe(document, recipe or {})
    (folder / "recipe.toml").write_text(write_recipe(settled), encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in _records()), encoding="utf-8")
    if finished:
        spec = settled.stream.spec()
        result = {
            "run": folder.name,
            "spec": spec.fields(),
            "seed": 0,
            "fingerprints": [{"fingerprint": "abc", "start": 0}],
        } | _scores(accuracy)
        result |= {"samples_seen": 4000, "train_seconds": 8.0, "data_wait": 0.125, "parameters": 1234567}
        if len(spec.operation) > 1:
            result["by_operation"] = {name: _scores(accuracy) for name in spec.operation}
        if not spec.dim.fixed:
            result["by_dimension"] = {str(n): _scores(n / 20) for n in range(spec.dim.low, spec.dim.high + 1)}
        (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
        _answers(folder, spec, errors)
    return folder


def _evaluated(folder, *scored):
    """Write evaluations.json: pairs of a spec's fields and the accuracy."""
    about = {"seed": 0, "split": "test", "constrained": False}
    records = [{"spec": spec, **about, **_scores(accuracy)} for spec, accuracy in scored]
    (folder / "evaluations.json").write_text(json.dumps(records), encoding="utf-8")


EIGENVALUES = {"operation": "eigenvalues", "dim": 5}


def test_the_page_of_a_run_says_what_was_learned_and_how_to_learn_it_again(tmp_path):
    folder = _run(tmp_path / "runs" / "five", seed=7, recipe={"tokens": {"input": "P1000", "output": "P10"}})
    path = report.write([folder], None)
    assert path == folder / "report.html"
    page = Page(path)
    for said in (
        "eigenvalues, dimension 5",
        "75.0% right within 5%",
        "4,000",
        "1,234,567",
        "12.5%",  # waiting for data
        "P1000 → P10",
        "500",  # samples/s
        f"matstream train {folder}/recipe.toml --run five-again",
        "/v1/stream?dim=5&operation=eigenvalues&seed=7&split=train&start=0&count=1000",
        'output = "P10"',
    ):
        assert said in page.text, said
    pictures = {"report.png", "report-curves.png", "report-accuracy.png", "report-cases.png"}
    assert {found.name for found in folder.glob("*.png")} == pictures


def test_the_page_loads_nothing_from_anywhere(tmp_path):
    folder = _run(tmp_path / "a")
    _evaluated(folder, (EIGENVALUES | {"spectrum": "laplace"}, 0.5))
    page = Page(report.write([folder], None))
    assert all(found.startswith("data:image/png;base64,") for found in page.loads)
    assert not re.search(r"@import|url\(|<script|<link", page.source)
    inlined = {base64.b64decode(found.partition(",")[2]) for found in page.loads}
    assert inlined == {found.read_bytes() for found in folder.glob("*.png")}
    assert all(found.startswith(b"\x89PNG") for found in inlined)


def test_every_picture_has_words_and_every_table_header_a_scope(tmp_path):
    page = Page(report.write([_run(tmp_path / "a")], None))
    assert page.pictures
    assert all(picture["alt"] and picture["width"] and picture["height"] for picture in page.pictures)
    assert set(page.headers) == {"row", "col"}


def test_published_numbers_stand_beside_the_same_problem_and_no_other(tmp_path):
    same = Page(report.write([_run(tmp_path / "a")], None)).text
    assert "published 100.0% – 98.5% –" in same
    assert "after 40 million samples" in same
    assert "arXiv 2112.01898" in same
    other = Page(report.write([_run(tmp_path / "b", spectrum="laplace")], None)).text
    assert "arXiv 2112.01898" not in other


@pytest.mark.parametrize(
    ("encodings", "accuracy"),
    [(("FP15", "P1000"), 0.935), (("FP15", "FP15"), 0.516), (("P10", "FP15"), 0.97)],
)
def test_published_numbers_are_those_of_the_encodings_else_the_best(encodings, accuracy):
    found = published(StreamSpec(operation="eigenvectors", dim=5), *encodings)
    assert found.accuracy == {"0.05": accuracy}


def test_what_comes_from_files_is_escaped(tmp_path):
    folder = _run(
        tmp_path / "<b>&amp;$\\x$", recipe={"training": {"start_from": "<script>alert(1)</script>"}}
    )
    study = {
        "spec": {"<b>": "<tt>"},
        "seed": 0,
        "split": "<q>",
        "m": 1,
        "n": 1,
        "operation": "<i>",
        "right": {"0.05": 0.5},
        "<u>": 1,
        "list": [{"<s>": "<em>"}],
    }
    (folder / "analysis.json").write_text(json.dumps([study]), encoding="utf-8")
    page = Page(report.write([folder], None))
    assert not re.search(r"<(script|b|i|u|s|em)>", page.source)
    assert "<b>&amp;$\\x$ saw" in page.text
    assert "<script>alert(1)</script>" in page.text


def test_several_runs_stand_side_by_side_in_a_folder_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [_run(tmp_path / "a"), _run(tmp_path / "b", 0.5, dim=3), _run(tmp_path / "c", finished=False)]
    path = report.write(runs, None)
    assert path.resolve() == tmp_path / "report" / "report.html"
    page = Page(path)
    assert "3 runs" in page.text
    assert "right within 5% 75.0% 50.0% 80.0%" in page.text
    assert "a: right" in page.text
    names = {"report-accuracy.png", "report-curves.png", "report-cases-1-a.png", "report-cases-2-b.png"}
    assert {found.name for found in path.parent.glob("*.png")} == names


def test_runs_of_one_name_are_told_apart(tmp_path):
    runs = [_run(tmp_path / "x" / "a"), _run(tmp_path / "y" / "a")]
    text = Page(report.write(runs, tmp_path / "both.html")).text
    assert all(f"{run} saw" in text for run in runs)


@pytest.mark.parametrize(
    ("out", "page"), [("some.html", "some.html"), ("some/where", "some/where/report.html")]
)
def test_the_page_goes_where_it_is_wanted(tmp_path, out, page):
    folder = _run(tmp_path / "a")
    path = report.write([folder], tmp_path / out)
    assert path == tmp_path / page
    assert path.with_name(f"{path.stem}-curves.png").is_file()
    assert not list(folder.glob("report*"))


def test_the_legend_names_runs_that_have_curves_and_a_single_validation_is_a_mark(tmp_path):
    runs = [_run(tmp_path / name) for name in "abc"]
    (runs[1] / "metrics.jsonl").write_text("")
    figure = figures.curves(read_findings(runs))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "c"]
    _, validation = figure.axes[0].lines[:2]
    assert validation.get_marker() == "o"


@pytest.mark.parametrize(("steps", "scale"), [(8, "linear"), (40, "log")])
def test_runs_much_longer_than_others_are_shown_on_logarithmic_axes(tmp_path, steps, scale):
    runs = [_run(tmp_path / name) for name in "ab"]
    longer = "".join(json.dumps(record) + "\n" for record in _records(steps))
    (runs[1] / "metrics.jsonl").write_text(longer, encoding="utf-8")
    figure = figures.curves(read_findings(runs))
    assert {axes.get_xscale() for axes in figure.axes} == {scale}


def test_no_two_of_many_bars_look_alike():
    runs = [figures.Bars(str(number), [0.5], [1.0], [None]) for number in range(12)]
    (axes,) = figures.bars(["5%"], runs, "tolerance").axes
    assert len({(bar.get_facecolor(), bar.get_hatch()) for bar in axes.patches}) == 12


@pytest.mark.parametrize("name", ["a", "eigenvalues-of-large-matrices"])
def test_a_legend_stays_within_its_picture(name):
    runs = [figures.Bars(f"{name}-{number}", [0.5], [1.0], [None]) for number in range(12)]
    figure = figures.bars(["5%"], runs, "tolerance")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    legend = figure.legends[0].get_window_extent(canvas.get_renderer())
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1


def test_published_marks_stand_over_the_middle_of_their_bars():
    run = figures.Bars("a", [0.5], [1.0], [0.9])
    (axes,) = figures.bars(["5%"], [run, run], "tolerance").axes
    marks = [found.get_offsets()[0] for found in axes.collections if isinstance(found, PathCollection)]
    assert [mark[0] for mark in marks] == pytest.approx([bar.get_center()[0] for bar in axes.patches])


def test_a_run_that_was_stopped_is_shown_as_far_as_it_came(tmp_path):
    folder = _run(tmp_path / "a", finished=False)
    page = Page(report.write([folder], None))
    assert "Not finished" in page.text
    assert "80.0% of 1,000 validation samples" in page.text
    assert "waiting for data 25.0%" in page.text
    assert "4,000 of 4,000" in page.text
    assert "--run a --resume" in page.text
    assert {found.name for found in folder.glob("*.png")} == {"report-accuracy.png", "report-curves.png"}


@pytest.mark.parametrize("records", ["", '{"samples": 10, "seconds": 1.0, "loss": 3.0}\n', None])
def test_a_run_that_has_hardly_begun_has_a_page(tmp_path, records):
    folder = _run(tmp_path / "a", finished=False)
    (folder / "metrics.jsonl").unlink() if records is None else (folder / "metrics.jsonl").write_text(records)
    assert "Not finished" in Page(report.write([folder], None)).text


def test_a_finished_run_whose_answers_are_gone_has_a_page(tmp_path):
    folder = _run(tmp_path / "a")
    (folder / "evaluation.zarr").rename(tmp_path / "away")
    text = Page(report.write([folder], None)).text
    assert "75.0%" in text
    assert "nearly right" not in text


def test_accuracies_on_other_streams_are_maps_by_the_field_that_differs(tmp_path):
    a, b = _run(tmp_path / "a"), _run(tmp_path / "b", 0.5, spectrum="laplace")
    laplace = EIGENVALUES | {"spectrum": "laplace"}
    _evaluated(a, (laplace, 0.3), (EIGENVALUES | {"dim": 10}, 0.02), (laplace | {"dim": 10}, 0.11))
    _evaluated(b, (EIGENVALUES, 0.9))
    path = report.write([a, b], tmp_path)
    text = Page(path).text
    assert "run laplace semicircle a 30.0% 75.0% b 50.0% 90.0%" in text
    assert "run 5 10 a 75.0% 2.0%" in text
    assert "a on dim 10, spectrum laplace test, seed 0 200 11.0%" in text
    assert {found.name for found in tmp_path.glob("*-across-*")} == {
        "report-across-dim.png",
        "report-across-spectrum.png",
    }


def test_a_mixture_is_shown_by_operation_and_by_dimension(tmp_path):
    folder = _run(tmp_path / "a", operation="add,transpose", dim="2-4")
    text = Page(report.write([folder], None)).text
    assert "add 200 75.0%" in text
    assert "4 200 20.0%" in text
    assert (folder / "report-by-operation.png").is_file()
    assert (folder / "report-by-dimension.png").is_file()


def test_the_cases_are_right_nearly_right_worst_and_no_matrix(tmp_path):
    _, found = cases(_run(tmp_path / "a", errors=ERRORS))
    kinds = [(case.kind, case.index) for case in found]
    assert kinds == [
        ("right", 1),
        ("right", 5),
        ("nearly right", 2),
        ("worst", 6),
        ("worst", 4),
        ("invalid", 3),
    ]
    assert all(case.input.shape == (5, 5) and case.target.shape == (5, 1) for case in found)
    assert np.isnan(found[-1].prediction).any()


def test_the_cases_of_a_mixture_have_their_own_shapes(tmp_path):
    _, found = cases(_run(tmp_path / "a", errors=ERRORS, operation="add,transpose", dim="2-4"))
    shapes = {(case.operation, case.input.shape, case.target.shape) for case in found}
    assert shapes == {("add", (2, 4), (2, 2)), ("transpose", (4, 4), (4, 4))}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("operation", "dim", "errors"),
    [
        ("add", 10, (0.0, 1e300, np.nan)),
        ("svd", 1, (np.nan,)),
        ("transpose", 30, (1e-9, 40.0, 40.0, 40.0)),
        ("eigenvectors", 2, (0.06,)),
    ],
)
def test_matrices_of_any_size_and_error_are_drawn(tmp_path, operation, dim, errors):
    folder = _run(tmp_path / "a", operation=operation, dim=dim, errors=errors)
    report.write([folder], None)
    assert (folder / "report-cases.png").read_bytes().startswith(b"\x89PNG")


def test_files_of_others_are_not_replaced(tmp_path):
    folder = _run(tmp_path / "a")
    for _ in range(2):  # its own are
        report.write([folder], tmp_path / "thesis.html")
    for name in ("thesis-curves.png", "thesis.html"):
        (tmp_path / name).write_text("theirs")
        before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
        with pytest.raises(UserError, match=rf"{name}, which is not of a report, would be replaced"):
            report.write([folder], tmp_path / "thesis.html")
        assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
        (tmp_path / name).unlink()


def test_of_several_runs_too_files_of_others_are_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "report/report.html").write_text("theirs")
    with pytest.raises(UserError, match=r"report/report\.html, which is not of a report"):
        report.write([_run(tmp_path / "a"), _run(tmp_path / "b")], None)


def test_answers_to_other_problems_than_the_runs_own_are_said_to_be(tmp_path):
    folder = _run(tmp_path / "a")
    _answers(folder, StreamSpec(**EIGENVALUES, scale=3), FEW_ERRORS)
    assert "Scored on other problems than its own: scale 3" in Page(report.write([folder], None)).text


def test_findings_are_tables_with_the_published_ones_beside_them(tmp_path):
    folder = _run(tmp_path / "a", operation="eigenvectors")
    q = np.linalg.qr(RNG(1).normal(size=(20, 5, 5))).Q
    targets = np.concatenate([np.broadcast_to(np.arange(9.0, 4, -1), (20, 1, 5)), q], axis=1)
    inputs = (q * targets[:, :1]) @ q.swapaxes(1, 2)
    found = failures.analyse("eigenvectors", inputs, targets, targets, np.zeros(20))
    inverses = failures.analyse("inverse", inputs, np.linalg.inv(inputs), np.linalg.inv(inputs), np.zeros(20))
    about = {"seed": 0, "split": "test", "constrained": False, "m": 5, "n": 5}
    studies = [
        {"spec": {"operation": name, "dim": 5} | other, "operation": name, **about, **study}
        for name, study, other in (
            ("eigenvectors", found, {}),
            ("inverse", inverses, {}),
            ("eigenvectors", found, {"spectrum": "laplace"}),
        )
    ]
    (folder / "analysis.json").write_text(json.dumps(studies), encoding="utf-8")
    text = Page(report.write([folder], None)).text
    assert text.count("right within 1% 100.0% 9.2%") == 1  # the published ones are for the plain problem
    assert "eigenvectors 5×5, spectrum laplace, seed 0, split test" in text
    assert "vectors · condition · right · 98th percentile 1 1.031" in text
    assert "values · within 5% 100.0% 100.0% 100.0% 100.0% 100.0%" in text
    assert "samples condition right median l1" in text
    assert "2 1.8 … 1.8 100.0% 0" in text


@pytest.mark.parametrize("content", ["{", "{}", "[{}]", '[1, {"a": 2}]', "null"])
@pytest.mark.parametrize(
    "name", ["result.json", "evaluations.json", "analysis.json", "evaluation.zarr/zarr.json"]
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    folder = _run(tmp_path / "a")
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=name.partition("/")[0]):
        report.write([folder], None)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        report.write([_run(tmp_path / "a"), tmp_path], None)
    with pytest.raises(UserError, match="holds no run"):
        report.draw(tmp_path)


@pytest.mark.parametrize("place", ["file", "file/in", "file/page.html"])
def test_a_page_goes_into_a_folder_and_nowhere_else(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"{place}: must be a folder, or a page \(\.html\) in one"):
        report.write([_run(tmp_path / "a")], tmp_path / place)


def test_one_picture_is_drawn_of_a_finished_run_and_of_no_other(tmp_path):
    assert report.draw(_run(tmp_path / "a")).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UserError, match="no result yet"):
        report.draw(_run(tmp_path / "b", finished=False))
