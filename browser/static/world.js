/** All people of a clip in one world, in 3-D. */

import { OrbitControls } from "/three/OrbitControls.js";
import * as THREE from "/three/three.module.js";
import { bodiesShown, Body, shape, toggleBodies } from "./body.js";
import { el } from "./dom.js";

const UP = new THREE.Vector3(0, 1, 0);
const GROUND = { light: 0xd9dce2, dark: 0x2b303a };
/** Radius in meters. */
const HEAD = 0.1;
const STAGE = { light: 0xf1f2f4, dark: 0x101216 };

export class World {
  /**
   * @param {HTMLElement} box that the view fills
   * @param {import("./people.js").Person[]} people
   * @param {number[]} parents of each joint
   * @throws {Error} if this browser draws no 3-D
   */
  constructor(box, people, parents) {
    this.box = box;
    this.people = people.filter((person) => person.world);
    this.parents = parents;
    this.renderer = new THREE.WebGLRenderer({ antialias: true, preserveDrawingBuffer: true });
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio || 1));
    this.renderer.domElement.setAttribute("role", "img");
    this.renderer.domElement.setAttribute("aria-label", "The people in 3-D. Drag to turn, scroll to zoom.");
    box.append(this.renderer.domElement);
    this.scene = new THREE.Scene();
    this.camera = new THREE.PerspectiveCamera(38, 1, 0.05, 200);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.addEventListener("change", () => this.render());
    this.controls.maxPolarAngle = Math.PI * 0.55;
    /** @type {number | null} */
    this.selected = null;
    /** @type {{person: number, joints: Set<number>} | null} */
    this.lit = null;
    this.time = 0;
    /** Whether the camera goes with the first person, who may walk far. */
    this.follows = false;
    this.center = new THREE.Vector3();
    this.addLight();
    this.bodies = this.people.map((person) => this.addBody(person));
    this.bounds = this.measure();
    this.addGround();
    this.look("front");
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(box);
    this.themed = () => this.paint();
    addEventListener("themechange", this.themed);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", this.themed);
    this.fleshed = () => this.showBodies();
    addEventListener("bodieschange", this.fleshed);
    this.paint();
    shape.then((found) => found && !this.closed && this.addBodies(found));
  }

  /** Put a body around every skeleton. @param {import("./body.js").Shape} found */
  addBodies(found) {
    for (const body of this.bodies) {
      body.flesh = new Body(found, this.parents, body.person.color);
      body.group.add(body.flesh.mesh);
    }
    this.bodiesButton = el("button.bodies", { type: "button", onclick: toggleBodies }, "Bodies");
    this.box.append(this.bodiesButton);
    this.showBodies();
  }

  showBodies() {
    const shown = bodiesShown();
    for (const { flesh, bones, joints } of this.bodies) {
      if (!flesh) return;
      flesh.mesh.visible = shown;
      for (const part of [...bones, ...joints]) part.visible = !shown;
    }
    this.bodiesButton.ariaPressed = String(shown);
    this.draw(this.time);
  }

  addLight() {
    this.scene.add(new THREE.HemisphereLight(0xffffff, 0x8890a0, 2.1));
    const sun = new THREE.DirectionalLight(0xffffff, 1.6);
    sun.position.set(2, 5, 3);
    this.scene.add(sun);
  }

  /** @param {import("./people.js").Person} person */
  addBody(person) {
    const group = new THREE.Group();
    const material = new THREE.MeshStandardMaterial({ color: person.color, roughness: 0.55, transparent: true });
    const bone = new THREE.CylinderGeometry(0.026, 0.026, 1, 10);
    const ball = new THREE.SphereGeometry(0.036, 14, 10);
    const bones = this.parents.slice(1).map(() => new THREE.Mesh(bone, material));
    const joints = this.parents.map(() => new THREE.Mesh(ball, material));
    // A head makes the way a person faces and their height easy to see.
    joints[15].geometry = new THREE.SphereGeometry(HEAD, 20, 14);
    // Seen through a body, too.
    const halo = new THREE.MeshBasicMaterial({ color: 0xffe14d, transparent: true, opacity: 0.85, depthTest: false });
    const halos = this.parents.map(() => new THREE.Mesh(new THREE.SphereGeometry(0.07, 16, 12), halo));
    group.add(...bones, ...joints, ...halos);
    const path = this.addPath(person);
    this.scene.add(group, path);
    return { person, group, bones, joints, halos, material, path, flesh: /** @type {Body | null} */ (null) };
  }

  /** The way of the pelvis over the ground. @param {import("./people.js").Person} person */
  addPath(person) {
    const world = /** @type {Float32Array} */ (person.world);
    const points = [];
    for (let frame = 0; frame < person.frames; frame += 2) {
      points.push(new THREE.Vector3(world[frame * 66], 0.006, world[frame * 66 + 2]));
    }
    const geometry = new THREE.BufferGeometry().setFromPoints(points);
    return new THREE.Line(geometry, new THREE.LineBasicMaterial({ color: person.color, transparent: true, opacity: 0.6 }));
  }

  /** Take up frames that were added to the people. */
  grow() {
    for (const body of this.bodies) {
      this.scene.remove(body.path);
      body.path.geometry.dispose();
      body.path = this.addPath(body.person);
      this.scene.add(body.path);
    }
    // The ground reaches as far as the people; what the camera shows stays.
    const seen = this.bounds;
    this.bounds = this.measure();
    const grid = /** @type {THREE.GridHelper} */ (this.grid);
    this.scene.remove(grid);
    grid.dispose();
    this.addGround();
    this.bounds = seen;
    this.paint();
  }

  /** Let the camera go with the first person. */
  follow() {
    this.follows = true;
    const world = this.people[0].world ?? [0, 0, 0];
    this.center.set(world[0], 0, world[2]);
    this.bounds = new THREE.Box3(
      new THREE.Vector3(this.center.x - 0.9, 0, this.center.z - 0.9),
      new THREE.Vector3(this.center.x + 0.9, 1.8, this.center.z + 0.9));
    this.look("front");
  }

  /** @param {THREE.Vector3} pelvis */
  moveWith(pelvis) {
    const way = new THREE.Vector3(pelvis.x, 0, pelvis.z).sub(this.center);
    this.center.add(way);
    this.camera.position.add(way);
    this.controls.target.add(way);
  }

  measure() {
    const bounds = new THREE.Box3();
    const point = new THREE.Vector3();
    for (const { world, frames } of this.people) {
      for (let i = 0; world && i < frames * 66; i += 3) {
        bounds.expandByPoint(point.set(world[i], world[i + 1], world[i + 2]));
      }
    }
    // What is drawn reaches farther than the joints, the head most of all.
    bounds.expandByVector(new THREE.Vector3(0.05, 0.04, 0.05));
    bounds.max.y += HEAD;
    if (bounds.isEmpty()) bounds.set(new THREE.Vector3(-1, 0, -1), new THREE.Vector3(1, 1.8, 1));
    return bounds;
  }

  addGround() {
    const size = this.bounds.getSize(new THREE.Vector3());
    const center = this.bounds.getCenter(new THREE.Vector3());
    const cells = Math.ceil(Math.max(size.x, size.z, 2)) + 4;
    this.grid = new THREE.GridHelper(cells, cells);
    this.grid.position.set(Math.round(center.x), 0, Math.round(center.z));
    this.scene.add(this.grid);
  }

  /** @param {"front" | "side" | "top"} from */
  look(from) {
    const center = this.bounds.getCenter(new THREE.Vector3());
    const size = this.bounds.getSize(new THREE.Vector3());
    const across = Math.max(from === "side" ? size.z : size.x, 1.2);
    const tall = from === "top" ? Math.max(size.z, 1.2) : Math.max(size.y, 1.2);
    const half = Math.tan(THREE.MathUtils.degToRad(this.camera.fov / 2));
    const aspect = Math.min(this.camera.aspect, 3) || 1;
    const depth = (from === "side" ? size.x : from === "top" ? size.y : size.z) / 2;
    const far = 1.06 * Math.max(tall / 2 / half, across / 2 / half / aspect) + depth;
    const way = { front: [0.28, 0.22, 1], side: [1, 0.2, 0.05], top: [0, 1, 0.001] }[from];
    this.controls.target.copy(center);
    this.camera.position.copy(new THREE.Vector3(...way).normalize().multiplyScalar(far).add(center));
    this.controls.update();
    this.from = from;
    this.render();
  }

  paint() {
    const theme = document.documentElement.dataset.theme ?? (this.dark.matches ? "dark" : "light");
    const key = /** @type {"light" | "dark"} */ (theme);
    this.scene.background = new THREE.Color(STAGE[key]);
    const grid = /** @type {THREE.GridHelper} */ (this.grid);
    grid.material.vertexColors = false;
    grid.material.color.set(GROUND[key]);
    grid.material.needsUpdate = true;
    this.render();
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height) return;
    const first = !this.width;
    this.width = width;
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.renderer.setSize(width, height);
    if (first) this.look("front");
    else this.render();
  }

  /** @param {number} time */
  draw(time) {
    this.time = time;
    const a = new THREE.Vector3();
    const b = new THREE.Vector3();
    for (const { person, group, bones, joints, halos, material, flesh } of this.bodies) {
      const pose = person.at(time);
      group.visible = Boolean(pose?.world);
      if (!pose?.world) continue;
      if (this.follows && person === this.people[0]) this.moveWith(a.fromArray(pose.world));
      const strong = this.selected === null || this.selected === person.id;
      material.opacity = (pose.valid ? 1 : 0.4) * (strong ? 1 : 0.45);
      if (flesh) {
        flesh.material.opacity = material.opacity;
        flesh.pose(pose.world);
      }
      const lit = this.lit?.person === person.id ? this.lit.joints : null;
      joints.forEach((joint, index) => {
        joint.position.fromArray(/** @type {Float32Array} */ (pose.world), index * 3);
        halos[index].position.copy(joint.position);
        halos[index].visible = Boolean(lit?.has(index));
      });
      bones.forEach((bone, index) => {
        a.copy(joints[this.parents[index + 1]].position);
        b.copy(joints[index + 1].position);
        bone.position.addVectors(a, b).multiplyScalar(0.5);
        b.sub(a);
        bone.scale.set(1, Math.max(b.length(), 1e-4), 1);
        bone.quaternion.setFromUnitVectors(UP, b.normalize());
      });
    }
    this.render();
  }

  render() {
    if (this.scene) this.renderer.render(this.scene, this.camera);
  }

  close() {
    this.closed = true;
    for (const { flesh } of this.bodies) flesh?.close();
    removeEventListener("bodieschange", this.fleshed);
    this.resized.disconnect();
    removeEventListener("themechange", this.themed);
    this.dark.removeEventListener("change", this.themed);
    this.controls.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
  }
}
