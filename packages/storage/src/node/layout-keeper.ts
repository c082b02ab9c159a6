// What a node knows of the cluster's layout, on disk: the chosen one, and its part in choosing the next.
//
// A layout version is chosen by single-decree Paxos (Lamport 2001) among the nodes of the version before it, so two
// administrators who change the cluster at the same time cannot split it, and no outside service is needed. The
// promise and the acceptance are on disk before they are answered.

import { type Disk, errorMessage, type Random } from '@heptad/core';
import { z } from 'zod';
import { StorageError } from '../errors.ts';
import { type Layout, parseLayout, sameLayout } from '../placement/layout.ts';

interface LayoutState {
  readonly chosen: Layout | undefined;
  readonly promised: { readonly version: number; readonly ballot: string } | undefined;
  readonly accepted: AcceptedLayout | undefined;
}

/** A proposal a node accepted, which may or may not have been chosen. */
export interface AcceptedLayout {
  readonly ballot: string;
  readonly layout: Layout;
}

const stateSchema = z.strictObject({
  format: z.literal('heptad-layout-1'),
  chosen: z.unknown().optional(),
  promised: z.strictObject({ version: z.number().int(), ballot: z.string() }).optional(),
  accepted: z.strictObject({ ballot: z.string(), layout: z.unknown() }).optional(),
});

/** Keeps `layout.json` of one node. */
export class LayoutKeeper {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #random: Random;
  #state: LayoutState;
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(disk: Disk, directory: string, random: Random, state: LayoutState) {
    this.#disk = disk;
    this.#directory = directory;
    this.#random = random;
    this.#state = state;
  }

  /** Reads the file; `STORE_CORRUPT` when it cannot be understood, and then nothing is touched. */
  static async open(disk: Disk, directory: string, random: Random): Promise<LayoutKeeper> {
    const path = `${directory}/layout.json`;
    let state: LayoutState = { chosen: undefined, promised: undefined, accepted: undefined };
    if (await disk.exists(path)) {
      try {
        state = parseState(await readText(disk, path));
      } catch (cause) {
        throw new StorageError('STORE_CORRUPT', `cannot read ${path}: ${errorMessage(cause)}`, {
          cause,
          hint: 'the objects are untouched; copy layout.json from another storage node of the cluster, then start again',
          details: { path },
        });
      }
    }
    return new LayoutKeeper(disk, directory, random, state);
  }

  /** The layout this node goes by. */
  get chosen(): Layout | undefined {
    return this.#state.chosen;
  }

  /** The version of {@link LayoutKeeper.chosen}, 0 before there is one. */
  get version(): number {
    return this.#state.chosen?.version ?? 0;
  }

  /** Paxos phase 1: promises to accept no older ballot, and tells what it has accepted for this version. */
  async prepare(version: number, ballot: string): Promise<AcceptedLayout | undefined> {
    return await this.#change(() => {
      this.#checkVersion(version);
      this.#checkBallot(version, ballot);
      return { ...this.#state, promised: { version, ballot } };
    }).then(() => this.#acceptedFor(version));
  }

  /** Paxos phase 2: accepts a proposal unless it has promised otherwise. */
  async accept(ballot: string, layout: Layout): Promise<void> {
    await this.#change(() => {
      this.#checkVersion(layout.version);
      this.#checkBallot(layout.version, ballot);
      const promised = { version: layout.version, ballot };
      return { ...this.#state, promised, accepted: { ballot, layout } };
    });
  }

  /** Takes over a chosen layout. An older one is `STALE_LAYOUT`; the same again is no change. */
  async learn(layout: Layout): Promise<void> {
    await this.#change(() => {
      const known = this.#state.chosen;
      if (known !== undefined && known.version > layout.version)
        throw staleLayout(layout.version, known.version);
      if (known !== undefined && known.version === layout.version) {
        if (sameLayout(known, layout)) return undefined;
        throw new StorageError(
          'LAYOUT_CONFLICT',
          `cannot take over layout ${layout.version}: another layout of this version is in use here`,
          { hint: 'two clusters use the same storage node; give each cluster its own' },
        );
      }
      return { chosen: layout, promised: undefined, accepted: undefined };
    });
  }

  #acceptedFor(version: number): AcceptedLayout | undefined {
    const accepted = this.#state.accepted;
    return accepted?.layout.version === version ? accepted : undefined;
  }

  #checkVersion(version: number): void {
    if (version <= this.version) throw staleLayout(version, this.version);
    if (version > this.version + 1) throw nodeBehind(version - 1, this.version);
  }

  #checkBallot(version: number, ballot: string): void {
    const promised = this.#state.promised;
    if (promised?.version === version && promised.ballot > ballot) {
      throw new StorageError('LAYOUT_CONFLICT', `another change of the cluster's layout is under way`, {
        hint: 'wait until it has ended, then try again',
        retryable: true,
        details: { ballot: promised.ballot },
      });
    }
  }

  // One change at a time; memory changes only after the disk has, so that what we answer is what we would remember.
  async #change(next: () => LayoutState | undefined): Promise<void> {
    const work = this.#queue.then(async () => {
      const state = next();
      if (state === undefined) return;
      await writeDurably(this.#disk, this.#directory, 'layout.json', formatState(state), this.#random);
      this.#state = state;
    });
    this.#queue = work.catch(() => undefined);
    await work;
  }
}

/** The error for a request under an older layout than the node's. */
export function staleLayout(theirs: number, ours: number): StorageError {
  return new StorageError('STALE_LAYOUT', `layout ${theirs} is no longer in use: this node goes by ${ours}`, {
    retryable: true,
    details: { version: ours },
  });
}

/** The error for a request under a newer layout than the node's. */
export function nodeBehind(theirs: number, ours: number): StorageError {
  return new StorageError(
    'NODE_BEHIND',
    `this node goes by layout ${ours} and has not learnt of ${theirs} yet`,
    {
      retryable: true,
      details: { version: ours },
    },
  );
}

/** Writes a small file so that after a crash either the old or the new one is there, whole. */
export async function writeDurably(
  disk: Disk,
  directory: string,
  name: string,
  text: string,
  random: Random,
): Promise<void> {
  const temporary = `${directory}/tmp/${name}-${Buffer.from(random.bytes(6)).toString('hex')}`;
  const file = await disk.open(temporary, 'create-new');
  try {
    await file.write(0, Buffer.from(text));
    await file.datasync();
  } finally {
    await file.close();
  }
  await disk.rename(temporary, `${directory}/${name}`);
  await disk.syncDirectory(directory);
}

/** A whole small file as text. */
export async function readText(disk: Disk, path: string): Promise<string> {
  const file = await disk.open(path, 'read');
  try {
    return Buffer.from(await file.read(0, await file.size())).toString('utf8');
  } finally {
    await file.close();
  }
}

function formatState(state: LayoutState): string {
  return `${JSON.stringify({ format: 'heptad-layout-1', ...state })}\n`;
}

function parseState(text: string): LayoutState {
  const { chosen, promised, accepted } = stateSchema.parse(JSON.parse(text));
  return {
    chosen: chosen === undefined ? undefined : parseLayout(chosen),
    promised,
    accepted:
      accepted === undefined ? undefined : { ballot: accepted.ballot, layout: parseLayout(accepted.layout) },
  };
}
