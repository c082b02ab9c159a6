// Moves bytes between a client's raw connection and a process: framed for pipes, raw for terminals, detaching on keys.

import { encodeFrame } from '../docker/multiplex.ts';
import type { RawConnection } from './call.ts';
import { writeTo } from './call.ts';
import type { DetachKeys } from './detach-keys.ts';

/** The process's side. */
export interface RelayedProcess {
  readonly stdout?: AsyncIterable<Uint8Array> | undefined;
  readonly stderr?: AsyncIterable<Uint8Array> | undefined;
  /** Takes input; absent: what the client sends is thrown away. */
  readonly write?: ((bytes: Uint8Array) => Promise<void>) | undefined;
  /** The client has said its last. */
  readonly end?: (() => Promise<void>) | undefined;
}

/** Sends output until the process or the client is gone. Frames it unless `tty`. */
export async function relayOutput(
  connection: RawConnection,
  process: RelayedProcess,
  tty: boolean,
): Promise<void> {
  const send = async (
    stream: 'stdout' | 'stderr',
    source: AsyncIterable<Uint8Array> | undefined,
  ): Promise<void> => {
    for await (const bytes of source ?? []) {
      if (bytes.length === 0) continue;
      if (!(await writeTo(connection.output, tty ? bytes : encodeFrame(stream, bytes)))) return;
    }
  };
  await Promise.all([send('stdout', process.stdout), send('stderr', process.stderr)]);
}

/** Hands input on until the client half-closes, or presses the keys to detach; answers which. */
export async function relayInput(
  connection: RawConnection,
  process: RelayedProcess,
  keys: DetachKeys | undefined,
): Promise<'ended' | 'detached'> {
  for await (const chunk of connection.input) {
    const { pass, detached } = keys?.filter(chunk) ?? { pass: chunk, detached: false };
    // A process that ended, or closed its input, does not make what it wrote less worth sending.
    if (pass.length > 0) await process.write?.(pass).catch(() => undefined);
    if (detached) return 'detached';
  }
  await process.end?.().catch(() => undefined);
  return 'ended';
}
