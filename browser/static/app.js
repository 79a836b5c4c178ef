/** The page: its head, its theme and which view is shown. */

import { ApiError, dataset, login } from "./api.js";
import { clipView } from "./clip.js";
import { el, fill, plural } from "./dom.js";
import { showKeys } from "./keys.js";
import { listView } from "./list.js";
import { reviewView } from "./review.js";
import { addTheme } from "./theme.js";

/**
 * @typedef {object} View
 * @property {HTMLElement} root
 * @property {string} title
 * @property {Record<string, [string, string][]>} keys documented shortcuts by group
 * @property {() => void} [shown]
 * @property {() => void} [close]
 * @property {() => string} [address] what the list shows now, as its address says it
 */

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
/** @type {View | null} */
let current = null;
/** @type {{view: View, scroll: number} | null} the list is kept for the way back */
let kept = null;

const VIEWS = {
  "": listView,
  clip: clipView,
  motion: clipView,
  rejection: clipView,
  review: reviewView,
};

async function route() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const asked = location.hash;
  const [name, ...rest] = path.split("/");
  const id = rest.map(decodeURIComponent).join("/");
  const make = VIEWS[/** @type {keyof typeof VIEWS} */ (name)] ?? listView;
  if (current) {
    if (kept?.view === current) kept.scroll = scrollY;
    else current.close?.();
  }
  if (name === "" && kept && kept.view.address?.() === new URLSearchParams(query).toString()) {
    current = kept.view;
    show(current);
    scrollTo(0, kept.scroll);
    return;
  }
  try {
    const about = await ready();
    const view = await make({ about, kind: name, id, query: new URLSearchParams(query) });
    // The user may have gone on while the view was being made.
    if (asked !== location.hash) {
      view.close?.();
      return;
    }
    current = view;
    if (name === "") kept = { view, scroll: 0 };
    show(view);
    scrollTo(0, 0);
  } catch (error) {
    current = null;
    fill(main, problem(error));
  }
}

/** @param {View} view */
function show(view) {
  fill(main, view.root);
  document.title = `${view.title} · avatargpt`;
  view.shown?.();
  for (const link of document.querySelectorAll("#pages a")) {
    const here = location.hash.startsWith("#/review") === link.hash.startsWith("#/review");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Wait until the dataset is indexed. */
async function ready() {
  for (;;) {
    const about = await dataset();
    if (about.facets) {
      const rows = about.rows;
      const parts = [
        rows.clips && plural(rows.clips, "clip"),
        rows.motions && plural(rows.motions, "motion"),
      ];
      fill(
        /** @type {Element} */ (document.getElementById("dataset")),
        el("span", { title: about.folder }, about.name),
        el("span.small", {}, parts.filter(Boolean).map((part) => ` · ${part}`).join("")),
      );
      return about;
    }
    fill(
      main,
      el("div.empty", { role: "status" },
        el("div.spinner"),
        el("h2", {}, "Indexing the dataset"),
        el("p.muted", {}, `${about.indexing} …`)),
    );
    await new Promise((done) => setTimeout(done, 400));
  }
}

/** @param {unknown} error */
function problem(error) {
  const known = error instanceof ApiError;
  if (!known) console.error(error);
  const missing = known && error.status === 404;
  return el("div.empty", { role: "alert" },
    el("h2", {}, missing ? "This dataset has no such item" : "This cannot be shown"),
    el("p.muted", {}, missing ? "It may belong to another version or dataset."
      : known ? error.message : `The page failed: ${error}`),
    el("p", {}, el("a", { href: "#/" }, "Back to the list")));
}

function addHead() {
  fill(
    /** @type {Element} */ (document.getElementById("pages")),
    el("a", { href: "#/" }, "Browse"),
    el("a", { href: "#/review" }, "Review"),
  );
  const help = () => showKeys(current?.keys ?? {});
  document.getElementById("keys")?.addEventListener("click", help);
  addEventListener("keydown", (event) => {
    if (event.key === "?" && !isTyping(event.target)) help();
  });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

addTheme();
addHead();
login().catch((error) => fill(main, problem(error))).then(() => {
  addEventListener("hashchange", route);
  return route();
});
