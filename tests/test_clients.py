"""What docs/clients.md says to type works, and reads what the generator computes."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pyarrow as pa
import pytest

from matstream.generator_service.stream import generate
from matstream.shared.spec import SampleRange, StreamSpec
from matstream.shared.wire import Matrices, from_batch, read_stream
from tests.commands import python

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/clients.md").read_text(encoding="utf-8")
COUNT = 1000  # of the 100,000 samples of a block


def _blocks(language):
    """The code blocks of a language, by section: {title: [code, …]}."""
    sections = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)[1:]
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    found = {title: fence.findall(text) for title, text in zip(sections[::2], sections[1::2], strict=True)}
    return {title: codes for title, codes in found.items() if codes}


def _samples(**spec):
    return from_batch(generate(StreamSpec(**spec), 0, "train", 0, COUNT))


def _each(matrices):
    """The matrices of a column one by one, as lists."""
    if isinstance(matrices, Matrices):
        parts = np.split(matrices.entries, matrices.shapes.prod(axis=1).cumsum()[:-1])
        return [part.reshape(shape).tolist() for part, shape in zip(parts, matrices.shapes, strict=True)]
    return matrices.tolist()


def _pairs(samples):
    return [list(pair) for pair in zip(_each(samples.input), _each(samples.target), strict=True)]


def _largest(samples):
    """For each n: how many spectra have n eigenvalues, and the largest of all these."""
    by_dim = {}
    for values in _each(samples.target):
        by_dim.setdefault(len(values), []).append(values[0][0])
    return [[n, len(largest), max(largest)] for n, largest in sorted(by_dim.items())]


PYTHON = _blocks("python")
EIGENVALUES = _samples(operation="eigenvalues", dim=5)
INVERSE = _samples(operation="inverse", dim=5)
# for each block, an expression to print behind it, and its value
RESULTS = {
    "What a careful reader checks": [
        ("rows", COUNT),
        (
            "[x for batch in batches for x in batch['input'].to_numpy_ndarray().tolist()]",
            _each(EIGENVALUES.input),
        ),
    ],
    "Ranges": [("rest['residual'].to_pylist()", INVERSE.residual[600:].tolist())],
    "Python": [("[rows, samples.input[-1].tolist()]", [COUNT, _each(EIGENVALUES.input)[-1]])],
    "Matrices": [
        ("[rows, targets[-1].tolist()]", [COUNT, _each(INVERSE.target)[-1]]),
        (
            "[(x.tolist(), y.tolist()) for x, y in zip(inputs, targets)]",
            _pairs(_samples(operation="transpose", dim="2-4", cols="1-3")),
        ),
    ],
    "Polars": [("inputs.tolist()", _each(_samples(operation="eigenvalues,singular_values", dim=5).input))],
    "DuckDB": [("largest", _largest(_samples(operation="eigenvalues", dim="5-8")))],
    "PyTorch": [("[pair for x, y in dataset for pair in zip(x.tolist(), y.tolist())]", _pairs(EIGENVALUES))],
    "Hugging Face datasets": [
        ("[(row['input'].tolist(), row['target'].tolist()) for row in dataset]", _pairs(EIGENVALUES))
    ],
}
CASES = [
    pytest.param(code, *result, id=f"{title}-{number}")
    for title, codes in PYTHON.items()
    for number, (code, result) in enumerate(zip(codes, RESULTS[title], strict=True))
]


def _here(code, server):
    return code.replace("http://127.0.0.1:8000", server).replace("count=100000", f"count={COUNT}")


def _start(code, folder):
    """Run a block as a file of its own, in a fresh process."""
    path = folder / "block.py"
    path.write_text(code, encoding="utf-8")
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "huggingface")}
    return python(folder, path, **environment)


def _value(expression, code, server, folder, zeros="00"):
    """The value of an expression behind a block that reads 10{zeros} samples instead of 100_000."""
    code += f"\nif __name__ == '__main__':\n    import json\n    print(json.dumps({expression}))\n"
    done = _start(_here(code, server).replace("0_000", zeros), folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("code", "expression", "expected"), CASES)
def test_a_python_block_reads_what_is_generated(code, expression, expected, server, tmp_path):
    assert _value(expression, code, server, tmp_path) == expected


def test_the_careful_reader_finds_a_cut_and_a_damaged_entry(server, tmp_path):
    url = f"{server}/v1/stream?operation=eigenvalues&dim=5&count={COUNT}&batch_rows=100"
    whole = urlopen(url).read()
    messages = pa.ipc.MessageReader.open_stream(source := io.BytesIO(whole))
    for _ in range(1 + 5):  # the schema, five batches
        messages.read_next_message()
    cut = whole[: source.tell()]
    entry = EIGENVALUES.input[700, 0, 0]
    damaged = whole.replace(entry.tobytes(), np.nextafter(entry, 0).tobytes())
    assert [pa.ipc.open_stream(data).read_all().num_rows for data in (cut, damaged)] == [500, COUNT]

    code = PYTHON["What a careful reader checks"][0].replace("0_000", "00")
    code = code.replace("urlopen(url)", "open('samples.arrows', 'rb')")
    errors = []
    for data in (whole, cut, damaged):
        (tmp_path / "samples.arrows").write_bytes(data)
        errors.append(_start(code, tmp_path).stderr.strip().rpartition("\n")[2])
    assert errors == ["", "StopIteration", "AssertionError"]


def test_the_workers_of_a_pytorch_loader_read_every_sample_once(server, tmp_path):
    workers = 3  # shares that differ in size
    code = PYTHON["PyTorch"][0].replace("num_workers=2", f"num_workers={workers}")
    code = code.replace("64 * 256", "100").replace("256", "10")
    code = code.replace("rows += len(inputs)", "rows += len(inputs); read.append(inputs[:, 0, 0].tolist())")
    read = _value("read", f"read = []\n{code}", server, tmp_path)
    generated = EIGENVALUES.input[:, 0, 0].reshape(-1, 10).tolist()
    assert read[:workers] == [generated[10 * worker] for worker in range(workers)]
    assert sorted(read) == sorted(generated)


def test_the_workers_of_a_loader_share_the_shards_of_a_hugging_face_dataset(server, tmp_path):
    loader = "DataLoader(dataset, batch_size=None, num_workers=2, multiprocessing_context='fork')"
    code = f"from torch.utils.data import DataLoader\n{PYTHON['Hugging Face datasets'][0]}"
    read = _value(f"[row['index'] for row in {loader}]", code, server, tmp_path)
    assert read != sorted(read)
    assert sorted(read) == list(range(COUNT))


def test_a_hugging_face_dataset_streams_in_flat_memory(server, tmp_path):
    code = PYTHON["Hugging Face datasets"][0].replace("dim=5", "dim=64")
    peak = "__import__('resource').getrusage(0).ru_maxrss"  # KiB
    few, many = (code.replace("0_000", zeros) for zeros in ("00", "000"))
    grown = _value(f"{peak} - before", f"{few}\nbefore = {peak}\n{many}", server, tmp_path)
    assert grown < 100_000  # where 9,000 more matrices of 32 KiB were read


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_blocks_save_what_is_generated_and_ask_again_for_nothing(server, tmp_path):
    shown = []
    for code in _blocks("sh")["curl"]:
        command = ["bash", "-e", "-c", _here(code, server)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
        shown.append(done.stdout)
    assert [sample["index"] for sample in json.loads(shown[0])["samples"]] == [0, 1]
    assert shown[1].startswith("HTTP/1.1 200")
    assert shown[1].endswith("304\n")
    assert json.loads(shown[2])["spec"]["operation"] == "transpose"
    with (tmp_path / "svd.arrows").open("rb") as saved:
        spec = StreamSpec(operation="svd", dim=2, cols=3)
        assert sum(batch.num_rows for batch in read_stream(saved, spec, SampleRange(count=COUNT))) == COUNT


def test_every_link_to_a_section_leads_there():
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    anchors = [title.lower().replace(" ", "-") for title in titles]
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert links
    assert [link for link in links if link not in anchors] == []
