// Asking the service, patiently: what is busy, out of reach or locked is asked again.

const KEY = "matstream-api-key"; // kept for the tab's life; never in a URL

/** The service understood and refused; `problem` is its problem document (RFC 9457). */
export class Refused extends Error {
  constructor(problem) {
    super(problem.detail);
    this.errors = problem.errors ?? [];
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/**
 * The response to a GET, once there is a good one. `say` is told in words why it takes long, and "" at last.
 * Throws Refused, or an AbortError when `signal` is aborted.
 */
export async function ask(path, signal, say) {
  for (let patience = 1; ; patience = Math.min(2 * patience, 30)) {
    const key = sessionStorage.getItem(KEY);
    let response;
    try {
      response = await fetch(path, { signal, headers: key ? { Authorization: `Bearer ${key}` } : {} });
    } catch (error) {
      if (signal.aborted) throw error;
      say(`The service cannot be reached. Trying again in ${patience} s.`);
      await pause(patience, signal);
      continue;
    }
    if (response.ok) {
      say("");
      return response;
    }
    const problem = await response.json().catch(() => ({}));
    problem.detail ??= `the service answered with status ${response.status}`;
    if (response.status === 401) {
      say(key ? "The service does not know this API key." : "The service needs an API key.");
      await keyGiven(signal);
    } else if (response.status === 429 || response.status === 503) {
      const seconds = Number(response.headers.get("Retry-After")) || patience;
      say(`${sentence(problem.detail)} Trying again in ${seconds} s.`);
      await pause(seconds, signal);
    } else {
      throw new Refused(problem);
    }
  }
}

const sentence = (words) => words[0].toUpperCase() + words.slice(1).replace(/\.?$/, ".");

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, 1000 * seconds);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Show the field for an API key, until one is given. */
function keyGiven(signal) {
  const form = document.querySelector("#key");
  form.hidden = false;
  form.elements.key.focus();
  return new Promise((resolve, reject) => {
    const given = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEY, form.elements.key.value);
      form.hidden = true;
      resolve();
    };
    form.addEventListener("submit", given, { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
