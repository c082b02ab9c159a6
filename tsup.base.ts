// One build recipe for every package: ESM, CommonJS and types of each public entry point.
import { defineConfig, type Options } from 'tsup';

/** tsup configuration for a package whose public entry points are `entry` (name -> source file). */
export function packageBuild(entry: Record<string, string>): ReturnType<typeof defineConfig> {
  const options: Options = {
    entry,
    format: ['esm', 'cjs'],
    target: 'node24',
    platform: 'node',
    dts: true,
    sourcemap: true,
    clean: true,
    splitting: true,
    treeshake: true,
    // Bundled copies of node:sqlite & co. must keep the `node:` prefix: they have no other name.
    removeNodeProtocol: false,
    tsconfig: 'tsconfig.json',
  };
  return defineConfig(options);
}
