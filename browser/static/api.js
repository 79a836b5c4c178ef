/** Requests to the server of this page. */

let writeToken = "";

/** An answer that is an error; its message is for people. */
export class ApiError extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
async function request(path, options) {
  return (await answered(path, options)).json();
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 */
async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Remedy: run the command that served this page again.");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const detail = typeof body.detail === "string" ? body.detail : "The server failed.";
  throw new ApiError(answer.status, detail);
}

/** @param {string} path @param {AbortSignal} [signal] */
export function get(path, signal) {
  return request(path, { signal });
}

/** @param {string} path @param {unknown} body */
export function post(path, body) {
  return request(path, write(body));
}

/** @param {unknown} body */
function write(body) {
  return {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Avatargpt": writeToken },
    body: JSON.stringify(body),
  };
}

/**
 * The objects of an answer that comes line by line, each as soon as it is there.
 * @param {string} path @param {unknown} body @param {AbortSignal} signal
 */
export async function* stream(path, body, signal) {
  const answer = await answered(path, { ...write(body), signal });
  const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + decoder.decode(value, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) yield JSON.parse(line);
  }
}

/** What the dataset holds; the token of writes comes with it. */
export async function dataset() {
  return introduced("/api/dataset");
}

/** What the model is, and whether it is ready; the token of writes comes with it. */
export async function model() {
  return introduced("/api/model");
}

/** @param {string} path that tells the token of writes */
async function introduced(path) {
  const found = await get(path);
  writeToken = found.write_token;
  return found;
}

/** Present the token of a printed link, once; it leaves the address. */
export async function login() {
  const match = location.hash.match(/^#token=(.+)$/);
  if (!match) return;
  history.replaceState(null, "", location.pathname);
  await post("/api/login", { token: match[1] });
}
