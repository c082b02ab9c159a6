// The centres of a topology as one of them sees them: what the API shows and what is kept as Center resources.

import type { CenterResource } from '@heptad/core';
import type { CenterStatus } from '@heptad/dr';
import type { CenterSettings } from './settings.ts';

/** One centre. */
export interface CenterView {
  readonly id: string;
  readonly name: string;
  /** Whether it is the one that answers. */
  readonly self: boolean;
  /** Base URL of its API, where it is known. */
  readonly api?: string;
  readonly spec: CenterResource['spec'];
  readonly status: CenterResource['status'];
}

/** All centres, this one's own view of itself among them. Pure. */
export function viewCenters(status: CenterStatus, settings: CenterSettings): CenterView[] {
  const { topology, apis, self } = settings;
  return topology.centers.map(({ name, address, witness }) => {
    const api = apis.get(name);
    return {
      id: name,
      name,
      self: name === self,
      ...(api === undefined ? {} : { api }),
      spec: { address, witness, preferred: name === topology.settings.primary },
      status: name === self ? ownStatus(status) : peerStatus(name, witness, status),
    };
  });
}

function ownStatus(status: CenterStatus): CenterResource['status'] {
  const { role, generation, decision } = status;
  return { role, generation, message: decision };
}

function peerStatus(name: string, witness: boolean, status: CenterStatus): CenterResource['status'] {
  const peer = status.peers.find((one) => one.name === name);
  const backup = status.backups.find((one) => one.backup === name);
  const role = peer?.role ?? (witness ? 'witness' : 'backup');
  return {
    role,
    generation: peer?.generation ?? 0,
    ...(peer === undefined ? {} : { phi: peer.phi }),
    ...(backup?.lagMs === undefined ? {} : { lagMs: Math.round(backup.lagMs) }),
    message: [backupSentence(backup), peer?.message].filter((text) => text !== undefined).join('; '),
  };
}

function backupSentence(backup: CenterStatus['backups'][number] | undefined): string | undefined {
  if (backup === undefined) return undefined;
  if (backup.state === 'streaming') return `its copy is ${backup.lagBytes ?? 0} bytes behind`;
  return `${backup.state}${backup.problem === undefined ? '' : `: ${backup.problem}`}`;
}
