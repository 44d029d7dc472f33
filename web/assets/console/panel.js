// The panel beside the chat: a column where there is room, a drawer over the chat where there is none.
import { $, keep, recall } from "./page.js";

const isWide = matchMedia("(min-width: 64rem)");
/** What had the focus before the panel opened. @type {Element | null} */
let before = null;

const isOpen = () => $("panel").dataset.open === "true";

/** @param {boolean} open */
function set(open) {
  const isDrawer = !isWide.matches;
  const panel = $("panel");
  panel.dataset.open = String(open);
  panel.inert = !open;
  $("toggle-panel").setAttribute("aria-expanded", String(open));
  // As a drawer it is a dialog: the rest of the page is out of reach until it closes.
  panel.setAttribute("role", isDrawer ? "dialog" : "complementary");
  if (isDrawer) panel.setAttribute("aria-modal", "true");
  else panel.removeAttribute("aria-modal");
  $("backdrop").hidden = !(isDrawer && open);
  for (const rest of [$("top"), $("chat")]) rest.inert = isDrawer && open;
}

/** Opens the panel and gives it the focus. */
function openPanel() {
  if (isOpen()) return;
  before = document.activeElement;
  set(true);
  if (isWide.matches) keep("panel", "open");
  $("close-panel").focus();
}

export function closePanel() {
  if (!isOpen()) return;
  const hadFocus = $("panel").contains(document.activeElement);
  set(false);
  if (isWide.matches) keep("panel", "closed");
  if (!hadFocus) return;
  const back = before instanceof HTMLElement && before.isConnected && before !== document.body ? before : $("toggle-panel");
  back.focus();
}

/** Closes the panel where it covers the chat. */
export const closeDrawer = () => isWide.matches || closePanel();

/**
 * Opens a section of the panel, and goes to one of its fields.
 * @param {"chats" | "session" | "accounts" | "models" | "tools-panel" | "clients" | "settings"} id
 * @param {HTMLElement} [field]
 */
export function openSection(id, field) {
  const section = /** @type {HTMLDetailsElement} */ (document.getElementById(id));
  openPanel();
  section.open = true;
  if (field) field.focus();
  else section.querySelector("summary")?.focus();
  section.scrollIntoView({ block: "nearest" });
}

export function startPanel() {
  const fit = () => set(isWide.matches && recall("panel") !== "closed");
  isWide.addEventListener("change", fit);
  fit();
  $("toggle-panel").addEventListener("click", () => (isOpen() ? closePanel() : openPanel()));
  $("close-panel").addEventListener("click", closePanel);
  $("backdrop").addEventListener("click", closePanel);
  $("panel").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || isWide.matches || event.defaultPrevented) return;
    event.preventDefault();
    closePanel();
  });
}
