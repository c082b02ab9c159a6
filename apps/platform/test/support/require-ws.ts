// The test runner adds `import` to the conditions of every resolution, and so `require('ws')` in a CommonJS package gets
// the ES module, which has no Server. Here it gets what Node gives it outside of tests.

import { createRequire, registerHooks } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const wsDirectory = dirname(createRequire(import.meta.url).resolve('ws/package.json'));

registerHooks({
  resolve(specifier, context, next) {
    const isRequired = specifier === 'ws' && String(context.parentURL).includes('/@fastify/websocket/');
    return isRequired
      ? { url: pathToFileURL(join(wsDirectory, 'index.js')).href, format: 'commonjs', shortCircuit: true }
      : next(specifier, context);
  },
});
