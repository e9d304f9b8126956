/** Talking with the server: the token, requests, and errors as the API has them. */

const KEY = "assay-token";

/** The token lives as long as the tab: session storage, never local storage. */
export const token = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  clear: () => sessionStorage.removeItem(KEY),
};

/** What the server refused, or what kept us from asking. `errors` are faults of single fields. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || "The server could not be reached.");
    this.status = status;
    this.code = body.code || "network";
    this.errors = body.errors || [];
  }
}

let onSignedOut = () => {};
/** Called when the server no longer takes the token. */
export function whenSignedOut(callback) {
  onSignedOut = callback;
}

/**
 * One request. Throws a Problem.
 * @param {string} method
 * @param {string} path
 * @param {object} [options] body: sent as JSON; headers; text: the answer is no JSON
 */
export async function request(method, path, { body, headers, text, signal } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      cache: "no-store",
      credentials: "omit",
      headers: {
        Authorization: `Bearer ${token.get()}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, {});
  }
  if (!response.ok) {
    const problem = new Problem(response.status, await response.json().catch(() => ({ detail: response.statusText })));
    if (response.status === 401) onSignedOut(problem);
    throw problem;
  }
  if (response.status === 204) return null;
  return text ? response.text() : response.json();
}

export const get = (path, options) => request("GET", path, options);
export const post = (path, body, options) => request("POST", path, { body, ...options });
export const patch = (path, body, options) => request("PATCH", path, { body, ...options });
export const remove = (path, options) => request("DELETE", path, options);

/** All pages of a list. */
export async function getAll(path, name) {
  const all = [];
  let cursor = null;
  do {
    const mark = path.includes("?") ? "&" : "?";
    const page = await get(`${path}${mark}limit=500${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    all.push(...page[name]);
    cursor = page.next_cursor;
  } while (cursor);
  return all;
}

export const part = encodeURIComponent;
