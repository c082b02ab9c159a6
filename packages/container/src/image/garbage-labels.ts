// The labels that steer garbage collection, in containerd's words: roots, references, back references, expiry.

import type { Labels } from './content-labels.ts';

const PREFIX = 'containerd.io/gc.';
/** Keeps the thing and all it refers to; any value but the empty one. */
export const GC_ROOT: string = `${PREFIX}root`;
/** Keeps the thing until this time (RFC 3339). */
export const GC_EXPIRE: string = `${PREFIX}expire`;
/** On a lease: keep the leased things themselves, not what they refer to. */
export const GC_FLAT: string = `${PREFIX}flat`;
/** `containerd.io/gc.ref.content` or `.content.<anything>`: refers to a blob. */
export const GC_REF_CONTENT: string = `${PREFIX}ref.content`;
/** `containerd.io/gc.ref.snapshot.<snapshotter>`: refers to a snapshot. */
export const GC_REF_SNAPSHOT: string = `${PREFIX}ref.snapshot.`;
const BREF_CONTENT = `${PREFIX}bref.content`;
const BREF_IMAGE = `${PREFIX}bref.image`;
const BREF_CONTAINER = `${PREFIX}bref.container`;
const BREF_SNAPSHOT = `${PREFIX}bref.snapshot.`;

/** A thing that refers or is referred to: `content sha256:…`, `snapshot NAME`, `image NAME`, `container ID`. */
export type Node = `${'content' | 'snapshot' | 'image' | 'container'} ${string}`;

/** What the labels of one thing say. */
export interface LabelMeaning {
  readonly isRoot: boolean;
  /** What it keeps. */
  readonly references: readonly Node[];
  /** What keeps it. */
  readonly keptBy: readonly Node[];
}

/** Reads labels. A time that cannot be read has not passed: better kept than lost. */
export function meaningOf(labels: Labels, now: number): LabelMeaning {
  const references: Node[] = [];
  const keptBy: Node[] = [];
  let isRoot = false;
  for (const [key, value] of Object.entries(labels)) {
    if (!key.startsWith(PREFIX) || value === '') continue;
    if (key === GC_ROOT) isRoot = true;
    else if (key === GC_EXPIRE) isRoot ||= !(Date.parse(value) <= now);
    else if (isOf(key, GC_REF_CONTENT)) references.push(`content ${value}`);
    else if (key.startsWith(GC_REF_SNAPSHOT)) references.push(`snapshot ${value}`);
    else if (isOf(key, BREF_CONTENT)) keptBy.push(`content ${value}`);
    else if (isOf(key, BREF_IMAGE)) keptBy.push(`image ${value}`);
    else if (isOf(key, BREF_CONTAINER)) keptBy.push(`container ${value}`);
    else if (key.startsWith(BREF_SNAPSHOT)) keptBy.push(`snapshot ${value}`);
  }
  return { isRoot, references, keptBy };
}

function isOf(key: string, name: string): boolean {
  return key === name || key.startsWith(`${name}.`);
}
