// The live stream: its values counted, beside the law they should follow.

import { catalog, controls, operation, spec, streamQuery } from "./controls.js";
import { draw, Histogram } from "./histogram.js";
import { lawOf, smallest } from "./laws.js";
import { letScroll, number } from "./matrices.js";
import { forgetLaw, sampledLaw } from "./sampled.js";
import { pause, Refused } from "./service.js";
import { batches } from "./stream.js";

const SMALL = 30; // up to this dimension, values visibly miss the limit of their law
const GROWING = "which the values approach as dimensions grow";
const NOTHING_SEEN = { seen: 0, residual: 0, redrawn: 0, rate: 0 };
// what is on the canvas: a histogram, the law it is held against, the limit of that law, what is counted, and the
// stream's numbers
const NO_PICTURE = { histogram: null, law: null, limit: null, what: "", total: NOTHING_SEEN };

const $ = (selector) => document.querySelector(selector);
const still = matchMedia("(prefers-reduced-motion: reduce)");

let picture = NO_PICTURE;
let running = null; // the stream being read: an AbortController
let again = false; // whether a stream was stopped only to show something else

// ---------------------------------------------------------------- the picture

export function clearPicture() {
  $("#law").textContent = "";
  picture = NO_PICTURE;
  report();
  paint();
}

/** An empty histogram with the law it will be held against. */
function startPicture() {
  const now = spec();
  const { what, law: name } = operation().histogram;
  const known = lawOf(name, now);
  const settled = known && (known.exact || smallest(now) > SMALL);
  picture = {
    histogram: known && Histogram.forLaw(known.cdf, 0.001),
    law: settled ? known : null,
    limit: settled ? null : known,
    what,
    total: NOTHING_SEEN,
  };
  $("#live-title").textContent =
    what === "entries" ? "Live: the entries of the targets" : `Live: the ${what}`;
  if (settled) sayLaw(`The line is ${known.name}, ${known.exact ? "exact at this dimension" : GROWING}.`);
  else sampleLaw(picture, now);
  report();
  paint();
}

/** Give a picture the law that other samples show, once they have come. */
async function sampleLaw(mine, now) {
  sayLaw("The line comes once enough other samples are read.");
  try {
    mine.law = await sampledLaw(now, source());
  } catch (error) {
    if (error.name === "AbortError") return;
    if (!(error instanceof Refused)) throw error;
    if (picture === mine) sayLaw(`No line is drawn. The service says: ${error.message}.`);
    return;
  }
  if (picture !== mine) return;
  // heavy tails would leave a wider axis nearly empty
  const axis = mine.law.values.every(Number.isInteger) ? Histogram.forWholeLaw : Histogram.forLaw;
  if (!mine.histogram?.total) mine.histogram = axis(mine.law.cdf, 0.01);
  sayLaw(`The line is ${mine.law.name}.`);
  report();
  paint();
}

function sayLaw(words) {
  const { limit } = picture;
  $("#law").textContent = limit ? `${words} The dashed line is ${limit.name}, ${GROWING}.` : words;
}

function report() {
  const { histogram, law, total } = picture;
  const counted = histogram?.total ?? 0;
  const whole = (value) => Math.round(value).toLocaleString("en");
  $("#seen").textContent = whole(total.seen);
  $("#rate").textContent = total.rate ? whole(total.rate) : "–";
  $("#residual").textContent = total.seen && !Number.isNaN(total.residual) ? number(total.residual) : "–";
  $("#redrawn").textContent = whole(total.redrawn);
  $("#gap").textContent = law && counted ? histogram.gap(law.cdf).toFixed(4) : "–";
  $("#chance").textContent = law && total.seen ? chance(law, total.seen) : "";
  const outside = counted ? (histogram.below + histogram.above) / counted : 0;
  $("#outside").textContent = outside
    ? `${number(100 * outside)}% of the values lie beyond the ends of the axis.`
    : "";
  if ($("#bins").open) tabulate();
}

/** How large a gap chance alone makes: Kolmogorov's 95% point, of one sample or of two. Values of one matrix may
 * hang together, so that matrices are what counts. */
function chance({ exact, samples }, seen) {
  if (!exact && !samples) return "not exact at this dimension";
  return `chance alone: up to ${(1.36 * Math.sqrt(1 / seen + (exact ? 0 : 1 / samples))).toFixed(4)}`;
}

export function paint() {
  const { histogram, law, limit, what } = picture;
  const canvas = $("#histogram");
  draw(canvas, picture);
  const compared = [law, limit].filter(Boolean).map(({ name }) => ` over ${name}`);
  canvas.setAttribute("aria-label", histogram ? `Histogram of ${what}${compared.join(" and")}` : "No histogram yet");
}

/** The histogram as a table, for those who cannot see it; its first and last rows lie beyond the axis. */
export function tabulate() {
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

// ---------------------------------------------------------------- the stream

/** Stop a stream that no longer shows what is chosen; `resume` starts the one that does. */
export function interrupt() {
  again ||= running !== null;
  stop("");
  forgetLaw();
}

export function resume(onRefused) {
  if (running) return;
  startPicture();
  if (again) watch(onRefused);
}

export const toggle = (onRefused) => (running ? stop("Stopped.") : watch(onRefused));

/** Read the stream to its end, and tell `onRefused` why that cannot be. */
async function watch(onRefused) {
  const run = new AbortController();
  running = run;
  again = false;
  $("#start").textContent = "Stop";
  startPicture();
  const mine = picture;
  const total = { ...NOTHING_SEEN };
  mine.total = total;
  const began = performance.now();
  let painted = 0;
  const paintAll = () => {
    report();
    paint();
    painted = performance.now();
  };
  try {
    const until = Number(controls.until.value) || Infinity;
    for await (const batch of batches({ ...source(), until }, run.signal, say)) {
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
      onRefused(error);
    }
  }
  if (picture === mine) paintAll();
}

/** What stream to read, and how. */
function source() {
  return {
    query: streamQuery(),
    most: catalog.limits.max_count,
    firstRow: operation().histogram.first_row,
  };
}

function stop(words) {
  running?.abort();
  running = null;
  $("#start").textContent = "Start the stream";
  say(words);
}

/** Say what goes on, "" for nothing unusual; what is said already is not announced again. */
export function say(words) {
  const status = $("#status");
  const now = words || (running ? "Reading the stream." : "");
  if (status.textContent !== now) status.textContent = now;
}
