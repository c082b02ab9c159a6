// What a Compose file becomes.

import type { NetworkPolicySpec, ServiceSpec, TrafficRuleSpec } from '@heptad/core';

/** How to build a service's image. Paths are absolute when the file's name was given, else as written. */
export interface ComposeBuild {
  readonly context: string;
  readonly dockerfile?: string;
  readonly target?: string;
  readonly args: Readonly<Record<string, string>>;
}

/** One service of a Compose file. */
export interface ComposeService {
  readonly name: string;
  readonly spec: ServiceSpec;
  readonly build?: ComposeBuild;
}

/** A parsed Compose file. */
export interface ComposeProject {
  /** `name`, else the directory's name, else `default`. */
  readonly name: string;
  readonly services: readonly ComposeService[];
  /** Network policies: `x-heptad.policies`, and those a service has in its own `x-heptad.networkPolicy`. */
  readonly policies: readonly { readonly name: string; readonly spec: NetworkPolicySpec }[];
  /** `x-heptad.trafficRules`. */
  readonly rules: readonly { readonly name: string; readonly spec: TrafficRuleSpec }[];
  /** Named volumes, as containers name them: `project_volume`. */
  readonly volumes: readonly string[];
}

/** Options of {@link parseCompose}. */
export interface ComposeOptions {
  /** For messages, and its directory is what relative paths are relative to. Default `compose.yaml`. */
  readonly fileName?: string;
  /** Variables for `${NAME}` and for `environment` entries without a value. Default none. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Reads `env_file`, config and secret files. Default: such files are a problem. */
  readonly readFile?: (path: string) => string | Promise<string>;
}
