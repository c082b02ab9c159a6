// dr status, explain, failover, failback, drill --live.

import { writeFile } from 'node:fs/promises';
import { HeptadError, isHeptadError, systemClock } from '@heptad/core';
import { renderDrillMarkdown } from '@heptad/dr';
import type { Command } from 'commander';
import { ApiClient } from '../../client/api-client.ts';
import type { DrillState, FailoverOutcome, RecoveryStatus } from '../../server/recovery.ts';
import { contextOf } from '../context.ts';
import { EXIT, printJson, say } from '../output.ts';

const POLL_MS = 250;
/** The new primary opens its server within some seconds. */
const SERVES_TIMEOUT_MS = 60_000;
const SETTLE_TIMEOUT_MS = 20_000;
const RETRY_MS = 1_000;

/** `heptad dr status`. */
export async function drStatus(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<RecoveryStatus>('GET', '/api/v1/dr/status');
  if (json) return printJson(answer);
  process.stdout.write(`${answer.message}\n`);
  for (const { name, self, api, spec, status } of answer.centers) {
    const lag = status.lagMs === undefined ? '' : `, ${status.lagMs} ms behind`;
    const where = api === undefined ? spec.address : api;
    process.stdout.write(
      `  ${self ? '*' : ' '} ${name.padEnd(16)} ${status.role.padEnd(8)} generation ${status.generation}${lag}  ${where}\n      ${status.message}\n`,
    );
  }
}

/** `heptad dr explain`. */
export async function drExplain(command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const answer = await client.json<{ sentences: string[] }>('GET', '/api/v1/dr/explain');
  if (json) printJson(answer);
  else process.stdout.write(`${answer.sentences.join('\n')}\n`);
}

/** `heptad dr failover`. */
export async function drFailover(options: { to?: string; force?: boolean }, command: Command): Promise<void> {
  const { to, force = false } = options;
  await move(command, '/api/v1/dr/failover', { ...(to === undefined ? {} : { to }), force });
}

/** `heptad dr failback`. */
export async function drFailback(command: Command): Promise<void> {
  await move(command, '/api/v1/dr/failback', {});
}

async function move(command: Command, path: string, body: object): Promise<void> {
  const { client, json, dryRun } = contextOf(command);
  if (dryRun) {
    const { sentences } = await client.json<{ sentences: string[] }>('GET', '/api/v1/dr/explain');
    process.stdout.write(`would be asked of the centres as they are now:\n${sentences.join('\n')}\n`);
    return;
  }
  say('changing the primary…');
  const outcome = await persistently(() => client.json<FailoverOutcome>('POST', path, body));
  say(outcome.message);
  await untilServes(outcome, client);
  if (json) printJson(outcome);
  else
    process.stdout.write(
      `${outcome.primary} is primary${outcome.api === undefined ? '' : ` at ${outcome.api}`}\n`,
    );
}

/** Centres that have just lost or found each other may need some seconds until one can take over. */
async function persistently<T>(attempt: () => Promise<T>): Promise<T> {
  const deadlineMs = systemClock.monotonicMs() + SETTLE_TIMEOUT_MS;
  let told = '';
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      const passing = isHeptadError(error) && error.retryable && error.code !== 'UNAVAILABLE';
      if (!passing || systemClock.monotonicMs() > deadlineMs) throw error;
      if (error.message !== told) say(`not yet: ${error.message}`);
      told = error.message;
      await systemClock.sleep(RETRY_MS);
    }
  }
}

/** Waits until the new primary's server serves, where it can be asked. */
async function untilServes({ primary, self, api }: FailoverOutcome, asked: ApiClient): Promise<void> {
  const client = self ? asked : api === undefined ? undefined : new ApiClient({ server: api });
  if (client === undefined) return;
  say(`waiting until ${primary} serves…`);
  const deadlineMs = systemClock.monotonicMs() + SERVES_TIMEOUT_MS;
  for (;;) {
    const ready = await client.raw('GET', '/readyz').then(
      (response) => response.body.dump().then(() => true),
      () => false,
    );
    if (ready) return;
    if (systemClock.monotonicMs() > deadlineMs) {
      throw new HeptadError(
        'TIMEOUT',
        `${primary} is primary but has not served for ${SERVES_TIMEOUT_MS / 1000} s`,
        {
          hint: `look into the log of its server; ${client.server}/healthz says more`,
        },
      );
    }
    await systemClock.sleep(POLL_MS);
  }
}

/** `heptad dr drill --live`. */
export async function drLiveDrill(options: { markdown?: string }, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const started = await client.json<DrillState>('POST', '/api/v1/dr/drills', {});
  const state = await follow(client, started.id);
  const text = state.reports.map((report) => renderDrillMarkdown(report)).join('\n');
  if (options.markdown !== undefined) await writeFile(options.markdown, text);
  if (json) printJson(state);
  else process.stdout.write(`${text}\n${state.message}\n`);
  const lost = state.reports.some(({ rpoOps, rtoMs }) => rpoOps > 0 || rtoMs === null);
  if (state.phase === 'failed' || lost) process.exitCode = EXIT.error;
}

// The centre that is asked changes its server twice meanwhile: what it does not answer now is asked again.
async function follow(client: ApiClient, id: string): Promise<DrillState> {
  let told = '';
  let silentSinceMs: number | undefined;
  for (;;) {
    try {
      const { items } = await client.json<{ items: DrillState[] }>('GET', '/api/v1/dr/drills');
      silentSinceMs = undefined;
      const state = items.find((drill) => drill.id === id);
      if (state === undefined)
        throw new HeptadError('NOT_FOUND', `drill ${id} is gone: its server was started anew`);
      if (state.message !== told) say(state.message);
      told = state.message;
      if (state.phase !== 'running') return state;
    } catch (error) {
      const passing =
        isHeptadError(error, 'UNAVAILABLE') ||
        isHeptadError(error, 'NOT_PRIMARY') ||
        isHeptadError(error, 'TOKEN_INVALID');
      silentSinceMs ??= systemClock.monotonicMs();
      if (!passing || systemClock.monotonicMs() - silentSinceMs > SERVES_TIMEOUT_MS) throw error;
    }
    await systemClock.sleep(POLL_MS);
  }
}
