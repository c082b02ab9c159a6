// Deletions of a layer as overlayfs marks: a name, or everything that layers below show in a directory.

import { linkSync, readdirSync, rmSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import { bytesOf, type LayerRoot, look, lowerDirectory } from './layer-root.ts';
import { makeWhiteout } from './privileged-files.ts';

/** Whether a file is overlayfs's mark for a deleted name: a character device 0:0. */
export function isWhiteout(info: { isCharacterDevice(): boolean; readonly rdev: number }): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

/** Collects the deletions of one layer, and makes them when all its entries are there. */
export class Whiteouts {
  private readonly root: LayerRoot;
  private readonly scratch: string;
  private readonly hidden = new Set<string>();
  private readonly opaque = new Set<string>();

  /** `root` is the layer's directory as text; beside it lies, for a moment, the mark that others are links to. */
  constructor(layer: LayerRoot, root: string) {
    this.root = layer;
    this.scratch = `${root}-whiteout`;
  }

  /** Deletes one name of the layers below. The path is a binary string. */
  hide(path: string): void {
    this.hidden.add(path);
  }

  /** Deletes what the layers below have in a directory, but not what this layer brings itself. */
  hideAllBelow(directory: string): void {
    this.opaque.add(directory);
  }

  /** Makes the marks. `lowers` are the layers below, top first. */
  async make(lowers: readonly string[]): Promise<void> {
    for (const directory of this.opaque) this.hideLower(lowers, this.root.componentsOf(directory));
    let isMade = false;
    for (const path of this.hidden) {
      // The layer deleted a name and then gave it anew: the new entry covers the lower one by itself, unless both are
      // directories, which only an opaque mark would separate.
      if (look(path) !== undefined) continue;
      if (!isMade) await makeWhiteout(this.scratch);
      isMade = true;
      await this.linkTo(path);
    }
    if (isMade) rmSync(this.scratch);
  }

  /** Node has no mknod; marks are hard links to one that mknod(1) made, as the kernel itself makes them. */
  private async linkTo(path: string): Promise<void> {
    try {
      linkSync(this.scratch, bytesOf(path));
    } catch (error) {
      // A file system allows one file some 65,000 names.
      if (errnoOf(error) !== 'EMLINK') throw error;
      rmSync(this.scratch);
      await makeWhiteout(this.scratch);
      linkSync(this.scratch, bytesOf(path));
    }
  }

  /**
   * Spells an opaque directory as one whiteout for each name it has below. Node cannot set the overlayfs attribute,
   * and since a snapshot's parents never change, the list can never become too short.
   */
  private hideLower(lowers: readonly string[], components: readonly string[]): void {
    for (const name of namesBelow(lowers, components)) {
      const path = [this.root.path, ...components, name].join('/');
      const own = look(path);
      // Two directories of one name would be merged, so what the lower one holds is hidden name by name as well.
      if (own?.isDirectory() === true) this.hideLower(lowers, [...components, name]);
      else if (own === undefined) this.hidden.add(path);
    }
  }
}

/** The names that the layers below show in a directory. */
function namesBelow(lowers: readonly string[], components: readonly string[]): Set<string> {
  const shown = new Set<string>();
  const hidden = new Set<string>();
  for (const lower of lowers) {
    const info = lowerDirectory(lower, components);
    if (info === undefined) {
      if (isCut(lower, components)) break;
      continue;
    }
    // Anything but a directory covers what is further below.
    if (!info.isDirectory()) break;
    const path = [lower, ...components].join('/');
    for (const name of readdirSync(bytesOf(path), 'latin1')) {
      const entry = look(`${path}/${name}`);
      if (entry !== undefined && isWhiteout(entry)) hidden.add(name);
      else if (!hidden.has(name)) shown.add(name);
    }
  }
  return shown;
}

/** Whether a layer covers a directory by having something else in the place of one of its parents. */
function isCut(lower: string, components: readonly string[]): boolean {
  let path = lower;
  for (const component of components) {
    path = `${path}/${component}`;
    const info = look(path);
    if (info === undefined) return false;
    if (!info.isDirectory()) return true;
  }
  return false;
}
