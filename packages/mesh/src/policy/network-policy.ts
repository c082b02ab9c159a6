// evaluatePolicy: may this source talk to this destination on this port? Pure.

import type { MeshSnapshot, NetworkPolicySpec } from '@heptad/core';
import { parseCidr } from './cidr.ts';

/** One side of a connection, as far as it is known. */
export interface PolicyParty {
  /** Service it belongs to; absent for somebody outside the mesh. */
  readonly service?: string;
  /** Labels of the workload beside those of its service. */
  readonly labels?: Readonly<Record<string, string>>;
  /** IP address. */
  readonly address?: string;
}

/** The answer, with the reason as a sentence. */
export interface PolicyDecision {
  readonly allowed: boolean;
  readonly because: string;
}

/** The parts of a snapshot that policies need. */
export type PolicySnapshot = Pick<MeshSnapshot, 'policies' | 'services'>;
type Rule = NonNullable<NetworkPolicySpec['ingress']>[number];
type Peer = Rule['peers'][number];
type Direction = 'ingress' | 'egress';

/**
 * Evaluates all network policies for one connection. Once any policy selects a service for a direction, everything that
 * no selecting policy allows is denied in that direction. The connection needs the leave of both directions: the
 * destination's ingress and the source's egress.
 *
 * A rule without peers allows anybody, without ports all ports; a peer's service, labels and cidr must all match. A range
 * that cannot be parsed matches nobody, so a mistake denies rather than opens.
 *
 * @example
 * ```ts
 * import { evaluatePolicy } from '@heptad/mesh';
 *
 * const policies = [
 *   { name: 'orders-only', spec: { selector: { service: 'payments' }, ingress: [{ peers: [{ service: 'orders' }], ports: [] }] } },
 * ];
 * const decision = evaluatePolicy({ policies, services: [] }, { service: 'web' }, { service: 'payments' }, 8080);
 * console.log(decision.allowed, decision.because);
 * ```
 */
export function evaluatePolicy(
  snapshot: PolicySnapshot,
  source: PolicyParty,
  destination: PolicyParty,
  port: number,
  protocol: 'TCP' | 'UDP' = 'TCP',
): PolicyDecision {
  const from = withServiceLabels(snapshot, source);
  const to = withServiceLabels(snapshot, destination);
  const ingress = decide(snapshot, 'ingress', to, from, port, protocol);
  if (!ingress.allowed) return ingress;
  const egress = decide(snapshot, 'egress', from, to, port, protocol);
  if (!egress.allowed) return egress;
  return { allowed: true, because: `${ingress.because}; ${egress.because}` };
}

function decide(
  snapshot: PolicySnapshot,
  direction: Direction,
  subject: PolicyParty,
  other: PolicyParty,
  port: number,
  protocol: 'TCP' | 'UDP',
): PolicyDecision {
  const selecting: string[] = [];
  for (const { name, spec } of snapshot.policies) {
    const rules = spec[direction];
    if (rules === undefined || !selects(spec.selector, subject)) continue;
    if (rules.some((rule) => ruleAllows(rule, other, port, protocol))) {
      return { allowed: true, because: `policy ${name} allows this ${direction}` };
    }
    selecting.push(name);
  }
  if (selecting.length === 0) {
    return { allowed: true, because: `no policy restricts ${direction} of ${describe(subject)}` };
  }
  const route =
    direction === 'ingress'
      ? `${describe(other)} to ${describe(subject)}`
      : `${describe(subject)} to ${describe(other)}`;
  return {
    allowed: false,
    because: `no ${direction} rule of ${selecting.length === 1 ? 'policy' : 'policies'} ${selecting.join(', ')} allows ${route} on ${protocol} port ${port}`,
  };
}

/** An empty selector selects every service; somebody outside the mesh is never selected. */
function selects(selector: NetworkPolicySpec['selector'], subject: PolicyParty): boolean {
  if (subject.service === undefined) return false;
  if (selector.service !== undefined && selector.service !== subject.service) return false;
  return selector.labels === undefined || labelsMatch(selector.labels, subject.labels);
}

function ruleAllows(rule: Rule, other: PolicyParty, port: number, protocol: 'TCP' | 'UDP'): boolean {
  const portAllowed =
    rule.ports.length === 0 || rule.ports.some((entry) => entry.port === port && entry.protocol === protocol);
  return portAllowed && (rule.peers.length === 0 || rule.peers.some((peer) => peerMatches(peer, other)));
}

function peerMatches(peer: Peer, other: PolicyParty): boolean {
  if (peer.service !== undefined && peer.service !== other.service) return false;
  if (peer.labels !== undefined && !labelsMatch(peer.labels, other.labels)) return false;
  return peer.cidr === undefined || (other.address !== undefined && inRange(peer, other.address));
}

function labelsMatch(
  wanted: Readonly<Record<string, string>>,
  actual: Readonly<Record<string, string>> | undefined,
): boolean {
  return (
    actual !== undefined &&
    Object.entries(wanted).every(([name, value]) => Object.hasOwn(actual, name) && actual[name] === value)
  );
}

// Parsed once per peer object; a new snapshot brings new objects and lets the old ones go.
const ranges = new WeakMap<Peer, (address: string) => boolean>();

function inRange(peer: Peer, address: string): boolean {
  let test = ranges.get(peer);
  if (test === undefined) {
    test = parseCidr(peer.cidr ?? '') ?? (() => false);
    ranges.set(peer, test);
  }
  return test(address);
}

function withServiceLabels(snapshot: PolicySnapshot, party: PolicyParty): PolicyParty {
  const service = snapshot.services.find((candidate) => candidate.name === party.service);
  if (service === undefined) return party;
  return { ...party, labels: { ...service.labels, ...party.labels } };
}

function describe(party: PolicyParty): string {
  if (party.service !== undefined) return `service ${party.service}`;
  return party.address === undefined
    ? 'an unknown caller'
    : `address ${party.address}, which is no known workload,`;
}
