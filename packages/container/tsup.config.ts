import { packageBuild } from '../../tsup.base.ts';

const config: ReturnType<typeof packageBuild> = packageBuild({
  index: 'src/index.ts',
  'docker-api': 'src/docker-api/index.ts',
});

export default config;
