/** The playground: sentences and scenes become motion, which is measured against them. */

import { ApiError, login, model, stream } from "./api.js";
import { el, fill, plural, put } from "./dom.js";
import { onKeys, showKeys } from "./keys.js";
import { MotionCard, Story } from "./made.js";
import { Player } from "./player.js";
import { addTheme } from "./theme.js";

const KEYS = { Playback: [["Space", "play or pause"], ["← →", "one frame back or on"]] };
const IDEAS = {
  text: ["a person waves with the right hand", "a person walks forward and turns left", "a person jumps twice"],
  scene: ["a kitchen in the morning", "a gym", "a living room"],
};
const RATES = [0.25, 0.5, 1, 2];
const MAX_CARDS = 10;
const main = /** @type {HTMLElement} */ (document.getElementById("main"));

class Playground {
  /** @param {Record<string, any>} about the model */
  constructor(about) {
    this.about = about;
    /** @type {"text" | "scene"} */
    this.mode = "text";
    /** @type {MotionCard[]} */
    this.cards = [];
    /** @type {Story | null} */
    this.story = null;
    /** @type {AbortController | null} */
    this.running = null;
    this.player = new Player(0, 1, null);
    this.player.listeners.add((time) => this.draw(time));
    this.result = el("div.result", {}, this.welcome());
    this.status = el("div.now", { role: "status" });
    this.bar = this.transport();
    this.root = el("div.play", {}, this.form(), this.status, this.bar, this.result);
    this.choose("text");
    onKeys({
      " ": () => this.player.toggle(),
      ArrowLeft: () => this.player.step(-1),
      ArrowRight: () => this.player.step(1),
    });
  }

  welcome() {
    return el("div.welcome", {}, el("h1", {}, "Say what should move"),
      el("p", {}, "The model makes the motion; what it made is measured and compared with your words."));
  }

  form() {
    const { seeds, seconds, scene_seconds: most } = this.about.limits;
    this.modes = el("div.modes", { role: "group", ariaLabel: "What to type" },
      el("button", { type: "button", value: "text", onclick: () => this.choose("text") }, "Sentence"),
      el("button", { type: "button", value: "scene", onclick: () => this.choose("scene") }, "Scene"));
    this.words = el("input", { type: "text", maxLength: 500, required: true, autocomplete: "off" });
    this.count = el("select", {}, Array.from({ length: seeds }, (_, index) => el("option", { value: index + 1 }, index + 1)));
    this.seed = el("input", { type: "number", min: 0, max: 2_000_000_000, value: 0, required: true });
    this.length = el("input", { type: "number", min: 0.4, max: seconds, step: 0.1, placeholder: "auto" });
    this.least = el("input", { type: "number", min: 2, max: most, step: 1, value: 20, required: true });
    this.countLabel = el("label", {}, "Motions", this.count);
    this.lengthLabel = el("label", {}, "Seconds", this.length);
    this.leastLabel = el("label", {}, "At least, seconds", this.least);
    this.ideas = el("div.ideas");
    this.go = el("button.primary", { type: "submit" }, "Generate");
    this.stop = el("button", { type: "button", hidden: true, onclick: () => this.running?.abort() }, "Cancel");
    return el("form.ask", { onsubmit: (/** @type {Event} */ event) => { event.preventDefault(); this.generate(); } },
      this.modes, el("div.said", {}, this.words, this.go, this.stop),
      el("div.options", {}, this.countLabel, this.lengthLabel, this.leastLabel, el("label", {}, "Seed", this.seed), this.ideas));
  }

  /** @param {"text" | "scene"} mode */
  choose(mode) {
    this.mode = mode;
    for (const button of this.modes.children) button.ariaPressed = String(button.value === mode);
    const asked = mode === "text" ? "Description of the motion" : "Description of the scene";
    this.words.ariaLabel = asked;
    this.words.placeholder = `${asked}, such as “${IDEAS[mode][0]}”`;
    this.countLabel.hidden = this.lengthLabel.hidden = mode !== "text";
    this.leastLabel.hidden = mode === "text";
    this.length.disabled = mode !== "text";
    this.least.disabled = mode === "text";
    fill(this.ideas, IDEAS[mode].map((idea) =>
      el("button", { type: "button", onclick: () => { this.words.value = idea; this.words.focus(); } }, idea)));
    this.words.focus();
  }

  transport() {
    this.playButton = el("button.primary.icon", { type: "button", onclick: () => this.player.toggle() });
    this.clock = el("span.clock");
    this.place = el("input", { type: "range", min: 0, max: 1, step: 0.01, value: 0, ariaLabel: "Time",
      oninput: () => this.player.seek(Number(this.place.value)) });
    const rate = el("select", { ariaLabel: "Speed", onchange: () => this.player.setRate(Number(rate.value)) },
      RATES.map((value) => el("option", { value, selected: value === 1 }, `${value} ×`)));
    this.unloop = el("button", { type: "button", onclick: () => { this.player.loop = null; this.player.tell(); } }, "Leave the loop ✕");
    return el("div.transport", { role: "group", ariaLabel: "Playback", hidden: true },
      this.playButton, this.clock, this.place, rate, this.unloop);
  }

  /** @param {number} time */
  draw(time) {
    for (const card of this.cards) card.draw(time);
    this.story?.draw(time);
    this.place.max = this.player.end;
    this.place.value = time;
    this.clock.textContent = `${time.toFixed(2)} / ${this.player.end.toFixed(2)} s`;
    this.unloop.hidden = !this.player.loop;
    const { playing } = this.player;
    this.playButton.textContent = playing ? "❚❚" : "▶";
    this.playButton.ariaLabel = playing ? "Pause" : "Play";
  }

  generate() {
    const text = this.words.value.trim();
    const seed = Number(this.seed.value);
    if (this.mode === "scene") {
      this.run("/api/play/scene", { scene: text, seed, seconds: Number(this.least.value) }, () => this.tellStory(text));
      return;
    }
    const count = Number(this.count.value);
    const seconds = this.length.value === "" ? null : Number(this.length.value);
    this.run("/api/play/text", { text, count, seed, seconds }, () => this.showCards(), count);
  }

  between() {
    const [head, tail] = this.picked();
    this.run("/api/play/between", { head: head.id, tail: tail.id, seed: Number(this.seed.value) }, () => {}, 1);
  }

  picked() {
    return this.cards.filter((card) => card.order).sort((a, b) => a.order - b.order);
  }

  /** Cards instead of a story; those that are picked stay. */
  showCards() {
    this.story?.close();
    this.story = null;
    for (const card of this.cards.filter((one) => !one.order)) card.close();
    this.cards = this.cards.filter((one) => one.order);
    this.grid = el("div.made", {}, this.cards.map((card) => card.root));
    fill(this.result, this.grid);
    this.measure();
  }

  /** @param {string} scene */
  tellStory(scene) {
    this.story?.close();
    for (const card of this.cards) card.close();
    this.cards = [];
    this.story = new Story(scene, this.about.parents, (from, to) => this.player.repeat(from, to));
    fill(this.result, this.story.root);
    this.bar.hidden = true;
  }

  /** Let the clock run as long as the longest motion. */
  measure() {
    const ends = [...this.cards.map((card) => card.seconds), this.story?.seconds ?? 0];
    this.player.end = Math.max(0.05, ...ends);
    this.bar.hidden = Math.max(...ends) === 0;
    this.player.tell();
  }

  /**
   * @param {string} path @param {object} body
   * @param {() => void} begin called when the model begins
   * @param {number} [count] of motions that will come
   */
  async run(path, body, begin, count = 0) {
    if (this.running) return;
    this.running = new AbortController();
    this.go.disabled = true;
    this.stop.hidden = false;
    this.say(el("div.spinner"), "Waiting for the model …");
    let made = 0;
    /** @type {any[]} */
    let last = [];
    try {
      for await (const event of stream(path, body, this.running.signal)) {
        if (event.event === "queued" && event.ahead) this.say(el("div.spinner"), `Waiting: ${plural(event.ahead, "request")} ahead …`);
        if (event.event === "begin") {
          begin();
          this.progress(made, count);
        }
        if (event.event === "motion") {
          this.add(event);
          this.progress(++made, count);
        }
        if (event.event === "piece" || event.event === "whole") this.goOn(event);
        if (event.event === "failed") last = [el("span.problem", { role: "alert" }, event.message)];
      }
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") last = ["Canceled."];
      else last = [el("span.problem", { role: "alert" }, error instanceof ApiError ? error.message : "The answer broke off. Remedy: see the output of avatargpt play, and generate again.")];
    }
    this.running = null;
    this.go.disabled = false;
    this.stop.hidden = true;
    if (this.story && !this.story.seconds) {
      // It ended before its first piece, so there is nothing to show.
      this.story.close();
      this.story = null;
      fill(this.result, this.welcome());
    }
    if (last.length) this.say(...last);
    else this.offer();
  }

  /** @param {...any} what */
  say(...what) {
    fill(this.status, ...what);
  }

  /** @param {number} made @param {number} count */
  progress(made, count) {
    const what = count ? `Generating motion ${Math.min(made + 1, count)} of ${count} …` : "Planning and generating …";
    this.say(el("div.spinner"), what);
  }

  /** Say what can be done with what is shown. */
  offer() {
    const picked = this.picked();
    if (picked.length === 2) {
      this.say(`From ${picked[0].label} to ${picked[1].label}:`,
        el("button.primary", { type: "button", onclick: () => this.between() }, "Generate the in-between"));
    } else if (this.cards.length > 1) {
      this.say(el("span.muted", {}, picked.length
        ? "Pick a second motion." : "Pick two motions to generate what lies between them."));
    } else if (this.cards.length) {
      this.say(el("span.muted", {}, "Pick this motion to keep it beside the next ones."));
    } else this.say();
  }

  /** @param {Record<string, any>} event */
  add(event) {
    const card = new MotionCard(event, this.about.parents, this.cards.length, () => this.pick(card));
    this.cards.push(card);
    // A browser draws few 3-D views at a time.
    const old = this.cards.length > MAX_CARDS && this.cards.find((one) => !one.order);
    if (old) {
      old.close();
      old.root.remove();
      this.cards = this.cards.filter((one) => one !== old);
    }
    put(this.grid, card.root);
    if (this.cards.length === 1) this.player.move(0);
    this.measure();
    this.player.play();
  }

  /** @param {MotionCard} card */
  pick(card) {
    const [first] = this.picked();
    if (card.order) card.setOrder(0);
    else {
      if (this.picked().length === 2) first.setOrder(0);
      const [kept] = this.picked();
      kept?.setOrder(1);
      card.setOrder(kept ? 2 : 1);
    }
    if (!this.running) this.offer();
  }

  /** @param {Record<string, any>} event of a story */
  goOn(event) {
    const story = /** @type {Story} */ (this.story);
    const first = !story.seconds;
    story.take(event);
    if (first) {
      this.player.loop = null;
      this.player.move(0);
      this.player.play();
    }
    this.measure();
  }
}

async function start() {
  await login();
  for (;;) {
    const about = await model();
    fill(/** @type {Element} */ (document.getElementById("model")), el("span", { title: about.folder }, about.name));
    if (about.state === "failed") throw new ApiError(0, about.problem);
    if (about.state === "ready") {
      const page = new Playground(about);
      fill(main, page.root);
      page.words.focus();
      return;
    }
    fill(main, el("div.empty", { role: "status" }, el("div.spinner"), el("h2", {}, "Loading the model")));
    await new Promise((done) => setTimeout(done, 300));
  }
}

addTheme();
document.getElementById("keys")?.addEventListener("click", () => showKeys(KEYS));
start().catch((error) => {
  if (!(error instanceof ApiError)) console.error(error);
  fill(main, el("div.empty", { role: "alert" }, el("h2", {}, "No model to play with"),
    el("p.muted", {}, error instanceof ApiError ? error.message : `The page failed: ${error}`)));
});
