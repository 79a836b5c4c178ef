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
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Remedy: run `avatargpt browse` again.");
  }
  const body = await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const detail = typeof body.detail === "string" ? body.detail : "The server failed.";
  throw new ApiError(answer.status, detail);
}

/** @param {string} path @param {AbortSignal} [signal] */
export function get(path, signal) {
  return request(path, { signal });
}

/** @param {string} path @param {unknown} body */
export function post(path, body) {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Avatargpt": writeToken },
    body: JSON.stringify(body),
  });
}

/** What the dataset holds; the token of writes comes with it. */
export async function dataset() {
  const found = await get("/api/dataset");
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
