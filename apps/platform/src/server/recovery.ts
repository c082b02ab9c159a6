// Disaster recovery as the API offers it, and how a platform offers it that is a single centre: by saying so.

import { HeptadError } from '@heptad/core';
import type { CenterStatus, DrillReport, Prediction } from '@heptad/dr';
import type { CenterView } from '../centers/center-view.ts';

/** What `GET /api/v1/dr/status` answers. */
export interface RecoveryStatus {
  readonly centers: readonly CenterView[];
  /** In full, where this platform is one of several centres. */
  readonly center?: CenterStatus;
  readonly prediction?: Prediction;
  readonly message: string;
}

/** What a change of primary was. */
export interface FailoverOutcome {
  /** Who is primary now. */
  readonly primary: string;
  /** Whether it is the centre that was asked. */
  readonly self: boolean;
  /** Base URL of its API, where it is known. */
  readonly api?: string;
  /** By plan: nothing was lost. */
  readonly planned: boolean;
  readonly message: string;
}

/** A drill of the running centres. */
export interface DrillState {
  readonly id: string;
  readonly phase: 'running' | 'completed' | 'failed';
  readonly message: string;
  /** Hand-over to the backup, and back. */
  readonly reports: readonly DrillReport[];
}

/** What the routes below `/api/v1/dr` do. */
export interface Recovery {
  status(): Promise<RecoveryStatus>;
  /** Who may be promoted and who not, as sentences. */
  explain(): Promise<readonly string[]>;
  /**
   * Makes `to` primary: by plan while there is a primary, by election otherwise. Default: this centre, or when it is primary the
   * most up-to-date backup. Errors: `NOT_SUPPORTED` for a single centre; `UNKNOWN_CENTER`, `NO_PRIMARY`, and those of
   * `DisasterRecovery.switchover` and `.failover`.
   */
  failover(request: { readonly to?: string | undefined; readonly force?: boolean }): Promise<FailoverOutcome>;
  /** Planned return to the topology's own primary. */
  failback(): Promise<FailoverOutcome>;
  /** Hands over to a backup and back while a client writes; answers at once. */
  startDrill(): DrillState;
  drills(): readonly DrillState[];
}

/** A platform that is all there is. */
export class SingleCenter implements Recovery {
  readonly #predict: () => Prediction | undefined;

  /** `predict`: how likely a failure of this platform is soon. */
  constructor(predict: () => Prediction | undefined) {
    this.#predict = predict;
  }

  async status(): Promise<RecoveryStatus> {
    const prediction = this.#predict();
    const place = 'this platform is a single centre: nothing can take over from it';
    return {
      centers: [],
      ...(prediction === undefined ? {} : { prediction }),
      message: prediction === undefined ? place : `${place}; ${prediction.because}`,
    };
  }

  async explain(): Promise<readonly string[]> {
    return [
      'No centre but this one is known, so nobody can be promoted.',
      'The guide "Disaster recovery" shows how to run a primary with two backup centres.',
    ];
  }

  async failover(): Promise<FailoverOutcome> {
    throw single('fail over');
  }

  async failback(): Promise<FailoverOutcome> {
    throw single('fail back');
  }

  startDrill(): DrillState {
    throw single('drill');
  }

  drills(): readonly DrillState[] {
    return [];
  }
}

function single(what: string): HeptadError<'NOT_SUPPORTED'> {
  return new HeptadError('NOT_SUPPORTED', `cannot ${what}: this platform is a single centre`, {
    hint: 'the guide "Disaster recovery" shows how to run several; "heptad dr drill" rehearses it on this machine',
  });
}
