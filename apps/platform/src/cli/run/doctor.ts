// `heptad doctor`: what works on this machine, what is missing, how to get it. Every answer comes from trying.

import { execFile } from 'node:child_process';
import { access, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ContainerEngine, ImageStore, VmRuntime } from '@heptad/container';
import { errorMessage, formatBytes } from '@heptad/core';
import type { Command } from 'commander';
import { configFromEnvironment, platformPaths } from '../../config.ts';
import { contextOf } from '../context.ts';
import { EXIT, printJson } from '../output.ts';

const run = promisify(execFile);

/** One thing looked at. */
interface Check {
  readonly id: string;
  readonly status: 'ok' | 'warning' | 'failed';
  readonly message: string;
  /** A command or a sentence that mends it. */
  readonly fix?: string;
}

/** Below this the first images and logs may not fit. */
const LOW_DISK_BYTES = 2 * 1024 ** 3;

async function checkNode(): Promise<Check> {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = (major === 24 && minor >= 15) || major >= 26;
  return {
    id: 'node',
    status: ok ? 'ok' : 'failed',
    message: `Node ${process.versions.node}`,
    ...(ok ? {} : { fix: 'npm start in a checkout brings its own Node 24' }),
  };
}

async function checkProgram(id: string, program: string, debianPackage: string): Promise<Check> {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/lib/cni'];
  for (const folder of folders) {
    const path = join(folder, program);
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) return { id, status: 'ok', message: path };
  }
  return {
    id,
    status: 'warning',
    message: `${program} is not here: services run as plain processes`,
    fix: `apt-get install ${debianPackage}`,
  };
}

async function checkDisk(home: string): Promise<Check> {
  let folder = home;
  while (
    !(await access(folder).then(
      () => true,
      () => false,
    ))
  )
    folder = join(folder, '..');
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  return {
    id: 'disk',
    status: free < LOW_DISK_BYTES ? 'warning' : 'ok',
    message: `${formatBytes(free)} free in ${folder}`,
    ...(free < LOW_DISK_BYTES ? { fix: 'free some room or set HEPTAD_HOME to another disk' } : {}),
  };
}

async function checkFsync(): Promise<Check> {
  const folder = await mkdtemp(join(tmpdir(), 'heptad-doctor-'));
  try {
    const file = await open(join(folder, 'probe'), 'w');
    await file.write('probe');
    await file.datasync();
    await file.close();
    return { id: 'fsync', status: 'ok', message: 'files can be made durable' };
  } catch (error) {
    return {
      id: 'fsync',
      status: 'failed',
      message: `fdatasync fails: ${errorMessage(error)}`,
      fix: 'keep HEPTAD_HOME on a local disk',
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function checkRuntime(): Promise<Check> {
  const home = await mkdtemp(join(tmpdir(), 'heptad-doctor-'));
  try {
    const engine = await ContainerEngine.open({ home, runtime: 'auto' });
    try {
      const probe = await engine.runtime.probe();
      const isolation = probe.capabilities.isolation;
      const text = `${engine.runtime.name} ${probe.version ?? ''}, isolation ${isolation}`;
      return isolation === 'container'
        ? { id: 'runtime', status: 'ok', message: text }
        : {
            id: 'runtime',
            status: 'warning',
            message: text,
            fix: probe.reasons.join('; ') || 'run as root with runc and conmon installed',
          };
    } finally {
      await engine[Symbol.asyncDispose]();
    }
  } catch (error) {
    return { id: 'runtime', status: 'failed', message: errorMessage(error) };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

/** Only services that ask for a virtual machine need them, so their absence is no failure. */
async function checkMachines(): Promise<Check> {
  const id = 'virtual-machines';
  const home = await mkdtemp(join(tmpdir(), 'heptad-doctor-'));
  try {
    const images = await ImageStore.open({ home: join(home, 'images') });
    await using runtime = await VmRuntime.open({ home: join(home, 'vm'), images });
    const { emulator, guestKernel, processor, accelerator, reasons } =
      await runtime.machines.virtualization();
    const message = `${emulator}, guest kernel ${guestKernel}, ${processor} virtualisation (${accelerator}), para (virtio)`;
    return reasons.length === 0
      ? { id, status: 'ok', message }
      : { id, status: 'warning', message, fix: reasons.join('; ') };
  } catch (error) {
    return { id, status: 'warning', message: errorMessage(error), fix: 'needed for `runtime: vm` only' };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

async function checkUser(): Promise<Check> {
  const root = process.getuid?.() === 0;
  return root
    ? { id: 'user', status: 'ok', message: 'root' }
    : {
        id: 'user',
        status: 'warning',
        message: `uid ${process.getuid?.()}: services run as plain processes`,
        fix: 'run as root for isolated containers',
      };
}

async function checkServer(command: Command): Promise<Check> {
  const { client } = contextOf(command);
  try {
    await (await client.raw('GET', '/readyz')).body.dump();
    return { id: 'server', status: 'ok', message: `a platform answers at ${client.server}` };
  } catch {
    return {
      id: 'server',
      status: 'warning',
      message: `no platform answers at ${client.server}`,
      fix: 'heptad up',
    };
  }
}

async function checkKernel(): Promise<Check> {
  const { stdout } = await run('uname', ['-sr']);
  const overlay = await access('/sys/module/overlay').then(
    () => true,
    () => false,
  );
  return { id: 'kernel', status: 'ok', message: `${stdout.trim()}${overlay ? ', overlayfs' : ''}` };
}

/** Runs `heptad doctor`; exit code 1 when something failed. */
export async function doctor(command: Command): Promise<void> {
  const config = configFromEnvironment();
  const checks = await Promise.all([
    checkNode(),
    checkUser(),
    checkKernel(),
    checkProgram('runc', 'runc', 'runc'),
    checkProgram('conmon', 'conmon', 'conmon'),
    checkProgram('cni', 'bridge', 'containernetworking-plugins'),
    checkProgram('nft', 'nft', 'nftables'),
    checkDisk(platformPaths(config.home).run),
    checkFsync(),
    checkRuntime(),
    checkMachines(),
    checkServer(command),
  ]);
  if (command.optsWithGlobals().json) printJson(checks);
  else {
    for (const check of checks) {
      const sign = { ok: 'ok     ', warning: 'warning', failed: 'FAILED ' }[check.status];
      process.stdout.write(`${sign}  ${check.id.padEnd(8)} ${check.message}\n`);
      if (check.fix !== undefined) process.stdout.write(`                  fix: ${check.fix}\n`);
    }
  }
  if (checks.some((check) => check.status === 'failed')) process.exitCode = EXIT.error;
}
