// The chooser: every operation as a radio button in its group, with its formula; a search hides the others.

const list = document.querySelector("#operation");
const search = document.querySelector("#search");
const found = document.querySelector("#found");

export const spoken = (name) => name.replaceAll("_", " ");

export const formula = ({ input, target }) => `${input} → ${target}`;

/** List the operations of the catalog, in its order of groups. */
export function fillChooser({ operations, groups }) {
  const all = Object.entries(operations);
  for (const group of groups) {
    const members = all.filter(([, operation]) => operation.group === group);
    if (members.length > 0) list.append(section(group, members));
  }
  search.addEventListener("input", narrow);
  search.addEventListener("keydown", onKey);
  list.addEventListener("change", narrow); // one that was chosen before may be hidden now
}

/** Scroll the chosen operation into the list's view, and the page not at all. */
export function showChosen() {
  const row = list.querySelector(":checked").closest("label");
  list.scrollTop = row.offsetTop - (list.clientHeight - row.offsetHeight) / 2;
}

function section(group, members) {
  const part = document.createElement("div");
  part.setAttribute("role", "group");
  part.setAttribute("aria-label", group);
  const title = document.createElement("p");
  title.textContent = group;
  title.setAttribute("aria-hidden", "true"); // the group's label says it
  part.append(title, ...members.map(([name, operation]) => row(name, operation)));
  return part;
}

function row(name, operation) {
  const label = document.createElement("label");
  const radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "operation", value: name });
  const [title, under] = [document.createElement("span"), document.createElement("small")];
  Object.assign(title, { id: `name-${name}`, textContent: spoken(name) });
  Object.assign(under, { id: `formula-${name}`, textContent: formula(operation) });
  radio.setAttribute("aria-labelledby", title.id);
  radio.setAttribute("aria-describedby", under.id);
  label.append(radio, title, under);
  label.dataset.text = plain(`${name} ${formula(operation)} ${operation.group} ${operation.about}`);
  return label;
}

/** Text as people type it: A⁻¹ becomes a-1, Aᵀ becomes at. */
function plain(text) {
  return text.normalize("NFKD").replaceAll("−", "-").replaceAll("_", " ").replaceAll("^", "").toLowerCase();
}

/** Hide what has not all the words searched for, but not what is chosen: Tab goes there. */
function narrow() {
  const words = plain(search.value).split(/\s+/);
  let matches = 0;
  for (const label of list.querySelectorAll("label")) {
    label.dataset.match = words.every((word) => label.dataset.text.includes(word));
    if (label.dataset.match === "true") matches++;
    label.hidden = label.dataset.match === "false" && !label.control.checked;
  }
  for (const group of list.children) group.hidden = !group.querySelector("label:not([hidden])");
  found.textContent = search.value.trim() ? `${matches || "none"} found` : "";
}

function onKey(event) {
  if (event.key === "Enter") choose(best());
  else if (event.key === "ArrowDown") (best() ?? list.querySelector(":checked")).focus();
  else return;
  event.preventDefault();
}

/** The radio button that a search means: the first found by its name, else by any words. */
function best() {
  const matches = [...list.querySelectorAll("[data-match=true]")].map((label) => label.control);
  const typed = plain(search.value).trim();
  return typed ? (matches.find(({ value }) => plain(value).includes(typed)) ?? matches[0]) : undefined;
}

function choose(radio) {
  if (!radio || radio.checked) return;
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
}
