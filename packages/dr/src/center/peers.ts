// What a centre hears of the others: a detector and the latest report of each.

import { FailureDetector } from '../detect/detector.ts';
import type { PeerView } from '../topology/decide.ts';
import type { Topology } from '../topology/topology.ts';
import type { Heartbeat, Progress } from './messages.ts';

interface Peer {
  readonly detector: FailureDetector;
  report: Heartbeat | undefined;
}

/** All other centres of a topology. */
export class Peers {
  readonly #peers: ReadonlyMap<string, Peer>;

  constructor(self: string, topology: Topology) {
    const { heartbeatMs, acceptablePauseMs, phiThreshold } = topology.timings;
    this.#peers = new Map(
      topology.centers
        .filter(({ name }) => name !== self)
        .map(({ name }) => [
          name,
          {
            detector: new FailureDetector({ heartbeatMs, acceptablePauseMs, threshold: phiThreshold }),
            report: undefined,
          },
        ]),
    );
  }

  get names(): readonly string[] {
    return [...this.#peers.keys()];
  }

  /** Takes in a heartbeat. */
  heard(heartbeat: Heartbeat, nowMs: number): void {
    const peer = this.#peers.get(heartbeat.from);
    if (peer === undefined) return;
    if (peer.report !== undefined && peer.report.incarnation !== heartbeat.incarnation) peer.detector.reset();
    peer.report = heartbeat;
    peer.detector.heartbeat(nowMs);
  }

  /** Says that this centre is alive itself, so that its own pauses are not taken for others' silence. */
  tick(nowMs: number): void {
    for (const { detector } of this.#peers.values()) detector.tick(nowMs);
  }

  suspects(nowMs: number): readonly string[] {
    return this.views(nowMs)
      .filter(({ suspicion }) => suspicion.suspected)
      .map(({ name }) => name);
  }

  progress(name: string): Progress | undefined {
    return this.#peers.get(name)?.report?.progress;
  }

  views(nowMs: number): readonly PeerView[] {
    return [...this.#peers].map(([name, { detector, report }]) => ({
      name,
      suspicion: detector.suspicion(nowMs),
      report:
        report === undefined
          ? undefined
          : {
              generation: report.generation,
              role: report.role,
              rebuilding: report.rebuilding,
              suspects: report.suspects,
              ...(report.primary === undefined ? {} : { primary: report.primary }),
              ...(report.progress === undefined ? {} : { position: report.progress.position }),
            },
    }));
  }
}
