/** Review: judge, correct and complete the texts of one person after the other. */

import { ApiError, get, post } from "./api.js";
import { Stage } from "./clip.js";
import { el, fill, mark, plural, put, toast, words } from "./dom.js";
import { onKeys } from "./keys.js";
import { Person } from "./people.js";

const NUDGE_S = 0.05;
const SIGNS = { accepted: "✓", edited: "✎", rejected: "✕", added: "+", open: "·" };
const MODES = /** @type {const} */ ({ worth: "Worth a look", random: "Random sample" });

/** What was passed over, until the page is reloaded. */
const skipped = /** @type {number[]} */ ([]);

function reviewer() {
  return localStorage.getItem("reviewer") ?? "";
}

/** @param {{about: Record<string, any>, id: string, query: URLSearchParams}} given */
export async function reviewView({ about, id, query }) {
  if (!reviewer()) localStorage.setItem("reviewer", about.reviewer || "me");
  const mode = query.get("mode") === "random" ? "random" : "worth";
  if (id) return stageView(await load(id, Number(query.get("person") ?? 0), null, mode));
  const asked = new URLSearchParams({ reviewer: reviewer(), mode });
  for (const number of skipped) asked.append("skip", String(number));
  const next = await get(`/api/review/next?${asked}`);
  if (!next.entry) return nothingLeft(next, mode);
  return stageView(await load(next.entry.id, next.entry.track_id, next, mode));
}

/** @param {ReviewStage} stage */
function stageView(stage) {
  return { root: stage.root, title: "Review", keys: stage.keys(), shown: () => stage.shown(), close: () => stage.close() };
}

/** @param {string} id @param {number} person @param {Record<string, any> | null} next @param {string} mode */
async function load(id, person, next, mode) {
  const item = await get(`/api/clips/${encodeURIComponent(id)}`);
  const [reviews, summary] = await Promise.all([
    get(`/api/reviews/${encodeURIComponent(id)}?${new URLSearchParams({ video_id: item.clip.video_id })}`),
    get("/api/review/summary"),
  ]);
  const people = item.people.map((/** @type {any} */ data, /** @type {number} */ index) => new Person(data, index));
  return new ReviewStage(item, people, person, { reviews, summary, next, mode });
}

/** @param {Record<string, any>} next @param {string} mode */
function nothingLeft(next, mode) {
  const none = !next.people;
  return {
    root: el("div.empty", {}, el("h2", {}, none ? "There is nothing to review" : "Everything is reviewed"),
      el("p.muted", {}, none ? "This dataset has no annotated people. Annotate videos first."
        : `${reviewer()} has judged ${plural(next.done, "person", "people")}${skipped.length ? `; ${skipped.length} were passed over` : ""}.`),
      skipped.length ? el("button", { type: "button", onclick: () => { skipped.length = 0; location.hash = `#/review?mode=${mode}&again=${Date.now()}`; } }, "Show those again") : null,
      el("p", {}, el("a", { href: "#/" }, "Back to the list"))),
    title: "Review", keys: {},
  };
}

/**
 * @typedef {object} StepDraft
 * @property {string} text @property {number} start_s @property {number} end_s
 * @property {"accepted" | "edited" | "rejected" | "added" | "open"} judgment
 * @property {number | null} of
 */

class ReviewStage extends Stage {
  /**
   * @param {Record<string, any>} item @param {Person[]} people @param {number} person
   * @param {{reviews: any[], summary: any, next: any, mode: string}} given
   */
  constructor(item, people, person, given) {
    super(item, people, person);
    this.given = given;
    /** @type {(() => Promise<void>)[]} */
    this.undos = [];
    this.at = 0;
    this.editing = false;
    /** What was measured of steps that reviewers wrote. @type {Map<string, any>} */
    this.verdicts = new Map();
    this.timeline.does.change = (step, start, end) => this.drag(step, start, end);
    this.begin();
  }

  /** Take up the person who is selected. */
  begin() {
    const row = this.annotation();
    if (!row) return;
    const mine = (/** @type {string} */ level) => this.given.reviews.find((one) =>
      one.reviewer === reviewer() && one.level === level
      && (level === "coarse" || one.track_id === this.person) && one.judgment !== "withdrawn");
    const steps = mine("fine")?.value;
    const fine = mine("fine")?.judgment;
    this.draft = {
      coarse: { judgment: mine("coarse")?.judgment ?? "open", text: mine("coarse")?.value ?? row.coarse },
      medium: { judgment: mine("medium")?.judgment ?? "open", texts: mine("medium")?.value ?? [...row.medium] },
      fine: {
        none: fine === "accepted" && !row.fine.length,
        steps: /** @type {StepDraft[]} */ (steps ?? row.fine.map((/** @type {any} */ step, /** @type {number} */ of) => ({
          text: step.text, start_s: step.start_s, end_s: step.end_s, of,
          judgment: fine === "accepted" ? "accepted" : fine === "rejected" ? "rejected" : "open",
        }))),
      },
      person: { judgment: mine("person")?.judgment ?? "open", name: mine("person")?.value?.name ?? "" },
    };
    this.at = Math.max(0, this.rows().findIndex((one) => one.judgment === "open"));
    this.refresh();
  }

  annotation() {
    return this.annotations.find((row) => row.track_id === this.person);
  }

  /** @param {number} person */
  select(person) {
    this.person = person;
    if (this.given) this.begin();
    super.select(person);
  }

  /** What can be judged, in order. @returns {any[]} */
  rows() {
    const { draft } = this;
    if (!draft) return [];
    const steps = draft.fine.steps.map((step) => ({ level: "fine", step, judgment: step.judgment }));
    return [
      { level: "coarse", judgment: draft.coarse.judgment },
      { level: "medium", judgment: draft.medium.judgment },
      ...(steps.length ? steps : [{ level: "none", judgment: draft.fine.none ? "accepted" : "open" }]),
    ];
  }

  fineJudgment() {
    const { steps, none } = /** @type {any} */ (this.draft).fine;
    if (!steps.length) return none ? "accepted" : "withdrawn";
    const has = (/** @type {string} */ one) => steps.some((/** @type {StepDraft} */ step) => step.judgment === one);
    if (steps.every((/** @type {StepDraft} */ step) => step.judgment === "open")) return "withdrawn";
    if (has("open")) return "partial";
    if (!has("edited") && !has("rejected") && !has("added")) return "accepted";
    return !has("edited") && !has("accepted") && !has("added") ? "rejected" : "edited";
  }

  /** Save a level; the draft is what the page shows. @param {"coarse" | "medium" | "fine" | "person"} level */
  async save(level) {
    const draft = /** @type {any} */ (this.draft);
    const row = /** @type {any} */ (this.annotation());
    const judgment = level === "fine" ? this.fineJudgment() : draft[level].judgment === "open" ? "withdrawn" : draft[level].judgment;
    const given = { clip_id: this.item.id, track_id: this.person, sample: row.sample, level, judgment, reviewer: reviewer() };
    if (level === "coarse" && judgment === "edited") Object.assign(given, { text: draft.coarse.text });
    if (level === "medium" && judgment === "edited") Object.assign(given, { texts: draft.medium.texts });
    if (level === "fine" && (judgment === "edited" || judgment === "partial")) Object.assign(given, { steps: draft.fine.steps });
    if (level === "person") Object.assign(given, { person: { name: draft.person.name } });
    this.state.textContent = "Saving …";
    try {
      const saved = await post("/api/reviews", given);
      const value = saved.value === null ? null : JSON.parse(saved.value);
      this.given.reviews = this.given.reviews.filter((one) => !(one.reviewer === saved.reviewer && one.level === level
        && (level === "coarse" || one.track_id === saved.track_id)));
      this.given.reviews.push({ ...saved, value });
      this.state.textContent = "Saved";
    } catch (error) {
      this.state.textContent = "Not saved";
      toast(error instanceof ApiError ? error.message : String(error));
    }
    this.refresh();
  }

  /** Change the draft and save it; remembers how to take it back.
   * @param {"coarse" | "medium" | "fine" | "person"} level @param {() => void} change */
  async change(level, change) {
    const person = this.person;
    const before = structuredClone(/** @type {any} */ (this.draft)[level]);
    change();
    this.undos.push(async () => {
      if (this.person !== person && person !== null) this.select(person);
      /** @type {any} */ (this.draft)[level] = before;
      await this.save(level);
    });
    await this.save(level);
  }

  async undo() {
    const last = this.undos.pop();
    if (last) await last();
    else toast("There is nothing to undo.");
  }

  /** @param {"accepted" | "rejected"} judgment */
  async judge(judgment) {
    const row = this.rows()[this.at];
    if (!row) return;
    const draft = /** @type {any} */ (this.draft);
    const annotation = /** @type {any} */ (this.annotation());
    if (row.level === "coarse") await this.change("coarse", () => { draft.coarse = { judgment, text: annotation.coarse }; });
    if (row.level === "medium") await this.change("medium", () => { draft.medium = { judgment, texts: [...annotation.medium] }; });
    if (row.level === "none") await this.change("fine", () => { draft.fine.none = judgment === "accepted"; });
    if (row.level === "fine") {
      await this.change("fine", () => {
        if (judgment === "rejected" && row.step.of === null) draft.fine.steps.splice(draft.fine.steps.indexOf(row.step), 1);
        else row.step.judgment = judgment === "accepted" ? changed(row.step, annotation) : judgment;
      });
    }
    const rows = this.rows();
    const open = rows.findIndex((one, index) => index > this.at && one.judgment === "open");
    if (open >= 0) this.go_to(open);
    else if (!rows.some((one) => one.judgment === "open")) toast("This person is done. Press Enter for the next.");
    else this.refresh();
  }

  async acceptAll() {
    const draft = /** @type {any} */ (this.draft);
    if (!draft) return this.follow();
    if (draft.coarse.judgment === "open") await this.change("coarse", () => { draft.coarse.judgment = "accepted"; });
    if (draft.medium.judgment === "open") await this.change("medium", () => { draft.medium.judgment = "accepted"; });
    const open = draft.fine.steps.filter((/** @type {StepDraft} */ step) => step.judgment === "open");
    if (open.length || (!draft.fine.steps.length && !draft.fine.none)) {
      await this.change("fine", () => {
        for (const step of open) step.judgment = "accepted";
        draft.fine.none = !draft.fine.steps.length;
      });
    }
    this.follow();
  }

  /** The next of the queue. */
  follow() {
    location.hash = `#/review?mode=${this.given.mode}&after=${this.item.id}-${this.person}-${Date.now() % 100000}`;
  }

  pass() {
    if (this.given.next?.entry) skipped.push(this.given.next.entry.entry);
    this.follow();
  }

  /** @param {number} index */
  go_to(index) {
    this.at = Math.max(0, Math.min(this.rows().length - 1, index));
    this.refresh();
    const row = this.rows()[this.at];
    const step = row?.step && this.steps.find((one) => one.person === this.person && one.draft === row.step);
    if (step) this.play(step);
    this.side.querySelector(".judged.here")?.scrollIntoView({ block: "nearest" });
  }

  async missed() {
    const start = Math.min(this.player.time, this.end - 0.2);
    const step = { text: "", start_s: round(start), end_s: round(Math.min(start + 1, this.end)), judgment: "added", of: null };
    const draft = /** @type {any} */ (this.draft);
    if (!draft) return;
    draft.fine.steps.push(step);
    this.at = this.rows().length - 1;
    this.editing = true;
    this.refresh();
  }

  /** @param {"start_s" | "end_s"} edge @param {number} by */
  nudge(edge, by) {
    const step = this.rows()[this.at]?.step;
    if (!step) return;
    this.change("fine", () => {
      const time = round(Math.max(this.start, Math.min(this.end, step[edge] + by)));
      if (edge === "start_s" ? time < step.end_s : time > step.start_s) step[edge] = time;
      step.judgment = changed(step, this.annotation());
    });
  }

  /** @param {any} step of the timeline @param {number} start @param {number} end */
  drag(step, start, end) {
    if (!step.draft) return;
    this.at = this.rows().findIndex((row) => row.step === step.draft);
    this.change("fine", () => {
      Object.assign(step.draft, { start_s: round(start), end_s: round(end) });
      step.draft.judgment = changed(step.draft, this.annotation());
    });
  }

  rename() {
    const name = prompt("Name of this person, as everybody will see it:", /** @type {any} */ (this.draft)?.person.name ?? "");
    if (name === null) return;
    this.change("person", () => { Object.assign(/** @type {any} */ (this.draft).person, { judgment: name ? "edited" : "open", name }); });
  }

  falsify() {
    const person = /** @type {any} */ (this.draft)?.person;
    if (person) this.change("person", () => { person.judgment = person.judgment === "rejected" ? "open" : "rejected"; });
  }

  /** Show the draft: its rows, and its steps on the timeline. */
  refresh() {
    const row = this.annotation();
    const others = this.steps.filter((step) => step.person !== this.person && !step.draft);
    const mine = !this.draft || !row ? [] : this.draft.fine.steps.filter((step) => step.judgment !== "rejected").map((step, index) => ({
      ...(step.of !== null && step.judgment !== "edited" ? row.fine[step.of] : this.written(step)),
      text: step.text, start_s: step.start_s, end_s: step.end_s, person: this.person, index, draft: step,
    }));
    const elsewhere = this.annotations.filter((one) => one.track_id !== this.person).flatMap((one) =>
      one.fine.map((/** @type {any} */ step, /** @type {number} */ index) => ({ ...step, person: one.track_id, index })));
    this.steps = [...(others.length ? others : elsewhere), ...mine];
    this.timeline.show(this.people, this.steps);
    this.showTexts();
    this.draw(this.player.time);
  }

  /** @returns {any[]} */
  sideParts() {
    if (!this.given) return [];
    const { item, draft } = this;
    const row = this.annotation();
    this.state ??= el("span.small.muted", { role: "status" });
    return [
      this.queueBar(),
      this.personTabs(),
      !row || !draft ? el("p.muted", {}, "This person is not described.") : [
        draft.person.judgment === "rejected" && el("p.notice", {}, "Marked as no person: nobody gets to read these texts."),
        this.level("Scene", "coarse", [this.row(0, draft.coarse.text, { judgment: draft.coarse.judgment, level: "coarse" })]),
        this.level("Activity", "medium", [this.row(1, draft.medium.texts.join("\n"), { judgment: draft.medium.judgment, level: "medium" })]),
        this.level("Steps", "fine", this.stepRows()),
        el("div.row-buttons", {},
          el("button", { type: "button", onclick: () => this.missed() }, "Add a missed step ", el("kbd", {}, "i")),
          el("button", { type: "button", onclick: () => this.rename() }, draft.person.name ? `Renamed: ${draft.person.name}` : "Rename"),
          el("button", { type: "button", ariaPressed: String(draft.person.judgment === "rejected"), onclick: () => this.falsify() }, "No person")),
        el("div.row-buttons", {},
          el("button.primary", { type: "button", onclick: () => this.acceptAll() }, "Accept the rest, next ", el("kbd", {}, "↵")),
          el("button", { type: "button", onclick: () => this.pass() }, "Pass ", el("kbd", {}, "n")),
          el("button", { type: "button", disabled: !this.undos.length, onclick: () => this.undo() }, "Undo ", el("kbd", {}, "u")), this.state),
      ],
      this.results(),
      el("p.small.muted", {}, el("a", { href: `#/clip/${item.id}?person=${this.person}` }, "Show this clip without reviewing")),
    ];
  }

  queueBar() {
    const { next, mode, summary } = this.given;
    const name = el("input", {
      value: reviewer(), maxLength: 100, ariaLabel: "Your name in reviews", size: 12,
      onchange: () => { localStorage.setItem("reviewer", name.value.trim() || "me"); this.follow(); },
    });
    const modes = Object.entries(MODES).map(([key, title]) => el("button", {
      type: "button", ariaPressed: String(mode === key), onclick: () => { location.hash = `#/review?mode=${key}`; },
    }, title, key === "random" ? el("span.small", {}, ` ${summary.sampled}/${summary.enough}`) : null));
    return el("section.queue", {}, el("div.people", { role: "group", ariaLabel: "Queue" }, modes),
      el("label.small.muted", {}, "Reviewer ", name),
      next ? el("p.small.muted", {}, `${plural(next.done, "person", "people")} of ${next.people} judged by you · ${next.contradicted} contradicted in all`) : null);
  }

  /** @param {string} title @param {string} level @param {any[]} rows */
  level(title, level, rows) {
    return el("section", {}, el("h2", {}, title, el("span.level", {}, level)), el("div.judgments", {}, rows));
  }

  stepRows() {
    const draft = /** @type {any} */ (this.draft);
    const row = /** @type {any} */ (this.annotation());
    if (!draft.fine.steps.length) {
      return [this.row(2, "No steps. Is that right?", { judgment: draft.fine.none ? "accepted" : "open", level: "none" })];
    }
    return draft.fine.steps.map((/** @type {StepDraft} */ step, /** @type {number} */ index) => this.row(index + 2, step.text, {
      judgment: step.judgment, level: "fine", step,
      grounding: step.judgment === "edited" || step.judgment === "added" ? step.text && this.written(step).grounding : row.fine[step.of].grounding,
    }));
  }

  /** What is measured of a step as a reviewer left it; asked for when it is not known. @param {StepDraft} step */
  written(step) {
    const asked = new URLSearchParams({ track_id: String(this.person), text: step.text, start_s: String(step.start_s), end_s: String(step.end_s) });
    const key = asked.toString();
    const known = this.verdicts.get(key);
    if (known) return known;
    const open = (/** @type {string} */ measurement) =>
      ({ joints: [], grounding: { verdict: "not_measurable", measurement, start_s: step.start_s, end_s: step.end_s } });
    const waiting = open("being measured …");
    this.verdicts.set(key, waiting);
    if (!step.text) return waiting;
    get(`/api/clips/${encodeURIComponent(this.item.id)}/measure?${asked}`).catch((error) => {
      if (!(error instanceof ApiError)) throw error;
      return open(error.message);
    }).then((found) => {
      this.verdicts.set(key, found);
      if (!this.editing) this.refresh();
    });
    return waiting;
  }

  /** @param {number} index @param {string} text @param {Record<string, any>} given */
  row(index, text, { judgment, level, step, grounding }) {
    const here = index === this.at;
    if (here && this.editing && level !== "none") return this.form(text, level, step);
    const button = (/** @type {string} */ sign, /** @type {string} */ label, /** @type {string} */ key, /** @type {() => void} */ action, /** @type {boolean} */ pressed) =>
      el("button", { type: "button", ariaLabel: `${label}: ${text}`, ariaPressed: String(pressed), onclick: () => { this.at = index; action(); } }, `${sign} ${label} `, el("kbd", {}, key));
    const parts = [
      el("span.judgment", { ariaHidden: "true" }, SIGNS[/** @type {keyof SIGNS} */ (judgment)] ?? "·"),
      el("button.judged-text", { type: "button", onclick: () => this.go_to(index) },
        text.split("\n").map((line) => el("span.line", {}, line)),
        step && el("span.small.muted", {}, `${step.start_s.toFixed(2)}–${step.end_s.toFixed(2)} s`),
        grounding && el(`span.small.${grounding.verdict}.said`, {}, mark(grounding.verdict === "supported" ? "✓" : grounding.verdict === "contradicted" ? "✕" : "?"), " ", grounding.measurement),
        el("span.sr", {}, `, ${judgment === "open" ? "not judged" : judgment}`)),
      el("span.judge", {}, button("✓", "Accept", "a", () => this.judge("accepted"), judgment === "accepted"),
        button("✕", "Reject", "r", () => this.judge("rejected"), judgment === "rejected"),
        level !== "none" ? button("✎", "Edit", "e", () => this.edit(), judgment === "edited") : null),
    ];
    return el(`div.judged.j-${judgment}${here ? ".here" : ""}`, { ariaCurrent: here ? "true" : null }, parts, this.said(level));
  }

  /** What others found. @param {string} level */
  said(level) {
    if (level === "fine" || level === "none") return null;
    const others = this.given.reviews.filter((one) => one.level === level && one.reviewer !== reviewer()
      && (level === "coarse" || one.track_id === this.person));
    if (!others.length) return null;
    return el("p.small.muted.others", {}, others.map((one) => `${one.reviewer}: ${words(one.judgment)}`).join(" · "));
  }

  edit() {
    this.editing = true;
    this.refresh();
  }

  /** @param {string} text @param {string} level @param {StepDraft | undefined} step */
  form(text, level, step) {
    const area = el("textarea", { value: text, rows: level === "medium" ? 4 : 2, ariaLabel: level === "medium" ? "Wordings, one a line" : "Text" });
    const time = (/** @type {"start_s" | "end_s"} */ edge) => step && el("input", {
      type: "number", step: 0.05, min: this.start, max: this.end, value: step[edge], ariaLabel: edge === "start_s" ? "Start, seconds" : "End, seconds",
    });
    const start = time("start_s");
    const end = time("end_s");
    const draft = /** @type {any} */ (this.draft);
    const stop = () => {
      this.editing = false;
      if (step && step.of === null && !step.text) draft.fine.steps.splice(draft.fine.steps.indexOf(step), 1);
      this.at = Math.min(this.at, this.rows().length - 1);
      this.refresh();
    };
    const done = async () => {
      const words = area.value.trim();
      if (!words) return toast("A text is needed. Reject the text to leave nothing.");
      if (step && !(Number(end.value) > Number(start.value))) return toast("The end must come after the start.");
      this.editing = false;
      if (level === "coarse") await this.change("coarse", () => { draft.coarse = { judgment: "edited", text: words }; });
      else if (level === "medium") await this.change("medium", () => { draft.medium = { judgment: "edited", texts: words.split("\n").map((/** @type {string} */ one) => one.trim()).filter(Boolean) }; });
      else if (step) {
        await this.change("fine", () => {
          Object.assign(step, { text: words, start_s: round(Number(start.value)), end_s: round(Number(end.value)) });
          step.judgment = changed(step, this.annotation());
        });
      }
    };
    const form = el("form.judged.here", {
      onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); done(); },
      onkeydown: (/** @type {KeyboardEvent} */ event) => {
        if (event.key === "Escape") { event.stopPropagation(); stop(); }
        if (event.key === "Enter" && !event.shiftKey && level !== "medium") { event.preventDefault(); done(); }
      },
    }, area, step && el("div.times", {}, start, "–", end, "s"),
      el("div.row-buttons", {}, el("button.primary", { type: "submit" }, "Save"), el("button", { type: "button", onclick: stop }, "Cancel")));
    requestAnimationFrame(() => area.focus());
    return form;
  }

  results() {
    const { summary } = this.given;
    const percent = (/** @type {number} */ share) => `${Math.round(100 * share)} %`;
    const truth = summary.truth.length
      ? el("dl.facts", {}, summary.truth.flatMap((/** @type {any} */ one) => [el("dt", {}, one.level),
        el("dd", {}, el("b", {}, percent(one.share)), ` right (${percent(one.low)}–${percent(one.high)}; ${one.right} of ${one.judged})`)]))
      : el("p.small.muted", {}, `After ${summary.enough} people of the random sample this tells how much of the dataset is true; ${summary.sampled} are done.`);
    const agreed = summary.agreement.map((/** @type {any} */ one) => [el("dt", {}, `${one.reviewers.join(", ")}: ${one.level}`),
      el("dd", {}, one.kappa === null ? `always the same (${one.both})` : `κ ${one.kappa.toFixed(2)} (${one.both})`)]);
    return el("details.fold", { open: Boolean(summary.truth.length) }, el("summary", {}, "What the reviews say"), truth,
      summary.truth.length ? el("p.small.muted", {}, "Of the random sample only, with 95 % intervals; texts count as right if they were accepted unchanged.") : null,
      agreed.length ? [el("h3", {}, "Agreement"), el("dl.facts", {}, agreed.flat())] : null,
      el("p.small.muted", {}, summary.reviewers.map((/** @type {any} */ one) => `${one.name}: ${plural(one.reviews, "review")}`).join(" · ")));
  }

  keys() {
    return {
      Review: [["a", "accept"], ["r", "reject"], ["e", "edit"], ["↑ ↓", "previous or next text"], ["Enter", "accept the rest, and go on"],
        ["n", "pass over"], ["u", "undo"], ["i", "add a missed step"], ["[ ]", "start of the step earlier or later"],
        ["{ }", "end of the step earlier or later"], ["m", "rename the person"], ["x", "this is no person"], ["p", "next person"]],
      Playback: [["Space", "play or pause"], ["← →", "one frame"], ["l", "leave the loop"], ["s", "skeletons on or off"]],
    };
  }

  shown() {
    this.forget = onKeys({
      " ": () => this.player.toggle(), ArrowLeft: () => this.player.step(-1), ArrowRight: () => this.player.step(1),
      ArrowUp: () => this.go_to(this.at - 1), ArrowDown: () => this.go_to(this.at + 1),
      a: () => this.judge("accepted"), r: () => this.judge("rejected"), e: () => this.edit(), u: () => this.undo(),
      Enter: () => this.acceptAll(), n: () => this.pass(), i: () => this.missed(), m: () => this.rename(), x: () => this.falsify(),
      "[": () => this.nudge("start_s", -NUDGE_S), "]": () => this.nudge("start_s", NUDGE_S),
      "{": () => this.nudge("end_s", -NUDGE_S), "}": () => this.nudge("end_s", NUDGE_S),
      p: () => this.nextPerson(), s: () => this.toggleBones(), l: () => { this.player.loop = null; this.hint(null); },
      Escape: () => { location.hash = "#/"; },
    });
    this.draw(this.player.time);
  }
}

/** @param {StepDraft} step @param {any} row @returns {"accepted" | "edited" | "added"} */
function changed(step, row) {
  if (step.of === null) return "added";
  const origin = row.fine[step.of];
  const same = step.text === origin.text && step.start_s === origin.start_s && step.end_s === origin.end_s;
  return same ? "accepted" : "edited";
}

/** @param {number} time */
function round(time) {
  return Math.round(time * 1000) / 1000;
}
