// Reading the Arrow stream: successive ranges of samples, each batch forgotten once it is counted.

import { ask, pause, Refused } from "./service.js";

const RANGE = 100_000; // samples a request
const PATIENCE = 5; // requests that bring nothing, before that is said

/**
 * The batches of samples [0, until) of the stream of `query`, at most `most` samples a request, each as
 * { rows, values, residual, redrawn }: the values of its targets (those of the first row, if `firstRow`), the
 * largest residual, and how many samples were drawn more than once.
 */
export async function* batches({ query, until, most, firstRow }, signal, say) {
  let position = 0;
  let fruitless = 0;
  while (position < until) {
    const before = position;
    const count = Math.min(RANGE, most, until - position);
    const end = position + count;
    const response = await ask(`v1/stream?${query}&start=${position}&count=${count}`, signal, say);
    for await (const batch of wholeBatches(response)) {
      position += batch.numRows;
      yield {
        rows: batch.numRows,
        values: valuesOf(batch, firstRow),
        residual: column(batch, "residual").values.reduce((a, b) => Math.max(a, b), 0),
        redrawn: column(batch, "attempt").values.reduce((n, attempt) => n + (attempt > 0), 0),
      };
    }
    signal.throwIfAborted(); // an aborted stream, as a cut one, may read as a complete one
    fruitless = position > before ? 0 : fruitless + 1;
    if (fruitless === PATIENCE) {
      throw new Refused({ detail: `what came ${PATIENCE} times at sample ${position} could not be read` });
    }
    if (position < end) {
      say(`The connection broke. Going on at sample ${position.toLocaleString("en")}.`);
      await pause(1, signal);
    }
  }
}

/** The batches that a response brings, were it cut in the middle. */
async function* wholeBatches(response) {
  try {
    yield* await Arrow.RecordBatchReader.from(response);
  } catch {
    // the connection broke, or was aborted: what did not come is not counted
  }
}

const column = (batch, name) => batch.getChild(name).data[0];

/** The target's entries, or those of row 0 alone, of every sample of a batch. */
function valuesOf(batch, firstRow) {
  const field = batch.schema.fields.find((each) => each.name === "target");
  const storage = column(batch, "target");
  const { shape } = JSON.parse(field.metadata.get("ARROW:extension:metadata"));
  if (shape) {
    // arrow.fixed_shape_tensor: all entries one after another
    const entries = storage.children[0].values;
    if (!firstRow) return entries;
    const [rows, cols] = shape;
    return entries.filter((_, i) => i % (rows * cols) < cols);
  }
  // arrow.variable_shape_tensor: a struct of the entries and the shape of each
  const [data, shapes] = storage.children;
  const entries = data.children[0].values;
  if (!firstRow) return entries;
  const sizes = shapes.children[0].values;
  const parts = Array.from({ length: batch.numRows }, (_, i) => {
    const first = data.valueOffsets[i];
    return entries.subarray(first, first + sizes[2 * i + 1]);
  });
  return Float64Array.from(parts.flatMap((part) => [...part]));
}
