/** What the model made: a motion of a sentence, and the long motion of a scene with its plan. */

import { el, fill, mark, put, seconds, verdictBadge, VERDICTS } from "./dom.js";
import { Person } from "./people.js";
import { World } from "./world.js";

const FILES = [["bvh", "BVH"], ["glb", "glTF"], ["npy", "NPY"], ["gif", "GIF"], ["mp4", "MP4"]];

/** @param {string} id of a motion */
function files(id) {
  return FILES.map(([kind, name]) =>
    el("a.button", { href: `/api/motions/${id}/file?kind=${kind}`, download: `${id}.${kind}`, ariaLabel: `Download ${name}` }, name));
}

/** @param {number} index @param {number[]} joints */
function person(index, joints) {
  const made = new Person({ track_id: 0, pts_s: [], valid: [], joints_3d: [] }, index);
  made.extend(joints);
  return made;
}

/**
 * @param {HTMLElement} box @param {Person} one @param {number[]} parents
 * @returns {World | null} null where the browser draws no 3-D
 */
function world(box, one, parents) {
  try {
    return new World(box, [one], parents);
  } catch (error) {
    console.warn(error);
    put(box, el("div.stage-note", {}, "This browser draws no 3-D (WebGL is off)."));
    return null;
  }
}

export class MotionCard {
  /**
   * @param {Record<string, any>} made @param {number[]} parents @param {number} index of its color
   * @param {() => void} pick
   */
  constructor(made, parents, index, pick) {
    this.id = made.id;
    this.seconds = made.seconds;
    this.label = made.label;
    /** 1 and 2 of the picked motions; else 0. */
    this.order = 0;
    this.person = person(index, made.joints);
    const box = el("div.stage.world");
    this.pickButton = el("button.pick", { type: "button", onclick: pick });
    const { grounding } = made;
    const label = made.label[0].toUpperCase() + made.label.slice(1);
    this.root = el("article.motion", { ariaLabel: label }, box, el("div.about", {},
      el("h2", {}, label, el("span.level", {}, seconds(made.seconds)), grounding && verdictBadge(grounding.verdict)),
      grounding && el("div", {}, el("h3", {}, "Your words, measured"), claims(grounding)),
      el("div", {}, el("h3", {}, "Described back by the model"), el("p", {}, made.description || "(no words)")),
      made.measured.length > 0 && el("details.quiet", {}, el("summary.small.muted", {}, "What was measured ▾"),
        el("ol.small", {}, made.measured.map((/** @type {string} */ step) => el("li", {}, step)))),
      el("div.files", {}, files(made.id), this.pickButton)));
    this.setOrder(0);
    this.world = world(box, this.person, parents);
  }

  /** @param {number} order */
  setOrder(order) {
    this.order = order;
    this.root.classList.toggle("picked", order > 0);
    this.pickButton.ariaPressed = String(order > 0);
    this.pickButton.textContent = ["Pick", "Picked: from", "Picked: to"][order];
  }

  /** @param {number} time a shorter motion rests at its end */
  draw(time) {
    this.world?.draw(Math.min(time, this.person.end));
  }

  close() {
    this.world?.close();
  }
}

/** @param {Record<string, any>} grounding */
function claims(grounding) {
  const listed = grounding.claims.length ? grounding.claims : [{ word: "", ...grounding }];
  return el("ul.claims", {}, listed.map((/** @type {any} */ claim) => el(`li.${claim.verdict}`, {}, mark(VERDICTS[claim.verdict][0]),
    el("span", {}, claim.word && el("b", {}, claim.word, " "), el("span.sr", {}, VERDICTS[claim.verdict][1], ": "),
      el("span.measured", {}, claim.measurement)))));
}

export class Story {
  /** @param {string} scene @param {number[]} parents @param {(from: number, to: number) => void} repeat */
  constructor(scene, parents, repeat) {
    this.parents = parents;
    this.repeat = repeat;
    this.seconds = 0;
    /** @type {{span: Record<string, any>, row: HTMLElement}[]} */
    this.steps = [];
    this.task = "";
    this.box = el("div.stage.world", {}, el("div.stage-note", { role: "status" }, el("div.spinner"), "Planning the first task …"));
    this.plan = el("div.plan", { role: "region", ariaLabel: "Plan", tabIndex: 0 });
    this.foot = el("div.files");
    this.notes = el("div");
    this.root = el("div.story", {}, this.box, el("div.about", {}, el("h2", {}, scene), this.plan, this.notes, this.foot));
  }

  /** @param {Record<string, any>} event */
  take(event) {
    if (event.event === "whole") {
      event.groundings.forEach((/** @type {any} */ grounding, /** @type {number} */ index) => this.judge(index, grounding));
      fill(this.notes, event.notes.map((/** @type {string} */ note) => el("p.small.muted", {}, note)));
      fill(this.foot, files(event.id));
      return;
    }
    for (const span of event.plan) this.write(span);
    if (!event.joints.length) return;
    if (this.person) {
      this.person.extend(event.joints);
      this.world?.grow();
    } else {
      this.box.replaceChildren();
      this.person = person(0, event.joints);
      this.world = world(this.box, this.person, this.parents);
      this.world?.follow();
    }
    this.seconds = this.person.end;
  }

  /** @param {Record<string, any>} span of the plan */
  write(span) {
    if (span.task !== this.task || !this.list) {
      this.task = span.task;
      this.list = el("ol.steps");
      put(this.plan, el("section", {}, el("h3", {}, span.task), this.list));
    }
    const row = el(`button.step-row${span.step ? "" : ".between"}`, { type: "button", title: "Play in a loop", onclick: () => this.loop(span) },
      el("span.step-text", {}, el("span", {}, span.step || "in between")),
      el("span.when", {}, `${span.start_s.toFixed(1)}–${span.end_s.toFixed(1)} s`));
    this.steps.push({ span, row });
    put(this.list, el("li", {}, row));
  }

  /** @param {Record<string, any>} span */
  loop(span) {
    if (span.start_s < this.seconds) this.repeat(span.start_s, Math.min(span.end_s, this.seconds));
  }

  /** @param {number} index @param {Record<string, any> | null} grounding */
  judge(index, grounding) {
    if (!grounding) return;
    const { row } = this.steps[index];
    const [sign, name] = VERDICTS[grounding.verdict];
    row.classList.add(grounding.verdict);
    row.prepend(mark(sign));
    row.querySelector(".step-text")?.append(el("span.sr", {}, `, ${name}`), el("span.measured", {}, grounding.measurement));
  }

  /** @param {number} time */
  draw(time) {
    this.world?.draw(time);
    for (const { span, row } of this.steps) row.classList.toggle("current", span.start_s <= time && time < span.end_s);
  }

  close() {
    this.world?.close();
  }
}
