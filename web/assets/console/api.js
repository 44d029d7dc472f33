// Requests to the server. Keys stay in this tab.
import { $, word } from "./page.js";

/** An error that the server returned, or a failed connection. */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {{ message?: string, code?: string, verify_url?: string }} error
   */
  constructor(status, { message, code, verify_url: link } = {}) {
    super(message ?? (status ? word("badAnswer", { status }) : word("unreachable")));
    this.status = status;
    this.code = code;
    this.link = link;
  }
}

/** Keeps the value of an input in the tab's storage. */
export function keepInTab(input) {
  const name = `qwen-edge.${input.id}`;
  try {
    input.value = sessionStorage.getItem(name) ?? "";
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

export function errorOf(status, text) {
  try {
    return new ApiError(status, JSON.parse(text).error);
  } catch {
    return new ApiError(status);
  }
}

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
  if (!response.ok) throw errorOf(response.status, await response.text().catch(() => ""));
  return response;
}

/** @type {(path: string) => Promise<any>} */
export const json = async (path) => (await ask(path)).json();
