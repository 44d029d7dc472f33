// For `npx eslint`, see scripts/check.
import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: [".venv/", ".venv-instructor/", ".wrangler/", "build/", "dist/", "fuzz/", "target/", "web/assets/vendor/"] },
  js.configs.recommended,
  {
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      eqeqeq: "error",
      "no-unused-vars": ["error", { ignoreRestSiblings: true }],
      "no-var": "error",
      "prefer-const": "error",
    },
  },
  { files: ["src/platform/worker/**", "benches/javascript/**"], languageOptions: { globals: { ...globals.serviceworker, FixedLengthStream: false, IdentityTransformStream: false } } },
  { files: ["web/**"], languageOptions: { globals: { ...globals.browser, SwaggerUIBundle: false } } },
  { files: ["scripts/**"], languageOptions: { globals: globals.nodeBuiltin } },
  // Some of their functions run in a page.
  { files: ["tests/**"], languageOptions: { globals: { ...globals.nodeBuiltin, ...globals.browser } } },
];
