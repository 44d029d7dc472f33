// The `ali-oss` part of make.py: reads cases from stdin and writes the signature of each to stdout.
//
//     node make.mjs DIRECTORY < cases.json      (DIRECTORY holds node_modules/ali-oss)
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";

const load = createRequire(join(resolve(process.argv[2]), "package.json"));

// A pre-signed URL contains the current time, so the clock is fixed.
const RealDate = Date;
let now = 0;
globalThis.Date = /** @type {DateConstructor} */ (class extends RealDate {
  constructor(...values) {
    super(.../** @type {[number]} */ (values.length === 0 ? [now] : values));
  }
  static now() {
    return now;
  }
});
const instant = (time) =>
  RealDate.parse(time.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z"));

const Client = load("ali-oss");
const signing = load("ali-oss/lib/common/signUtils.js");

// The intermediate strings of a signature.
let intermediate = {};
for (const [method, field] of [["getCanonicalRequest", "canonical_request"], ["getStringToSign", "string_to_sign"]]) {
  const original = signing[method];
  signing[method] = function (...values) {
    return (intermediate[field] = original.apply(this, values));
  };
}

const clientOf = (vector) =>
  new Client({
    accessKeyId: vector.access_key_id,
    accessKeySecret: vector.access_key_secret,
    stsToken: vector.security_token ?? undefined,
    refreshSTSTokenInterval: 1,
    region: `oss-${vector.region}`,
    bucket: vector.bucket,
    authorizationV4: true,
  });

// Signs with the headers that the library adds to a request.
function header(vector) {
  const headers = { "x-oss-date": vector.time, "x-oss-content-sha256": "UNSIGNED-PAYLOAD" };
  if (vector.security_token !== null) headers["x-oss-security-token"] = vector.security_token;
  Object.assign(headers, Object.fromEntries(vector.headers));
  const request = { headers, queries: Object.fromEntries(vector.query) };
  const authorization = clientOf(vector).authorizationV4(
    vector.method, request, vector.bucket, vector.key, vector.additional_headers,
  );
  return { ...intermediate, authorization, signature: /Signature=(\w+)$/.exec(authorization)[1] };
}

async function query(vector) {
  const request = { headers: Object.fromEntries(vector.headers), queries: Object.fromEntries(vector.query) };
  const url = await clientOf(vector).signatureUrlV4(
    vector.method, vector.expires, request, vector.key, vector.additional_headers,
  );
  const parameters = [...new URL(url).searchParams];
  return { ...intermediate, parameters, signature: new URL(url).searchParams.get("x-oss-signature") };
}

function policy(vector) {
  const { access_key_secret, region, time, policy } = vector;
  const text = Buffer.from(policy, "base64").toString("utf8");
  return {
    signature: signing.getSignatureV4(access_key_secret, time.split("T")[0], region, policy),
    signature_of_text: clientOf(vector).signPostObjectPolicyV4(text, new Date(now)),
  };
}

const results = [];
for (const { group, vector } of JSON.parse(readFileSync(0, "utf8"))) {
  now = instant(vector.time);
  intermediate = {};
  try {
    results.push(await { header, query, policy }[group](vector));
  } catch (error) {
    results.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify({ version: load("ali-oss/package.json").version, results }));
