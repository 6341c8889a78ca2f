"""What stands around the client: its environment, its folder, its key, addresses as people write them."""

import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from matstream.generator_service.stream import generate
from matstream.shared.errors import UserError
from matstream.shared.spec import StreamSpec
from matstream.trainer.client import stream
from tests import commands
from tests.faults.proxy import PAGE, answering, misbehaving
from tests.faults.runs import RUN

SPEC = StreamSpec(operation="transpose", dim=2)
TINY = {
    "stream__dim": 2,
    "model__width": 16,
    "model__heads": 2,
    "training__samples": 64,
    "training__batch_size": 32,
    "evaluation__validation_samples": 10,
    "evaluation__test_samples": 10,
}
NOBODY = "127.0.0.1:9"

# variables that httpx cannot use, and the first of them by name
_UNUSABLE = {
    "a SOCKS proxy without its package": {"ALL_PROXY": f"socks5://{NOBODY}"},
    "a NO_PROXY with an address in brackets": {
        "NO_PROXY": "localhost,[::1]",
        "HTTP_PROXY": f"http://{NOBODY}",
    },
    "a proxy that is no address": {"HTTP_PROXY": "http://proxy:port"},
    "a proxy of no known scheme": {"HTTPS_PROXY": "gopher://proxy:70"},
    "certificates that are not there": {"SSL_CERT_FILE": "/nowhere/certificates.pem"},
    "a folder of certificates that is not there": {"SSL_CERT_DIR": "/nowhere"},
    "a proxy where nothing listens": {"HTTP_PROXY": f"http://{NOBODY}", "HTTPS_PROXY": f"http://{NOBODY}"},
}


# a variable of each kind: a proxy, and certificates
_DAILY = ("a NO_PROXY with an address in brackets", "certificates that are not there")


@pytest.fixture(
    params=[name if name in _DAILY else pytest.param(name, marks=pytest.mark.long) for name in _UNUSABLE]
)
def surroundings(request, monkeypatch) -> str:
    """An environment that httpx cannot use: what is wrong with it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in _UNUSABLE[request.param].items():
        monkeypatch.setenv(name, value)
    return request.param


def test_a_generator_on_this_machine_is_reached_in_any_environment(here, server, rows, note, surroundings):
    begun = time.monotonic()
    for url in (server, server.replace("127.0.0.1", "localhost")):
        assert rows(stream(url, SPEC, 0, "train", 0, 5)) == rows([generate(SPEC, 0, "train", 0, 5)])
    status, _, err = here("sample", "transpose", "--dim", "2", "--generator", server)
    assert (status, err) == (0, "")
    status, _, err = here("train", "quickstart", "--generator", server, **TINY)
    assert status == 0, err
    status, _, err = here("evaluate", "runs/quickstart", "--generator", server, "--samples", "10")
    assert status == 0, err
    note(f"{surroundings}: loopback", times=4, outcome="identical", seconds=time.monotonic() - begun)


@pytest.mark.parametrize("surroundings", ["a SOCKS proxy without its package"], indirect=True)
def test_a_run_reaches_its_own_generator_in_any_environment(here, surroundings):
    status, _, err = here("train", "quickstart", **TINY)
    assert status == 0, err


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"ALL_PROXY": f"socks5://{NOBODY}"}, "ALL_PROXY"),
        ({"NO_PROXY": "localhost,[::1]", "HTTP_PROXY": f"http://{NOBODY}"}, "NO_PROXY"),
        ({"HTTPS_PROXY": "http://proxy:port"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://name:password@proxy:port"}, "https_proxy"),
        ({"SSL_CERT_FILE": "/nowhere/certificates.pem"}, "SSL_CERT_FILE"),
    ],
)
def test_elsewhere_a_variable_that_cannot_be_used_is_named(here, monkeypatch, variables, named):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    url = "https://generator.invalid"
    with pytest.raises(UserError, match=named) as refused:
        list(stream(url, SPEC, 0, "train", 0, 5))
    assert "\n" not in str(refused.value)
    assert "password" not in str(refused.value)
    status, _, err = here("train", "quickstart", "--generator", url, **TINY)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert named in err


def test_the_users_folder_is_not_imported_by_the_embedded_generator(here, tmp_path, note):
    for name in ("secrets", "numpy", "fastapi", "generator_service", "matstream"):
        (tmp_path / f"{name}.py").write_text(f"print('http://{NOBODY}')\nraise SystemExit('imported')\n")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/__init__.py").write_text("raise SystemExit('imported')\n")
    begun = time.monotonic()
    status, out, err = here("train", "quickstart", **TINY)
    assert status == 0, err
    assert "imported" not in out + err
    note(
        "modules of any name in the working folder",
        times=1,
        outcome="no effect",
        seconds=time.monotonic() - begun,
    )


def test_a_pythonpath_that_means_the_working_folder_is_not_the_embedded_generators(
    here, tmp_path, monkeypatch
):
    (tmp_path / "uvicorn.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "relative", str(tmp_path / "elsewhere")]))
    status, out, err = here("train", "quickstart", **TINY)
    assert status == 0, err
    assert "imported" not in out + err


def test_what_else_is_printed_is_not_taken_for_the_embedded_generators_url(here, tmp_path, monkeypatch, note):
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(f"print('http://{NOBODY}', flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    begun = time.monotonic()
    status, _, err = here("train", "quickstart", **TINY)
    assert status == 0, err
    note(
        "a module that prints a URL at start", times=1, outcome="no effect", seconds=time.monotonic() - begun
    )


def test_a_key_is_sent_without_the_space_around_it(here, start_server, monkeypatch):
    locked = start_server(MATSTREAM_API_KEYS="the-key").url
    for key in ("the-key\n", " the-key", "the-key \r\n", "\tthe-key"):
        monkeypatch.setenv("MATSTREAM_API_KEY", key)
        assert sum(batch.num_rows for batch in stream(locked, SPEC, 0, "train", 0, 5)) == 5
        assert here("sample", "transpose", "--dim", "2", "--generator", locked)[0] == 0


def test_a_password_in_an_address_is_in_no_log(server, caplog):
    caplog.set_level(logging.DEBUG)
    list(stream(server.replace("//", "//name:s3cret@"), SPEC, 0, "train", 0, 5))
    assert "/v1/stream" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("key", ["the key", "the\nkey", "clé", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_at_once_and_not_shown(
    here, server, monkeypatch, caplog, key
):
    monkeypatch.setenv("MATSTREAM_API_KEY", key)
    begun = time.monotonic()
    with caplog.at_level(logging.DEBUG), pytest.raises(UserError, match="MATSTREAM_API_KEY") as refused:
        list(stream(server, SPEC, 0, "train", 0, 5))
    said = [str(refused.value), caplog.text]
    for arguments in (("train", "quickstart"), ("sample", "transpose", "--dim", "2")):
        status, out, err = here(*arguments, "--generator", server)
        assert status == 1
        assert "MATSTREAM_API_KEY" in err
        assert len(err.splitlines()) == 1
        said += [out, err]
    assert time.monotonic() - begun < 5
    assert not any(key in text or repr(key) in text for text in said)


@pytest.mark.parametrize(
    "case", [str.lower, *(pytest.param(case, marks=pytest.mark.long) for case in (str.upper, str.title))]
)
def test_a_run_of_its_own_generator_ignores_a_team_servers_settings(here, monkeypatch, note, case):
    for name, value in {
        "API_KEYS": "alice-key,bob-key",
        "RATE": "1/minute",
        "MAX_DIM": "1",
        "MAX_COUNT": "1",
        "MAX_SECONDS": "0.001",
        "MAX_STREAMS": "1",
        "MAX_BATCH_BYTES": "1",
        "CORS_ORIGINS": "https://example.org",
    }.items():
        monkeypatch.setenv(case(f"MATSTREAM_{name}"), value)
    begun = time.monotonic()
    status, _, err = here("train", "quickstart", **TINY)
    assert status == 0, err
    note("a team server's settings exported", times=1, outcome="no effect", seconds=time.monotonic() - begun)


def test_how_a_notebook_draws_and_others_write_arrays_is_of_no_effect(undisturbed, tmp_path, monkeypatch):
    for name, value in {
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "ZARR_DEFAULT_ZARR_FORMAT": "9",
        "ZARR_ARRAY__ORDER": "K",
        "ZARR_BUFFER": "nowhere.Buffer",
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".config/zarr").mkdir(parents=True)
    (tmp_path / ".config/zarr/zarr.yaml").write_text("codec_pipeline:\n  path: nowhere.Pipeline\n")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    run = undisturbed / RUN
    process = commands.started(tmp_path, "report", str(run), "--out", str(tmp_path / "page"))
    status, _, err = commands.finish(process)
    assert (status, err) == (0, "")
    assert (tmp_path / "page/report-cases.png").exists()


def refusals(here: Callable, folder: Path, url: str) -> list[str]:
    """What the client, `train`, `evaluate` and `sample` say of a generator, a sentence each."""
    sentences = []
    with pytest.raises(UserError) as refused:
        list(stream(url, SPEC, 0, "train", 0, 5))
    sentences.append(str(refused.value))
    for arguments in (
        ("train", "quickstart", "--run", "refused"),
        ("evaluate", str(folder / RUN)),
        ("sample", "transpose", "--dim", "2"),
    ):
        status, _, err = here(*arguments, "--generator", url)
        assert status == 1
        assert "Traceback" not in err
        sentences.append(err.splitlines()[-1])
    return sentences


@pytest.mark.parametrize("more", ["?x=1", "#frag", "/?", "/v1?x=1#frag"])
def test_an_address_with_a_query_or_a_fragment_is_refused_with_one_to_write(here, server, undisturbed, more):
    begun = time.monotonic()
    for sentence in refusals(here, undisturbed, server + more):
        assert repr(server + more) in sentence
        assert "must be a URL like http://127.0.0.1:8000" in sentence
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "status", [301, *(pytest.param(status, marks=pytest.mark.long) for status in (302, 307, 308))]
)
def test_a_redirect_says_where_to(here, server, undisturbed, status):
    moved = answering(status, location=f"http://{NOBODY}/moved/v1/stream?dim=2")
    with misbehaving(server, moved) as generator:
        for sentence in refusals(here, undisturbed, generator.url):
            assert generator.url in sentence
            assert str(status) in sentence
            assert f"http://{NOBODY}/moved" in sentence


def test_an_answer_that_is_html_is_said_to_be_html(here, server, undisturbed):
    with misbehaving(server, answering(200, PAGE, content_type="text/html")) as generator:
        for sentence in refusals(here, undisturbed, generator.url):
            assert generator.url in sentence
            assert "text/html" in sentence
            assert "damaged" not in sentence


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://bob:s3c/ret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://bob:s3#cret@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://bob:s3?cr@et@127.0.0.1:9", "http://127.0.0.1:9"),
        ("http://bob:s3\ncret@127.0.0.1:x", "http://127.0.0.1:x"),
        ("http:/bob:s3cret@127.0.0.1:9", "http:/127.0.0.1:9"),
        ("HTTPS://bob:s3cret@127.0.0.1:0", "HTTPS://127.0.0.1:0"),
        ("ftp://bob:s3cret@127.0.0.1:9", "127.0.0.1:9"),
        ("bob:s3cret@127.0.0.1:9", "127.0.0.1:9"),
        ("bob:/s3cret@127.0.0.1:9", "127.0.0.1:9"),
    ],
)
def test_a_name_and_a_password_in_an_address_that_is_refused_are_not_shown(address, shown):
    with pytest.raises(UserError, match="must be a URL") as refused:
        stream(address, SPEC, 0, "train", 0, 5)
    assert str(refused.value).startswith(f"generator {shown!r}: ")


def test_a_name_and_a_password_in_an_address_are_used_and_not_shown(here, server, undisturbed, rows):
    named = server.replace("//", "//name:secret@")
    assert rows(stream(named, SPEC, 0, "train", 0, 5)) == rows([generate(SPEC, 0, "train", 0, 5)])
    status, _, err = here("sample", "transpose", "--dim", "2", "--generator", named)
    assert (status, err) == (0, "")
    with misbehaving(server, answering(404)) as generator:
        for sentence in refusals(here, undisturbed, generator.url.replace("//", "//name:secret@")):
            assert re.search(r"\b404\b", sentence)
            assert "secret" not in sentence
