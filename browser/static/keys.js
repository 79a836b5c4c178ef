/** Keyboard shortcuts: a map from keys to actions, and the overlay that documents them. */

import { el } from "./dom.js";

/** @param {Record<string, [string, string][]>} groups title to pairs of key and meaning */
export function showKeys(groups) {
  document.querySelector("dialog.help")?.remove();
  const all = { ...groups, Page: [["?", "show this"], ["Esc", "close, or back to the list"]] };
  const dialog = el("dialog.help", { ariaLabel: "Keyboard shortcuts" },
    el("h2", {}, "Keyboard"),
    el("dl.keys", {}, Object.entries(all).flatMap(([title, pairs]) => [
      el("h3", {}, title),
      ...pairs.flatMap(([key, meaning]) => [
        el("dt", {}, key.split(" ").flatMap((one, index) => [index ? " " : "", el("kbd", {}, one)])),
        el("dd", {}, meaning),
      ]),
    ])),
    el("button.primary", { type: "button", onclick: () => dialog.close() }, "Close"));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/**
 * Call actions by key while no field has the focus and no dialog is open.
 * @param {Record<string, (event: KeyboardEvent) => void>} actions by key; "Shift+ArrowLeft" too
 * @returns {() => void} removes the listener
 */
export function onKeys(actions) {
  /** @param {KeyboardEvent} event */
  const listen = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const target = /** @type {HTMLElement} */ (event.target);
    const field = target.tagName === "INPUT" && /** @type {HTMLInputElement} */ (target).type !== "range"
      && /** @type {HTMLInputElement} */ (target).type !== "checkbox";
    if (field || target.tagName === "TEXTAREA" || target.tagName === "SELECT") return;
    // A focused button or link is pressed by its own keys.
    if ((event.key === " " || event.key === "Enter") && target.closest("button, a, summary")) return;
    const name = event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key;
    const action = actions[name];
    if (!action) return;
    event.preventDefault();
    action(event);
  };
  addEventListener("keydown", listen);
  return () => removeEventListener("keydown", listen);
}
