// Starts a headless Chromium: the path in CHROMIUM, or the one of the system.

import { execFileSync } from "node:child_process";

import puppeteer from "puppeteer-core";

function chromium() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // Try the next name.
    }
  }
  throw new Error("no Chromium found: install it, or set CHROMIUM");
}

/** Starts Chromium with additional arguments. */
export const launch = (more = []) =>
  puppeteer.launch({
    executablePath: chromium(),
    // Chromium has no sandbox for root, which containers use.
    args: ["--no-sandbox", "--no-proxy-server", ...more],
  });
