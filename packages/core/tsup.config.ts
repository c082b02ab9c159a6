import { packageBuild } from '../../tsup.base.ts';

const config: ReturnType<typeof packageBuild> = packageBuild({
  index: 'src/index.ts',
  sim: 'src/sim/index.ts',
  conformance: 'src/conformance/index.ts',
});

export default config;
