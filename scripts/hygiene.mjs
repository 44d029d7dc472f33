// What a dependency checker would ask: where crates come from, under which licences, and which come twice.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const LICENCES = new Set([
  "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "CDLA-Permissive-2.0",
  "ISC", "MIT", "Unicode-3.0", "Unlicense", "Zlib",
]);
// Crates that the tree holds in two versions, each with the one that keeps the older.
const TWICE = new Map(JSON.parse(readFileSync(new URL("twice.json", import.meta.url), "utf8")));
const problems = [];

const metadata = JSON.parse(
  execFileSync("cargo", ["metadata", "--locked", "--format-version", "1"], { maxBuffer: 1 << 28, encoding: "utf8" }),
);
const versions = new Map();
for (const crate of metadata.packages) {
  if (crate.source === null) continue;
  const name = `${crate.name} ${crate.version}`;
  if (!crate.source.startsWith("registry+")) problems.push(`${name} does not come from the registry`);
  const alternatives = (crate.license ?? "").replaceAll("/", " OR ").split(/ OR /).map((text) => text.replaceAll(/[()]/g, "").trim());
  const fits = (text) => text.split(" AND ").every((licence) => LICENCES.has(licence.trim()));
  if (!alternatives.some(fits)) problems.push(`${name} has the licence ${crate.license}`);
  const major = crate.version.startsWith("0.") ? crate.version.split(".").slice(0, 2).join(".") : crate.version.split(".")[0];
  versions.set(crate.name, (versions.get(crate.name) ?? new Set()).add(major));
}
for (const [name, majors] of versions) {
  if (majors.size > 1 && !TWICE.has(name)) problems.push(`${name} is there in the versions ${[...majors].join(" and ")}`);
}
for (const name of TWICE.keys()) {
  if ((versions.get(name)?.size ?? 0) < 2) problems.push(`${name} is there once: take it out of scripts/twice.json`);
}

const tracked = execFileSync("git", ["ls-files"], { encoding: "utf8" }).split("\n").filter(Boolean);
for (const file of tracked) {
  if (/\.(rs|md|sh|mjs|js|toml|yaml|html|py)$/.test(file) || file.startsWith("scripts/")) {
    if (/(^|[^\w.])\/(root|home\/\w+)\//.test(readFileSync(file, "utf8"))) problems.push(`${file} holds a path of one machine`);
  }
}
if (JSON.stringify(JSON.parse(readFileSync("package-lock.json", "utf8"))).includes('"resolved":"http')) {
  problems.push("package-lock.json names a registry; .npmrc should keep it out");
}

for (const problem of problems) console.error(`hygiene: ${problem}`);
process.exit(problems.length === 0 ? 0 : 1);
