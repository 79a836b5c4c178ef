/** One clock for the video, the skeletons, the 3-D view and the timeline. */

const FRAME_S = 1 / 20;

export class Player {
  /**
   * @param {number} start begin of the clip, seconds in the video
   * @param {number} end
   * @param {HTMLVideoElement | null} video whose time 0 is the start of the clip
   */
  constructor(start, end, video) {
    this.start = start;
    this.end = end;
    this.time = start;
    this.playing = false;
    this.rate = 1;
    /** @type {[number, number] | null} */
    this.loop = null;
    this.video = null;
    /** @type {Set<(time: number) => void>} */
    this.listeners = new Set();
    this.stopped = false;
    /** @type {number | null} time of the picture that the video shows, where the browser tells it */
    this.picture = null;
    this.last = performance.now();
    if (video) this.use(video);
    requestAnimationFrame(this.tick);
  }

  /** Follow a video. @param {HTMLVideoElement} video */
  use(video) {
    this.video = video;
    video.currentTime = this.time - this.start;
    video.playbackRate = this.rate;
    if (this.playing) video.play().catch(() => {});
    video.addEventListener("seeked", () => this.tell());
    if (!("requestVideoFrameCallback" in video)) return;
    // A decoder may lag behind the clock: what is drawn on a picture needs the time of the picture.
    const pictured = (/** @type {number} */ _, /** @type {{mediaTime: number}} */ frame) => {
      if (this.stopped) return;
      this.picture = this.start + frame.mediaTime;
      if (!this.playing) this.tell();
      video.requestVideoFrameCallback(pictured);
    };
    video.requestVideoFrameCallback(pictured);
  }

  /** Time of the picture that is seen now. */
  get seen() {
    return this.video && this.picture !== null ? this.picture : this.time;
  }

  /** Go on without the video, which cannot be shown. */
  forsake() {
    this.video = null;
  }

  tick = (/** @type {number} */ now) => {
    if (this.stopped) return;
    const passed = Math.min(0.1, (now - this.last) / 1000);
    this.last = now;
    if (this.playing) {
      const time = this.video ? this.start + this.video.currentTime : this.time + passed * this.rate;
      const [from, to] = this.loop ?? [this.start, this.end];
      // A video that has ended stands still a little before the end.
      if (time >= to - 0.005 || this.video?.ended) this.move(from);
      else if (time < from - 0.05) this.move(from);
      else this.time = time;
      if (this.video?.paused && !this.video.seeking) this.video.play().catch(() => {});
      this.tell();
    }
    requestAnimationFrame(this.tick);
  };

  tell() {
    for (const listener of this.listeners) listener(this.time);
  }

  /** @param {number} time */
  move(time) {
    this.time = Math.max(this.start, Math.min(this.end - 0.001, time));
    if (this.video) this.video.currentTime = this.time - this.start;
    this.tell();
  }

  /** @param {number} time leaves a loop that does not contain it */
  seek(time) {
    if (this.loop && (time < this.loop[0] || time > this.loop[1])) this.loop = null;
    this.move(time);
  }

  /** @param {number} frames */
  step(frames) {
    this.pause();
    this.seek(this.time + frames * FRAME_S);
  }

  play() {
    this.playing = true;
    this.video?.play().catch(() => {});
    this.tell();
  }

  pause() {
    this.playing = false;
    this.video?.pause();
    this.tell();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Play a span again and again. @param {number} from @param {number} to */
  repeat(from, to) {
    // A step of a few frames is too short to be seen.
    const missing = Math.max(0, 0.6 - (to - from)) / 2;
    this.loop = [Math.max(this.start, from - missing), Math.min(this.end, to + missing)];
    this.move(this.loop[0]);
    this.play();
  }

  /** @param {number} rate */
  setRate(rate) {
    this.rate = rate;
    if (this.video) this.video.playbackRate = rate;
  }

  close() {
    this.stopped = true;
    this.video?.pause();
  }
}
