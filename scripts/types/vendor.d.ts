// What web/assets/vendor holds: the packages' own types in place of their packed programs.
declare module "*/vendor/marked.esm.js" {
  export * from "marked";
}
declare module "*/vendor/purify.es.mjs" {
  export { default } from "dompurify";
}
declare function SwaggerUIBundle(options: Record<string, unknown>): unknown;
