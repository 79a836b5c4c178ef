/** The list: search, filters and cards of people, clips, motions and rejections. */

import { get } from "./api.js";
import { el, fileName, fill, mark, number, plural, put, seconds, verdictBadge, words } from "./dom.js";
import { onKeys } from "./keys.js";

/** The order in which clips are gone through, as addresses. */
export const sequence = /** @type {string[]} */ ([]);

const KINDS = { person: "People", clip: "Clips without people", motion: "Motions", rejection: "Rejections" };
const FILTERS = {
  verdict: "Verdict", reviewed: "Review", activity: "Activity", object: "Object", people: "People in the picture",
  camera: "Camera", outcome: "Outcome", reason: "Rejected because", stage: "Rejected by stage",
  split: "Split", source: "Source",
};
const SORTS = {
  file: "Order of the files", contradicted: "Most contradicted", score: "Least supported",
  quality: "Worst seen", longest: "Longest", shortest: "Shortest",
};
const SHOWN = 7;

/** @param {Record<string, any>} entry */
export function addressOf(entry) {
  const id = entry.id.split("/").map(encodeURIComponent).join("/");
  if (entry.kind === "person") return `#/clip/${id}?person=${entry.track_id}`;
  return `#/${entry.kind}/${id}`;
}

/** @param {{about: Record<string, any>, query: URLSearchParams}} given */
export async function listView({ about, query }) {
  const facets = about.facets;
  const state = new URLSearchParams(query);
  const cards = el("ul.cards");
  const found = el("div.found", { role: "status" });
  const more = el("div.more-row");
  const box = el("div");
  const root = el("div.browse", {}, filterPanel(), el("section", { ariaLabel: "Entries" },
    tools(), kinds(), found, box, cards, more));
  /** @type {AbortController | null} */
  let asking = null;
  /** @type {[number, number] | null} */
  let next = null;
  /** Puts what is typed, and not yet searched for, into the address. @type {(() => void) | null} */
  let typed = null;

  /**
   * Show another list; this one stays as it is, for the way back.
   *
   * What changes is what the address asks for: this list may be on its way out already.
   * @param {(asked: URLSearchParams) => void} change
   */
  function go(change) {
    typed?.();
    const asked = new URLSearchParams(location.hash.split("?")[1] ?? "");
    change(asked);
    const text = asked.toString();
    location.hash = text ? `#/?${text}` : "#/";
  }

  function tools() {
    let timer = 0;
    function search() {
      clearTimeout(timer);
      typed = null;
      set(state, "q", input.value.trim());
      history.replaceState(null, "", state.toString() ? `#/?${state}` : "#/");
    }
    const input = el("input", {
      type: "search", value: state.get("q") ?? "", ariaLabel: "Search texts and file names",
      placeholder: "Search texts and file names", autocomplete: "off", spellcheck: false,
      oninput: () => {
        clearTimeout(timer);
        typed = search;
        timer = setTimeout(() => {
          search();
          load();
        }, 180);
      },
    });
    const sort = el("select", {
      ariaLabel: "Sort by",
      onchange: () => go((asked) => set(asked, "sort", sort.value === "file" ? "" : sort.value)),
    }, Object.entries(SORTS).map(([value, name]) =>
      el("option", { value, selected: value === (state.get("sort") ?? "file") }, name)));
    const opener = el("button.filter-toggle", {
      type: "button", ariaExpanded: "false",
      onclick: () => {
        opener.ariaExpanded = String(root.classList.toggle("open"));
      },
    }, "Filters");
    return el("div.tools", {}, el("div.search", {}, input), sort, opener);
  }

  function kinds() {
    const there = facets.kind;
    if (there.length < 2) return null;
    const chosen = state.getAll("kind");
    const total = there.reduce((/** @type {number} */ sum, /** @type {any} */ one) => sum + one.count, 0);
    const choices = [["", "All", total], ...Object.entries(KINDS).flatMap(([kind, name]) => {
      const one = there.find((/** @type {any} */ facet) => facet.value === kind);
      return one ? [[kind, name, one.count]] : [];
    })];
    return el("div.kinds", { role: "group", ariaLabel: "Kind" }, choices.map(([kind, name, count]) =>
      el("button", {
        type: "button", ariaPressed: String(kind ? chosen.includes(kind) : !chosen.length),
        onclick: () => go((asked) => set(asked, "kind", kind)),
      }, name, el("span.count", {}, number(count)))));
  }

  function filterPanel() {
    const groups = Object.entries(FILTERS).flatMap(([name, title]) => {
      const values = facets[name] ?? [];
      return values.length > 1 || state.has(name) ? [filterGroup(name, title, values)] : [];
    });
    return el("aside.filters", { ariaLabel: "Filters" },
      groups.length ? groups : el("p.muted.small", {}, "Everything here is alike: there is nothing to filter by."));
  }

  /** @param {string} name @param {string} title @param {{value: string, count: number}[]} values */
  function filterGroup(name, title, values) {
    const chosen = new Set(state.getAll(name));
    const group = el("fieldset", {}, el("legend", {}, title));
    const options = values.map(({ value, count }) => {
      const box = el("input", {
        type: "checkbox", checked: chosen.has(value),
        onchange: () => go((asked) => toggle(asked, name, value)),
      });
      return el("label.option", {}, box, labelOf(name, value), el("span.count", {}, number(count)));
    });
    const hidden = options.slice(SHOWN).filter((option) => !option.querySelector("input").checked);
    for (const option of hidden) option.hidden = true;
    put(group, options);
    if (hidden.length) {
      const button = el("button.more", {
        type: "button",
        onclick: () => { for (const option of hidden) option.hidden = false; button.remove(); },
      }, `Show ${number(hidden.length)} more`);
      put(group, button);
    }
    return group;
  }

  function chips() {
    const chosen = [...state].filter(([name]) => name in FILTERS);
    const list = chosen.map(([name, value]) => el("button.chip", {
      type: "button", ariaLabel: `Remove the filter ${FILTERS[/** @type {keyof FILTERS} */ (name)]}: ${value}`,
      onclick: () => go((asked) => toggle(asked, name, value)),
    }, labelText(name, value), " ✕"));
    if (chosen.length > 1) list.push(el("button.chip", { type: "button", onclick: () => { location.hash = "#/"; } }, "Clear all"));
    return list;
  }

  async function load() {
    asking?.abort();
    asking = new AbortController();
    const page = await ask(asking.signal);
    if (!page) return;
    sequence.length = 0;
    fill(box, page.total ? null : nothing());
    fill(cards);
    add(page);
  }

  /** @param {AbortSignal} signal @param {number} [after] */
  async function ask(signal, after) {
    const asked = new URLSearchParams(state);
    if (after) asked.append("after", String(after));
    try {
      return await get(`/api/entries?${asked}`, signal);
    } catch (error) {
      if (error instanceof DOMException) return null;
      throw error;
    }
  }

  /** @param {Record<string, any>} page */
  function add(page) {
    next = page.next;
    for (const entry of page.entries) {
      sequence.push(addressOf(entry));
      put(cards, el("li", {}, card(entry)));
    }
    fill(found, page.total ? `${plural(page.total, "entry", "entries")}` : "No entries", chips());
    fill(more, next && el("button", {
      type: "button",
      onclick: async () => {
        const last = cards.lastElementChild;
        if (next) add(await ask(new AbortController().signal, next));
        last?.nextElementSibling?.querySelector("a")?.focus({ preventScroll: true });
      },
    }, "Show more"));
  }

  function nothing() {
    if ([...state].some(([name]) => name !== "sort")) {
      return el("div.empty", {}, el("h2", {}, "Nothing matches"),
        el("p.muted", {}, "Search finds words that begin with what you type, in any order. Remove a filter, or look for fewer words."),
        el("button", { type: "button", onclick: () => { location.hash = "#/"; } }, "Show everything"));
    }
    return el("div.empty", {}, el("h2", {}, "This dataset is empty"),
      el("p.muted", {}, "Annotate videos, or import motions, and this page shows them; it may stay open meanwhile."),
      el("code", {}, `avatargpt annotate VIDEOS… --dataset ${about.folder}`));
  }

  await load();
  let forget = () => {};
  return {
    root,
    title: about.name,
    address: () => state.toString(),
    keys: { List: [["/", "search"], ["j k", "next or previous card"], ["Enter", "open it"]] },
    shown: () => {
      forget();
      forget = onKeys({
        "/": () => root.querySelector("input[type=search]").focus(),
        j: () => move(1),
        k: () => move(-1),
        Escape: () => root.classList.remove("open"),
      });
      addEventListener("hashchange", forget, { once: true });
    },
  };

  /** @param {number} by */
  function move(by) {
    const all = /** @type {HTMLElement[]} */ ([...cards.querySelectorAll("a")]);
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    all[Math.max(0, Math.min(all.length - 1, at + by))]?.focus();
  }
}

/** @param {URLSearchParams} asked @param {string} name @param {string} value */
function set(asked, name, value) {
  if (value) asked.set(name, value);
  else asked.delete(name);
}

/** @param {URLSearchParams} asked @param {string} name @param {string} value */
function toggle(asked, name, value) {
  const values = asked.getAll(name);
  asked.delete(name);
  for (const other of values) if (other !== value) asked.append(name, other);
  if (!values.includes(value)) asked.append(name, value);
}

/** @param {string} name @param {string} value */
function labelText(name, value) {
  if (name === "people") return plural(Number(value), "person", "people");
  if (name === "reviewed") return value === "yes" ? "reviewed" : "not reviewed";
  return words(value);
}

/** @param {string} name @param {string} value */
function labelOf(name, value) {
  const text = el("span", { title: labelText(name, value) }, labelText(name, value));
  if (name !== "verdict") return text;
  return el("span", {}, verdictBadge(value));
}

/** @param {Record<string, any>} entry */
function card(entry) {
  const rejected = entry.kind === "rejection";
  const length = entry.end_s !== null && entry.start_s !== null ? entry.end_s - entry.start_s : null;
  const badge = entry.verdict ? verdictBadge(entry.verdict, verdictText(entry))
    : rejected ? el("span.verdict.rejected", {}, mark("!"), words(entry.reason))
    : entry.outcome && entry.outcome !== "success" ? el("span.verdict.rejected", {}, mark("!"), words(entry.outcome))
    : null;
  const facts = [entry.activity && words(entry.activity), entry.split, entry.kind === "motion" && entry.source,
    entry.camera && `${entry.camera} camera`, rejected && `at ${entry.stage}`];
  return el("a.card", { href: addressOf(entry) },
    el("div.shot", {}, picture(entry),
      entry.kind === "person" && entry.people > 1 && el("span.who", {}, `Person ${entry.track_id + 1}`),
      length !== null && el("span.length", {}, seconds(length))),
    el("div.text", {},
      el("p.title", {}, entry.title || (entry.kind === "clip" ? "Nobody is described" : "No text")),
      el("div.facts", {}, badge, facts.filter(Boolean).map((fact) => el("span", {}, fact)),
        entry.path && el("span.file", { title: entry.path }, fileName(entry.path)))));
}

/** @param {Record<string, any>} entry */
function verdictText(entry) {
  const measured = entry.supported + entry.contradicted;
  if (entry.verdict === "not_measurable") return "not measurable";
  if (entry.verdict === "contradicted") return `${entry.contradicted} of ${measured} contradicted`;
  return `${measured} supported`;
}

/** @param {Record<string, any>} entry */
function picture(entry) {
  const asked = new URLSearchParams({ kind: entry.kind, id: entry.id });
  if (entry.track_id !== null) asked.set("track", entry.track_id);
  const image = el("img", { alt: "", loading: "lazy", decoding: "async", width: 384, height: 216 });
  image.addEventListener("error", () => image.replaceWith(el("span.small", {}, "no picture")));
  image.src = `/api/thumbnail?${asked}`;
  return image;
}
