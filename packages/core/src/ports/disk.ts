// The port for durable files: what a store may assume of a disk, no more.

/** An open file. */
export interface DiskFile extends AsyncDisposable {
  /** Reads up to `length` bytes at `offset`; shorter at the end of the file. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Writes all of `data` at `offset`. Not durable until {@link DiskFile.datasync} resolves. */
  write(offset: number, data: Uint8Array): Promise<void>;
  /** After this resolves, all earlier writes survive power loss. */
  datasync(): Promise<void>;
  size(): Promise<number>;
  truncate(length: number): Promise<void>;
  close(): Promise<void>;
}

/** A directory tree on one disk. Paths are absolute or relative to the process, `/`-separated. */
export interface Disk {
  open(path: string, mode: 'read' | 'write' | 'create-new'): Promise<DiskFile>;
  /** Atomic within one directory tree; durable only after {@link Disk.syncDirectory} of the target's directory. */
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes the entries (creations, renames, removals) of a directory durable. */
  syncDirectory(path: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  list(path: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
}
