// The page: its controls, what they ask the service for, and its own URL, which holds the same.

import { draw, Histogram } from "./histogram.js";
import { lawOf } from "./laws.js";
import { number, sampleCard } from "./matrices.js";
import { ask, hasKey, pause, Refused } from "./service.js";
import { batches } from "./stream.js";

const SAMPLES = 3; // matrices shown
const FIRST_VISIT = "operation=eigenvalues&dim=5&spectrum=laplace";
// what the service, or the page, takes where its URL says nothing
const DEFAULTS = {
  operation: "eigenvalues",
  dim: "",
  cols: "",
  spectrum: "semicircle",
  structure: "none",
  coefficients: "uniform",
  scale: "10",
  noise: "0",
  max_abs: "",
  seed: "0",
  split: "train",
  encoding: "P1000",
  until: "1000000",
};

const $ = (selector) => document.querySelector(selector);
const form = $("#controls");
const controls = form.elements;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

const GROWING =
  "which the values approach as dimensions grow; those of small matrices have a shape of their own";

const NO_PICTURE = { histogram: null, law: null };
const NOTHING_SEEN = { seen: 0, residual: 0, redrawn: 0, rate: 0 };

let catalog;
let picture = NO_PICTURE; // on the canvas
let looking = new AbortController(); // the samples being fetched
let running = null; // the stream being read: an AbortController
let again = false; // whether a stream was stopped only to show something else

// ---------------------------------------------------------------- controls and URLs

/**
 * Offer what fits the operation: the catalog says which spectra, structures and columns do; and what a URL is
 * given with, such as condition-7 or several spectra, of which the service knows what to make.
 */
function offer(given) {
  const operation = catalog.operations[controls.operation.value];
  options(controls.spectrum, offered(operation.spectra, given?.get("spectrum")));
  options(controls.structure, offered(operation.structures, given?.get("structure")));
  $("#operation-hint").textContent = `${operation.input} → ${operation.target}`;
  const structured = controls.structure.value !== DEFAULTS.structure;
  use(controls.spectrum, operation.spectra.length > 0 && !structured); // a structure decides the spectrum
  use(controls.cols, !operation.square);
}

const offered = (names, given) => (names.length && given && !names.includes(given) ? [...names, given] : names);

function options(select, names) {
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(name.replaceAll("_", " "), name)));
  select.value = names.includes(chosen) ? chosen : DEFAULTS[select.name];
}

/** Show a control or hide it; a hidden one is disabled, which leaves it out of the form's data. */
function use(control, shown) {
  control.disabled = !shown;
  control.closest(".field").hidden = !shown;
}

/** The form as pairs of name and value, without what is taken anyway. */
function chosen() {
  const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  return given.filter(([name, value]) => name === "operation" || (value && value !== DEFAULTS[name]));
}

const pageQuery = () => `?${new URLSearchParams(chosen())}`;

/** The stream's part of the form as the query of /v1/stream and /v1/samples. */
function streamQuery() {
  return new URLSearchParams(chosen().filter(([name]) => name !== "encoding" && name !== "until")).toString();
}

/** Fill the form from the page's URL; each control comes after those that decide what it offers. */
function fillFromUrl() {
  const given = new URLSearchParams(location.search || FIRST_VISIT);
  for (const name of Object.keys(DEFAULTS)) {
    const control = controls[name];
    control.value = given.get(name) ?? DEFAULTS[name];
    if (control.selectedIndex === -1) control.value = DEFAULTS[name]; // the URL names what is not offered
    if (name === "operation" || name === "structure") offer(given);
  }
  // several operations, say, are none of this page's: its URL is to name what it shows
  if (given.get("operation") !== controls.operation.value) history.replaceState(null, "", pageQuery());
  $("#more").open ||= chosen().some(([name]) => $("#more").contains(controls[name]));
}

// ---------------------------------------------------------------- what is on screen

/** Show what the form asks for: its code, a few samples, its law. A running stream starts again. */
async function show() {
  again ||= running !== null;
  stop("");
  describe();
  if (!(await look()) || running) return;
  startPicture();
  if (again) watch();
}

/** Fetch and show a few samples; false where there are none to show. */
async function look() {
  looking.abort();
  looking = new AbortController();
  const { signal } = looking;
  const { operation, encoding } = controls;
  try {
    const query = `${streamQuery()}&count=${SAMPLES}&encoding=${encoding.value}`;
    const response = await ask(`v1/samples?${query}`, signal, say);
    const { samples } = await response.json();
    refuse(null);
    const forms = catalog.operations[operation.value];
    const firstRow = forms.histogram.first_row;
    $("#samples").replaceChildren(...samples.map((sample) => sampleCard(sample, forms, firstRow)));
    letScroll();
    return true;
  } catch (error) {
    if (signal.aborted) return false;
    refuse(error);
    return onlyWords(error);
  }
}

/** What is cut off can be scrolled by keyboard; what is not is no stop on its way. */
function letScroll() {
  for (const frame of document.querySelectorAll(".frame, pre")) {
    const cut = frame.scrollWidth > frame.clientWidth || frame.scrollHeight > frame.clientHeight;
    frame.tabIndex = cut ? 0 : -1;
  }
}

/** The service's refusal in words, or null: all of it on top, each sentence by the control it blames. */
function refuse(error) {
  if (error && !(error instanceof Refused)) throw error;
  $("#problem").textContent = error ? `The service says: ${error.message}` : "";
  for (const field of document.querySelectorAll(".field")) {
    const control = field.querySelector("input, select");
    const blamed = error?.errors.filter((each) => each.field === control.name) ?? [];
    field.querySelector(".error").textContent = blamed.map(({ message }) => message).join("; ");
    control.setAttribute("aria-invalid", blamed.length > 0);
    if (blamed.length > 0 && $("#more").contains(control)) $("#more").open = true;
  }
  $("#start").disabled = error !== null && !onlyWords(error);
  if (!error) return;
  $("#samples").replaceChildren();
  if (onlyWords(error)) return;
  $("#law").textContent = "";
  picture = NO_PICTURE;
  report(NOTHING_SEEN);
  paint();
}

/** Whether a refusal blames the encoding alone: then there are samples, but no words for them. */
const onlyWords = (error) =>
  error instanceof Refused && error.errors.length > 0 && error.errors.every(({ field }) => field === "encoding");

/** The stream's URL, and how to read it elsewhere. */
function describe() {
  const url = new URL(`v1/stream?${streamQuery()}&count=100000`, location.href).href;
  const key = hasKey();
  $("#url").textContent = url;
  $("#curl").textContent = [
    `curl '${url}'`,
    ...(key ? [`--header "Authorization: Bearer $MATSTREAM_API_KEY"`] : []),
    "--output samples.arrows",
  ].join(" \\\n  ");
  $("#python").textContent = [
    ...(key ? ["import os"] : []),
    `from urllib.request import ${key ? "Request, " : ""}urlopen`,
    "import pyarrow as pa",
    "",
    `url = "${url}"`,
    ...(key ? ['key = {"Authorization": "Bearer " + os.environ["MATSTREAM_API_KEY"]}'] : []),
    `table = pa.ipc.open_stream(urlopen(${key ? "Request(url, headers=key)" : "url"})).read_all()`,
    "print(table)  # index, input, target, residual, attempt",
  ].join("\n");
  letScroll();
}

/** An empty histogram with the law it will be held against. */
function startPicture() {
  const spec = { ...DEFAULTS, ...Object.fromEntries(chosen()) };
  const { what, law: name } = catalog.operations[spec.operation].histogram;
  const law = lawOf(name, spec);
  picture = { law, what, histogram: law && Histogram.forLaw(law.cdf) };
  $("#live-title").textContent =
    what === "entries" ? "Live: the entries of the targets" : `Live: the ${what}`;
  $("#law").textContent = law
    ? `The line is ${law.name}, ${law.exact ? "exact at every dimension" : GROWING}.`
    : "No law is drawn: this page knows none for these values.";
  report(NOTHING_SEEN);
  paint();
}

function report({ seen, residual, redrawn, rate }) {
  const { histogram, law } = picture;
  const counted = histogram?.total ?? 0;
  const whole = (value) => Math.round(value).toLocaleString("en");
  $("#seen").textContent = whole(seen);
  $("#rate").textContent = rate ? whole(rate) : "–";
  $("#residual").textContent = seen && !Number.isNaN(residual) ? number(residual) : "–";
  $("#redrawn").textContent = whole(redrawn);
  $("#gap").textContent = law && counted ? histogram.gap(law.cdf).toFixed(4) : "–";
  // Kolmogorov's 95% point; values of one sample may hang together, so that samples are what counts
  const chance = law?.exact
    ? `chance alone: up to ${(1.36 / Math.sqrt(seen)).toFixed(4)}`
    : "not exact at this dimension";
  $("#chance").textContent = law && seen ? chance : "";
  const outside = counted ? (histogram.below + histogram.above) / counted : 0;
  $("#outside").textContent = outside
    ? `${number(100 * outside)}% of the values lie beyond the ends of the axis.`
    : "";
  if ($("#bins").open) tabulate();
}

function paint() {
  const { histogram, law, what } = picture;
  const canvas = $("#histogram");
  draw(canvas, histogram, law, what);
  const compared = law ? ` over ${law.name}` : "";
  canvas.setAttribute("aria-label", histogram ? `Histogram of ${what}${compared}` : "No histogram yet");
}

/** The histogram as a table, for those who cannot see it; its first and last rows lie beyond the axis. */
function tabulate() {
  const { histogram, law } = picture;
  const rows = histogram ? [...histogram.rows()] : [];
  const expected = ({ from, to }) => (law.cdf(to) - law.cdf(from)) * histogram.total;
  const edge = (value) =>
    (Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "").replaceAll("-", "−");
  $("#bins tbody").replaceChildren(
    ...rows.map((bin) => {
      const row = document.createElement("tr");
      for (const text of [edge(bin.from), edge(bin.to), bin.count, law ? expected(bin).toFixed(1) : "–"]) {
        row.insertCell().textContent = text;
      }
      return row;
    }),
  );
  letScroll();
}

// ---------------------------------------------------------------- the live stream

async function watch() {
  const run = new AbortController();
  running = run;
  again = false;
  $("#start").textContent = "Stop";
  startPicture();
  const mine = picture;
  const total = { ...NOTHING_SEEN };
  const began = performance.now();
  let painted = 0;
  const paintAll = () => {
    report(total);
    paint();
    painted = performance.now();
  };
  try {
    for await (const batch of batches(wanted(), run.signal, say)) {
      mine.histogram ??= Histogram.forValues(batch.values);
      mine.histogram.add(batch.values);
      total.seen += batch.rows;
      total.residual = Math.max(total.residual, batch.residual);
      total.redrawn += batch.redrawn;
      total.rate = total.seen / ((performance.now() - began) / 1000);
      if (performance.now() - painted > (still.matches ? 1000 : 100)) {
        paintAll();
        await pause(0, run.signal); // let the page answer
      }
    }
    stop("All samples were read.");
  } catch (error) {
    if (!run.signal.aborted) {
      stop("");
      refuse(error);
    }
  }
  if (picture === mine) paintAll();
}

/** What of the stream to read, and how. */
function wanted() {
  return {
    query: streamQuery(),
    until: Number(controls.until.value) || Infinity,
    most: catalog.limits.max_count,
    firstRow: catalog.operations[controls.operation.value].histogram.first_row,
  };
}

function stop(words) {
  running?.abort();
  running = null;
  $("#start").textContent = "Start the stream";
  say(words);
}

/** Say what goes on, "" for nothing unusual; what is said already is not announced again. */
function say(words) {
  const status = $("#status");
  const now = words || (running ? "Reading the stream." : "");
  if (status.textContent !== now) status.textContent = now;
}

// ---------------------------------------------------------------- what people do

document.addEventListener("change", ({ target }) => {
  if (target.form !== form) return;
  if (target === controls.operation || target === controls.structure) offer();
  history.pushState(null, "", pageQuery());
  if (target === controls.encoding) look();
  else if (target !== controls.until) show();
});
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => {
  fillFromUrl();
  show();
});
$("#start").addEventListener("click", () => (running ? stop("Stopped.") : watch()));
$("#bins").addEventListener("toggle", tabulate);
document.addEventListener("click", ({ target }) => {
  if (target.matches("[data-copy]")) copy(target);
});
new ResizeObserver(() => {
  paint();
  letScroll();
}).observe($("#histogram"));
dark.addEventListener("change", paint);

async function copy(button) {
  const code = document.getElementById(button.dataset.copy);
  getSelection().selectAllChildren(code);
  // the clipboard's own interface is there on https and localhost only
  if (navigator.clipboard) await navigator.clipboard.writeText(code.textContent);
  else document.execCommand("copy");
  button.textContent = "Copied";
  say("Copied.");
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

// ---------------------------------------------------------------- start

catalog = await (await ask("v1/catalog", looking.signal, say)).json();
options(controls.operation, Object.keys(catalog.operations));
options(controls.coefficients, catalog.coefficients);
options(controls.encoding, catalog.encodings);
form.inert = false;
for (const [name, words] of Object.entries(catalog.parameters)) {
  const hint = document.getElementById(`${name}-hint`);
  if (hint && name !== "operation") hint.textContent = words;
}
fillFromUrl();
show();
