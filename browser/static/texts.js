/** The texts of a clip at three levels, with their provenance. */

import { el, fill, mark, seconds, verdictBadge, VERDICTS, words } from "./dom.js";

/**
 * The list of steps of one annotation.
 * @param {import("./timeline.js").Step[]} steps
 * @param {{play: (step: any) => void, hint: (step: any) => void}} does
 */
export function stepList(steps, does) {
  if (!steps.length) return el("p.muted", {}, "No steps.");
  return el("ol.steps", {}, steps.map((step) => {
    const [sign, name] = VERDICTS[step.grounding.verdict] ?? ["?", step.grounding.verdict];
    return el("li", {}, el(`button.step-row.${step.grounding.verdict}`, {
      type: "button", title: "Play in a loop", onclick: () => does.play(step),
      onpointerenter: () => does.hint(step), onpointerleave: () => does.hint(null),
      onfocus: () => does.hint(step), onblur: () => does.hint(null),
    },
      mark(sign),
      el("span.step-text", {}, el("span", {}, step.text), el("span.sr", {}, `, ${name}`),
        el("span.measured", {}, step.grounding.measurement)),
      el("span.when", {}, `${step.start_s.toFixed(2)}–${step.end_s.toFixed(2)} s`)));
  }));
}

/** @param {Record<string, any>} annotation */
export function mediumList(annotation) {
  const grounding = annotation.medium_grounding ?? [];
  return el("ul.medium", {}, (annotation.medium ?? []).map((/** @type {string} */ text, /** @type {number} */ index) =>
    el("li", {}, el("p", {}, text), grounding[index] && el("details.quiet", {},
      el("summary", {}, verdictBadge(grounding[index].verdict)),
      el("p.small.muted", {}, grounding[index].measurement)))));
}

/** @param {[string, any][]} pairs */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && !(Array.isArray(value) && !value.length));
  return el("dl.facts", {}, known.flatMap(([name, value]) => [
    el("dt", {}, name), el("dd", {}, Array.isArray(value) ? value.join(", ") : String(value)),
  ]));
}

/** Who wrote an annotation, and what it cost. @param {Record<string, any>} row */
export function provenance(row) {
  const paid = row.tokens_in || row.tokens_out || row.cost_usd;
  return el("details.fold", {}, el("summary", {}, "Provenance and cost"),
    facts([
      ["Annotator", row.annotator ?? row.captioner], ["Model", row.model], ["Prompt", row.prompt_id],
      ["Outcome", words(row.outcome ?? "")], ["Remark", row.reason], ["Request", row.request_id],
      ["Tokens", paid ? `${row.tokens_in} in, ${row.tokens_out} out` : ""],
      ["Cost", paid ? `${row.cost_usd.toFixed(5)} USD` : "none: made on this machine"],
      ["Time", row.latency_s ? seconds(row.latency_s) : ""],
      ["Code", `avatargpt ${row.code_version}, schema ${row.schema_version}`],
    ]),
    row.reply && el("details", {}, el("summary", {}, "Reply of the model"), el("pre", {}, row.reply)));
}

/** @param {Record<string, any>} row */
export function eventTable(row) {
  const events = row.events ?? [];
  if (!events.length) return null;
  return el("details.fold", {}, el("summary", {}, `Measured events (${events.length})`),
    el("div.scroll", {}, el("table", {}, el("thead", {}, el("tr", {},
      ["Event", "Part", "From–to", "Size", "Sure"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, events.map((/** @type {Record<string, any>} */ event) => el("tr", {},
        el("td", {}, [words(event.kind), event.direction, event.count > 1 ? `× ${event.count}` : ""].filter(Boolean).join(" ")),
        el("td", {}, [event.side, event.part].filter(Boolean).join(" ")),
        el("td", {}, `${event.start_s.toFixed(2)}–${event.end_s.toFixed(2)}`),
        el("td", {}, `${event.magnitude.toFixed(event.unit === "deg" ? 0 : 2)} ${event.unit}`),
        el("td", {}, event.confidence.toFixed(2))))))));
}

/** @param {Record<string, any>[]} captions */
export function captionList(captions) {
  if (!captions.length) return null;
  return el("details.fold", {}, el("summary", {}, `Captions (${captions.length})`),
    captions.map((row) => el("div.caption", {}, el("p", {}, row.text || `No text: ${words(row.outcome)}. ${row.reason}`),
      provenance(row))));
}

/** @param {Element} box @param {Record<string, any>[]} rejections */
export function rejectionNotes(box, rejections) {
  fill(box, rejections.map((row) => el("div.rejected-note", {},
    el("p", {}, el("span.verdict.rejected", {}, mark("!"), words(row.reason)),
      el("span.muted.small", {}, ` at the stage ${row.stage}`)),
    el("p", {}, row.detail), el("p.muted", {}, el("b", {}, "Remedy: "), row.remedy))));
}
