// Writes cpio archives in the "newc" format, which the Linux kernel unpacks as its first root file system.

/** One entry of an archive. Everything belongs to root, at time 0, so that equal input gives equal bytes. */
export interface CpioEntry {
  /** Path without a leading slash. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  /** Of a file; absent: a directory. */
  readonly data?: Uint8Array;
}

const MAGIC = '070701';
const TYPE_DIRECTORY = 0o040000;
const TYPE_FILE = 0o100000;
const TRAILER = 'TRAILER!!!';
/** The kernel looks for the next archive at multiples of this. */
const BLOCK_BYTES = 512;

/**
 * The archive of `entries`, in their order; directories above an entry are added. Format: cpio(5) "New ASCII Format" and
 * `Documentation/driver-api/early-userspace/buffer-format.rst` of Linux.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  const complete = withDirectories(entries);
  for (const [index, entry] of complete.entries()) parts.push(...record(entry, index + 1));
  parts.push(...record({ path: TRAILER, mode: 0, data: new Uint8Array(0) }, 0));
  const size = parts.reduce((total, part) => total + part.length, 0);
  parts.push(Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES));
  return Buffer.concat(parts);
}

function withDirectories(entries: readonly CpioEntry[]): CpioEntry[] {
  const all = new Map<string, CpioEntry>();
  for (const entry of entries) {
    const parts = entry.path.split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      const path = parts.slice(0, depth).join('/');
      if (!all.has(path)) all.set(path, { path, mode: 0o755 });
    }
    all.set(entry.path, entry);
  }
  return [...all.values()];
}

function record(entry: CpioEntry, inode: number): Buffer[] {
  const name = Buffer.from(`${entry.path}\0`);
  const data = entry.data ?? new Uint8Array(0);
  const isTrailer = entry.path === TRAILER;
  const type = entry.data === undefined ? TYPE_DIRECTORY : TYPE_FILE;
  const mode = isTrailer ? 0 : type | entry.mode;
  const links = entry.data === undefined ? 2 : 1;
  // inode, mode, uid, gid, links, time, size, device, special device (two each), length of the name, check sum.
  const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, 0, 0, name.length, 0];
  const header = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
  return [
    Buffer.from(header),
    name,
    padding(header.length + name.length),
    Buffer.from(data),
    padding(data.length),
  ];
}

function padding(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
