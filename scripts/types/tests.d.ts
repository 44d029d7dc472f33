// What the tests meet in the pages that they drive.
interface Window {
  axe: typeof import("axe-core");
  /** Set by what must never run. */
  hit?: unknown;
  /** How often progress was shown. */
  progress: number;
}
declare module "*/console/words.js" {
  export const words: Record<string, Record<string, string>>;
}
