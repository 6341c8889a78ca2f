// A few samples as tables: colours for size and sign, the values in the cells, the words below.

const MOST = 12; // rows and columns of a large matrix that are shown

/** The element for one sample of /v1/samples. `forms` names its input and target; with `headRow`, row 0 of
 * the target, which holds λ or σ, has colours of its own scale. */
export function sampleCard(sample, forms, headRow) {
  const attempt = sample.attempt ? `, drawn ${sample.attempt + 1} times` : "";
  const other = sample.unique ? "" : ", not the only answer: a value repeats";
  const card = element("article", { className: "sample" });
  const residual = sample.residual === null ? "no residual is measured" : `residual ${number(sample.residual)}`;
  const arrow = element("span", { className: "arrow", textContent: "→" });
  arrow.setAttribute("aria-hidden", "true");
  const pair = element("div", { className: "pair" });
  pair.append(
    matrix(sample.input, `Input: ${forms.input}`, false),
    arrow,
    matrix(sample.target, `Target: ${forms.target}`, headRow),
  );
  card.append(
    element("h3", { textContent: `Sample ${sample.index}` }),
    element("p", {
      className: "residual",
      textContent: `${residual}${attempt}${other}`,
    }),
    pair,
  );
  if (sample.words) card.append(words(sample.words));
  return card;
}

function matrix(rows, caption, headRow) {
  const [m, n] = [rows.length, rows[0].length];
  const cut = m > MOST || n > MOST ? `; ${m}×${n}, its first ${Math.min(m, MOST)}×${Math.min(n, MOST)}` : "";
  const table = element("table", { className: "matrix" });
  const largest = (part) => part.flat().reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const body = headRow ? largest(rows.slice(1)) : largest(rows);
  rows.slice(0, MOST).forEach((row, i) => {
    const tr = table.insertRow();
    const scale = headRow && i === 0 ? largest([row]) : body;
    for (const value of row.slice(0, MOST)) {
      const td = tr.insertCell();
      td.textContent = number(value);
      td.className = value < 0 ? "negative" : "positive";
      td.style.setProperty("--size", Math.abs(value) / scale);
    }
  });
  table.setAttribute("aria-label", caption + cut);
  const frame = element("div", { className: "frame" });
  frame.setAttribute("role", "group");
  frame.setAttribute("aria-label", caption + cut);
  frame.append(table);
  const figure = element("figure", {});
  figure.append(element("figcaption", { textContent: caption + cut }), frame);
  return figure;
}

function words({ input, target }) {
  const list = element("dl", { className: "words" });
  for (const [name, text] of [
    ["Input in words", input],
    ["Target in words", target],
  ]) {
    list.append(
      element("dt", { textContent: name }),
      element("dd", { className: "frame", textContent: text }),
    );
  }
  return list;
}

/** What is cut off can be scrolled by keyboard; what is not is no stop on its way. */
export function letScroll() {
  for (const frame of document.querySelectorAll(".frame, pre")) {
    const cut = frame.scrollWidth > frame.clientWidth || frame.scrollHeight > frame.clientHeight;
    frame.tabIndex = cut ? 0 : -1;
  }
}

/** A number in three significant digits. */
export function number(value) {
  const size = Math.abs(value);
  const plain = size >= 1e-3 && size < 999.5;
  const text = size === 0 ? "0" : plain ? value.toPrecision(3) : value.toExponential(1).replace("+", "");
  return text.replaceAll("-", "−");
}

function element(name, properties) {
  return Object.assign(document.createElement(name), properties);
}
