// Counting values into bins, comparing the counts with a law, and drawing both.

import { quantile } from "./laws.js";

const BINS = 100;
const MARGIN = { left: 60, right: 14, top: 14, bottom: 44 }; // of the plot, for its axes

/** Counts of values in equal bins of [low, high], and of those outside. */
export class Histogram {
  counts = new Float64Array(BINS);
  below = 0;
  above = 0;

  constructor(low, high) {
    this.low = low;
    this.high = high;
    this.width = (high - low) / BINS;
  }

  /** An axis wide enough for a law, but for this share of it at either end. */
  static forLaw(cdf, tail) {
    return around(quantile(cdf, tail), quantile(cdf, 1 - tail), cdf(0) === 0);
  }

  /** An axis for a law of whole numbers, but for this share of it at either end: each bin has as many of them as
   * any other, or one in its middle, or none. */
  static forWholeLaw(cdf, tail) {
    const first = Math.round(quantile(cdf, tail));
    const numbers = Math.round(quantile(cdf, 1 - tail)) - first + 1;
    const bins = Math.floor((BINS / numbers - 1) / 2) * 2 + 1; // a number, an odd number of them
    const width = bins > 0 ? 1 / bins : Math.ceil(numbers / BINS);
    return new Histogram(first - 0.5, first - 0.5 + BINS * width);
  }

  /** An axis wide enough for the bulk of some values; far tails are left outside. */
  static forValues(values) {
    const some = values.slice(0, 20_000).sort();
    return around(some[Math.floor(0.01 * some.length)], some[Math.floor(0.99 * some.length)], some[0] >= 0);
  }

  get total() {
    return this.counts.reduce((a, b) => a + b, this.below + this.above);
  }

  edge(bin) {
    return this.low + bin * this.width;
  }

  add(values) {
    for (const value of values) {
      const bin = Math.floor((value - this.low) / this.width);
      if (bin < 0) this.below++;
      else if (bin >= BINS) this.above++;
      else this.counts[bin]++;
    }
  }

  /** The largest gap between the counts' cumulative curve and a law's, over the edges of the bins. */
  gap(cdf) {
    const total = this.total;
    let [sum, gap] = [0, 0];
    for (const { to, count } of this.rows()) {
      sum += count;
      gap = Math.max(gap, Math.abs(sum / total - cdf(to)));
    }
    return gap;
  }

  /** All counts in order, { from, to, count }: those below the axis, of each bin, and above. */
  *rows() {
    yield { from: -Infinity, to: this.low, count: this.below };
    for (const [bin, count] of this.counts.entries())
      yield { from: this.edge(bin), to: this.edge(bin + 1), count };
    yield { from: this.high, to: Infinity, count: this.above };
  }

  /** The share of a law in each bin. */
  shares(cdf) {
    return this.counts.map((_, bin) => cdf(this.edge(bin + 1)) - cdf(this.edge(bin)));
  }
}

function around(low, high, positive) {
  const size = Math.max(Math.abs(low), Math.abs(high));
  const room = 0.12 * Math.max(high - low, size / 100) || 1; // some if all values are one, but for rounding
  return new Histogram(positive ? 0 : low - room, high + room);
}

/**
 * Draw a histogram, the law it should follow, and, dashed, the limit of that law as dimensions grow, on a canvas
 * as large as its style says. Either law may be null.
 */
export function draw(canvas, { histogram, law, limit, what }) {
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.round(width * devicePixelRatio);
  canvas.height = Math.round(height * devicePixelRatio);
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  const pen = canvas.getContext("2d");
  pen.scale(devicePixelRatio, devicePixelRatio);
  pen.font = `12px ${style.fontFamily}`;
  pen.textAlign = "center";
  if (!histogram) {
    pen.fillStyle = colour("muted");
    pen.fillText("Nothing to draw yet", width / 2, height / 2);
    return;
  }

  const plot = { width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
  const total = histogram.total || 1;
  const densities = histogram.counts.map((count) => count / total / histogram.width);
  const lawDensities = law ? histogram.shares(law.cdf).map((share) => share / histogram.width) : [0];
  const top = 1.08 * (Math.max(...densities, ...lawDensities) || 1);
  const x = (value) =>
    MARGIN.left + ((value - histogram.low) / (histogram.high - histogram.low)) * plot.width;
  const y = (density) => MARGIN.top + plot.height * (1 - density / top);

  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  for (const tick of ticks(0, top, plot.height / 60)) {
    pen.strokeStyle = colour("grid");
    line(pen, [
      [MARGIN.left, y(tick.at)],
      [width - MARGIN.right, y(tick.at)],
    ]);
    pen.fillStyle = colour("muted");
    pen.textAlign = "right";
    pen.fillText(tick.text, MARGIN.left - 8, y(tick.at));
  }
  pen.textAlign = "center";
  for (const tick of ticks(histogram.low, histogram.high, plot.width / 80)) {
    pen.strokeStyle = colour("muted");
    line(pen, [
      [x(tick.at), y(0)],
      [x(tick.at), y(0) + 5],
    ]);
    pen.fillText(tick.text, x(tick.at), y(0) + 14);
  }
  pen.fillText(what, MARGIN.left + plot.width / 2, height - 8);
  pen.save();
  pen.translate(10, MARGIN.top + plot.height / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText("density", 0, 0);
  pen.restore();

  pen.fillStyle = colour("bars");
  densities.forEach((density, bin) => {
    const left = x(histogram.edge(bin));
    pen.fillRect(left, y(density), x(histogram.edge(bin + 1)) - left - (plot.width > 400), y(0) - y(density));
  });
  pen.strokeStyle = colour("muted");
  line(pen, [
    [MARGIN.left, y(0)],
    [width - MARGIN.right, y(0)],
  ]);
  pen.beginPath();
  pen.rect(MARGIN.left, 0, plot.width, height);
  pen.clip();
  const curve = (points) => line(pen, points.map(([value, density]) => [x(value), y(density)]));
  if (limit) {
    pen.strokeStyle = colour("muted");
    pen.lineWidth = 1.5;
    pen.setLineDash([6, 4]);
    curve(finely(limit.cdf, histogram));
    pen.setLineDash([]);
  }
  if (law) {
    pen.strokeStyle = colour("law");
    pen.lineWidth = 2.5;
    curve(law.values ? binByBin(law, histogram) : finely(law.cdf, histogram));
  }
}

/** The density of a law at many points of an axis, as [value, density]. */
function finely(cdf, { low, high }) {
  const step = (high - low) / 400;
  return Array.from({ length: 400 }, (_, i) => {
    const value = low + (i + 0.5) * step;
    return [value, (cdf(value + step / 2) - cdf(value - step / 2)) / step];
  });
}

/** The density of a sampled law in each bin: more points would show nothing but the chance in its sample. */
function binByBin(law, histogram) {
  const counts = histogram.shares(law.cdf).map((share) => share * law.values.length);
  return Array.from(smoothed(counts), (count, bin) => [
    histogram.edge(bin + 0.5),
    count / law.values.length / histogram.width,
  ]);
}

/** Counts with less chance in them: a bin that chance alone may set off from its neighbours is drawn to them. A
 * peak of equal values, or an end, stays as it is. */
function smoothed(counts) {
  const bend = (of, i) => of[i - 1] - 2 * of[i] + of[i + 1];
  const inner = (i) => i > 0 && i < counts.length - 1;
  const chance = (i) => 3 * Math.sqrt(counts[i - 1] + 4 * counts[i] + counts[i + 1]);
  const even = counts.map((_, i) => inner(i) && Math.abs(bend(counts, i)) < chance(i));
  let now = counts;
  for (let round = 0; round < 3; round++) now = now.map((count, i) => (even[i] ? count + bend(now, i) / 4 : count));
  return now;
}

function line(pen, points) {
  pen.beginPath();
  for (const point of points) pen.lineTo(...point);
  pen.stroke();
}

/** About `count` round numbers in [low, high]. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(2, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const first = Math.ceil(low / step);
  const length = Math.floor(high / step) - first + 1;
  const small = step >= 1e-4 && Math.max(-low, high) < 1e6;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length }, (_, i) => {
    const at = (first + i) * step;
    const short = at === 0 ? "0" : Number(at.toPrecision(2)).toExponential().replace("+", "");
    return { at, text: (small ? at.toFixed(digits) : short).replaceAll("-", "−") };
  });
}
