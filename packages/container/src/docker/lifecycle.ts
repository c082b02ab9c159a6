// Creating, starting, ending and removing containers of a Docker Engine.

import { randomBytes } from 'node:crypto';
import type { ContainerId, ContainerSpec, RemoveOptions } from '@heptad/core';
import { isHeptadError } from '@heptad/core';
import { ContainerError } from '../errors.ts';
import { signalNumber } from '../lifecycle/signals.ts';
import { requireNextState, requireState } from '../lifecycle/state-machine.ts';
import { resizeTerminal } from './attach.ts';
import { nameOf, stateOf } from './container-info.ts';
import type { DockerContext } from './context.ts';
import { createBody } from './create-body.ts';
import { rewriteHosts } from './hosts-file.ts';
import { CREATION_LABEL } from './labels.ts';
import { type DockerContainer, parseId } from './schema.ts';
import { signalAll } from './top.ts';
import { endsWithin } from './waiting.ts';

// After SIGKILL the kernel frees a process within milliseconds, unless it is stuck in a device.
const KILL_DEADLINE_MS = 10_000;
const SIGKILL = 9;

/** See {@link ContainerRuntime.create}; the spec is valid. */
export async function createContainer(context: DockerContext, spec: ContainerSpec): Promise<ContainerId> {
  const { connection, secrets, owner, defaultNetwork } = context;
  const creation = randomBytes(16).toString('hex');
  try {
    const secretPaths = await secrets.write(creation, spec.secrets ?? []);
    return parseId(
      await connection.json({
        method: 'POST',
        path: '/containers/create',
        query: { name: spec.name },
        json: createBody(spec, { owner, creation, defaultNetwork, secretPaths }),
        doing: `create container "${spec.name}"`,
      }),
    );
  } catch (error) {
    // When the connection broke before the answer, the container may exist: it is found by its creation's label.
    if (isHeptadError(error, 'RUNTIME_UNAVAILABLE')) await undo(context, creation).catch(() => undefined);
    await secrets.remove(creation);
    throw error;
  }
}

async function undo({ containers }: DockerContext, creation: string): Promise<void> {
  for (const container of await containers.ofCreation(creation))
    await containers.remove(container, { force: true, volumes: true });
}

/** See {@link ContainerRuntime.start}. */
export async function startContainer(context: DockerContext, container: DockerContainer): Promise<void> {
  const name = nameOf(container);
  requireNextState(name, stateOf(container), 'start');
  context.feed.expectStart(container.Id);
  await context.notes.revive(container.Id);
  const status = await post(context, container, 'start', `start container "${name}"`);
  // Somebody else was quicker.
  if (status === 304) requireNextState(name, 'running', 'start');
  await restore(context, container.Id);
}

/** Gives it the size of its terminal, and writes host names set since creation again; the engine made the file anew. */
async function restore(context: DockerContext, id: ContainerId): Promise<void> {
  const { hosts, size } = await context.notes.read(id);
  // One that is over already needs no size.
  if (size !== undefined) {
    await resizeTerminal(context.connection, `/containers/${id}`, size, 'size a terminal').catch(
      () => undefined,
    );
  }
  if (hosts !== undefined) await rewriteHosts(await context.containers.find(id), hosts);
}

/** See {@link ContainerRuntime.stop}. */
export async function stopContainer(
  context: DockerContext,
  container: DockerContainer,
  options: { graceMs: number; signal?: AbortSignal },
  endedBy: 'stop' | 'unhealthy' = 'stop',
): Promise<void> {
  const { connection, clock } = context;
  const name = nameOf(container);
  requireNextState(name, stateOf(container), 'stop');
  if (stateOf(container) === 'stopped') {
    // Between two runs its restart policy would start it again: the engine's own stop calls that off.
    if (container.State.Status === 'restarting')
      await post(context, container, 'stop', `stop container "${name}"`);
    return;
  }
  await context.notes.write(container.Id, { endedBy });
  // Not the engine's own stop: that one counts in whole seconds and cannot be called off.
  if (options.graceMs > 0) {
    await sendSignal(context, container, signalNumber(container.Config.StopSignal || 'SIGTERM'));
    // Most engines thaw it themselves for its stop signal; then there is nothing left to thaw.
    if (stateOf(container) === 'paused')
      await post(context, container, 'unpause', 'thaw').catch(() => undefined);
    if (await endsWithin(connection, clock, container, options.graceMs, options.signal)) return;
  }
  // One that ended meanwhile is what was wanted: the wait below finds out.
  await sendSignal(context, container, SIGKILL).catch(() => undefined);
  if (await endsWithin(connection, clock, container, KILL_DEADLINE_MS)) return;
  throw new ContainerError(
    'CONTAINER_STUCK',
    `cannot stop container "${name}": it did not end ${KILL_DEADLINE_MS} ms after SIGKILL`,
    {
      hint: 'its process waits in the kernel (state D), or the Docker daemon hangs: look at its log',
      retryable: true,
    },
  );
}

/** See {@link ContainerRuntime.kill}. */
export async function killContainer(
  context: DockerContext,
  container: DockerContainer,
  signal: number,
  all: boolean,
): Promise<void> {
  requireState(nameOf(container), stateOf(container), 'kill', ['running', 'paused']);
  await context.notes.write(container.Id, { endedBy: 'kill', signal });
  if (all) await signalAll(context.connection, context.clock, container, signal);
  // Through the engine too for the main process, so that it knows of a killing by hand; a second SIGKILL changes nothing.
  if (!all || signal === SIGKILL) await sendSignal(context, container, signal).catch(onlyIf(!all));
}

/** See {@link ContainerRuntime.remove}. */
export async function removeContainer(
  context: DockerContext,
  container: DockerContainer,
  { force = false, volumes = false }: RemoveOptions,
): Promise<void> {
  requireNextState(nameOf(container), stateOf(container), force ? 'remove-by-force' : 'remove');
  await context.containers.remove(container, { force, volumes });
  await context.secrets.remove(container.Config.Labels?.[CREATION_LABEL] ?? container.Id);
  await context.notes.forget(container.Id);
}

/** A verb without a body; answers the status. */
export async function post(
  context: DockerContext,
  container: DockerContainer,
  verb: string,
  doing: string,
): Promise<number> {
  const path = `/containers/${container.Id}/${verb}`;
  return await context.connection.status({ method: 'POST', path, doing });
}

async function sendSignal(context: DockerContext, container: DockerContainer, signal: number): Promise<void> {
  await context.connection.status({
    method: 'POST',
    path: `/containers/${container.Id}/kill`,
    query: { signal },
    doing: `send signal ${signal} to container "${nameOf(container)}"`,
  });
}

/** Rethrows only when it matters. */
function onlyIf(matters: boolean): (error: unknown) => void {
  return (error) => {
    if (matters) throw error;
  };
}
