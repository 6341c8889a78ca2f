"""The playground in a real browser: Debian's Chromium, without a screen."""

import math
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qs, urlsplit

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route, expect
from scipy import stats

from matstream.generator_service.stream import generate
from matstream.shared.encodings import ENCODINGS
from matstream.shared.operation import Group
from matstream.shared.spec import StreamSpec
from matstream.shared.wire import from_batch
from tests.browsers import chromium, needs_browser

ROOT = Path(__file__).parents[3]
AXE = ROOT / "tests/data/axe-core-4.14.1/axe.min.js"
PATIENCE = 60_000  # ms, for a stream to be read on a busy machine
PHONE = {"width": 360, "height": 740}
SIGMA = 10 * math.sqrt(5 / 3)  # deviation of the eigenvalues at dim=5, scale=10

pytestmark = needs_browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_page(server, browser) -> Iterator[Callable[..., Page]]:
    """Open the playground: `open_page(query, **context options)`. It may ask nobody but the service, and no
    error may go unhandled in it."""
    contexts, requests, errors = [], [], []

    def open_page(query: str = "", **options) -> Page:
        context = browser.new_context(base_url=server, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(error))
        page.goto(f"/{query}")
        expect(page.locator("#operation-hint")).not_to_be_empty()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors
    assert {"{0.scheme}://{0.netloc}".format(urlsplit(url)) for url in requests} == {server}


@contextmanager
def behind_a_prefix(server: str) -> Iterator[str]:
    """The URL of a proxy that serves a server under /matstream/, and nothing else."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            inside = self.path.startswith("/matstream/")
            address = server + self.path.removeprefix("/matstream") if inside else f"{server}/outside"
            answer = httpx.get(address, trust_env=False)
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}/matstream"
        proxy.shutdown()


def test_the_documentation_works_behind_a_path_prefix(server, browser):
    requests: list[str] = []
    with behind_a_prefix(server) as url, browser.new_context() as context:
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{url}/docs")
        page.locator("#operations-default-versions_version_get").click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".live-responses-table .response .response-col_status")).to_contain_text("200")
    assert f"{url}/version" in requests
    assert all(request.startswith((url, "data:")) for request in requests)


def choose(page: Page, operation: str) -> None:
    page.locator(f"#operation [value={operation}]").check()


def start(page: Page) -> None:
    page.get_by_role("button", name="Start the stream").click()


def read_100_000(page: Page) -> tuple[np.ndarray, np.ndarray]:
    """Read 100,000 samples; the upper edges (B,) and counts (B,) of the page's histogram."""
    page.get_by_label("read", exact=True).select_option("100000")
    start(page)
    expect(page.locator("#status")).to_have_text("All samples were read.", timeout=PATIENCE)
    expect(page.locator("#seen")).to_have_text("100,000")
    page.get_by_text("The histogram as a table").click()
    expect(page.locator("#bins tbody tr")).to_have_count(102)
    rows = page.locator("#bins tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    edges = [float(row[1].replace("−", "-") or "inf") for row in rows]
    return np.array(edges), np.array([int(row[2]) for row in rows])


def gap(edges: np.ndarray, counts: np.ndarray, law: Callable[[np.ndarray], np.ndarray]) -> float:
    """The largest gap between the cumulative counts and a law, at the edges."""
    return float(np.abs(counts.cumsum() / counts.sum() - law(edges)).max())


def run_python(snippet: str, **environment: str) -> str:
    command = [sys.executable, "-c", snippet]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


LAWS = {
    "laplace": stats.laplace(scale=SIGMA / math.sqrt(2)).cdf,
    "uniform": stats.uniform(-math.sqrt(3) * SIGMA, 2 * math.sqrt(3) * SIGMA).cdf,
    "gaussian": stats.norm(scale=SIGMA).cdf,
}


@pytest.mark.parametrize("spectrum", ["uniform", "gaussian"])
def test_the_histogram_is_that_of_the_stream_and_agrees_with_its_law(open_page, spectrum):
    page = open_page()
    choose(page, "eigenvectors")
    page.get_by_label("Spectrum").select_option(spectrum)
    expect(page.locator("#law")).to_contain_text("exact at this dimension")
    edges, counts = read_100_000(page)

    spec = StreamSpec(operation="eigenvectors", dim=5, spectrum=spectrum)
    batch = generate(spec, 0, "train", 0, 100_000)
    values = np.sort(batch["target"].to_numpy_ndarray()[:, 0].reshape(-1))
    assert counts.sum() == len(values)
    # the table writes its edges in 6 digits
    assert np.abs(np.searchsorted(values, edges) - counts.cumsum()).max() <= 5
    largest = float(page.locator("#residual").inner_text().replace("−", "-"))
    assert largest == pytest.approx(batch["residual"].to_numpy().max(), rel=0.05)

    # half a million independent values: Kolmogorov's 99.9% point is 1.95/√500000
    assert gap(edges, counts, LAWS[spectrum]) < 0.0028
    assert gap(edges, counts, LAWS["laplace"]) > 0.02
    shown = float(page.locator("#gap").inner_text())
    assert shown == pytest.approx(gap(edges, counts, LAWS[spectrum]), abs=1e-4)


def test_matrices_of_many_shapes_are_counted_too(open_page):
    page = open_page("?operation=svd&dim=2-4&cols=3-5&until=100000")
    expect(page.locator("#law")).to_contain_text("the law at dimension 2-4×3-5, from 20,000 other samples")
    edges, counts = read_100_000(page)
    batch = generate(StreamSpec(operation="svd", dim="2-4", cols="3-5"), 0, "train", 0, 100_000)
    targets = from_batch(batch).target
    sizes = targets.shapes.prod(axis=1)
    firsts = np.split(targets.entries, sizes.cumsum()[:-1])
    values = np.sort(
        np.concatenate([flat[:cols] for flat, (_, cols) in zip(firsts, targets.shapes, strict=True)])
    )
    assert counts.sum() == len(values)
    assert np.abs(np.searchsorted(values, edges) - counts.cumsum()).max() <= 5


def test_a_law_that_holds_for_large_matrices_is_called_that(open_page):
    page = open_page("?operation=eigenvalues&dim=31")
    expect(page.locator("#law")).to_have_text(
        "The line is the semicircle law, which the values approach as dimensions grow."
    )
    page.get_by_label("read", exact=True).select_option("endless")
    start(page)
    expect(page.locator("#chance")).to_have_text("not exact at this dimension")


SAMPLED = "The line is the law at dimension {}, from 20,000 other samples."


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ("operation=eigenvalues&dim=5", stats.semicircular(scale=2 * SIGMA).cdf),
        ("operation=inverse&dim=5", None),
    ],
)
def test_the_law_of_small_matrices_is_that_of_other_samples(open_page, query, limit):
    page = open_page(f"?{query}")
    expect(page.locator("#law")).to_contain_text(SAMPLED.format(5))
    dashed = " The dashed line is the semicircle law, which the values approach as dimensions grow."
    expect(page.locator("#law")).to_have_text(SAMPLED.format(5) + (dashed if limit else ""))
    edges, counts = read_100_000(page)
    assert float(page.locator("#gap").inner_text()) < 0.005
    expected = page.locator("#bins tbody td:nth-child(4)").all_inner_texts()
    # two samples, of half a million and of a hundred thousand values, that follow one law
    law = np.array([float(text) for text in expected]).cumsum() / counts.sum()
    assert 0 < np.abs(counts.cumsum() / counts.sum() - law).max() < 0.005
    if limit:
        assert gap(edges, counts, limit) > 0.009


@pytest.mark.parametrize("law", ["integers", "sparse", "log_uniform"])
def test_a_line_follows_entries_of_every_law(open_page, law):
    page = open_page(f"?operation=transpose&dim=3&coefficients={law}")
    said = "the log-uniform law of the entries" if law == "log_uniform" else SAMPLED.format(3)
    expect(page.locator("#law")).to_contain_text(said)
    _, counts = read_100_000(page)
    assert float(page.locator("#gap").inner_text()) < 0.007
    if law == "integers":  # a bar for each of −10 … 10
        assert np.count_nonzero(counts) == 21


@pytest.mark.parametrize(
    ("query", "law"),
    [
        ("operation=eigenvalues&spectrum=laplace&coefficients=sparse", stats.laplace(0, 10 / 12**0.5).cdf),
        ("operation=eigenvalues", stats.uniform(-10, 20).cdf),
        ("operation=eigenvalues&spectrum=positive&coefficients=gaussian", stats.halfnorm(0, 10 / 3**0.5).cdf),
        ("operation=singular_values", stats.uniform(0, 10).cdf),
        ("operation=singular_values&coefficients=log_uniform", stats.loguniform(0.01, 10).cdf),
        ("operation=matmul", lambda x: (1 + x / 100 * (1 - np.log(np.maximum(np.abs(x / 100), 1e-300)))) / 2),
    ],
)
def test_the_law_of_a_single_number_is_exact(open_page, query, law):
    page = open_page(f"?{query}&dim=1")
    expect(page.locator("#law")).to_contain_text("exact at this dimension")
    edges, counts = read_100_000(page)
    inside = slice(1, -2)  # the ends of the axis lie beyond those of the law
    assert np.abs(counts.cumsum()[inside] / counts.sum() - law(edges[inside])).max() < 0.0062
    assert float(page.locator("#gap").inner_text()) < 0.0062


def test_a_sample_for_a_law_is_read_no_further_when_nobody_waits_for_it(open_page):
    page = open_page("?operation=transpose&dim=3")
    ended = []
    page.on("requestfailed", lambda request: ended.append(urlsplit(request.url)))
    page.route("**/v1/stream?*", lambda route: None)  # never answered
    with page.expect_request("**/v1/stream?*") as asked:
        choose(page, "inverse")
    expect(page.locator("#law")).to_have_text("The line comes once enough other samples are read.")
    choose(page, "transpose")
    expect(page.locator("#law")).to_contain_text("the uniform law of the entries")
    page.wait_for_timeout(100)
    query = "operation=inverse&dim=3&split=valid&seed=1&start=0&count=20000"
    streams = [url.query for url in ended if url.path == "/v1/stream"]  # its first samples may be left too
    assert streams == [query] == [urlsplit(asked.value.url).query]


def test_every_operation_can_be_chosen_and_shows_samples_and_a_law(open_page, server):
    page = open_page()
    catalog = page.request.get(f"{server}/v1/catalog").json()["operations"]
    offered = page.locator("#operation input").evaluate_all("radios => radios.map(radio => radio.value)")
    assert sorted(offered) == sorted(catalog)
    groups = page.locator("#operation [role=group]").evaluate_all(
        "groups => groups.map(group => group.ariaLabel)"
    )
    assert groups == [group for group in get_args(Group) if group != "your own"]
    for name in offered:
        with page.expect_response(re.compile(rf"samples\?operation={name}&")) as got:
            choose(page, name)
        assert got.value.ok, (name, got.value.url)
        expect(page.locator(f"#operation [value={name}]")).to_have_accessible_description(
            f"{catalog[name]['input']} → {catalog[name]['target']}"
        )
        expect(page.locator("#operation-hint")).not_to_be_empty()
        expect(page.locator("#samples figcaption").last).to_contain_text(f"Target: {catalog[name]['target']}")
        expect(page.locator("#law")).to_contain_text("The line is", timeout=PATIENCE)
        expect(page.locator("#problem")).to_be_empty()


def test_what_was_chosen_stays_and_columns_are_made_to_fit(open_page):
    page = open_page("?operation=transpose")
    for operation, sizes in [
        ("least_squares", ("5", "4", "10")),
        ("gcd", ("2", "", "100")),
        ("regression", ("8", "3", "10")),
        ("transpose", ("5", "", "10")),
    ]:
        choose(page, operation)
        assert tuple(page.locator(f"#{name}").input_value() for name in ("dim", "cols", "scale")) == sizes
    page.locator("#dim").fill("1")
    page.locator("#dim").press("Enter")
    choose(page, "least_squares")
    expect(page.locator("#dim")).to_have_value("2")
    expect(page.locator("#cols")).to_have_value("1")
    page.locator("#dim").fill("3-7")
    page.locator("#cols").fill("5")
    page.locator("#dim").press("Enter")
    choose(page, "qr")
    expect(page.locator("#cols")).to_have_value("3")
    expect(page.locator("#dim")).to_have_value("3-7")
    choose(page, "cholesky")
    expect(page.get_by_label("Spectrum")).to_have_value("positive")
    expect(page.locator(".sample")).to_have_count(3)
    expect(page.locator("#problem")).to_be_empty()


def test_operations_are_found_by_name_formula_and_description(open_page):
    page = open_page()
    shown = page.locator("#operation label:visible")
    search = page.locator("#search")
    for typed, found in [
        ("cholesky", "cholesky"),
        ("general eig", "general_eigenvalues"),
        ("LLᵀ", "cholesky"),
        ("A^½", "matrix_square_root"),
        ("A-1b", "solve"),
        ("network currents", "potentials"),
    ]:
        search.fill(typed)
        expect(shown.locator(f"[value={found}]")).to_have_count(1)
        assert shown.count() < 12
        expect(page.locator("#found")).to_have_text(re.compile("^[0-9]+ found$"))
    search.fill("nothing of the kind")
    expect(page.locator("#found")).to_have_text("none found")
    expect(shown).to_have_count(1)  # what is chosen
    search.fill("")
    assert shown.count() > 30


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_samples_show_their_values_and_words(open_page, server, encoding):
    stream = f"operation={'gcd' if encoding.startswith('Z') else 'eigenvectors'}&dim=3"
    page = open_page(f"?{stream}")
    page.get_by_label("written in words as").select_option(encoding)
    url = f"{server}/v1/samples?{stream}&count=3&encoding={encoding}"
    samples = page.request.get(url).json()["samples"]
    cards = page.locator(".sample")
    expect(cards).to_have_count(3)
    for card, sample in zip(cards.all(), samples, strict=True):
        expect(card.locator("dd")).to_have_text([sample["words"]["input"], sample["words"]["target"]])
        shown = card.locator("td").all_inner_texts()
        values = [value for name in ("input", "target") for row in sample[name] for value in row]
        read = [float(text.replace("−", "-")) for text in shown]
        assert read == pytest.approx(values, rel=0.06)


def test_controls_offer_what_fits_the_operation(open_page):
    page = open_page()
    expect(page.get_by_label("Columns")).to_be_hidden()
    choose(page, "svd")
    expect(page.get_by_label("Columns")).to_be_visible()
    expect(page.get_by_label("Spectrum")).to_be_hidden()
    assert "spectrum" not in page.locator("#url").inner_text()
    choose(page, "eigenvalues")
    assert page.locator("#structure option", has_text="orthogonal").count() == 0
    page.get_by_label("Structure").select_option("toeplitz")
    expect(page.get_by_label("Spectrum")).to_be_hidden()


@pytest.mark.parametrize(
    ("dim", "words"), [("'0'", "whole number from 1"), ("'100000'", "4096"), ("129", "at most 128")]
)
def test_a_refusal_is_said_in_words_by_the_control_to_blame(open_page, dim, words):
    page = open_page()
    field = page.get_by_label("Dimension")
    field.fill(dim.strip("'"))
    field.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(f"dim={dim}: must be")
    expect(page.locator("#dim-error")).to_contain_text(words)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#start")).to_be_disabled()
    field.fill("4")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.locator("#dim-error")).to_be_empty()
    expect(page.locator("#start")).to_be_enabled()


def test_the_address_holds_what_is_chosen(open_page):
    page = open_page()
    page.get_by_label("Spectrum").select_option("abs_laplace")
    page.get_by_label("Dimension").fill("4-6")
    page.get_by_label("Dimension").press("Enter")
    page.get_by_text("Coefficients, scale").click()
    page.get_by_label("Split").select_option("test")
    page.get_by_label("read", exact=True).select_option("endless")
    chosen = {"operation": "eigenvalues", "dim": "4-6", "spectrum": "abs_laplace", "split": "test"}

    def expect_chosen() -> None:
        for name, value in chosen.items():
            field = f"#{name}" if name != "operation" else "#operation :checked"
            expect(page.locator(field)).to_have_value(value)
        expect(page.locator("#until")).to_have_value("endless")

    query = parse_qs(urlsplit(page.url).query)
    assert query == {name: [value] for name, value in (chosen | {"until": "endless"}).items()}
    page.reload()
    expect_chosen()
    page.go_back()  # from endless
    page.go_back()  # from test
    expect(page.locator("#split")).to_have_value("train")
    expect(page.locator("#dim")).to_have_value("4-6")
    assert "split" not in page.locator("#url").inner_text()
    page.go_forward()
    page.go_forward()
    expect_chosen()


def test_copied_code_reads_the_stream_on_screen(open_page):
    page = open_page("?operation=add&dim=2&seed=7", permissions=["clipboard-read", "clipboard-write"])

    def copied(what: str) -> str:
        page.get_by_role("button", name=f"Copy the {what}").click()
        expect(page.get_by_role("button", name=f"Copy the {what}")).to_have_text("Copied")
        return page.evaluate("navigator.clipboard.readText()")

    url = copied("URL")
    assert urlsplit(url).query == "operation=add&dim=2&seed=7&count=100000"
    curl = copied("curl line")
    assert url in curl
    assert curl.startswith("curl '")
    assert "fixed_shape_tensor" in run_python(copied("Python snippet"))


def test_it_works_without_a_mouse(open_page):
    page = open_page("?operation=eigenvalues&dim=3&until=100000")
    page.keyboard.press("Tab")
    page.keyboard.type("svd")
    page.keyboard.press("ArrowDown")  # to what is found
    expect(page.locator("#operation [value=svd]")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("transp")
    page.keyboard.press("Enter")
    expect(page.locator("#operation [value=transpose]")).to_be_checked()
    expect(page.locator("#law")).to_contain_text("uniform law of the entries")
    page.keyboard.press("Tab")
    expect(page.locator("#operation [value=transpose]")).to_be_focused()
    for _ in range(10):
        if page.locator("#start").evaluate("start => start === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text("All samples were read.", timeout=PATIENCE)


def test_a_stream_can_be_stopped_and_a_change_starts_it_again(open_page):
    page = open_page("?operation=eigenvalues&dim=3&until=endless")
    start(page)
    expect(page.locator("#seen")).not_to_have_text("0", timeout=PATIENCE)
    choose(page, "transpose")
    choose(page, "singular_values")  # before the first change is shown
    expect(page.locator("#live-title")).to_have_text("Live: the singular values")
    expect(page.locator("#seen")).not_to_have_text("0", timeout=PATIENCE)
    expect(page.locator("#status")).to_have_text("Reading the stream.")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    seen = page.locator("#seen").inner_text()
    page.wait_for_timeout(300)
    expect(page.locator("#seen")).to_have_text(seen)


def test_a_busy_service_and_a_cut_stream_are_asked_again(open_page):
    page = open_page("?operation=transpose&dim=3")
    troubles = ["busy", "cut"]

    def trouble(route: Route) -> None:
        kind = troubles.pop(0) if troubles else None
        if kind == "busy":
            problem = '{"status": 503, "detail": "all compute slots are taken"}'
            route.fulfill(status=503, headers={"Retry-After": "1"}, body=problem)
        elif kind == "cut":
            response = route.fetch()
            route.fulfill(response=response, body=response.body()[: len(response.body()) // 2])
        else:
            route.continue_()

    page.route("**/v1/stream?*", trouble)
    status = page.locator("#status")
    page.get_by_label("read", exact=True).select_option("100000")
    start(page)
    expect(status).to_have_text("All compute slots are taken. Trying again in 1 s.")
    expect(status).to_contain_text("The connection broke. Going on at sample", timeout=PATIENCE)
    expect(status).to_have_text("All samples were read.", timeout=PATIENCE)
    expect(page.locator("#seen")).to_have_text("100,000")


def test_an_api_key_is_asked_for_and_sent_as_a_header_only(start_server, browser):
    private = start_server(MATSTREAM_API_KEYS="sesame")
    page = browser.new_page()
    urls = []
    page.on("request", lambda request: urls.append(request.url))
    page.goto(private.url)
    for key, status in (("simsim", "The service does not know this API key."), ("sesame", "")):
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use this key").click()
        expect(page.locator("#status")).to_have_text(status)
    expect(page.locator(".sample")).to_have_count(3)
    expect(page.get_by_label("API key")).to_be_hidden()
    expect(page.locator("#curl")).to_contain_text("Authorization: Bearer $MATSTREAM_API_KEY")
    read_100_000(page)
    assert not [url for url in [*urls, page.url] if "sesame" in url]
    snippet = page.locator("#python").inner_text()
    assert "fixed_shape_tensor" in run_python(snippet, MATSTREAM_API_KEY="sesame")
    page.close()


@pytest.mark.parametrize("query", ["", "?operation=eigenvectors&dim=3-9", "?operation=svd&dim=40&noise=-1"])
def test_a_phone_needs_no_sideways_scrolling(open_page, query):
    page = open_page(query, viewport=PHONE)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize(
    ("query", "scheme", "viewport"),
    [
        ("", "light", {"width": 1280, "height": 900}),
        ("", "dark", PHONE),
        ("?operation=svd&dim=14", "light", {"width": 1280, "height": 900}),
        ("?operation=add&dim=0&noise=x", "dark", PHONE),
    ],
)
def test_axe_finds_nothing_serious(open_page, query, scheme, viewport):
    page = open_page(query, color_scheme=scheme, viewport=viewport)
    page.wait_for_load_state("networkidle")
    if not query:
        read_100_000(page)
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")["violations"]
    grave = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in grave] == []


def test_nothing_on_the_page_may_come_from_elsewhere(open_page, server):
    page = open_page()
    assert page.request.get(server).headers["content-security-policy"] == "default-src 'self'"
    markup = "".join(path.read_text() for path in (ROOT / "generator_service/static").glob("*.*"))
    assert re.findall(r"https?://(?!www\.w3\.org)[^\s\"')]+", markup) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("playground", {"viewport": {"width": 1280, "height": 1180}}),
        ("playground-phone", {"viewport": PHONE, "device_scale_factor": 2}),
    ],
)
def test_the_pictures_of_the_readme_can_be_taken(open_page, tmp_path, name, options):
    page = open_page(**options)
    folder = ROOT / "docs" if os.environ.get("MATSTREAM_SCREENSHOTS") == "1" else tmp_path
    page.get_by_label("read", exact=True).select_option("100000")
    start(page)
    expect(page.locator("#status")).to_have_text("All samples were read.", timeout=PATIENCE)
    if name == "playground-phone":
        page.locator("#live-title").scroll_into_view_if_needed()
        page.evaluate("document.querySelector('#live-title').closest('section').scrollIntoView()")
    page.screenshot(path=folder / f"{name}.png")
    assert (folder / f"{name}.png").stat().st_size > 20_000


def test_what_the_words_cannot_say_is_shown_without_them_and_stops_no_stream(open_page):
    page = open_page("?operation=matmul&dim=3&until=endless")
    start(page)
    page.get_by_label("written in words as").select_option("Z10")
    expect(page.locator("#wordless")).to_contain_text("No words are shown: Z10 cannot write")
    expect(page.locator("#wordless")).to_contain_text("must be a whole number of at most 6 digits.")
    expect(page.locator("#problem")).to_be_empty()
    expect(page.locator(".sample")).to_have_count(3)
    expect(page.locator(".words")).to_have_count(0)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Start the stream")).to_be_enabled()
    choose(page, "gcd")
    expect(page.locator(".words")).to_have_count(3)
    expect(page.locator("#wordless")).to_be_empty()


@pytest.mark.parametrize(
    "query",
    [
        "operation=eigenvalues&dim=3&spectrum=laplace%2Cuniform",
        "operation=inverse&dim=3&structure=condition-7",
        "operation=add&dim=2&max_abs=15",
        "operation=add&dim=2&coefficients=gaussian%2Cuniform",
    ],
)
def test_what_a_url_names_beyond_what_is_offered_is_shown(open_page, query):
    page = open_page(f"?{query}")
    expect(page.locator("#url")).to_contain_text(query)
    expect(page.locator("#samples")).to_contain_text("Sample 2")


def test_a_url_of_several_operations_becomes_that_of_the_one_shown(open_page):
    page = open_page("?operation=add,svd&dim=3")
    expect(page).to_have_url(re.compile(r"\?operation=eigenvalues&dim=3$"))
    expect(page.locator("#url")).to_contain_text("operation=eigenvalues&dim=3")
