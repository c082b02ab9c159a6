// The list of events on the page: newest first, each once, bounded. Pure.

import type { PlatformEvent } from '../api/types.ts';

/** More than anybody scrolls through; the API keeps the rest. */
export const MAX_EVENTS = 500;

/** Reads an event; undefined for anything else. */
export function parseEvent(value: unknown): PlatformEvent | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  const text = (key: string): string => {
    const member: unknown = Reflect.get(value, key);
    return typeof member === 'string' ? member : '';
  };
  const at: unknown = Reflect.get(value, 'at');
  if (typeof at !== 'number' || text('object') === '') return undefined;
  return { at, object: text('object'), op: text('op'), because: text('because'), source: text('source') };
}

/** What tells two events apart: the stream and the list of recent ones overlap, and the stream has no ids of events. */
export function eventKey(event: PlatformEvent): string {
  return `${event.at} ${event.object} ${event.op} ${event.because}`;
}

/** Both lists in one, newest first. */
export function mergeEvents(
  known: readonly PlatformEvent[],
  more: readonly PlatformEvent[],
): PlatformEvent[] {
  const byKey = new Map([...known, ...more].map((event) => [eventKey(event), event]));
  return [...byKey.values()].sort((a, b) => b.at - a.at).slice(0, MAX_EVENTS);
}

/** `Service/default/web` as kind and name; the namespace only when it is not the usual one. */
export function objectName(object: string): { kind: string; name: string } {
  const [kind = object, namespace, ...rest] = object.split('/');
  const name = rest.join('/');
  if (name === '') return { kind, name: namespace ?? '' };
  return { kind, name: namespace === 'default' ? name : `${namespace}/${name}` };
}
