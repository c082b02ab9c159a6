import type { Options } from 'tsup';
import { packageBuild } from '../../tsup.base.ts';

const recipe = packageBuild({
  index: 'src/index.ts',
  chaos: 'src/chaos/index.ts',
  // A program of its own: the latency fault runs it inside the target's network namespace.
  'latency-helper': 'src/chaos/latency/helper.ts',
});

// The CommonJS build must find that program too, and there `import.meta.url` exists only through the shim.
const config: Options = { ...(recipe as Options), shims: true };
export default config;
