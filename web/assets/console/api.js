// Requests to the server. Keys stay in this tab.
import { $, outside, time, word } from "./page.js";

/** An error that the server returned, or a failed connection. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{ message?: string, code?: string, verify_url?: string }} error
   * @param {string | null} wait The seconds until a repetition may succeed.
   */
  constructor(status, { message, code, verify_url: link } = {}, wait = null) {
    super(message ?? (status ? word("badAnswer", { status }) : word("unreachable")));
    this.status = status;
    this.code = code;
    this.link = link;
    this.wait = Number(wait) || 0;
  }
}

/**
 * What the page says of an error of a keyed route: what went wrong, and what to do next.
 * @param {ApiError} error
 */
export function explained({ message, status, link, wait }) {
  /** @type {(Node | string)[]} */
  const parts = [message];
  if (status === 429 && wait >= 60) parts.push(` ${word("backAt", { time: time(Date.now() / 1000 + wait) })}`);
  if (link) parts.push(" ", outside(link, word("openCheck")));
  return parts;
}

/** Keeps the value of an input in the tab's storage. */
export function keepInTab(input) {
  const name = `qwen-edge.${input.id}`;
  try {
    input.value = sessionStorage.getItem(name) ?? input.value;
    input.addEventListener("input", () => sessionStorage.setItem(name, input.value));
  } catch {
    // The browser may forbid storage. The key is then kept until the page closes.
  }
}

/**
 * @param {"key" | "admin-key"} input
 * @returns {Record<string, string>}
 */
const bearer = (input) => {
  const key = $(input).value.trim();
  return key ? { authorization: `Bearer ${key}` } : {};
};
export const apiKey = () => bearer("key");
export const adminKey = () => bearer("admin-key");

export function errorOf(status, text, wait) {
  try {
    return new ApiError(status, JSON.parse(text).error, wait);
  } catch {
    return new ApiError(status, {}, wait);
  }
}

/** Whether the server wants a key, or another one. */
export const needsKey = ({ status, code }) => [401, 403].includes(status) && /api_key/.test(code ?? "");

/** Whether the error is that a person stopped the request. */
export const hasStopped = (error) => error instanceof DOMException && error.name === "AbortError";

/**
 * Sends a request. Returns a successful response, and throws on any other.
 * @param {string} path
 * @param {RequestInit} options
 */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
  } catch (error) {
    if (hasStopped(error)) throw error;
    throw new ApiError(0);
  }
  if (!response.ok) throw errorOf(response.status, await response.text().catch(() => ""), response.headers.get("retry-after"));
  return response;
}

/** @type {(path: string) => Promise<any>} */
export const json = async (path) => (await ask(path)).json();
