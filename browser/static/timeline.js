/** The steps of every person on one line of time. */

import { el, fill, mark, put, VERDICTS } from "./dom.js";

/**
 * @typedef {object} Step
 * @property {number} person track id
 * @property {number} index among the steps of the person
 * @property {string} text
 * @property {number} start_s
 * @property {number} end_s
 * @property {{verdict: string, measurement: string, start_s: number, end_s: number}} grounding
 * @property {number[]} joints that decided it
 */

export class Timeline {
  /**
   * @param {{start: number, end: number}} span
   * @param {import("./people.js").Person[]} people
   * @param {Step[]} steps
   * @param {{seek: (time: number) => void, play: (step: Step) => void,
   *          hint: (step: Step | null) => void,
   *          change?: (step: Step, start: number, end: number) => void}} does
   */
  constructor(span, people, steps, does) {
    this.span = span;
    this.does = does;
    /** @type {Map<Step, HTMLElement>} */
    this.bars = new Map();
    this.scrub = el("input", {
      type: "range", min: span.start, max: span.end, step: 0.05, value: span.start,
      ariaLabel: "Time", oninput: () => does.seek(Number(this.scrub.value)),
    });
    this.head = el("div.playhead", { ariaHidden: "true" });
    this.area = el("div.lanes");
    this.root = el("div.timeline", {}, el("div.lane.axis", {}, el("span.lane-name"),
      el("div.track", {}, this.ticks(), this.scrub)), this.area, el("div.head-frame", {}, this.head));
    this.show(people, steps);
  }

  /** @param {number} time */
  left(time) {
    return (100 * (time - this.span.start)) / Math.max(this.span.end - this.span.start, 1e-3);
  }

  ticks() {
    const length = this.span.end - this.span.start;
    const every = [0.5, 1, 2, 5, 10, 30, 60].find((one) => length / one <= 10) ?? 120;
    const ticks = [];
    for (let time = Math.ceil(this.span.start / every) * every; time <= this.span.end; time += every) {
      const tick = el("span.tick", {}, `${Number(time.toFixed(1))}`);
      tick.style.left = `${this.left(time)}%`;
      ticks.push(tick);
    }
    return ticks;
  }

  /** @param {import("./people.js").Person[]} people @param {Step[]} steps */
  show(people, steps) {
    this.bars.clear();
    fill(this.area, people.map((person) => this.lane(person, steps.filter((step) => step.person === person.id))));
  }

  /** @param {import("./people.js").Person} person @param {Step[]} steps */
  lane(person, steps) {
    const track = el("div.track");
    const there = el("div.there", { ariaHidden: "true" });
    there.style.left = `${this.left(person.start)}%`;
    there.style.width = `${this.left(person.end) - this.left(person.start)}%`;
    put(track, there);
    /** @type {number[]} end of the last step in each row */
    const rows = [];
    for (const step of [...steps].sort((a, b) => a.start_s - b.start_s)) {
      let row = rows.findIndex((end) => end <= step.start_s + 0.01);
      if (row < 0) row = rows.push(0) - 1;
      rows[row] = step.end_s;
      put(track, this.bar(step, row));
    }
    track.style.setProperty("--rows", String(Math.max(1, rows.length)));
    const dot = el("span.dot", { ariaHidden: "true" });
    dot.style.background = person.color;
    return el("div.lane", { role: "group", ariaLabel: `Steps of ${person.name}` },
      el("span.lane-name", {}, dot, el("span", {}, person.name)), track);
  }

  /** @param {Step} step @param {number} row */
  bar(step, row) {
    const verdict = step.grounding.verdict;
    const [sign, name] = VERDICTS[verdict] ?? ["?", verdict];
    const bar = el(`button.step.${verdict}`, {
      type: "button",
      ariaLabel: `${step.text}, ${step.start_s.toFixed(2)} to ${step.end_s.toFixed(2)} s, ${name}: ${step.grounding.measurement}`,
      onclick: () => this.does.play(step),
      onpointerenter: () => this.does.hint(step),
      onpointerleave: () => this.does.hint(null),
      onfocus: () => this.does.hint(step),
      onblur: () => this.does.hint(null),
    }, mark(sign), el("span.label", {}, step.text));
    bar.style.left = `${this.left(step.start_s)}%`;
    bar.style.width = `${Math.max(this.left(step.end_s) - this.left(step.start_s), 0.6)}%`;
    bar.style.setProperty("--row", String(row));
    this.bars.set(step, bar);
    if (this.does.change && "draft" in step) this.addGrips(step, bar);
    return bar;
  }

  /** Let the ends of a bar be dragged. @param {Step} step @param {HTMLElement} bar */
  addGrips(step, bar) {
    for (const edge of /** @type {const} */ (["start_s", "end_s"])) {
      const grip = el(`span.grip.${edge}`, { ariaHidden: "true" });
      const span = { start_s: step.start_s, end_s: step.end_s };
      grip.addEventListener("click", (/** @type {Event} */ event) => event.stopPropagation());
      grip.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
        event.preventDefault();
        grip.setPointerCapture(event.pointerId);
        const box = /** @type {HTMLElement} */ (bar.parentElement).getBoundingClientRect();
        grip.onpointermove = (/** @type {PointerEvent} */ moved) => {
          const share = (moved.clientX - box.left) / box.width;
          const time = this.span.start + Math.max(0, Math.min(1, share)) * (this.span.end - this.span.start);
          const other = edge === "start_s" ? span.end_s - 0.05 : span.start_s + 0.05;
          span[edge] = edge === "start_s" ? Math.min(time, other) : Math.max(time, other);
          bar.style.left = `${this.left(span.start_s)}%`;
          bar.style.width = `${this.left(span.end_s) - this.left(span.start_s)}%`;
          this.does.seek(span[edge]);
        };
        grip.onpointerup = () => {
          grip.onpointermove = grip.onpointerup = null;
          if (span.start_s !== step.start_s || span.end_s !== step.end_s) this.does.change?.(step, span.start_s, span.end_s);
        };
      });
      bar.append(grip);
    }
  }

  /** @param {number} time @param {[number, number] | null} loop */
  draw(time, loop) {
    this.head.style.left = `${this.left(time)}%`;
    this.scrub.value = String(time);
    this.scrub.ariaValueText = `${time.toFixed(2)} s`;
    for (const [step, bar] of this.bars) {
      bar.classList.toggle("now", time >= step.start_s && time <= step.end_s);
      bar.classList.toggle("looped", Boolean(loop) && this.looped === step);
    }
  }

  /** Mark the span that decided a step. @param {Step | null} step */
  decide(step) {
    this.area.querySelector(".decided")?.remove();
    if (!step) return;
    const bar = this.bars.get(step);
    const span = el("div.decided", { ariaHidden: "true" });
    span.style.left = `${this.left(Math.max(step.grounding.start_s, this.span.start))}%`;
    const width = Math.min(step.grounding.end_s, this.span.end) - Math.max(step.grounding.start_s, this.span.start);
    span.style.width = `${(100 * width) / (this.span.end - this.span.start)}%`;
    bar?.parentElement?.append(span);
  }
}
