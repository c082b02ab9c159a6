// ports and expose: short and long syntax, ranges, and the safe default of 127.0.0.1.

import type { ServicePort } from '@heptad/core';
import type { Cursor } from './cursor.ts';

/** A port of a service with the place it was written at, for problems found later. */
export interface PlacedPort {
  readonly port: ServicePort;
  readonly at: Cursor;
}

/** A range of ports is written out; this many at most, for each one is a listener on every node. */
const MAXIMUM_RANGE = 100;
/** Host address of published ports unless another is asked for: what is open to the world must be said. */
const DEFAULT_ADDRESS = '127.0.0.1';
const PORTS = { min: 1, max: 65_535 };

/** Reads `ports`. */
export function readPorts(cursor: Cursor): PlacedPort[] {
  return cursor.items('a list of ports').flatMap((item) => (item.isMap ? readLong(item) : readShort(item)));
}

/** Reads `expose`: ports reachable by other services only. */
export function readExpose(cursor: Cursor): PlacedPort[] {
  return cursor.items('a list of ports').flatMap((item) => {
    const text = item.text('a port');
    if (text === undefined) return [];
    const [range, kind] = text.split('/');
    const protocol = protocolOf(kind, item);
    const ports = portRange(range ?? '', item);
    if (protocol === undefined || ports === undefined) return [];
    return ports.map((port) => ({ port: { name: String(port), port, protocol }, at: item }));
  });
}

const FORMS =
  'write "8080:80", "127.0.0.1:8080:80", "0.0.0.0:8080:80", "8080:80/udp", "8000-8005:9000-9005", or the long form';

function readShort(item: Cursor): PlacedPort[] {
  const text = item.text('a port such as "8080:80"');
  if (text === undefined) return [];
  const slash = text.lastIndexOf('/');
  const protocol = protocolOf(slash < 0 ? undefined : text.slice(slash + 1), item);
  const rest = slash < 0 ? text : text.slice(0, slash);
  const match = /^(?:(\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?([0-9-]+):([0-9-]+)$/.exec(rest);
  if (match === null) {
    if (/^[0-9-]+$/.test(rest)) {
      item.problem(
        `"${text}" names no host port`,
        `write "${rest}:${rest}" to publish it, or put it under expose to keep it inside`,
      );
    } else {
      item.problem(`"${text}" is no port`, FORMS);
    }
    return [];
  }
  const address = match[1] === undefined ? DEFAULT_ADDRESS : match[1].replaceAll(/[[\]]/g, '');
  const published = portRange(match[2] ?? '', item);
  const targets = portRange(match[3] ?? '', item);
  if (protocol === undefined || published === undefined || targets === undefined) return [];
  if (published.length !== targets.length) {
    item.problem(`"${text}" has ${published.length} host ports for ${targets.length} container ports`);
    return [];
  }
  return targets.map((port, index) => ({
    port: {
      name: String(port),
      port,
      protocol,
      published: published[index] ?? port,
      publishedAddress: address,
    },
    at: item,
  }));
}

function readLong(item: Cursor): PlacedPort[] {
  let name: string | undefined;
  let target: number | undefined;
  let published: number | undefined;
  let address: string | undefined;
  let protocol: ServicePort['protocol'] | undefined = 'TCP';
  item.fields(
    {
      name: (value) => {
        name = value.text();
      },
      target: (value) => {
        target = value.integer(PORTS, 'a port');
      },
      published: (value) => {
        published = value.integer(PORTS, 'a port');
      },
      host_ip: (value) => {
        address = value.text('an address');
      },
      protocol: (value) => {
        protocol = protocolOf(value.text(), value);
      },
      mode: (value) => {
        // Both mean the same here: every node's proxy serves the published port.
        value.choice(['ingress', 'host']);
      },
    },
    { app_protocol: 'set x-heptad.traffic to http or tcp' },
  );
  if (item.get('target') === undefined) item.problem('has no target, the port inside the container');
  if (target === undefined || protocol === undefined) return [];
  const port: ServicePort = {
    name: name ?? String(target),
    port: target,
    protocol,
    ...(published === undefined ? {} : { published, publishedAddress: address ?? DEFAULT_ADDRESS }),
  };
  return [{ port, at: item }];
}

function protocolOf(text: string | undefined, at: Cursor): ServicePort['protocol'] | undefined {
  const word = (text ?? 'tcp').toLowerCase();
  if (word === 'tcp') return 'TCP';
  if (word === 'udp') return 'UDP';
  return at.problem(`protocol must be tcp or udp, but is "${text}"`);
}

function portRange(text: string, at: Cursor): number[] | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = match?.[2] === undefined ? first : Number(match[2]);
  const fine = match !== null && first >= PORTS.min && last <= PORTS.max && first <= last;
  if (!fine) return at.problem(`"${text}" is no port from ${PORTS.min} to ${PORTS.max}`, FORMS);
  if (last - first >= MAXIMUM_RANGE) {
    return at.problem(`"${text}" is a range of more than ${MAXIMUM_RANGE} ports`);
  }
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}
