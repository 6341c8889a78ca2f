// A law that no formula gives, from samples of the same problem that the histogram does not count.

import { batches } from "./stream.js";

const MOST_SAMPLES = 20_000;
const MOST_NUMBERS = 2_000_000; // read for a law, roughly
const FEWEST_SAMPLES = 100;
const MOST_VALUES = 100_000; // kept of them

let latest = { query: null, law: null, reading: new AbortController() };

/** Read no further for a law that nobody waits for any more. */
export function forgetLaw() {
  latest.reading.abort();
  latest = { query: null, law: null, reading: new AbortController() };
}

/**
 * The law of a spec as a promise of { name, exact, cdf, samples, values }: `values` are sorted, and `cdf` is the
 * share of them below x. `source` is what `batches` reads. The law asked for last is kept, and any other forgotten.
 */
export function sampledLaw(spec, source) {
  if (latest.query === source.query) return latest.law;
  forgetLaw();
  latest.query = source.query;
  latest.law = read(spec, source, latest.reading.signal);
  return latest.law;
}

async function read(spec, { query, most, firstRow }, signal) {
  // another split of another seed: nothing that the page counts, whatever split it shows
  const apart = new URLSearchParams(query);
  apart.set("split", "valid");
  apart.set("seed", spec.seed === "1" ? "2" : "1");
  const source = { query: apart, until: Math.min(howMany(spec), most), most, firstRow };
  const found = [];
  for await (const { values } of batches(source, signal, () => {})) found.push(Float64Array.from(values));
  const values = sorted(found);
  const size = spec.cols ? `${spec.dim}×${spec.cols}` : spec.dim;
  return {
    name: `the law at dimension ${size}, from ${source.until.toLocaleString("en")} other samples`,
    exact: false,
    cdf: (x) => below(values, x) / values.length,
    samples: source.until,
    values,
  };
}

/** Samples enough for a smooth line, of large matrices fewer. */
function howMany({ dim, cols }) {
  const largest = (text) => Math.max(...text.split("-").map(Number));
  const numbers = 4 * largest(dim) * largest(cols || dim); // of an input and its target
  return Math.max(FEWEST_SAMPLES, Math.min(MOST_SAMPLES, Math.floor(MOST_NUMBERS / numbers)));
}

/** All values in order; of very many, evenly chosen ones. */
function sorted(parts) {
  const all = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  all.sort();
  const step = all.length / MOST_VALUES;
  return step <= 1 ? all : Float64Array.from({ length: MOST_VALUES }, (_, i) => all[Math.floor((i + 0.5) * step)]);
}

/** How many of sorted values are below x. */
function below(values, x) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low;
}
