import { packageBuild } from '../../tsup.base.ts';

export default packageBuild({
  index: 'src/index.ts',
  sim: 'src/sim/index.ts',
  conformance: 'src/conformance/index.ts',
});
