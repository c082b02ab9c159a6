// Promotion by hand: without waiting for conviction, but never behind the back of a majority.

import { HeptadError, invalidArgument } from '@heptad/core';
import type { CenterProtocol } from './center.ts';

/** How to promote. */
export interface PromotionByHand {
  /** Without votes: see `DisasterRecovery.failover`. */
  readonly force?: boolean;
  readonly because?: string;
}

/** Promotes a centre. Errors: `NOT_ELECTED`, `FORCE_NOT_ALLOWED`. */
export async function promoteByHand(protocol: CenterProtocol, options: PromotionByHand): Promise<void> {
  const { self, topology } = protocol.options;
  const because = options.because ?? 'promoted by hand';
  if (protocol.role === 'witness') throw invalidArgument(`cannot promote ${self}: a witness holds no data`);
  if (protocol.role === 'primary') return;
  if (protocol.local.applied.rebuilding) {
    throw new HeptadError('NOT_ELECTED', `cannot promote ${self}: its copy is being rebuilt`, {
      retryable: true,
    });
  }
  if (options.force) {
    if (topology.automaticFailover.possible) {
      throw new HeptadError(
        'FORCE_NOT_ALLOWED',
        `cannot promote ${self} by force: with ${topology.centers.length} centres a majority decides`,
        {
          hint: 'when a majority is lost for good, restart the remaining centres with a topology of their own',
        },
      );
    }
    return protocol.promoteByForce(because);
  }
  const lost = await protocol.campaign(protocol.highestGeneration + 1, 'manual', because);
  if (lost !== undefined) {
    throw new HeptadError('NOT_ELECTED', `${self} was not elected: ${lost}`, { retryable: true });
  }
}
