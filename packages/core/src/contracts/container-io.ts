// What goes into and comes out of a container: logs, exec, attach, archives of files, new images.

import type { Instant } from '../ports/clock.ts';
import type { FileStat } from './container-info.ts';

/** One line of output. */
export interface LogLine {
  readonly at: Instant;
  readonly stream: 'stdout' | 'stderr';
  readonly text: string;
}

/** Which lines. */
export interface LogOptions {
  readonly follow?: boolean;
  readonly since?: Instant;
  readonly until?: Instant;
  /** Only the last n lines. */
  readonly tail?: number;
  readonly stream?: 'stdout' | 'stderr';
  readonly signal?: AbortSignal;
}

/** Columns and rows of a terminal, each 1..1000. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** A program to run inside a running container. It gets the container's capabilities at most, never more. */
export interface ExecOptions {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly workingDirectory?: string;
  readonly user?: string;
  /** Bytes for standard input, as they come; its end closes it. None: it is closed from the start. */
  readonly stdin?: AsyncIterable<Uint8Array> | Uint8Array;
  /** A terminal of its own, of this size (`true`: 80 x 24): output is all in `stdout`, and TERM is `xterm` unless given. */
  readonly tty?: boolean | TerminalSize;
  /** Nobody listens: no streams and no `stdin`, and it runs on when our process ends. */
  readonly detach?: boolean;
  /** Kills it (and all it started) after this long. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A running exec. */
export interface ExecSession {
  /** Of `exec_start` and `exec_die`; unique on this machine. */
  readonly id: string;
  /** Of the command as the host sees it; absent while it is not known. */
  readonly pid?: number | undefined;
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  /** The exit code; rejects with `TIMEOUT` or the abort reason when it was killed for that. */
  readonly exit: Promise<number>;
  /** Of one with a terminal; `INVALID_ARGUMENT` without one. */
  resize(size: TerminalSize): Promise<void>;
}

/** Which streams of a container to join. */
export interface AttachOptions {
  /** Wants to write to standard input, which must be open (`openStdin` or `tty` of the spec). Default false. */
  readonly stdin?: boolean;
  /** First what it has written so far: all, or this many lines; then what it writes, without a gap. Default false. */
  readonly replay?: boolean | number;
  /** Detaches. */
  readonly signal?: AbortSignal;
}

/** One of any number of clients joined to a container's main process. */
export interface AttachSession {
  /** Exactly the bytes written, as far as the log keeps them; with a terminal those of both streams. Ends with the container. */
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  /** Resolves when the bytes are on their way to the process; `NOT_SUPPORTED` when `stdin` was not asked for. */
  write(bytes: Uint8Array): Promise<void>;
  /** Half-close: standard input ends for the process, its output goes on. Nobody can write after that. */
  end(): Promise<void>;
  /** Leaves; the container runs on and its standard input stays open. Idempotent. */
  detach(): Promise<void>;
}

/** Files of a container as a tar stream (POSIX.1-2001, pax). */
export interface ArchiveStream {
  /** The path that was asked for; a link at its end is itself, unless the path ends in a slash. */
  readonly stat: FileStat;
  /** A directory or file is one top entry, named by the last part of the path. */
  readonly content: AsyncIterable<Uint8Array>;
}

/** How files come in. */
export interface CopyInOptions {
  /** Keep the owners in the archive; else all belong to the container's user. Default true. */
  readonly keepOwners?: boolean;
  readonly signal?: AbortSignal;
}

/** How a container becomes an image. */
export interface CommitOptions {
  /** The new image's name; none: only its digest. */
  readonly reference?: string;
  readonly author?: string;
  readonly message?: string;
  /** Freezes a running container meanwhile, so that the image is of one moment. Default true. */
  readonly pause?: boolean;
  /** Replace what the image's configuration says. */
  readonly changes?: {
    readonly entrypoint?: readonly string[];
    readonly command?: readonly string[];
    readonly environment?: Readonly<Record<string, string>>;
    readonly workingDirectory?: string;
    readonly user?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly stopSignal?: string;
  };
}
