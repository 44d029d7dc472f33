// The build step of the Worker's bundle. wrangler runs it before it deploys the Worker, and before it runs it on this machine.
// It creates the database if there is none, and applies the migrations that are missing.
// MIGRATIONS=skip leaves the database alone, as a dry run should.

import { spawnSync } from "node:child_process";
import fs from "node:fs";

const command = process.env.WRANGLER_COMMAND;
const database = /^database_name = "(.+)"$/m.exec(fs.readFileSync("wrangler.toml", "utf8"))?.[1];

/**
 * Runs the wrangler that runs this file (npx puts it in front of PATH), and returns what it prints.
 *
 * @param {string[]} words
 */
function wrangler(...words) {
  const { status, stdout } = spawnSync("wrangler", words, {
    encoding: "utf8",
    shell: process.platform === "win32",
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (status !== 0) {
    console.error(`${stdout}\n\`wrangler ${words.join(" ")}\` failed. Are you signed in? Run \`npx wrangler login\` first.`);
    process.exit(1);
  }
  return stdout;
}

if (!command || !database) {
  console.error("This needs wrangler 4.164 or newer, and a database_name in wrangler.toml.");
  process.exit(1);
}
if (process.env.MIGRATIONS === "skip") {
  console.log(`The database ${database} is left alone.`);
} else if (command === "dev") {
  wrangler("d1", "migrations", "apply", database, "--local");
} else if (command === "deploy" || command.startsWith("versions")) {
  /** @type {{ name: string }[]} */
  const databases = JSON.parse(wrangler("d1", "list", "--json"));
  if (!databases.some(({ name }) => name === database)) {
    wrangler("d1", "create", database, "--update-config=false");
    console.log(`The database ${database} has been created.`);
  }
  wrangler("d1", "migrations", "apply", database, "--remote");
  console.log(`The database ${database} is up to date.`);
}
