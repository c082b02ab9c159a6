// The image that is pulled: eight layers of 300 MB together, made of text and of binary content, the same every time.

import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** One layer: so many files of so many bytes. */
interface LayerPlan {
  readonly name: string;
  readonly files: number;
  readonly fileBytes: number;
  /** Part of the content that does not compress. */
  readonly noise: number;
}

// The shape of a Node or Python application's image: a distribution, a runtime of large binaries, thousands of small
// sources, and small layers on top. 300 MB of files.
const LAYERS: readonly LayerPlan[] = [
  { name: 'system', files: 900, fileBytes: 80_000, noise: 0.3 },
  { name: 'libraries', files: 60, fileBytes: 700_000, noise: 0.35 },
  { name: 'runtime', files: 2, fileBytes: 36_000_000, noise: 0.35 },
  { name: 'dependencies', files: 6_000, fileBytes: 8_000, noise: 0.15 },
  { name: 'assets', files: 40, fileBytes: 800_000, noise: 0.95 },
  { name: 'tools', files: 100, fileBytes: 220_000, noise: 0.35 },
  { name: 'app', files: 800, fileBytes: 10_000, noise: 0.2 },
  { name: 'settings', files: 20, fileBytes: 2_000, noise: 0.1 },
];

/** Files and bytes of the whole image. */
export const IMAGE_FILES: number = LAYERS.reduce((sum, { files }) => sum + files, 0);
/** Number of layers. */
export const IMAGE_LAYERS: number = LAYERS.length;
export const IMAGE_BYTES: number = LAYERS.reduce((sum, { files, fileBytes }) => sum + files * fileBytes, 0);

/** Writes the files of each layer into a directory of its own below `directory`; returns these, bottom first. */
export async function writeLayerDirectories(directory: string): Promise<string[]> {
  const made: string[] = [];
  for (const layer of LAYERS) {
    const root = join(directory, layer.name);
    for (let index = 0; index < layer.files; index += 1) {
      const place = join(root, layer.name, `part-${index % 37}`);
      await mkdir(place, { recursive: true });
      await writeFile(join(place, `file-${index}`), content(layer, index));
    }
    made.push(root);
  }
  return made;
}

const WORDS =
  'const return function import export value container network image layer registry if else for of await'.split(
    ' ',
  );

/** Content that depends on the layer and the file's number only. */
function content({ name, fileBytes, noise }: LayerPlan, index: number): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (let block = 0; length < fileBytes; block += 1) {
    const seed = createHash('sha512').update(`${name} ${index} ${block}`).digest();
    // 640 bytes at a time, of which `noise` is random and the rest words.
    const noisy = Math.round(640 * noise);
    for (let taken = 0; taken < noisy; taken += 64)
      parts.push(
        createHash('sha512')
          .update(seed)
          .update(String(taken))
          .digest()
          .subarray(0, Math.min(64, noisy - taken)),
      );
    let text = '';
    for (let word = 0; text.length < 640 - noisy; word += 1)
      text += `${WORDS[(seed[word % 64] ?? 0) % WORDS.length]} `;
    parts.push(Buffer.from(text.slice(0, 640 - noisy)));
    length += 640;
  }
  return Buffer.concat(parts).subarray(0, fileBytes);
}
