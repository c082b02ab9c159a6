// Execs as Docker's API has them: made first, started by another request, asked about by a third.

import type { ContainerId, ExecSession, Random, TerminalSize } from '@heptad/core';
import { ContainerError } from '../errors.ts';

// As many ended ones are remembered; a client asks for the exit code right after the end.
const MAX_REMEMBERED = 1_000;

/** What to run. */
export interface ExecPlan {
  readonly containerId: ContainerId;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory?: string | undefined;
  readonly user?: string | undefined;
  readonly tty: boolean;
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly detachKeys: string;
}

/** One exec. */
export interface ExecRecord {
  readonly id: string;
  readonly plan: ExecPlan;
  session?: ExecSession;
  /** Asked for before it was started. */
  size?: TerminalSize;
  state: 'created' | 'running' | 'ended';
  exitCode?: number;
}

/** The execs of this process. */
export class ExecRegistry {
  private readonly records = new Map<string, ExecRecord>();
  private readonly random: Random;

  constructor(random: Random) {
    this.random = random;
  }

  /** Makes one. */
  create(plan: ExecPlan): ExecRecord {
    const id = Buffer.from(this.random.bytes(32)).toString('hex');
    const record: ExecRecord = { id, plan, state: 'created' };
    this.records.set(id, record);
    this.forgetOld();
    return record;
  }

  /** One by its id. Throws `EXEC_NOT_FOUND`. */
  get(id: string): ExecRecord {
    const record = this.records.get(id);
    if (record !== undefined) return record;
    throw new ContainerError('EXEC_NOT_FOUND', `No such exec instance: ${id}`);
  }

  /** Ids of those that run in a container. */
  running(containerId: ContainerId): string[] {
    return [...this.records.values()]
      .filter(({ plan, state }) => plan.containerId === containerId && state === 'running')
      .map(({ id }) => id);
  }

  private forgetOld(): void {
    for (const [id, { state }] of this.records) {
      if (this.records.size <= MAX_REMEMBERED) return;
      if (state !== 'running') this.records.delete(id);
    }
  }
}
