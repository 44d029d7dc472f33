// A headless Chromium for the cases: the one in CHROMIUM, or of the system.

import { execFileSync } from "node:child_process";

import puppeteer from "puppeteer-core";

function chromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // The next one.
    }
  }
  throw new Error("no Chromium: install it, or set CHROMIUM");
}

/** Starts it with `more` arguments. */
export const launch = (more = []) =>
  puppeteer.launch({
    executablePath: chromium(),
    // Root, as in containers, has no sandbox.
    args: ["--no-sandbox", "--no-proxy-server", ...more],
  });
