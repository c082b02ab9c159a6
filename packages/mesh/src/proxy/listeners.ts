// Listeners: one listening socket for each address and port that services are reached at, following the snapshot.

import { createServer, type Server, type Socket } from 'node:net';
import {
  type Clock,
  errorMessage,
  HeptadError,
  type MeshService,
  type MeshSnapshot,
  type Timer,
} from '@heptad/core';
import { portOwner } from './port-owner.ts';

/** The service port that a listener serves. */
export interface ServicePortBinding {
  readonly service: string;
  readonly port: number;
  readonly mode: 'http' | 'tcp';
}

/** A listener as `status()` shows it. */
export interface ListenerStatus {
  readonly address: string;
  readonly port: number;
  readonly service: string;
  /** `virtual` for containers, `published` for the host. */
  readonly purpose: 'virtual' | 'published';
  readonly mode: 'http' | 'tcp';
  readonly state: 'listening' | 'retrying' | 'not-supported';
  /** Why it is not listening. */
  readonly error?: { readonly code: string; readonly message: string };
}

interface Wanted {
  readonly key: string;
  readonly address: string;
  readonly port: number;
  readonly purpose: 'virtual' | 'published';
  readonly protocol: 'TCP' | 'UDP';
  readonly binding: ServicePortBinding;
}

interface Entry {
  wanted: Wanted;
  /**
   * A service is published on all addresses at this port: the kernel does not give us one of them beside that, so that socket takes
   * the connections, told apart by the address they came to.
   */
  readonly carried: boolean;
  server: Server | undefined;
  error: HeptadError | undefined;
  timer: Timer | undefined;
}

/** A port may be free again soon: an old process is going, or somebody stops theirs. */
const RETRY_MS = 1_000;
/** Connections the kernel completes before we accept them. */
const BACKLOG = 1_024;

/** Follows the wanted set of listeners; never throws for a single one that cannot be had. */
export class Listeners {
  readonly #clock: Clock;
  readonly #onConnection: (socket: Socket, binding: ServicePortBinding) => void;
  readonly #entries = new Map<string, Entry>();

  constructor(clock: Clock, onConnection: (socket: Socket, binding: ServicePortBinding) => void) {
    this.#clock = clock;
    this.#onConnection = onConnection;
  }

  get status(): readonly ListenerStatus[] {
    return [...this.#entries.values()].map((entry) => {
      const { wanted } = entry;
      const { server, error } = entry.carried ? (this.#carrierOf(wanted) ?? entry) : entry;
      return {
        address: wanted.address,
        port: wanted.port,
        service: wanted.binding.service,
        purpose: wanted.purpose,
        mode: wanted.binding.mode,
        state: wanted.protocol === 'UDP' ? 'not-supported' : server?.listening ? 'listening' : 'retrying',
        ...(error === undefined ? {} : { error: { code: error.code, message: error.message } }),
      };
    });
  }

  /** Opens what is new, closes what is gone, re-labels what stays. Resolves when each new one listens or has failed once. */
  async apply(snapshot: MeshSnapshot): Promise<void> {
    const wanted = new Map(wantedListeners(snapshot).map((one) => [one.key, one]));
    const wholePorts = portsOnAllAddresses(wanted.values());
    const isCarried = ({ address, port }: Wanted): boolean => wholePorts.has(port) && !isWildcard(address);
    for (const [key, entry] of this.#entries) {
      const still = wanted.get(key);
      if (still !== undefined && isCarried(still) === entry.carried) continue;
      this.#entries.delete(key);
      closeEntry(entry);
    }
    const opening: Promise<void>[] = [];
    for (const [key, one] of wanted) {
      const entry = this.#entries.get(key);
      if (entry !== undefined) {
        entry.wanted = one;
        continue;
      }
      const carried = isCarried(one);
      const fresh: Entry = { wanted: one, carried, server: undefined, error: undefined, timer: undefined };
      this.#entries.set(key, fresh);
      if (!carried) opening.push(this.#open(fresh));
    }
    await Promise.all(opening);
  }

  /** Stops listening; connections go on. */
  close(): void {
    for (const entry of this.#entries.values()) closeEntry(entry);
    this.#entries.clear();
  }

  #carrierOf({ port }: Wanted): Entry | undefined {
    return [...this.#entries.values()].find(
      ({ wanted }) => wanted.port === port && wanted.protocol === 'TCP' && isWildcard(wanted.address),
    );
  }

  /** Whose a connection is: of the service at the very address it came to, else of the socket's own. */
  #bindingOf(entry: Entry, socket: Socket): ServicePortBinding {
    if (!isWildcard(entry.wanted.address)) return entry.wanted.binding;
    const address = socket.localAddress?.replace(/^::ffff:/, '');
    for (const { wanted, carried } of this.#entries.values()) {
      if (carried && wanted.port === entry.wanted.port && wanted.address === address) return wanted.binding;
    }
    return entry.wanted.binding;
  }

  /** Who has the port: another service of ours, or a process. */
  async #explain(wanted: Wanted, error: NodeJS.ErrnoException): Promise<HeptadError> {
    if (error.code !== 'EADDRINUSE') return listenError(wanted, error, undefined);
    for (const { wanted: other, server } of this.#entries.values()) {
      const same = other.port === wanted.port && other.address === wanted.address;
      if (same && other.key !== wanted.key && server?.listening) {
        return listenError(wanted, error, `service ${other.binding.service}`);
      }
    }
    return listenError(wanted, error, await portOwner(wanted.port));
  }

  #open(entry: Entry): Promise<void> {
    const { wanted } = entry;
    if (wanted.protocol === 'UDP') {
      entry.error = new HeptadError(
        'NOT_SUPPORTED',
        `UDP port ${wanted.port} of service ${wanted.binding.service} is not forwarded: the node proxy carries TCP`,
        { hint: 'reach UDP ports at the containers’ own addresses' },
      );
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const server = createServer({ noDelay: true, allowHalfOpen: true, highWaterMark: SOCKET_BUFFER_BYTES });
      entry.server = server;
      server.on('connection', (socket) => this.#onConnection(socket, this.#bindingOf(entry, socket)));
      server.on('error', (error: NodeJS.ErrnoException) => {
        server.close();
        if (this.#entries.get(wanted.key) === entry) {
          entry.timer = this.#clock.timer(RETRY_MS, () => void this.#open(entry), { unref: true });
        }
        void this.#explain(wanted, error).then((explained) => {
          if (!server.listening && entry.server === server) entry.error = explained;
          resolve();
        });
      });
      server.listen({ host: wanted.address, port: wanted.port, backlog: BACKLOG }, () => {
        entry.error = undefined;
        // It may have been taken out of the snapshot while the kernel was asked.
        if (this.#entries.get(wanted.key) !== entry) server.close();
        resolve();
      });
    });
  }
}

/** Larger reads than Node's 16 KiB writes mark mean fewer pauses for big bodies, at 64 KiB per busy connection. */
const SOCKET_BUFFER_BYTES = 64 * 1024;

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}

function portsOnAllAddresses(wanted: Iterable<Wanted>): Set<number> {
  const ports = new Set<number>();
  for (const { address, port, protocol } of wanted)
    if (protocol === 'TCP' && isWildcard(address)) ports.add(port);
  return ports;
}

function closeEntry(entry: Entry): void {
  entry.timer?.cancel();
  entry.server?.close();
}

function wantedListeners(snapshot: MeshSnapshot): Wanted[] {
  const wanted: Wanted[] = [];
  for (const service of snapshot.services) {
    for (const port of service.ports) {
      const binding = { service: service.name, port: port.port, mode: service.mode };
      const { protocol } = port;
      const add = (purpose: Wanted['purpose'], address: string, number: number): void => {
        wanted.push({
          key: keyOf(service, purpose, address, number, protocol),
          address,
          port: number,
          purpose,
          protocol,
          binding,
        });
      };
      if (service.virtualAddress !== undefined) add('virtual', service.virtualAddress, port.port);
      if (port.published !== undefined) add('published', port.published.address, port.published.port);
    }
  }
  return wanted;
}

/** The service is part of the key: two that claim one port are two entries, of which the second says PORT_IN_USE. */
function keyOf(
  service: MeshService,
  purpose: string,
  address: string,
  port: number,
  protocol: string,
): string {
  return `${purpose} ${protocol} ${address} ${port} ${service.name}`;
}

function listenError(wanted: Wanted, error: NodeJS.ErrnoException, owner: string | undefined): HeptadError {
  const { address, port, binding } = wanted;
  const what = `listen on ${address}:${port} for service ${binding.service}`;
  const details = { address, port, service: binding.service, ...(owner === undefined ? {} : { owner }) };
  const options = { cause: error, retryable: true, details };
  if (error.code === 'EADDRINUSE') {
    return new HeptadError(
      'PORT_IN_USE',
      `cannot ${what}: the port is in use by ${owner ?? 'another program'}`,
      {
        ...options,
        hint: `find it with \`ss -ltnp 'sport = :${port}'\`, stop it or publish another port; it is tried again every second`,
      },
    );
  }
  if (error.code === 'EADDRNOTAVAIL') {
    return new HeptadError(
      'ADDRESS_NOT_AVAILABLE',
      `cannot ${what}: this machine does not have the address`,
      options,
    );
  }
  if (error.code === 'EACCES') {
    return new HeptadError('PERMISSION_DENIED', `cannot ${what}: ports below 1024 need privilege`, {
      ...options,
      hint: 'publish a port from 1024 up, or run as root',
    });
  }
  return new HeptadError('LISTEN_FAILED', `cannot ${what}: ${errorMessage(error)}`, options);
}
