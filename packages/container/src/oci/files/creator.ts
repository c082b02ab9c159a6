// Makes new files in a container: by ourselves, or, where the host's root has no id, by a process that is the container's root.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, symlink } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { getSystemErrorName } from 'node:util';
import { ContainerError } from '../../errors.ts';
import { run, TOOL_PATH } from '../../system/command.ts';
import { PERL } from '../relays.ts';
import type { Owner } from './container-ids.ts';
import { type Found, within } from './rooted.ts';

/** Makes what is not there yet; `EEXIST` when it is. Owner and times are whoever calls it to set. */
export interface Creator extends AsyncDisposable {
  directory(found: Found, mode: number): Promise<void>;
  /** An empty file, open for writing, for its owner only. */
  file(found: Found): Promise<FileHandle>;
  symlink(found: Found, target: string): Promise<void>;
  fifo(found: Found, mode: number): Promise<void>;
}

const PRIVATE = 0o600;
const NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
// Not blocking: were it replaced by a FIFO since, opening would wait for somebody who reads.
const EXISTING = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Makes files as we are. */
export class OwnCreator implements Creator {
  async directory(found: Found, mode: number): Promise<void> {
    await mkdir(found.path, mode);
  }

  async file(found: Found): Promise<FileHandle> {
    return await open(found.path, NEW, PRIVATE);
  }

  async symlink(found: Found, target: string): Promise<void> {
    await symlink(target, found.path);
  }

  async fifo(found: Found, mode: number): Promise<void> {
    const cwd = outsidePath(within(found.directory, '.'));
    const { exitCode, stderr } = await run('mkfifo', ['-m', mode.toString(8), '--', found.name], { cwd });
    if (exitCode !== 0) throw new ContainerError('COMMAND_FAILED', `mkfifo failed: ${stderr.trim()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

// It may reach any directory of the container, and our open handles.
const CAPABILITIES = '+dac_override,+dac_read_search,+sys_ptrace';
// One request a line, texts in hexadecimal; the answer is 0 or the errno.
const SCRIPT = `
use strict; use POSIX (); use Fcntl;
umask 0; $| = 1;
while (my $line = <STDIN>) {
  chomp $line;
  my ($verb, $mode, @texts) = split / /, $line;
  my ($path, $target) = map { pack('H*', $_) } @texts;
  my $file;
  my $made = $verb eq 'directory' ? mkdir($path, $mode)
    : $verb eq 'file' ? sysopen($file, $path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, $mode)
    : $verb eq 'symlink' ? symlink($target, $path)
    : POSIX::mkfifo($path, $mode);
  print(($made ? 0 : $! + 0), "\\n");
}
`;

type Helper = ChildProcessByStdio<Writable, Readable, Readable>;

/**
 * Makes files in a running container with a user namespace. What the kernel makes belongs to the file system id of the
 * maker, and where that has no id in the container (the idmapped mounts of its root and volumes, its memory file systems)
 * the answer is EOVERFLOW. Node cannot change that id of one thread; a process of the container's root id has it.
 */
export class MappedCreator implements Creator {
  private readonly root: Owner;
  private helper: Helper | undefined;
  private answers: AsyncIterator<string> | undefined;
  private complaint = '';

  constructor(root: Owner) {
    this.root = root;
  }

  async directory(found: Found, mode: number): Promise<void> {
    await this.ask('directory', mode, found.path);
  }

  async file(found: Found): Promise<FileHandle> {
    await this.ask('file', PRIVATE, found.path);
    const handle = await open(found.path, EXISTING);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw new ContainerError(
      'INVALID_ARGUMENT',
      `cannot copy to ${found.logical}: the container has replaced it`,
    );
  }

  async symlink(found: Found, target: string): Promise<void> {
    await this.ask('symlink', 0, found.path, target);
  }

  async fifo(found: Found, mode: number): Promise<void> {
    await this.ask('fifo', mode, found.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { helper } = this;
    if (helper === undefined || helper.exitCode !== null || helper.signalCode !== null) return;
    const ended = new Promise((resolve) => helper.once('close', resolve));
    // Nothing is under way: every answer was waited for.
    helper.kill('SIGKILL');
    await ended;
  }

  private async ask(verb: string, mode: number, path: string, target = ''): Promise<void> {
    this.helper ??= this.start();
    const texts = [outsidePath(path), target].map((text) => Buffer.from(text).toString('hex'));
    this.helper.stdin.write(`${[verb, mode, ...texts].join(' ')}\n`);
    const answer = await this.answers?.next();
    if (answer === undefined || answer.done === true) {
      throw new ContainerError(
        'COMMAND_FAILED',
        `cannot make files as the container's root: ${this.complaint.trim()}`,
        { hint: 'perl-base and util-linux (setpriv) are needed' },
      );
    }
    const errno = Number(answer.value);
    if (errno === 0) return;
    const code = getSystemErrorName(-errno);
    throw Object.assign(new Error(`${code}: cannot make a ${verb}, '${path}'`), {
      code,
      errno: -errno,
      syscall: verb,
      path,
    });
  }

  private start(): Helper {
    const who = ['--reuid', String(this.root.uid), '--regid', String(this.root.gid), '--clear-groups'];
    const may = ['--inh-caps', CAPABILITIES, '--ambient-caps', CAPABILITIES];
    const helper = spawn('setpriv', [...who, ...may, PERL, '-e', SCRIPT], {
      env: { PATH: TOOL_PATH, LC_ALL: 'C' },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const complain = (text: unknown): void => {
      this.complaint = `${this.complaint}${String(text)}`.slice(0, 500);
    };
    helper.on('error', complain);
    helper.stderr.on('data', complain);
    // Whoever ended early is known by the answer that does not come.
    helper.stdin.on('error', () => undefined);
    this.answers = createInterface({ input: helper.stdout })[Symbol.asyncIterator]();
    return helper;
  }
}

/** For another process: the handles are ours. */
function outsidePath(path: string): string {
  return path.replace('/proc/self/', `/proc/${process.pid}/`);
}
