// The laws that values of a target follow, as cumulative distribution functions x -> P(X ≤ x).
// σ is √n times the deviation of the coefficients: that of the eigenvalues of a random symmetric matrix.

const SPREAD = 1000; // the largest magnitude of log_uniform coefficients divided by the smallest

const clamp = (x) => Math.max(-1, Math.min(1, x));

const uniform = (bound) => (x) => (1 + clamp(x / bound)) / 2;

const triangular = (bound) => (x) => {
  const t = clamp(x / bound);
  return t < 0 ? (1 + t) ** 2 / 2 : 1 - (1 - t) ** 2 / 2;
};

const normal = (deviation) => (x) => (1 + erf(x / deviation / Math.SQRT2)) / 2;

const laplace = (deviation) => (x) => {
  const tail = Math.exp((-Math.abs(x) * Math.SQRT2) / deviation) / 2;
  return x < 0 ? tail : 1 - tail;
};

const semicircle = (deviation) => (x) => {
  const t = clamp(x / (2 * deviation));
  return 1 / 2 + (t * Math.sqrt(1 - t * t) + Math.asin(t)) / Math.PI;
};

/** Marchenko–Pastur: eigenvalues of GᵀG/N, G of N×(ratio·N) entries of this variance, 0 < ratio ≤ 1. */
const marchenkoPastur = (ratio, variance) => (x) => {
  const low = variance * (1 - Math.sqrt(ratio)) ** 2;
  const high = variance * (1 + Math.sqrt(ratio)) ** 2;
  if (x <= low) return 0;
  if (x >= high) return 1;
  const r = Math.sqrt((high - x) / (x - low));
  const root = Math.sqrt((high - x) * (x - low)) / variance;
  const upper = (1 + ratio) * Math.atan((r * r - 1) / (2 * r));
  const lower =
    ratio < 1 ? (1 - ratio) * Math.atan((low * r * r - high) / (2 * variance * (1 - ratio) * r)) : 0;
  return (Math.PI * ratio + root - upper + lower) / (2 * Math.PI * ratio);
};

/** Of either sign, with a magnitude whose logarithm is uniform, from bound/SPREAD to bound. */
const logUniform = (bound) => (x) => {
  const t = Math.max(0, 1 + Math.log(Math.min(1, Math.abs(x / bound))) / Math.log(SPREAD));
  return (1 + Math.sign(x) * t) / 2;
};

const magnitude = (law) => (x) => (x <= 0 ? 0 : law(x) - law(-x));

/** The product of two uniforms on [-bound, bound]. */
const uniformProduct = (bound) => (x) => {
  const t = clamp(x / bound ** 2);
  return t === 0 ? 1 / 2 : (1 + t * (1 - Math.log(Math.abs(t)))) / 2;
};

/** The error function, to 1.5e-7 (Abramowitz & Stegun 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const a = [1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592];
  return Math.sign(x) * (1 - a.reduce((sum, each) => sum * t + each, 0) * t * Math.exp(-x * x));
}

const same = (s) => s;

// the scale at which uniform coefficients have the same deviation as those of scale s
const SCALES_OF_UNIFORM = {
  uniform: same,
  gaussian: same,
  integers: (s) => Math.sqrt(Math.floor(s) * (Math.floor(s) + 1)),
  sparse: (s) => s / Math.SQRT2,
  log_uniform: (s) => s * Math.sqrt((1.5 * (1 - SPREAD ** -2)) / Math.log(SPREAD)),
};

const sigma = (n, s) => Math.sqrt(n / 3) * s;

// Laws are { name, exact, cdf: (m, n, s, asUniform) }; exact where they hold at every dimension, else as dimensions
// grow. A law that asks for `asUniform`, the scale of uniform coefficients of the same deviation, is that of any
// coefficients. `least` is the exact law of the smallest problem, by the law of the coefficients, where it can be
// written down.

const COEFFICIENTS = {
  uniform: { name: "the uniform law of the entries", exact: true, cdf: (m, n, s) => uniform(s) },
  gaussian: {
    name: "the normal law of the entries",
    exact: true,
    cdf: (m, n, s) => normal(s / Math.sqrt(3)),
  },
  log_uniform: { name: "the log-uniform law of the entries", exact: true, cdf: (m, n, s) => logUniform(s) },
};

const MAGNITUDES = {
  uniform: {
    name: "the uniform law of an entry's magnitude",
    exact: true,
    cdf: (m, n, s) => magnitude(uniform(s)),
  },
  gaussian: {
    name: "the normal law, folded at 0, of an entry's magnitude",
    exact: true,
    cdf: (m, n, s) => magnitude(normal(s / Math.sqrt(3))),
  },
  log_uniform: {
    name: "the log-uniform law of an entry's magnitude",
    exact: true,
    cdf: (m, n, s) => magnitude(logUniform(s)),
  },
};

const EIGENVALUES = {
  semicircle: {
    name: "the semicircle law",
    cdf: (m, n, s, asUniform) => semicircle(sigma(n, asUniform(s))),
    least: COEFFICIENTS,
  },
  positive: {
    name: "the semicircle law, folded at 0",
    cdf: (m, n, s, asUniform) => magnitude(semicircle(sigma(n, asUniform(s)))),
    least: MAGNITUDES,
  },
  uniform: {
    name: "the uniform law",
    exact: true,
    cdf: (m, n, s, asUniform) => uniform(Math.sqrt(3) * sigma(n, asUniform(s))),
  },
  gaussian: {
    name: "the normal law",
    exact: true,
    cdf: (m, n, s, asUniform) => normal(sigma(n, asUniform(s))),
  },
  laplace: {
    name: "the Laplace law",
    exact: true,
    cdf: (m, n, s, asUniform) => laplace(sigma(n, asUniform(s))),
  },
  abs_laplace: {
    name: "the Laplace law, folded at 0",
    exact: true,
    cdf: (m, n, s, asUniform) => magnitude(laplace(sigma(n, asUniform(s)))),
  },
  marchenko_pastur: {
    name: "the Marchenko–Pastur law",
    cdf: (m, n, s, asUniform) => {
      const values = marchenkoPastur(1, asUniform(Math.sqrt(s)) ** 2 / 3);
      return (x) => values(x / n);
    },
  },
};

const SINGULAR_VALUES = {
  name: "the Marchenko–Pastur law of singular values",
  cdf: (m, n, s, asUniform) => {
    const most = Math.max(m, n);
    const squares = marchenkoPastur(Math.min(m, n) / most, asUniform(s) ** 2 / 3);
    return (y) => (y <= 0 ? 0 : squares(y ** 2 / most));
  },
  least: MAGNITUDES,
};

const PRODUCTS = {
  name: "the normal law of long sums",
  cdf: (m, n, s, asUniform) => normal((Math.sqrt(m) * asUniform(s) ** 2) / 3),
  least: {
    uniform: {
      name: "the law of two uniforms' product",
      exact: true,
      cdf: (m, n, s) => uniformProduct(s),
    },
  },
};

const SUMS = {
  uniform: {
    name: "the triangular law of two uniforms' sum",
    exact: true,
    cdf: (m, n, s) => triangular(2 * s),
  },
  gaussian: {
    name: "the normal law of two normals' sum",
    exact: true,
    cdf: (m, n, s) => normal(s * Math.sqrt(2 / 3)),
  },
};

// the laws that operations name in the catalog: { law: spec -> law, weight: values in a matrix }
const LAWS = {
  entry: { law: (spec) => COEFFICIENTS[spec.coefficients], weight: (m, n) => m * n },
  "sum of two entries": { law: (spec) => SUMS[spec.coefficients], weight: (m, n) => m * n },
  "entry of a product": { law: () => PRODUCTS, weight: (m, n) => n * n },
  "entry of a product with a vector": { law: () => PRODUCTS, weight: (m, n) => n },
  eigenvalue: { law: (spec) => EIGENVALUES[spec.spectrum], weight: (m, n) => n },
  "singular value": { law: () => SINGULAR_VALUES, weight: Math.min },
};

/**
 * The law { name, exact, cdf } of the values that the histogram of a spec counts, null where none is known.
 * Where the spec draws dimensions or scales, the law is a mixture: a matrix counts once for each of its values.
 * `name` is that of the operation's law in the catalog.
 */
export function lawOf(name, spec) {
  const quantity = LAWS[name];
  const general = spec.structure === "none" && !spec.max_abs ? quantity?.law(spec) : undefined;
  if (!general) return null;
  const least = spec.dim === "1" && (spec.cols || "1") === "1";
  const law = (least && general.least?.[spec.coefficients]) || general;
  const laws = spec.coefficients.split(",").map((each) => SCALES_OF_UNIFORM[each.split(":")[0]]);
  const [asUniform, ...others] = new Set(laws);
  if (!asUniform || others.length) return null;
  const parts = [];
  for (const m of spread(spec.dim)) {
    for (const n of spec.cols ? spread(spec.cols) : [m]) {
      for (const s of spread(spec.scale))
        parts.push({ cdf: law.cdf(m, n, s, asUniform), weight: quantity.weight(m, n) });
    }
  }
  const total = parts.reduce((sum, part) => sum + part.weight, 0);
  const known = new Map(); // every drawing asks for the same points
  const cdf = (x) => {
    if (!known.has(x)) known.set(x, parts.reduce((sum, part) => sum + part.weight * part.cdf(x), 0) / total);
    return known.get(x);
  };
  return { name: law.name, exact: law.exact ?? false, cdf };
}

/** The smallest dimension that a spec may draw. */
export const smallest = ({ dim, cols }) => Math.min(spread(dim)[0], ...(cols ? spread(cols) : []));

/** The values of "5" or "5-15"; of a long range, 30 that stand for it. */
function spread(text) {
  const range = text.match(/^(\d+)-(\d+)$/);
  if (!range) return [Number(text)];
  const [low, high] = range.slice(1).map(Number);
  const length = Math.min(high - low + 1, 30);
  const step = (high - low + 1) / length;
  return Array.from({ length }, (_, i) => low - 0.5 + (i + 0.5) * step);
}

/** Where a cumulative law passes p. */
export function quantile(cdf, p) {
  let high = 1;
  while (cdf(high) < p || cdf(-high) > p) high *= 2;
  let low = -high;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (cdf(middle) < p) low = middle;
    else high = middle;
  }
  return high;
}
