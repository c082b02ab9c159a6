// Extended attributes of a layer's files, set in one run of setfattr, because Node cannot set them.

import { relative } from 'node:path';
import { isHeptadError } from '@heptad/core';
import type { Header } from 'tar-stream';
import { run } from '../system/command.ts';

const PAX_PREFIX = 'SCHILY.xattr.';
// trusted.* steers overlayfs itself and security.selinux belongs to the host; a layer may set neither.
const ALLOWED = /^(user\.[^\n=]+|security\.capability)$/;
// A layer of more attributes than this is not one any builder makes.
const MAX_XATTRS = 100_000;

/** Collects attributes while a layer is extracted. */
export class XattrSet {
  private readonly root: string;
  private readonly wanted: { path: string; name: string; value: string }[] = [];
  private skipped = 0;

  constructor(root: string) {
    this.root = root;
  }

  /** Takes the attributes of one entry. */
  collect(path: string, header: Header): void {
    for (const [key, value] of Object.entries(header.pax ?? {})) {
      if (!key.startsWith(PAX_PREFIX)) continue;
      const name = key.slice(PAX_PREFIX.length);
      // U+FFFD: the archive reader decodes values as text, and this one was not; a wrong value is worse than none.
      if (ALLOWED.test(name) && !value.includes('\uFFFD') && this.wanted.length < MAX_XATTRS) {
        this.wanted.push({ path, name, value });
      } else {
        this.skipped += 1;
      }
    }
  }

  /** Sets them; returns how many could not be. */
  async apply(): Promise<number> {
    if (this.wanted.length === 0) return this.skipped;
    const dump = this.wanted
      .map(
        ({ path, name, value }) =>
          `# file: ${escapePath(relative(this.root, path))}\n${name}=0s${Buffer.from(value).toString('base64')}\n`,
      )
      .join('\n');
    try {
      const { exitCode } = await run('setfattr', ['-h', '--restore=-'], { cwd: this.root, input: dump });
      return exitCode === 0 ? this.skipped : this.skipped + this.wanted.length;
    } catch (error) {
      if (!isHeptadError(error, 'RUNTIME_UNAVAILABLE')) throw error;
      return this.skipped + this.wanted.length;
    }
  }
}

function escapePath(path: string): string {
  return path.replace(
    /[\\\n\r]/g,
    (character) => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`,
  );
}
