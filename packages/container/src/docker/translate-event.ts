// Docker's events in the contract's words. Pure.

import type { ContainerEvent } from '@heptad/core';
import { userLabels } from './labels.ts';
import type { DockerEvent } from './schema.ts';

const NANOS_PER_MILLI = 1_000_000;

// Docker's own `restart` comes after the start it made, and not at all when its restart policy acts: it is not used.
const EVENT_TYPES: Readonly<Record<string, ContainerEvent['type']>> = {
  create: 'create',
  start: 'start',
  pause: 'pause',
  unpause: 'resume',
  stop: 'stop',
  die: 'die',
  oom: 'oom',
  destroy: 'remove',
  update: 'update',
  rename: 'rename',
  health_status: 'health_status',
  exec_start: 'exec_start',
  exec_die: 'exec_die',
};

// What the engine adds to a container's labels in the attributes of an event.
const ADDED: Readonly<Record<string, readonly string[]>> = {
  die: ['exitCode', 'execDuration'],
  rename: ['oldName'],
  exec_start: ['execID'],
  exec_die: ['execID', 'exitCode'],
};

/** An event without its number, and the engine's name of the exec it is about. */
export type TranslatedEvent = Omit<ContainerEvent, 'sequence'> & { readonly execId?: string };

/** An event as the contract has it; undefined for one that is no transition (attach, resize, ...). */
export function eventOf(event: DockerEvent): TranslatedEvent | undefined {
  // `health_status: healthy`, `exec_start: sh -c true`: the word before the colon is the action.
  const colon = event.Action.indexOf(':');
  const action = colon < 0 ? event.Action : event.Action.slice(0, colon);
  const argument = colon < 0 ? '' : event.Action.slice(colon + 1).trim();
  const type = EVENT_TYPES[action];
  if (type === undefined) return undefined;
  const attributes = event.Actor.Attributes ?? {};
  const added = ['image', 'name', ...(ADDED[action] ?? [])];
  const labels = Object.fromEntries(Object.entries(attributes).filter(([name]) => !added.includes(name)));
  const at = Math.floor(event.timeNano / NANOS_PER_MILLI);
  const common = { at, type, id: event.Actor.ID, name: attributes.name ?? '', labels: userLabels(labels) };
  if (type === 'die') {
    return { ...common, exit: { exitCode: exitCode(attributes), oomKilled: false, finishedAt: at } };
  }
  if (type === 'rename') return { ...common, oldName: (attributes.oldName ?? '').replace(/^\//, '') };
  if (type === 'health_status') {
    if (argument !== 'starting' && argument !== 'healthy' && argument !== 'unhealthy') return undefined;
    return { ...common, health: argument };
  }
  if (type === 'exec_start' || type === 'exec_die') {
    const id = attributes.execID ?? '';
    const code = type === 'exec_die' ? { exitCode: exitCode(attributes) } : {};
    return {
      ...common,
      execId: id,
      exec: { id, command: argument === '' ? [] : argument.split(' '), ...code },
    };
  }
  return common;
}

function exitCode(attributes: Readonly<Record<string, string>>): number {
  return Number(attributes.exitCode ?? 255);
}
