/** The skeletons of all people, drawn over the video. */

const SURE = 0.3;

export class Overlay {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{width: number, height: number}} frame size of the upright frame, pixels
   * @param {import("./people.js").Person[]} people
   * @param {number[]} parents of each joint
   */
  constructor(canvas, frame, people, parents) {
    this.canvas = canvas;
    this.frame = frame;
    this.people = people;
    this.parents = parents;
    this.visible = true;
    /** @type {number | null} */
    this.selected = null;
    /** @type {{person: number, joints: Set<number>} | null} */
    this.lit = null;
    this.time = 0;
    this.resized = new ResizeObserver(() => this.draw(this.time));
    this.resized.observe(canvas);
  }

  /** @param {number} time */
  draw(time) {
    this.time = time;
    const { canvas, frame } = this;
    const ratio = devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.visible || !width) return;
    // The video is as large as fits.
    const scale = Math.min(width / frame.width, height / frame.height);
    const left = (width - frame.width * scale) / 2;
    const top = (height - frame.height * scale) / 2;
    for (const person of this.people) {
      const pose = person.at(time);
      if (!pose) continue;
      const strong = this.selected === null || this.selected === person.id;
      context.globalAlpha = strong ? 1 : 0.55;
      if (pose.box) this.drawBox(context, person, pose.box, scale, left, top);
      if (!pose.image) continue;
      const point = (/** @type {number} */ joint) => [
        left + /** @type {Float32Array} */ (pose.image)[joint * 2] * scale,
        top + /** @type {Float32Array} */ (pose.image)[joint * 2 + 1] * scale,
      ];
      this.drawBones(context, person, pose, point, strong);
      this.drawName(context, person, point(15), scale);
      this.drawLit(context, person, point);
    }
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./people.js").Person} person
   * @param {import("./people.js").Pose} pose @param {(joint: number) => number[]} point
   * @param {boolean} strong
   */
  drawBones(context, person, pose, point, strong) {
    const width = Math.max(2, Math.min(5, this.canvas.clientWidth / 190)) * (strong ? 1 : 0.75);
    context.lineCap = "round";
    for (const [color, extra] of [["#000000b0", 2], [person.color, 0]]) {
      context.strokeStyle = /** @type {string} */ (color);
      context.lineWidth = width + Number(extra);
      for (let joint = 1; joint < this.parents.length; joint++) {
        const sure = Math.min(pose.confidence?.[joint] ?? 1, pose.confidence?.[this.parents[joint]] ?? 1);
        const faint = !pose.valid || sure < SURE;
        context.globalAlpha = (strong ? 1 : 0.55) * (faint ? 0.35 : 1);
        context.setLineDash(faint ? [width * 1.5, width * 2] : []);
        context.beginPath();
        context.moveTo(.../** @type {[number, number]} */ (point(this.parents[joint])));
        context.lineTo(.../** @type {[number, number]} */ (point(joint)));
        context.stroke();
      }
    }
    context.setLineDash([]);
    context.globalAlpha = strong ? 1 : 0.55;
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./people.js").Person} person
   * @param {number[]} head @param {number} scale
   */
  drawName(context, person, head, scale) {
    if (this.people.length < 2) return;
    const text = String(person.id + 1);
    const y = head[1] - Math.max(16, 60 * scale);
    context.font = "700 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillStyle = person.color;
    context.beginPath();
    context.arc(head[0], y, 9.5, 0, 7);
    context.fill();
    context.fillStyle = "#0b0d10";
    context.fillText(text, head[0], y + 0.5);
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./people.js").Person} person
   * @param {(joint: number) => number[]} point
   */
  drawLit(context, person, point) {
    if (this.lit?.person !== person.id) return;
    context.lineWidth = 2.5;
    for (const joint of this.lit.joints) {
      const [x, y] = point(joint);
      context.strokeStyle = "#000000b0";
      context.beginPath();
      context.arc(x, y, 9.5, 0, 7);
      context.stroke();
      context.strokeStyle = "#fff27a";
      context.beginPath();
      context.arc(x, y, 8, 0, 7);
      context.stroke();
    }
  }

  /**
   * @param {CanvasRenderingContext2D} context @param {import("./people.js").Person} person
   * @param {number[]} box @param {number} scale @param {number} left @param {number} top
   */
  drawBox(context, person, box, scale, left, top) {
    context.strokeStyle = person.color;
    context.lineWidth = 2;
    context.setLineDash([6, 5]);
    context.strokeRect(left + box[0] * scale, top + box[1] * scale, (box[2] - box[0]) * scale,
      (box[3] - box[1]) * scale);
    context.setLineDash([]);
  }

  close() {
    this.resized.disconnect();
  }
}
