// Run by build.test.ts as another user with another umask: builds the directory given into a store of its own.

import { buildNodeImage, ImageStore } from '@heptad/container';

const [home = '', directory = '', umask = '022'] = process.argv.slice(2);
process.umask(Number.parseInt(umask, 8));
const images = await ImageStore.open({ home });
const { digest, sbom } = await buildNodeImage({
  images,
  name: 'app',
  directory,
  nodeBinary: '/bin/true',
  tools: [],
});
process.stdout.write(`${digest} ${sbom?.descriptor.digest}\n`);
