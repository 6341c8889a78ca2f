// The controls and the page's URL, which holds the same: what the operation offers, and what is chosen.

import { fillChooser, formula, showChosen, spoken } from "./chooser.js";

const FIRST_VISIT = "operation=eigenvalues&dim=5&spectrum=laplace";
// what the service, or the page, takes where its URL says nothing; the operation has its own usual structure and
// spectrum
const DEFAULTS = {
  operation: "eigenvalues",
  dim: "",
  cols: "",
  structure: "none",
  spectrum: "semicircle",
  coefficients: "uniform",
  scale: "10",
  noise: "0",
  max_abs: "",
  seed: "0",
  split: "train",
  encoding: "P1000",
  until: "1000000",
};
const SIZES = ["dim", "cols", "scale"];

const $ = (selector) => document.querySelector(selector);
export const form = $("#controls");
export const controls = form.elements;

export let catalog;
let offering; // the operation that the controls fit

export const operation = () => catalog.operations[controls.operation.value];

/** Fill in what the catalog lists. */
export function fillControls(found) {
  catalog = found;
  fillChooser(catalog);
  options(controls.encoding, catalog.encodings);
  for (const [name, words] of Object.entries(catalog.parameters)) {
    const hint = document.getElementById(`${name}-hint`);
    if (hint && name !== "operation") hint.textContent = words;
  }
  form.inert = false;
}

// ---------------------------------------------------------------- what fits an operation

/** The value that is taken where a control's name is not in the URL. */
function usual(name, of = operation()) {
  if (name === "structure") return of.structures[0];
  if (name === "spectrum" && of.spectra.length > 0) return of.spectra[0];
  return DEFAULTS[name];
}

/** Sizes at which an operation is worth looking at; at the usual scale, e^A is 0 beside its largest entries. */
function suited(of) {
  const sizes = { dim: "5", cols: "", scale: of === catalog.operations.matrix_exponential ? "1" : "10" };
  if (of.group === "learning in context") Object.assign(sizes, { dim: "8", cols: "3" });
  if (of.group === "integers") Object.assign(sizes, { dim: "2", scale: "100" });
  if (of.fewer_cols) sizes.cols = String(Math.max(1, range(sizes.dim)[0] - of.fewer_cols));
  return sizes;
}

const range = (text) => {
  const ends = text.split("-").map(Number);
  return [ends[0], ends.at(-1)];
};

/** Fewer columns where the operation takes no more than that. */
function fitColumns() {
  const fewer = operation().fewer_cols;
  const { dim, cols } = controls;
  if (!fewer && !(fewer === 0 && cols.value.trim())) return;
  const most = Math.max(1, range(dim.value)[0] - fewer);
  if (range(cols.value.trim() || dim.value)[1] > most) cols.value = String(most);
}

/**
 * Offer what fits the operation. A URL may be `given` with more, such as condition-7 or several spectra, of which
 * the service knows what to make.
 */
function offer(given) {
  const now = operation();
  options(controls.structure, offered(now.structures, given?.get("structure")));
  options(controls.spectrum, offered(now.spectra, given?.get("spectrum")));
  options(controls.coefficients, offered(catalog.coefficients, given?.get("coefficients")));
  const free = controls.structure.value.split(",").some((name) => name.split(":")[0] === "none");
  use(controls.spectrum, now.spectra.length > 0 && free); // else it is decided
  use(controls.cols, !now.square);
  const [about] = now.about.split("\n\n");
  $("#operation-hint").textContent = about || formula(now);
  offering = now;
}

const offered = (names, given) => (names.length && given && !names.includes(given) ? [...names, given] : names);

function options(select, names) {
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(spoken(name), name)));
  select.value = names.includes(chosen) ? chosen : names[0];
}

/** Show a control or hide it; a hidden one is disabled, which leaves it out of the form's data. */
function use(control, shown) {
  control.disabled = !shown;
  control.closest(".field").hidden = !shown;
}

/** Make the other controls fit one that has changed. */
export function adapt(control) {
  if (control.name === "operation") {
    const [before, now] = [suited(offering), suited(operation())];
    for (const name of SIZES) {
      // what someone chose stays, what the page chose does not; hidden columns were not chosen for this
      const untouched = controls[name].value.trim() === before[name] || controls[name].disabled;
      if (untouched) controls[name].value = now[name];
    }
    for (const name of ["structure", "spectrum"]) {
      if (controls[name].value === usual(name, offering)) controls[name].value = "";
    }
    const fewer = operation().fewer_cols ?? 0;
    if (range(controls.dim.value)[0] <= fewer) controls.dim.value = String(fewer + 1);
  }
  if (["operation", "structure"].includes(control.name)) offer();
  if (["operation", "dim"].includes(control.name)) fitColumns();
}

// ---------------------------------------------------------------- the form as URLs

/** The form as pairs of name and value, without what is taken anyway. */
function chosen() {
  const given = [...new FormData(form)].map(([name, value]) => [name, value.trim()]);
  return given.filter(([name, value]) => name === "operation" || (value && value !== usual(name)));
}

/** Everything that is chosen, or taken anyway, by name. */
export function spec() {
  const taken = Object.fromEntries(Object.keys(DEFAULTS).map((name) => [name, usual(name)]));
  return { ...taken, ...Object.fromEntries(chosen()) };
}

export const pageQuery = () => `?${new URLSearchParams(chosen())}`;

/** The stream's part of the form as the query of /v1/stream and /v1/samples. */
export function streamQuery() {
  return new URLSearchParams(chosen().filter(([name]) => name !== "encoding" && name !== "until")).toString();
}

/** Fill the form from the page's URL; each control comes after those that decide what it offers. */
export function fillFromUrl() {
  const given = new URLSearchParams(location.search || FIRST_VISIT);
  const asked = given.get("operation");
  const { operation: first, ...others } = DEFAULTS;
  controls.operation.value = Object.hasOwn(catalog.operations, asked) ? asked : first;
  offer(given);
  const sizes = given.has("dim") ? {} : suited(operation());
  for (const name of Object.keys(others)) {
    const control = controls[name];
    control.value = given.get(name) ?? sizes[name] ?? usual(name);
    if (control.selectedIndex === -1) control.value = usual(name); // the URL names what is not offered
    if (name === "structure") offer(given);
  }
  // several operations, say, are none of this page's: its URL is to name what it shows
  if (asked !== controls.operation.value) history.replaceState(null, "", pageQuery());
  $("#more").open ||= chosen().some(([name]) => $(`#more [name=${name}]`));
  showChosen();
}
