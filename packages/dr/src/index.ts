// The public face of @heptad/dr.

export { DisasterRecovery } from './center/disaster-recovery.ts';
export type { CenterEvent, CenterEventKind } from './center/events.ts';
export { HttpTransport, type HttpTransportOptions } from './center/http-transport.ts';
export type { CenterRole } from './center/messages.ts';
export { NetworkTransport } from './center/network-transport.ts';
export type { DisasterRecoveryOptions } from './center/options.ts';
export type { Promotion } from './center/promotions.ts';
export type { CenterExplanation, CenterStatus, PeerStatus } from './center/status.ts';
export type { CallHandler, Endpoint, Transport } from './center/transport.ts';
export { CenterClient, type CenterClientOptions } from './client/center-client.ts';
export { FailureDetector, type FailureDetectorOptions, type Suspicion } from './detect/detector.ts';
export { type PhiSettings, phi } from './detect/phi.ts';
export { type DrillOptions, type DrillReport, renderDrillMarkdown, runDrill } from './drill/drill.ts';
export type { HealthSample } from './predict/features.ts';
export {
  type FailoverModel,
  FailoverPredictor,
  type FailoverPredictorOptions,
  type Prediction,
  parseFailoverModel,
} from './predict/predictor.ts';
export type { Divergence } from './replicate/applier.ts';
export type { SenderStatus } from './replicate/sender.ts';
export {
  answerVote,
  type Ballot,
  type VoteAnswer,
  type VoteRequest,
  type VoterView,
} from './topology/ballot.ts';
export {
  type Candidacy,
  type CenterView,
  type DecisionOp,
  type DecisionStep,
  decide,
  type PeerView,
} from './topology/decide.ts';
export { comparePositions, formatPosition, type Position } from './topology/position.ts';
export {
  type Center,
  type Timings,
  Topology,
  type TopologyInput,
  type TopologySettings,
} from './topology/topology.ts';
