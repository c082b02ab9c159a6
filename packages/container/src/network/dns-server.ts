// The name server of one network: answers for its containers, passes other questions to the host's resolver.

import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, isIPv4, type Server, type Socket } from 'node:net';
import type { Clock } from '@heptad/core';
import { errnoOf } from '../errors.ts';
import {
  type DnsAnswer,
  parseQuestion,
  RCODE_REFUSED,
  RCODE_SERVFAIL,
  response,
  reversedAddress,
  TYPE_A,
  TYPE_PTR,
} from './dns-message.ts';

/** Who is known by which names. */
export interface NameEntry {
  readonly names: readonly string[];
  readonly address: string;
  /** Its own servers for other questions. Default the host's. */
  readonly servers: readonly string[];
}

/** Options of {@link DnsServer}. */
export interface DnsServerOptions {
  /** The address to answer at. */
  readonly address: string;
  /** Default 53. */
  readonly port?: number;
  /** Whether a question from this address is answered at all. */
  readonly allows: (address: string) => boolean;
  readonly entries: () => readonly NameEntry[];
  /** Servers that questions are passed to. Default those of the host's resolv.conf. */
  readonly upstream?: () => Promise<readonly string[]>;
  readonly clock: Clock;
}

const DNS_PORT = 53;
// A container that gets another address at its next start must be found there soon.
const TTL_SECONDS = 5;
// Resolvers ask again after 5 s: an answer that comes later is for nobody.
const UPSTREAM_TIMEOUT_MS = 4_000;
// Each waits for an answer with a socket of its own; more are a flood, and are refused.
const MAX_PENDING = 256;
const MAX_TCP_CLIENTS = 64;

/** A name server on UDP and TCP. */
export class DnsServer implements AsyncDisposable {
  private readonly options: DnsServerOptions;
  private udp: UdpSocket | undefined;
  private tcp: Server | undefined;
  private pending = 0;
  private turn = 0;

  constructor(options: DnsServerOptions) {
    this.options = options;
  }

  /** Begins to answer. Returns why not when the address cannot be had: another server is there, or it does not exist. */
  async start(): Promise<string | undefined> {
    const { address, port = DNS_PORT } = this.options;
    const udp = createSocket({ type: 'udp4' });
    try {
      await new Promise<void>((resolve, reject) => {
        udp.once('error', reject);
        udp.bind({ address, port, exclusive: true }, resolve);
      });
      // With port 0 both must have the number that the first one got.
      const tcp = await listen(address, udp.address().port, (socket) => this.serveTcp(socket));
      udp.removeAllListeners('error');
      // A packet that cannot be sent is lost as packets are; the asker repeats itself.
      udp.on('error', () => undefined);
      udp.on('message', (message, from) => void this.answerUdp(message, from));
      // Neither keeps the program alive: containers and their names live on without it.
      udp.unref();
      tcp.unref();
      this.udp = udp;
      this.tcp = tcp;
      return undefined;
    } catch (error) {
      udp.close();
      const errno = errnoOf(error);
      if (errno !== 'EADDRINUSE' && errno !== 'EADDRNOTAVAIL' && errno !== 'EACCES') throw error;
      return `cannot answer DNS at ${address}:${port}: ${errno}`;
    }
  }

  get listening(): boolean {
    return this.udp !== undefined;
  }

  get port(): number {
    return (this.tcp?.address() as AddressInfo | null)?.port ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.udp?.close();
    this.tcp?.close();
    this.udp = undefined;
    this.tcp = undefined;
  }

  private async answerUdp(message: Buffer, from: RemoteInfo): Promise<void> {
    if (!this.options.allows(from.address)) return;
    const answer = await this.answer(message, from.address, 'udp');
    if (answer !== undefined) this.udp?.send(answer, from.port, from.address);
  }

  private serveTcp(socket: Socket): void {
    const from = socket.remoteAddress ?? '';
    socket.on('error', () => socket.destroy());
    if (!this.options.allows(from)) {
      socket.destroy();
      return;
    }
    socket.setTimeout(UPSTREAM_TIMEOUT_MS * 2, () => socket.destroy());
    let received: Buffer = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      // The length is two bytes, so what is kept is bounded by 64 KiB and one chunk.
      while (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
        const length = received.readUInt16BE(0);
        const message = received.subarray(2, 2 + length);
        received = received.subarray(2 + length);
        void this.answer(message, from, 'tcp').then((answer) => {
          if (answer === undefined) socket.destroy();
          else if (socket.writable) socket.write(framed(answer));
        });
      }
    });
  }

  /** The answer; undefined for what is not a question. Never throws: an upstream that fails is a SERVFAIL. */
  private async answer(message: Buffer, from: string, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const question = parseQuestion(message);
    if (question === undefined) return undefined;
    const entries = this.options.entries();
    const known = this.own(question.name, question.type, entries);
    if (known !== undefined) return response(message, question, known, TTL_SECONDS);
    if (this.pending >= MAX_PENDING) return response(message, question, [], 0, RCODE_REFUSED);
    this.pending += 1;
    try {
      const own = entries.find(({ address }) => address === from)?.servers ?? [];
      const servers = own.length > 0 ? own : await (this.options.upstream ?? hostServers)();
      for (const server of servers) {
        const answer = await this.ask(message, server, transport).catch(() => undefined);
        if (answer !== undefined) return answer;
      }
      return response(message, question, [], 0, RCODE_SERVFAIL);
    } finally {
      this.pending -= 1;
    }
  }

  /** Answers of our own; [] when the name is ours but has nothing of the type; undefined when it is not ours. */
  private own(name: string, type: number, entries: readonly NameEntry[]): DnsAnswer[] | undefined {
    const reversed = reversedAddress(name);
    if (reversed !== undefined) {
      const first = entries.find(({ address }) => address === reversed)?.names[0];
      if (first === undefined) return undefined;
      return type === TYPE_PTR ? [{ pointer: first }] : [];
    }
    const found = entries.filter(({ names }) => names.some((each) => each.toLowerCase() === name));
    if (found.length === 0) return undefined;
    if (type !== TYPE_A) return [];
    // Several containers may share an alias: each answer begins with another one.
    this.turn += 1;
    const first = this.turn % found.length;
    return [...found.slice(first), ...found.slice(0, first)].map(({ address }) => ({ address }));
  }

  private async ask(message: Buffer, server: string, transport: 'udp' | 'tcp'): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const late = this.options.clock.timer(UPSTREAM_TIMEOUT_MS, () => reject(new Error('no answer')));
    const [host = server, port = String(DNS_PORT)] = server.split('#');
    const close = transport === 'udp' ? askUdp : askTcp;
    const end = close(message, host, Number(port), resolve, reject);
    try {
      return await promise;
    } finally {
      late.cancel();
      end();
    }
  }
}

function askUdp(
  message: Buffer,
  host: string,
  port: number,
  resolve: (answer: Buffer) => void,
  reject: (error: Error) => void,
): () => void {
  const socket = createSocket(isIPv4(host) ? 'udp4' : 'udp6');
  socket.on('error', reject);
  // Connected, so that only the server itself can answer; a random port and the id guard against the rest.
  socket.connect(port, host, () => socket.send(message));
  socket.on('message', (answer) => {
    if (answer.length >= 2 && answer.readUInt16BE(0) === message.readUInt16BE(0)) resolve(answer);
  });
  return () => socket.close();
}

function askTcp(
  message: Buffer,
  host: string,
  port: number,
  resolve: (answer: Buffer) => void,
  reject: (error: Error) => void,
): () => void {
  const socket = connect({ host, port });
  let received: Buffer = Buffer.alloc(0);
  socket.on('error', reject);
  socket.on('end', () => reject(new Error('closed')));
  socket.on('connect', () => socket.write(framed(message)));
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    if (received.length >= 2 && received.length >= 2 + received.readUInt16BE(0)) {
      resolve(received.subarray(2, 2 + received.readUInt16BE(0)));
    }
  });
  return () => socket.destroy();
}

function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

async function listen(address: string, port: number, serve: (socket: Socket) => void): Promise<Server> {
  const server = createServer(serve);
  server.maxConnections = MAX_TCP_CLIENTS;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: address, port, exclusive: true }, resolve);
  });
  server.removeAllListeners('error');
  server.on('error', () => undefined);
  return server;
}

/** The servers in the host's resolv.conf, those on its loopback too: we ask from the host. */
async function hostServers(): Promise<readonly string[]> {
  const text = await readFile('/etc/resolv.conf', 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
}
