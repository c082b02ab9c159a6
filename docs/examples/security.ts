// A first admin, a policy, a key that is rotated, a client that is too fast, and an audit log that proves itself.

import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CloudNativeSecurity } from '@heptad/security';

const directory = await mkdtemp(join(tmpdir(), 'example-security-'));
{
  await using security = await CloudNativeSecurity.open({ directory });

  const first = await security.bootstrap(); // the password is generated and shown only here
  if (first === undefined) throw new Error('there are users already');
  const { principal } = await security.authenticate(first);
  const decision = await security.authorize(principal, 'write', 'config');
  console.log('may write config:', decision.allowed, 'because', decision.because);

  await security.generateEncryptionKey('orders');
  const sealed = await security.encrypt('orders', '4 pears', { tenant: 'a' });
  await security.keys.rotate('orders');
  const newer = await security.keys.rewrap('orders', sealed, { tenant: 'a' });
  console.log(sealed.slice(0, 10), '->', newer.slice(0, 10));
  console.log(Buffer.from(await security.decrypt('orders', newer, { tenant: 'a' })).toString());
  await security
    .decrypt('orders', newer, { tenant: 'b' })
    .catch((error) => console.log(error.code, '- another tenant cannot'));

  let taken = 0;
  while (security.checkRateLimit('203.0.113.9').allowed) taken++;
  console.log('requests let through at once:', taken);

  console.log((await security.auditLogs({ limit: 3 })).records.map((record) => record.event.action));
  console.log('audit log intact:', (await security.verifyAuditLog()).intact);
}
console.log('files:', (await readdir(directory)).join(' '));
await rm(directory, { recursive: true });
