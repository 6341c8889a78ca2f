// The page: what the controls ask the service for, shown.

import {
  adapt,
  controls,
  fillControls,
  fillFromUrl,
  form,
  operation,
  pageQuery,
  streamQuery,
} from "./controls.js";
import { clearPicture, interrupt, paint, resume, say, tabulate, toggle } from "./live.js";
import { letScroll, sampleCard } from "./matrices.js";
import { ask, hasKey, Refused } from "./service.js";

const SAMPLES = 3; // matrices shown

const $ = (selector) => document.querySelector(selector);
const dark = matchMedia("(prefers-color-scheme: dark)");

let looking = new AbortController(); // the samples being fetched

// ---------------------------------------------------------------- what is on screen

/** Show what the form asks for: its code, a few samples, its law. A running stream starts again. */
async function show() {
  interrupt();
  describe();
  if (await look()) resume(refuse);
}

/** Fetch and show a few samples; false where there are none to show. */
async function look() {
  looking.abort();
  looking = new AbortController();
  const { signal } = looking;
  try {
    const { samples, wordless } = await fewSamples(signal);
    refuse(null);
    const forms = operation();
    $("#wordless").textContent = wordless;
    $("#samples").replaceChildren(...samples.map((sample) => sampleCard(sample, forms, forms.histogram.first_row)));
    letScroll();
    return true;
  } catch (error) {
    if (!signal.aborted) refuse(error);
    return false;
  }
}

/** Samples with their words; without them where the encoding cannot write them, and why. */
async function fewSamples(signal) {
  const path = `v1/samples?${streamQuery()}&count=${SAMPLES}`;
  const encoding = controls.encoding.value;
  try {
    const response = await ask(`${path}&encoding=${encoding}`, signal, say);
    return { ...(await response.json()), wordless: "" };
  } catch (error) {
    const blamed = error instanceof Refused ? error.errors.map(({ field }) => field) : [];
    if (blamed.length === 0 || blamed.some((field) => field !== "encoding")) throw error;
    const response = await ask(path, signal, say);
    const reason = error.message.replace(`encoding='${encoding}': `, "");
    return { ...(await response.json()), wordless: `No words are shown: ${encoding} ${reason}.` };
  }
}

/** The service's refusal in words, or null: all of it on top, each sentence by the control it blames. */
function refuse(error) {
  if (error && !(error instanceof Refused)) throw error;
  $("#problem").textContent = error ? `The service says: ${error.message}` : "";
  for (const field of document.querySelectorAll(".field")) {
    const sentence = field.querySelector(".error");
    const name = sentence.id.replace("-error", "");
    const blamed = error?.errors.filter((each) => each.field === name) ?? [];
    sentence.textContent = blamed.map(({ message }) => message).join("; ");
    document.getElementById(name).setAttribute("aria-invalid", blamed.length > 0);
    if (blamed.length > 0 && $("#more").contains(field)) $("#more").open = true;
  }
  $("#start").disabled = error !== null;
  if (!error) return;
  $("#samples").replaceChildren();
  $("#wordless").textContent = "";
  clearPicture();
}

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

// ---------------------------------------------------------------- what people do

document.addEventListener("change", ({ target }) => {
  if (target.form !== form || !target.name) return; // the search has no name
  adapt(target);
  history.pushState(null, "", pageQuery());
  if (target === controls.encoding) look();
  else if (target !== controls.until) show();
});
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => {
  fillFromUrl();
  show();
});
$("#start").addEventListener("click", () => toggle(refuse));
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

fillControls(await (await ask("v1/catalog", looking.signal, say)).json());
fillFromUrl();
show();
