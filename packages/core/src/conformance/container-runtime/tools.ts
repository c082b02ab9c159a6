// Short words for the cases of the ContainerRuntime suite.

import assert from 'node:assert/strict';
import type {
  ContainerId,
  ContainerSpec,
  ContainerState,
  ExecOptions,
  LogOptions,
  RuntimeCapabilities,
} from '../../contracts/container-runtime.ts';
import { systemClock } from '../../ports/node/clock.ts';
import { systemRandom } from '../../ports/node/random.ts';
import type { ContainerRuntimeHarness } from '../container-runtime.ts';
import { type ConformanceCase, conformanceCase } from '../suite.ts';

/** Longest wait for something that must happen; far beyond what any runtime needs. */
export const PATIENCE_MS = 20_000;
const LOOK_EVERY_MS = 25;

/** Prints a line ten times a second for ever. */
export const TICK = `let n = 0; setInterval(() => console.log('tick ' + n++), 100)`;
/** Says ready, then lives until it is told to stop, and leaves with code 3. */
export const POLITE = `process.on('SIGTERM', () => process.exit(3)); setInterval(() => {}, 1000); console.log('ready')`;
/** Says ready, and ignores what it is told. */
export const STUBBORN = `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('ready')`;

/** A signal that aborts when patience ends. */
export function patience(): AbortSignal {
  const over = new AbortController();
  const reason = new Error(`nothing happened within ${PATIENCE_MS} ms`);
  systemClock.timer(PATIENCE_MS, () => over.abort(reason), { unref: true });
  return over.signal;
}

/** A case named for its part of the contract. */
export function runtimeCase(
  name: string,
  body: (harness: ContainerRuntimeHarness) => Promise<void>,
): ConformanceCase<ContainerRuntimeHarness> {
  return conformanceCase(name, body);
}

/** A spec that runs a line of JavaScript. */
export function scriptSpec(
  harness: ContainerRuntimeHarness,
  source: string,
  more: Partial<ContainerSpec> = {},
): ContainerSpec {
  return {
    name: `conformance-${systemRandom.integer(2 ** 40).toString(36)}`,
    image: harness.image,
    entrypoint: [harness.node ?? 'node'],
    command: ['-e', source],
    ...more,
  };
}

/** Creates and starts; answers the id. */
export async function run(
  harness: ContainerRuntimeHarness,
  source: string,
  more: Partial<ContainerSpec> = {},
): Promise<ContainerId> {
  const id = await harness.runtime.create(scriptSpec(harness, source, more));
  await harness.runtime.start(id);
  return id;
}

/** Runs to the end; answers its output and exit code. */
export async function runToEnd(
  harness: ContainerRuntimeHarness,
  source: string,
  more: Partial<ContainerSpec> = {},
): Promise<{ id: ContainerId; exitCode: number; stdout: string[]; stderr: string[] }> {
  const id = await run(harness, source, more);
  const { exitCode } = await harness.runtime.wait(id, 'not-running', patience());
  const stdout = await linesOf(harness, id, { stream: 'stdout' });
  const stderr = await linesOf(harness, id, { stream: 'stderr' });
  return { id, exitCode, stdout, stderr };
}

/** The lines a container has written. */
export async function linesOf(
  harness: Pick<ContainerRuntimeHarness, 'runtime'>,
  id: ContainerId,
  options: LogOptions = {},
): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of harness.runtime.logs(id, options)) lines.push(line.text);
  return lines;
}

/** Runs a line of JavaScript in a running container; answers all it said. */
export async function execScript(
  harness: Pick<ContainerRuntimeHarness, 'runtime' | 'node'>,
  id: ContainerId,
  source: string,
  more: Partial<ExecOptions> = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const command = [harness.node ?? 'node', '-e', source];
  const session = await harness.runtime.exec(id, { command, ...more });
  const [stdout, stderr, exitCode] = await Promise.all([
    textOf(session.stdout),
    textOf(session.stderr),
    session.exit,
  ]);
  return { exitCode, stdout, stderr };
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** Looks again and again until it holds; fails with `what` when it never does. */
export async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = systemClock.monotonicMs() + PATIENCE_MS;
  while (!(await holds())) {
    assert.ok(systemClock.monotonicMs() < deadline, `${what}: not within ${PATIENCE_MS} ms`);
    await systemClock.sleep(LOOK_EVERY_MS);
  }
}

/** Waits until the container has said `text`. */
export function said(harness: ContainerRuntimeHarness, id: ContainerId, text: string): Promise<void> {
  return eventually(`the container says "${text}"`, async () =>
    (await linesOf(harness, id)).some((line) => line.includes(text)),
  );
}

/** Its state now. */
export async function stateOf(harness: ContainerRuntimeHarness, id: ContainerId): Promise<ContainerState> {
  return (await harness.runtime.inspect(id)).state;
}

/** What the runtime can do. */
export async function capabilitiesOf(harness: ContainerRuntimeHarness): Promise<RuntimeCapabilities> {
  return (await harness.runtime.probe()).capabilities;
}
