// Mounts as data, as a snapshotter hands them out, and their execution by mount(8).

import { run, runOrThrow } from '../system/command.ts';

/** One mount to make. */
export interface Mount {
  readonly type: 'bind' | 'overlay';
  readonly source: string;
  readonly options: readonly string[];
  /** Paths in the options are relative to this directory: mount(2) takes 4096 bytes of options for all layers together. */
  readonly directory?: string;
}

/** Mounts at `target`, in order. */
export async function mountAll(mounts: readonly Mount[], target: string): Promise<void> {
  for (const mount of mounts) {
    const isBind = mount.type === 'bind';
    await runOrThrow(
      'mount',
      [...(isBind ? ['--bind'] : ['-t', mount.type]), '-o', mount.options.join(','), mount.source, target],
      {
        ...(mount.directory === undefined ? {} : { cwd: mount.directory }),
        // Newer libmount would use fsconfig(2), which takes 256 bytes for one option; a stack of layers has more.
        env: { LIBMOUNT_FORCE_MOUNT2: 'always' },
      },
    );
    // A bind mount ignores "ro" until it is mounted again.
    if (isBind && mount.options.includes('ro')) await runOrThrow('mount', ['-o', 'remount,bind,ro', target]);
  }
}

/** Unmounts what is at `target`; nothing there is fine. */
export async function unmountAll(target: string): Promise<void> {
  for (;;) {
    const { exitCode, stderr } = await run('umount', [target]);
    if (exitCode === 0) continue;
    if (/not mounted|no mount point|not found/.test(stderr)) return;
    await runOrThrow('umount', ['--lazy', target]);
  }
}
