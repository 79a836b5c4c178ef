/** People of a clip: their colors, and their joints at any time. */

/** Bright colors, told apart on video, on the dark stage and by people who see few colors. */
const COLORS = ["#4c9aff", "#ffb02e", "#c38bff", "#2dd4bf", "#ff7aa8", "#d8de5a", "#a9bdd2", "#ff8b5c"];
const STEP_S = 1 / 20;

/**
 * @typedef {object} Pose
 * @property {Float32Array | null} world (22 * 3) meters, y up
 * @property {Float32Array | null} image (22 * 2) pixels of the upright frame
 * @property {Float32Array | null} confidence (22)
 * @property {number[] | null} box left, top, right, bottom, of a person of whom only a part is seen
 * @property {boolean} valid false where a gap was filled in
 */

export class Person {
  /** @param {Record<string, any>} data @param {number} index */
  constructor(data, index) {
    this.id = data.track_id;
    this.color = COLORS[index % COLORS.length];
    this.name = `Person ${data.track_id + 1}`;
    this.quality = data.quality;
    this.poseModel = data.pose_model;
    this.start = data.pts_s[0] ?? 0;
    this.frames = data.pts_s.length;
    this.end = data.pts_s[this.frames - 1] ?? 0;
    this.valid = data.valid;
    this.world = data.joints_3d ? Float32Array.from(data.joints_3d) : null;
    this.image = data.joints_2d ? Float32Array.from(data.joints_2d) : null;
    this.confidence = data.confidence ? Float32Array.from(data.confidence) : null;
    this.boxes = data.boxes ?? null;
  }

  /** Add frames at the end. @param {number[]} joints (frames * 66) meters */
  extend(joints) {
    const before = this.world ?? new Float32Array();
    this.world = new Float32Array(before.length + joints.length);
    this.world.set(before);
    this.world.set(joints, before.length);
    this.frames = this.world.length / 66;
    this.end = this.start + (this.frames - 1) * STEP_S;
    this.valid = new Array(this.frames).fill(true);
  }

  /**
   * The pose at a time, between two frames; null while the person is not there.
   * @param {number} time seconds in the video
   * @returns {Pose | null}
   */
  at(time) {
    if (!this.frames || time < this.start - STEP_S || time > this.end + STEP_S) return null;
    const place = Math.max(0, Math.min(this.frames - 1, (time - this.start) / STEP_S));
    const a = Math.floor(place);
    const b = Math.min(a + 1, this.frames - 1);
    const share = place - a;
    return {
      world: between(this.world, 66, a, b, share),
      image: between(this.image, 44, a, b, share),
      confidence: between(this.confidence, 22, a, b, share),
      box: this.boxes ? this.boxes.slice(a * 4, a * 4 + 4) : null,
      valid: this.boxes ? true : this.valid[Math.round(place)],
    };
  }
}

/**
 * @param {Float32Array | null} values @param {number} size @param {number} a @param {number} b
 * @param {number} share
 */
function between(values, size, a, b, share) {
  if (!values) return null;
  const out = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const from = values[a * size + i];
    out[i] = from + share * (values[b * size + i] - from);
  }
  return out;
}
