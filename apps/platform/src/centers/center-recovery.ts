// What the API offers of a centre, primary or not: its view of all centres, failover, failback and drills.

import { type Clock, errorMessage, HeptadError } from '@heptad/core';
import { type CenterStatus, type DrillReport, runDrill } from '@heptad/dr';
import type { DrillState, FailoverOutcome, Recovery, RecoveryStatus } from '../server/recovery.ts';
import { viewCenters } from './center-view.ts';
import type { PlatformCenter } from './platform-center.ts';

/** Drills kept. */
const DRILLS_MAX = 20;
/** After a hand-over a backup may still be joining: so long is waited for one to hand over to. */
const BACKUP_WAIT_MS = 15_000;
const POLL_MS = 100;

/** See the head of this file. */
export class CenterRecovery implements Recovery {
  readonly #center: PlatformCenter;
  readonly #clock: Clock;
  readonly #drills: DrillState[] = [];

  constructor(center: PlatformCenter, clock: Clock) {
    this.#center = center;
    this.#clock = clock;
  }

  async status(): Promise<RecoveryStatus> {
    const { recovery, settings } = this.#center;
    const status = recovery.status();
    return {
      centers: viewCenters(status, settings),
      center: status,
      prediction: recovery.predict(),
      message: sentenceOf(status),
    };
  }

  async explain(): Promise<readonly string[]> {
    const { self, decision, candidates } = this.#center.recovery.explain();
    return [
      `${self}: ${decision}.`,
      ...candidates.map(
        ({ name, mayBePromoted, because }) =>
          `${name} ${mayBePromoted ? 'may' : 'may not'} be promoted: ${because}.`,
      ),
    ];
  }

  async failover(request: {
    readonly to?: string | undefined;
    readonly force?: boolean;
  }): Promise<FailoverOutcome> {
    const { recovery, self } = this.#center;
    const status = recovery.status();
    const to = request.to ?? (status.role === 'primary' ? bestBackup(status) : self);
    recovery.topology.center(to);
    if (to === primaryHeard(status)) return this.#outcome(to, true, `${to} is primary already`);
    if (primaryHeard(status) !== undefined && request.force !== true) return this.#handOver(to);
    if (to !== self) {
      throw new HeptadError('NO_PRIMARY', `cannot make ${to} primary from here: no primary can be reached`, {
        hint: `run "heptad dr failover" at ${to} itself: only a centre can ask for votes for itself`,
      });
    }
    await recovery.failover({ force: request.force === true, because: 'promoted by hand over the API' });
    return this.#outcome(self, false, `${self} was elected primary without the old one`);
  }

  async failback(): Promise<FailoverOutcome> {
    const { recovery } = this.#center;
    const { primary } = recovery.topology.settings;
    if (primaryHeard(recovery.status()) === primary)
      return this.#outcome(primary, true, `${primary} is primary already`);
    return this.#handOver(primary);
  }

  async #handOver(to: string): Promise<FailoverOutcome> {
    const { recovery, client } = this.#center;
    if (recovery.status().role === 'primary') await recovery.switchover(to);
    else await client.switchover(to);
    return this.#outcome(to, true, `${to} took over by plan; nothing was lost`);
  }

  #outcome(primary: string, planned: boolean, message: string): FailoverOutcome {
    const api = this.#center.settings.apis.get(primary);
    return {
      primary,
      self: primary === this.#center.self,
      ...(api === undefined ? {} : { api }),
      planned,
      message,
    };
  }

  startDrill(): DrillState {
    const running = this.#drills.find(({ phase }) => phase === 'running');
    if (running !== undefined)
      throw new HeptadError('CONFLICT', `drill ${running.id} is still running: ${running.message}`);
    const status = this.#center.recovery.status();
    const from = primaryHeard(status);
    if (from === undefined)
      throw new HeptadError('UNAVAILABLE', 'cannot drill: there is no primary now', { retryable: true });
    const id = `drill-${this.#clock.now().toString(36)}`;
    const state: DrillState = { id, phase: 'running', message: 'starting', reports: [] };
    this.#drills.push(state);
    if (this.#drills.length > DRILLS_MAX) this.#drills.shift();
    this.#drill(id, from).catch((error: unknown) =>
      this.#note(id, { phase: 'failed', message: errorMessage(error) }),
    );
    return state;
  }

  drills(): readonly DrillState[] {
    return [...this.#drills];
  }

  async #drill(id: string, from: string): Promise<void> {
    const { client, recovery } = this.#center;
    const reports: DrillReport[] = [];
    const { replication } = recovery.topology.settings;
    for (const back of [false, true]) {
      const to = back ? from : await this.#readyBackup(from);
      const report = await runDrill({
        client,
        replication,
        clock: this.#clock,
        onProgress: (message) => this.#note(id, { message: `to ${to}: ${message}` }),
        fault: async () => {
          await this.#handOverWhenReady(to);
          return `planned hand-over to ${to}`;
        },
      });
      reports.push(report);
      this.#note(id, { reports: [...reports] });
    }
    const lost = reports.reduce((sum, { rpoOps }) => sum + rpoOps, 0);
    const times = reports.map(({ longestPauseMs }) => `${longestPauseMs} ms`).join(' and ');
    this.#note(id, {
      phase: 'completed',
      message: `handed over and back; writes waited at most ${times}; ${lost} acknowledged writes lost`,
    });
  }

  async #readyBackup(from: string): Promise<string> {
    const { client, recovery } = this.#center;
    const { address } = recovery.topology.center(from);
    return this.#until(async () => bestBackup(await client.status(address)));
  }

  // Whoever was primary a moment ago may still be joining as a backup.
  #handOverWhenReady(to: string): Promise<void> {
    return this.#until(() => this.#center.client.switchover(to));
  }

  async #until<T>(attempt: () => Promise<T>): Promise<T> {
    const deadlineMs = this.#clock.monotonicMs() + BACKUP_WAIT_MS;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (this.#clock.monotonicMs() >= deadlineMs) throw error;
        await this.#clock.sleep(POLL_MS);
      }
    }
  }

  #note(id: string, change: Partial<DrillState>): void {
    const index = this.#drills.findIndex((drill) => drill.id === id);
    const drill = this.#drills[index];
    if (drill !== undefined) this.#drills[index] = { ...drill, ...change };
  }
}

/** The primary, while it is heard: oneself, or one that is not suspected. */
function primaryHeard(status: CenterStatus): string | undefined {
  const { primary, self, peers } = status;
  if (primary === undefined || primary === self) return status.serving ? primary : undefined;
  return peers.some(({ name, suspected, role }) => name === primary && !suspected && role === 'primary')
    ? primary
    : undefined;
}

function bestBackup(status: CenterStatus): string {
  const best = status.backups
    .filter(({ state }) => state === 'streaming')
    .sort((a, b) => (a.lagBytes ?? 0) - (b.lagBytes ?? 0))[0];
  if (best !== undefined) return best.backup;
  throw new HeptadError('BACKUP_BEHIND', 'no backup has an up-to-date copy to take over with', {
    retryable: true,
    hint: 'heptad dr status says how far each is',
  });
}

function sentenceOf(status: CenterStatus): string {
  const { self, role, primary, generation, serving, backups, automaticFailover } = status;
  if (role === 'primary') {
    const ready = backups.filter(({ state }) => state === 'streaming').length;
    const what = serving ? 'is primary' : 'is primary but does not serve now';
    return `${self} ${what} of generation ${generation}; ${ready} of ${backups.length} backups follow; automatic failover: ${automaticFailover.because}`;
  }
  if (primary === undefined) return `${self} is ${role}; there is no primary now: ${status.decision}`;
  return `${self} is ${role} and follows ${primary}, primary of generation ${generation}`;
}
