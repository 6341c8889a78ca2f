import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SIDES = ("generator_service", "shared", "trainer")


def _imports(path: Path) -> set[str]:
    """What a file imports: the package, or of our own the side, as matstream.trainer."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {".".join(name.split(".")[: 2 if name.startswith("matstream.") else 1]) for name in names}


def _modules(side: str) -> list[Path]:
    return sorted((ROOT / side).rglob("*.py"))


@pytest.mark.parametrize(
    ("side", "own", "forbidden"),
    [
        ("shared", {"shared"}, {"fastapi", "starlette", "uvicorn", "torch"}),
        ("generator_service", {"shared", "generator_service"}, {"torch"}),
        ("trainer", {"shared", "trainer"}, {"fastapi", "starlette", "uvicorn"}),
    ],
)
def test_a_side_imports_nothing_it_must_not_know(side, own, forbidden):
    assert _modules(side)
    for path in _modules(side):
        imported = _imports(path)
        assert {name for name in imported if name.startswith("matstream")} <= {
            f"matstream.{x}" for x in own
        }, path
        assert not imported & forbidden, path


def test_only_the_public_package_names_both_sides():
    for path in (path for side in SIDES for path in _modules(side)):
        assert not {"matstream.generator_service", "matstream.trainer"} <= _imports(path), path


@pytest.mark.parametrize("module", ["matstream.trainer.client", "matstream.generator_service.service.app"])
def test_neither_the_client_nor_the_service_loads_torch(module):
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_samples_are_made_sent_and_read_without_pandas():
    """pyarrow loads it, where it is installed, for pa.array and to_numpy: half a second of every process."""
    code = """if True:
        import io, sys
        from matstream.generator_service.stream import generate
        from matstream.shared.spec import SampleRange, StreamSpec
        from matstream.shared.wire import from_batch, read_stream, write_stream
        for operation, dim in (("add", 3), ("add,svd", "2-3")):
            spec = StreamSpec(operation=operation, dim=dim)
            batch = generate(spec, 0, "train", 0, 5)
            sent = b"".join(bytes(part) for parts in write_stream([batch], batch.schema) for part in parts)
            assert len(list(read_stream(io.BytesIO(sent), spec, SampleRange(count=5)))) == 1
        sys.exit("pandas" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
