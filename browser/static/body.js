/** A body around a skeleton: a mesh whose parts follow the bones. */

import * as THREE from "/three/three.module.js";

const JOINTS = 22;
/** Joints from which several bones start: left, right and upper joint that tell how they are turned. */
const TURNED = { 0: [1, 2, 6], 9: [16, 17, 15] };

/** @typedef {{geometry: THREE.BufferGeometry, rest: Float32Array}} Shape */

/** The shape of all bodies; null where the server has none. @type {Promise<Shape | null>} */
export const shape = load();

async function load() {
  const answer = await fetch("/body").catch(() => null);
  if (answer?.status !== 200) return null;
  const data = await answer.arrayBuffer();
  const [vertices, triangles] = new Uint32Array(data, 0, 2);
  let at = 8;
  const take = (/** @type {any} */ kind, /** @type {number} */ count) => {
    const values = new kind(data, at, count);
    at += values.byteLength;
    return values;
  };
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(take(Float32Array, vertices * 3), 3));
  geometry.setAttribute("skinWeight", new THREE.BufferAttribute(take(Float32Array, vertices * 4), 4));
  const rest = take(Float32Array, JOINTS * 3);
  geometry.setIndex(new THREE.BufferAttribute(take(Uint32Array, triangles * 3), 1));
  geometry.setAttribute("skinIndex", new THREE.BufferAttribute(take(Uint8Array, vertices * 4), 4));
  geometry.computeVertexNormals();
  return { geometry, rest };
}

/** Whether bodies are shown; told to all views of a page. */
export function bodiesShown() {
  return localStorage.getItem("bodies") !== "no";
}

export function toggleBodies() {
  localStorage.setItem("bodies", bodiesShown() ? "no" : "yes");
  dispatchEvent(new Event("bodieschange"));
}

export class Body {
  /** @param {Shape} shape @param {number[]} parents @param {string} color */
  constructor({ geometry, rest }, parents, color) {
    this.parents = parents;
    this.rest = rest;
    this.children = parents.map((_, joint) => parents.findIndex((parent) => parent === joint));
    this.bones = parents.map(() => new THREE.Bone());
    this.turns = parents.map(() => new THREE.Quaternion());
    const inverses = parents.map((_, joint) => new THREE.Matrix4().makeTranslation(point(rest, joint).negate()));
    this.material = new THREE.MeshStandardMaterial({ color, roughness: 0.7, transparent: true });
    this.mesh = new THREE.SkinnedMesh(geometry, this.material);
    this.mesh.frustumCulled = false;
    // Every bone is placed in the world, so that none moves another.
    this.mesh.add(...this.bones);
    this.mesh.bind(new THREE.Skeleton(this.bones, inverses), new THREE.Matrix4());
    this.size = 0;
  }

  /** @param {Float32Array} joints (22 * 3) positions */
  pose(joints) {
    // Everybody is as large as their bones.
    this.size ||= this.length(joints) / this.length(this.rest);
    this.parents.forEach((parent, joint) => {
      const above = parent >= 0 ? this.turns[parent] : new THREE.Quaternion();
      this.turns[joint].copy(this.turn(joints, joint, above));
      this.bones[joint].quaternion.copy(this.turns[joint]);
      this.bones[joint].position.copy(point(joints, joint));
      this.bones[joint].scale.setScalar(this.size);
    });
  }

  /** The rotation of a joint from its rest. @param {Float32Array} joints @param {number} joint @param {THREE.Quaternion} above that of its parent */
  turn(joints, joint, above) {
    const turned = /** @type {Record<number, number[]>} */ (TURNED)[joint];
    if (turned) return frame(joints, joint, turned).multiply(frame(this.rest, joint, turned).invert());
    const child = this.children[joint];
    if (child < 0) return above;
    const rest = point(this.rest, child).sub(point(this.rest, joint)).normalize();
    const bone = point(joints, child).sub(point(joints, joint)).normalize().applyQuaternion(above.clone().invert());
    // The twist of a limb is not known; this is the least.
    return above.clone().multiply(new THREE.Quaternion().setFromUnitVectors(rest, bone));
  }

  /** The length of all bones. @param {Float32Array} joints */
  length(joints) {
    return this.parents.reduce((sum, parent, joint) => sum + (parent < 0 ? 0 : point(joints, parent).distanceTo(point(joints, joint))), 0);
  }

  close() {
    this.material.dispose();
    this.mesh.skeleton.dispose();
  }
}

/** @param {Float32Array} joints @param {number} joint */
function point(joints, joint) {
  return new THREE.Vector3().fromArray(joints, joint * 3);
}

/** @param {Float32Array} joints @param {number} joint @param {number[]} others left, right and upper joint */
function frame(joints, joint, [left, right, upper]) {
  const across = point(joints, left).sub(point(joints, right)).normalize();
  const ahead = across.clone().cross(point(joints, upper).sub(point(joints, joint))).normalize();
  const up = ahead.clone().cross(across);
  return new THREE.Quaternion().setFromRotationMatrix(new THREE.Matrix4().makeBasis(across, up, ahead));
}
