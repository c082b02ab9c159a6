import { defineConfig } from 'tsup';

// ESM only: the platform is a program first; its library face is for ESM programs of Node 24.
export default defineConfig({
  entry: { index: 'src/index.ts', 'cli/main': 'src/cli/main.ts' },
  format: ['esm'],
  target: 'node24',
  platform: 'node',
  dts: { entry: { index: 'src/index.ts' } },
  sourcemap: true,
  clean: true,
  splitting: true,
  removeNodeProtocol: false,
});
