// Shared by the cases with pictures: prompts, what reached the fake site, and checks.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import fs from "node:fs";

const { SITE_URL } = process.env;

/** A prompt that nobody else has. */
export const words = (directive = "pictures=1") => `[[fake ${directive}]] a kite ${randomUUID()}`;

/** What reached the site for a prompt: the pictures that it began, and the number of requests for them. */
export async function asked(prompt) {
  const word = prompt.match(/a kite (\S+)/)[1];
  return (await fetch(`${SITE_URL}/fake/media?${new URLSearchParams({ word })}`)).json();
}

/** Of each picture: its kind, the image model, the size, the number of pictures to draw from. */
export const shape = async (prompt) =>
  (await asked(prompt)).jobs.map(({ chat_type, model, size, files }) => [chat_type, model, size, files]);

export const fixture = (name) => fs.readFileSync(new URL(`../files/${name}`, import.meta.url));

/** The bytes of a picture that has no link. */
export function bytesOf(image) {
  assert.equal(image.url, undefined, "a link beside the bytes");
  return Buffer.from(image.b64_json, "base64");
}

export const isPng = (bytes) => bytes.subarray(0, 8).equals(Buffer.from("\x89PNG\r\n\x1a\n", "latin1"));
