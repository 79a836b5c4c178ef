/** Elements made without markup: every text of a dataset goes through textContent. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Make an element.
 * @param {string} tag name, with classes: "p.muted.small"
 * @param {Record<string, any>} [props] properties and attributes; "on…" adds a listener
 * @param {...any} children texts, nodes, and lists of them; what is false is left out
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && key !== "list") /** @type {any} */ (element)[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  put(element, ...children);
  return element;
}

/**
 * Append children to an element; texts stay texts.
 * @param {Element} element
 * @param {...any} children texts, nodes, and lists of them; what is false is left out
 */
export function put(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Replace the children of an element.
 * @param {Element} element
 * @param {...any} children texts, nodes, and lists of them; what is false is left out
 */
export function fill(element, ...children) {
  element.replaceChildren();
  put(element, ...children);
}

/** @type {Record<string, [string, string]>} sign and name of each verdict */
export const VERDICTS = {
  supported: ["✓", "supported"],
  contradicted: ["✕", "contradicted"],
  not_measurable: ["?", "not measurable"],
};

/**
 * The badge of a verdict: a sign, a shape and a color.
 * @param {string} verdict
 * @param {string} [label] instead of the name of the verdict
 */
export function verdictBadge(verdict, label) {
  const [sign, name] = VERDICTS[verdict] ?? ["?", verdict];
  return el(`span.verdict.${verdict}`, {}, mark(sign), label ?? name);
}

/** @param {string} sign */
export function mark(sign) {
  return el("span.mark", { ariaHidden: "true" }, sign);
}

/** @param {number} seconds */
export function seconds(seconds) {
  return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
}

/** @param {string} path */
export function fileName(path) {
  return path.split(/[\\/]/).pop() || path;
}

/** @param {string} code such as walk_turn_right */
export function words(code) {
  return code.replaceAll("_", " ");
}

/** @param {number} count */
export function number(count) {
  return count.toLocaleString("en");
}

/** @param {number} count @param {string} one @param {string} [many] */
export function plural(count, one, many) {
  return `${number(count)} ${count === 1 ? one : (many ?? `${one}s`)}`;
}

let toastTimer = 0;

/** Show a short message. @param {string} message */
export function toast(message) {
  const element = /** @type {HTMLElement} */ (document.getElementById("toast"));
  element.textContent = message;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => (element.textContent = ""), 6000);
}
