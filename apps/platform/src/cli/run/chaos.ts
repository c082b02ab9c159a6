// chaos run, abort, report.

import { readFile, writeFile } from 'node:fs/promises';
import { HeptadError, systemClock } from '@heptad/core';
import type { Command } from 'commander';
import { contextOf } from '../context.ts';
import { EXIT, printJson, say } from '../output.ts';

interface ExperimentState {
  readonly id: string;
  readonly phase: 'running' | 'completed' | 'failed' | 'aborted';
  readonly verdict?: 'passed' | 'failed' | 'unproven';
  readonly score?: number;
  readonly message: string;
}

const POLL_MS = 500;

/** `heptad chaos run`: exit code 0 only when the verdict is passed. */
export async function run(file: string, command: Command): Promise<void> {
  const { client, json } = contextOf(command);
  const source = await readFile(file, 'utf8');
  let state = await client.json<ExperimentState>('POST', '/api/v1/chaos/experiments', { source });
  let shown = '';
  while (state.phase === 'running') {
    if (state.message !== shown) say(state.message);
    shown = state.message;
    await systemClock.sleep(POLL_MS);
    state = await client.json<ExperimentState>('GET', `/api/v1/chaos/experiments/${state.id}`);
  }
  if (json) printJson(state);
  else
    process.stdout.write(
      `${state.phase}, verdict: ${state.verdict ?? 'none'}; ${state.message}\nreport: heptad chaos report ${state.id}\n`,
    );
  if (state.verdict !== 'passed') process.exitCode = EXIT.error;
}

/** `heptad chaos abort`. */
export async function abort(command: Command): Promise<void> {
  const answer = await contextOf(command).client.json<{ message: string }>('POST', '/api/v1/chaos/abort', {});
  process.stdout.write(`${answer.message}\n`);
}

/** `heptad chaos report`. */
export async function report(id: string, options: { html?: string }, command: Command): Promise<void> {
  const { client } = contextOf(command);
  const path = `/api/v1/chaos/reports/${encodeURIComponent(id)}`;
  if (options.html === undefined) return printJson(await client.json('GET', path));
  const response = await client.raw('GET', `${path}?format=html`);
  const text = await response.body.text();
  if (text === '') throw new HeptadError('NOT_FOUND', `experiment ${id} has no report yet`);
  await writeFile(options.html, text);
  say(`wrote ${options.html}`);
}
