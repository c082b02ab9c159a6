// Whether this centre may answer as primary now, and what is said to those who ask when it may not.

import { HeptadError } from '@heptad/core';
import type { PrimaryGate } from '../replicate/primary-store.ts';
import type { CenterProtocol } from './center.ts';
import type { Reign } from './reign.ts';

/** The reign, while the centre serves. Error: `NOT_PRIMARY`. */
export function requirePrimary(protocol: CenterProtocol): Reign {
  if (!protocol.serving) throw notPrimary(protocol);
  return requireReign(protocol);
}

function requireReign(protocol: CenterProtocol): Reign {
  const { reign } = protocol;
  if (reign === undefined) throw notPrimary(protocol);
  return reign;
}

/** What the replicated state asks of a centre. */
export function primaryGate(protocol: CenterProtocol): PrimaryGate {
  return {
    requirePrimary: () => void requirePrimary(protocol),
    requireLease: () => {
      if (!protocol.leaseHeld) throw notPrimary(protocol);
    },
    commitNeedsLease: protocol.options.topology.settings.replication === 'async',
    write: (action) => requirePrimary(protocol).write(action),
    committed: (revision) => requireReign(protocol).committed(revision),
  };
}

function notPrimary(protocol: CenterProtocol): HeptadError<'NOT_PRIMARY'> {
  const { primary, role } = protocol;
  const { self, topology } = protocol.options;
  const other = primary === undefined || primary === self ? undefined : primary;
  const why =
    role === 'primary'
      ? protocol.handingOver
        ? 'it is handing over'
        : 'its lease has run out: it cannot reach a majority'
      : other === undefined
        ? 'there is no primary now'
        : `${other} is`;
  return new HeptadError('NOT_PRIMARY', `${self} is not the serving primary: ${why}`, {
    retryable: true,
    hint: 'ask the primary, or try again in some seconds; CenterClient does both',
    details: other === undefined ? {} : { primary: other, address: topology.center(other).address },
  });
}
