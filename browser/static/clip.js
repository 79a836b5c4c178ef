/** One clip, motion or rejection: what was seen, what was written, and what was measured. */

import { get } from "./api.js";
import { el, fileName, fill, put, seconds, toast, verdictBadge, words } from "./dom.js";
import { onKeys } from "./keys.js";
import { sequence } from "./list.js";
import { Overlay } from "./overlay.js";
import { Person } from "./people.js";
import { Player } from "./player.js";
import { captionList, eventTable, facts, mediumList, provenance, rejectionNotes, stepList } from "./texts.js";
import { Timeline } from "./timeline.js";
import { World } from "./world.js";

const RATES = [0.25, 0.5, 1, 2];

/** @param {{about: Record<string, any>, kind: string, id: string, query: URLSearchParams}} given */
export async function clipView({ kind, id, query }) {
  const item = await get(`/api/${kind}s/${id.split("/").map(encodeURIComponent).join("/")}`);
  const people = item.people.map((/** @type {any} */ data, /** @type {number} */ index) => new Person(data, index));
  const stage = new Stage(item, people, Number(query.get("person") ?? item.track_id ?? NaN));
  return {
    root: stage.root,
    title: item.kind === "rejection" ? "Rejected item" : stage.title(),
    keys: stage.keys(),
    shown: () => stage.shown(),
    close: () => stage.close(),
  };
}

/** A clip on the page. */
export class Stage {
  /** @param {Record<string, any>} item @param {Person[]} people @param {number} person track id */
  constructor(item, people, person) {
    this.item = item;
    this.people = people;
    this.start = item.start_s;
    this.end = item.end_s ?? item.start_s + 10;
    this.annotations = firstSamples(item.annotations);
    this.person = people.some((one) => one.id === person) ? person : (this.described() ?? people[0]?.id ?? null);
    this.steps = stepsOf(this.annotations);
    this.player = new Player(this.start, this.end, null);
    this.measured = el("p.measured-line", { ariaLive: "polite" });
    this.side = el("aside.texts", { ariaLabel: "Texts" });
    this.timeline = new Timeline({ start: this.start, end: this.end }, people, this.steps, {
      seek: (time) => this.player.seek(time), play: (step) => this.play(step), hint: (step) => this.hint(step),
    });
    this.stages = el("div.stages", {}, this.videoBox(), this.worldBox());
    this.root = el("div.clip", {}, this.heading(), el("div.clip-body", {},
      el("div.watch", {}, this.stages, this.transport(), people.length ? this.timeline.root : null, this.measured),
      this.side));
    const first = people.find((one) => one.id === this.person);
    // Where nobody is seen yet there is nothing to judge.
    if (first && first.frames) this.player.move(Math.max(this.start, first.start));
    this.showTexts();
    this.hint(null);
    this.player.listeners.add((time) => this.draw(time));
  }

  /** The first person with a text. */
  described() {
    return this.annotations.find((row) => row.medium?.length)?.track_id;
  }

  title() {
    const path = this.item.video?.path ?? this.item.motion?.source_path ?? this.item.rejections[0]?.item ?? this.item.id;
    return fileName(path);
  }

  heading() {
    const { item } = this;
    const at = sequence.indexOf(location.hash);
    const link = (/** @type {number} */ by, /** @type {string} */ text, /** @type {string} */ label) =>
      at >= 0 && sequence[at + by] ? el("a.button", { href: sequence[at + by], ariaLabel: label, title: label }, text) : null;
    return el("div.clip-head", {},
      el("a.button", { href: "#/", onclick: (/** @type {Event} */ event) => { if (at >= 0) { event.preventDefault(); history.back(); } } }, "‹ List"),
      el("div.clip-title", {}, el("h1", { title: item.video?.path ?? "" }, this.title()),
        el("p.muted.small", {}, this.subtitle())),
      el("div.near", {}, link(-1, "‹", "Previous of the list (b)"), link(1, "›", "Next of the list (n)")));
  }

  subtitle() {
    const { item, people } = this;
    const count = item.clip?.people_count ?? people.length;
    const parts = [
      item.end_s === null ? "" : `${this.start.toFixed(2)}–${this.end.toFixed(2)} s`,
      item.kind === "motion" ? words(item.motion.source) : `${count} ${count === 1 ? "person" : "people"}`,
      item.clip?.camera && `${item.clip.camera} camera`,
      item.kind === "motion" && item.motion.split && `split ${item.motion.split}`,
      item.motion?.license, item.id,
    ];
    return parts.filter(Boolean).join(" · ");
  }

  videoBox() {
    const { item } = this;
    if (item.kind === "motion") return null;
    const video = el("video", { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
    const canvas = el("canvas", { role: "img", ariaLabel: "The skeletons of the people, drawn on the video" });
    const note = el("div.stage-note", { role: "status" }, el("div.spinner"), "Preparing the video …");
    const kind = item.kind === "rejection" ? "rejection" : this.annotations.length ? "person" : "clip";
    video.addEventListener("loadeddata", () => { note.remove(); this.player.use(video); this.draw(this.player.time); }, { once: true });
    video.addEventListener("error", () => this.noVideo(note, kind));
    video.src = `/api/video?${new URLSearchParams({ kind, id: item.id })}`;
    const frame = item.video ? { width: item.video.width_px, height: item.video.height_px } : null;
    if (frame) this.overlay = new Overlay(canvas, frame, this.people, item.skeleton.parents);
    if (frame) video.poster = "";
    this.video = video;
    return el("div.stage.video", {}, video, canvas, note);
  }

  /** @param {HTMLElement} note @param {string} kind */
  async noVideo(note, kind) {
    this.player.forsake();
    const asked = `/api/video?${new URLSearchParams({ kind, id: this.item.id })}`;
    const detail = await get(asked).then(() => "This browser cannot play H.264 video.", (error) => error.message);
    fill(note, el("p", {}, el("b", {}, "No video.")), el("p.small", {}, detail));
  }

  worldBox() {
    if (!this.people.some((person) => person.world)) return null;
    const box = el("div.stage.world");
    const views = /** @type {const} */ (["front", "side", "top"]);
    const buttons = el("div.views", { role: "group", ariaLabel: "View from" }, views.map((from) =>
      el("button", { type: "button", onclick: () => this.world?.look(from) }, from)));
    try {
      this.world = new World(box, this.people, this.item.skeleton.parents);
      put(box, buttons);
    } catch (error) {
      console.warn(error);
      put(box, el("div.stage-note", {}, "This browser draws no 3-D (WebGL is off)."));
    }
    return box;
  }

  transport() {
    const { player } = this;
    this.playButton = el("button.primary.icon", { type: "button", onclick: () => player.toggle() });
    this.clock = el("span.clock");
    const rate = el("select", { ariaLabel: "Speed", onchange: () => player.setRate(Number(rate.value)) },
      RATES.map((value) => el("option", { value, selected: value === 1 }, `${value} ×`)));
    this.loopButton = el("button", { type: "button", hidden: true, onclick: () => { player.loop = null; player.tell(); } }, "Leave the loop ✕");
    this.bonesButton = el("button", { type: "button", ariaPressed: "true", onclick: () => this.toggleBones() }, "Skeletons");
    return el("div.transport", { role: "group", ariaLabel: "Playback" }, this.playButton,
      el("button.icon", { type: "button", ariaLabel: "One frame back", title: "One frame back (←)", onclick: () => player.step(-1) }, "‹"),
      el("button.icon", { type: "button", ariaLabel: "One frame on", title: "One frame on (→)", onclick: () => player.step(1) }, "›"),
      this.clock, rate, this.overlay ? this.bonesButton : null, this.loopButton);
  }

  toggleBones() {
    if (!this.overlay) return;
    this.overlay.visible = !this.overlay.visible;
    this.bonesButton.ariaPressed = String(this.overlay.visible);
    this.overlay.draw(this.player.seen);
  }

  /** @param {number} time */
  draw(time) {
    this.overlay?.draw(this.player.seen);
    this.world?.draw(this.player.seen);
    this.timeline.draw(time, this.player.loop);
    this.clock.textContent = `${time.toFixed(2)} / ${this.end.toFixed(2)} s`;
    const { playing } = this.player;
    if (this.playButton.dataset.playing !== String(playing)) {
      this.playButton.dataset.playing = String(playing);
      this.playButton.textContent = playing ? "❚❚" : "▶";
      this.playButton.ariaLabel = playing ? "Pause" : "Play";
    }
    this.loopButton.hidden = !this.player.loop;
  }

  /** @param {import("./timeline.js").Step} step */
  play(step) {
    if (step.person !== this.person) this.select(step.person);
    this.timeline.looped = step;
    this.player.repeat(step.start_s, step.end_s);
    this.shownStep = step;
    this.hint(step);
  }

  /** Show the measurement of a step, its joints and its span. @param {import("./timeline.js").Step | null} step */
  hint(step) {
    const told = step ?? (this.player.loop ? this.shownStep : null);
    const lit = told ? { person: told.person, joints: new Set(told.joints) } : null;
    if (this.overlay) this.overlay.lit = lit;
    if (this.world) this.world.lit = lit;
    this.timeline.decide(told ?? null);
    fill(this.measured, told
      ? [verdictBadge(told.grounding.verdict), " ", el("b", {}, told.text), " ", el("span", {}, `${told.grounding.measurement} (${told.grounding.start_s.toFixed(2)}–${seconds(told.grounding.end_s)})`)]
      : el("span.muted", {}, this.steps.length ? "Point at a step to see the measurement that decided its verdict; click it to play it in a loop." : ""));
    this.draw(this.player.time);
  }

  /** @param {number} person track id */
  select(person) {
    this.person = person;
    this.showTexts();
    this.draw(this.player.time);
  }

  showTexts() {
    const many = this.people.length > 1;
    if (this.overlay) this.overlay.selected = many ? this.person : null;
    if (this.world) this.world.selected = many ? this.person : null;
    fill(this.side, this.sideParts());
  }

  /** @returns {any[]} */
  sideParts() {
    const { item } = this;
    const coarse = item.annotations[0]?.coarse ?? item.video?.coarse;
    const notes = el("div.notes");
    if (item.kind === "rejection") rejectionNotes(notes, item.rejections);
    const row = this.annotations.find((one) => one.track_id === this.person);
    const person = this.people.find((one) => one.id === this.person);
    return [
      notes,
      coarse && el("section", {}, el("h2", {}, "Scene", el("span.level", {}, "coarse")), el("p", {}, coarse)),
      this.personTabs(),
      item.kind === "motion" ? this.motionTexts() : null,
      row && el("section", {}, el("h2", {}, "Activity", el("span.level", {}, "medium")), mediumList(row)),
      row && el("section", {}, el("h2", {}, "Steps", el("span.level", {}, "fine")),
        stepList(this.steps.filter((step) => step.person === this.person), { play: (step) => this.play(step), hint: (step) => this.hint(step) })),
      !row && person && item.kind !== "motion" ? this.undescribed(person) : null,
      row && eventTable(row),
      row && provenance(row),
      captionList(item.captions.filter((/** @type {any} */ one) => one.track_id === null || one.track_id === this.person)),
      this.about(person),
      row && el("p", {}, el("a.button", { href: `#/review/${encodeURIComponent(item.id)}?person=${this.person}` }, "Review these texts")),
    ];
  }

  personTabs() {
    if (this.people.length < 2) return null;
    return el("div.people", { role: "group", ariaLabel: "People" }, this.people.map((person) => {
      const dot = el("span.dot", { ariaHidden: "true" });
      dot.style.background = person.color;
      return el("button", { type: "button", ariaPressed: String(person.id === this.person), onclick: () => this.select(person.id) }, dot, person.name);
    }));
  }

  /** @param {Person} person */
  undescribed(person) {
    const why = this.item.rejections.find((/** @type {any} */ row) => row.item_id === `${this.item.id}/${person.id}` || row.item_id === this.item.id);
    if (this.item.kind === "rejection") return null;
    return el("section", {}, el("h2", {}, person.name), el("p.muted", {}, why ? why.detail : "This person is not described."));
  }

  motionTexts() {
    const { motion } = this.item;
    return el("section", {}, el("h2", {}, "Texts"),
      motion.texts.length ? el("ul.medium", {}, motion.texts.map((/** @type {any} */ text) => el("li", {}, el("p", {}, text.text),
        el("p.small.muted", {}, [text.level, text.source, text.end_s ? `${text.start_s.toFixed(2)}–${seconds(text.end_s)}` : ""].filter(Boolean).join(" · ")))))
        : el("p.muted", {}, "This motion has no text."));
  }

  /** @param {Person | undefined} person */
  about(person) {
    const { clip, video, motion } = this.item;
    const objects = (clip?.objects ?? []).map((/** @type {any} */ found) => found.name);
    return el("details.fold", {}, el("summary", {}, "About this item"), facts([
      ["File", video?.path ?? motion?.source_path], ["Video", video && `${video.width_px} × ${video.height_px} px, ${video.fps.toFixed(2)} fps, ${video.codec}`],
      ["Clip", clip?.clip_id], ["Motion", motion?.motion_id], ["Objects", [...new Set(objects)]],
      ["Pose model", person?.poseModel], ["Seen with quality", person?.quality?.toFixed(2)],
      ["Foot skate", motion?.foot_skate_m_s !== undefined ? `${motion?.foot_skate_m_s?.toFixed(3)} m/s` : null],
      ["Labels", motion?.labels], ["License", motion?.license], ["Mirrored of", motion?.mirrored_of],
      ["Issues", [...(clip?.issues ?? []), ...(video?.issues ?? [])]],
    ]));
  }

  keys() {
    return { Playback: [["Space", "play or pause"], ["← →", "one frame"], ["Shift ← →", "one second"], [", .", "previous or next step, in a loop"], ["l", "leave the loop"], ["s", "skeletons on or off"]],
      "This clip": [["p", "next person"], ["b n", "previous or next of the list"]] };
  }

  shown() {
    this.forget = onKeys({
      " ": () => this.player.toggle(),
      ArrowLeft: () => this.player.step(-1),
      ArrowRight: () => this.player.step(1),
      "Shift+ArrowLeft": () => this.player.seek(this.player.time - 1),
      "Shift+ArrowRight": () => this.player.seek(this.player.time + 1),
      ",": () => this.nextStep(-1),
      ".": () => this.nextStep(1),
      l: () => { this.player.loop = null; this.hint(null); this.player.tell(); },
      s: () => this.toggleBones(),
      p: () => this.nextPerson(),
      n: () => this.go(1),
      b: () => this.go(-1),
      Escape: () => { location.hash = "#/"; },
    });
    this.draw(this.player.time);
  }

  /** @param {number} by */
  nextStep(by) {
    const mine = this.steps.filter((step) => step.person === this.person);
    const at = mine.indexOf(/** @type {any} */ (this.shownStep));
    const step = at < 0 ? (by > 0 ? mine[0] : mine.at(-1)) : mine[at + by];
    if (step) this.play(step);
  }

  nextPerson() {
    if (!this.people.length) return;
    const at = this.people.findIndex((person) => person.id === this.person);
    this.select(this.people[(at + 1) % this.people.length].id);
  }

  /** @param {number} by */
  go(by) {
    const at = sequence.indexOf(location.hash);
    if (at >= 0 && sequence[at + by]) location.hash = sequence[at + by];
    else toast("There is no further entry in the list.");
  }

  close() {
    this.forget?.();
    this.player.close();
    this.overlay?.close();
    this.world?.close();
    this.video?.removeAttribute("src");
  }
}

/** @param {Record<string, any>[]} annotations */
function firstSamples(annotations) {
  const found = new Map();
  for (const row of annotations) if (!found.has(row.track_id)) found.set(row.track_id, row);
  return [...found.values()];
}

/** @param {Record<string, any>[]} annotations @returns {import("./timeline.js").Step[]} */
function stepsOf(annotations) {
  return annotations.flatMap((row) => row.fine.map((/** @type {any} */ step, /** @type {number} */ index) =>
    ({ ...step, person: row.track_id, index })));
}
