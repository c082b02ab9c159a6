// What the container benchmarks run: an image with `sleep`, and the proof that a process of it runs.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buildNodeImage, ContainerEngine } from '@heptad/container';

/** The image, in every contender's store. */
export const IMAGE = 'heptad-bench/sleeper:1';
/** What runs in it. */
export const COMMAND: readonly string[] = ['/bin/sleep', '600'];

const BRIDGE = 'heptadbench0';

/** An engine with the image unpacked. */
export async function openEngine(home: string, say: (message: string) => void): Promise<ContainerEngine> {
  const app = join(home, 'app');
  await mkdir(app, { recursive: true });
  await writeFile(join(app, 'main.mjs'), 'setInterval(() => {}, 1000);\n');
  const engine = await ContainerEngine.open({
    home: join(home, 'engine'),
    runtime: 'oci',
    network: { bridgeName: BRIDGE, subnet: '10.213.0.0/24', masquerade: false },
  });
  say('building the image');
  await buildNodeImage({
    images: engine.images,
    name: IMAGE,
    directory: app,
    main: 'main.mjs',
    tools: ['/bin/sh', '/bin/sleep', '/bin/true'],
    user: '0:0',
  });
  await engine.images.unpack(IMAGE);
  return engine;
}

/** A process that runs the command is the proof that the work was done. */
export async function requireRunning(pid: number): Promise<void> {
  let commandLine = '';
  // Every side reports "started" an instant before the init replaces itself by the command.
  for (let attempt = 0; attempt < 200; attempt += 1) {
    commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8');
    if (commandLine === `${COMMAND.join('\0')}\0`) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`process ${pid} runs ${JSON.stringify(commandLine)}`);
}
