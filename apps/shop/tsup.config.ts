// Each service becomes one file with everything in it: an image of it needs Node and nothing else.
import { writeFile } from 'node:fs/promises';
import { defineConfig } from 'tsup';

export default defineConfig({
  entry: { catalog: 'src/catalog.ts', orders: 'src/orders.ts', web: 'src/web.ts' },
  format: ['esm'],
  target: 'node24',
  platform: 'node',
  noExternal: [/.*/],
  splitting: false,
  sourcemap: false,
  clean: true,
  treeshake: true,
  removeNodeProtocol: false,
  // The image holds this directory alone, so it says itself that its files are modules.
  onSuccess: () => writeFile('dist/package.json', '{"type":"module"}\n'),
  // Bundled CommonJS (undici) asks for Node's own modules through `require`, which ESM does not have.
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  esbuildOptions(options) {
    options.conditions = ['heptad-source', 'node', 'import', 'default'];
  },
});
