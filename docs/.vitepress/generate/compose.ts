// Which Compose keys are supported, by asking the parser about each.

import { isHeptadError } from '@heptad/core';
import { type ComposeProblem, parseCompose } from '@heptad/orchestrator';
import { cell, table } from './markdown.ts';

/** Keys of a service in the Compose Specification. */
const SERVICE_KEYS =
  'annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs container_name cpu_count ' +
  'cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec depends_on deploy ' +
  'develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose extends ' +
  'external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging ' +
  'mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable ' +
  'oom_score_adj pid pids_limit platform ports post_start pre_stop privileged profiles provider pull_policy read_only ' +
  'restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls tmpfs ' +
  'tty ulimits use_api_socket user userns_mode uts volumes volumes_from working_dir';
const DEPLOY_KEYS =
  'endpoint_mode labels mode placement replicas resources restart_policy rollback_config update_config';
const TOP_KEYS = 'configs include models name networks secrets services version volumes';

/** The page of keys. */
export async function composePage(): Promise<string> {
  const service = await sort(SERVICE_KEYS, (key) => ({
    text: `services:\n  a:\n    ${key}: 1\n`,
    path: `services.a.${key}`,
  }));
  const deploy = await sort(DEPLOY_KEYS, (key) => ({
    text: `services:\n  a:\n    image: x\n    deploy:\n      ${key}: 1\n`,
    path: `services.a.deploy.${key}`,
  }));
  const top = await sort(TOP_KEYS, (key) => ({
    text: key === 'services' ? 'services: {}\n' : `${key}: 1\nservices: {}\n`,
    path: key,
  }));
  return `# Compose keys

Read off the parser: a supported key is taken, any other is an error that names it with line and column. What the
supported ones mean is in the [guide](/guides/compose).

## Of the document

${part(top)}

## Of a service

${part(service)}

## Under \`deploy\`

${part(deploy)}
`;
}

interface Sorted {
  readonly supported: string[];
  readonly unsupported: { readonly key: string; readonly instead: string }[];
}

async function sort(keys: string, probe: (key: string) => { text: string; path: string }): Promise<Sorted> {
  const out: Sorted = { supported: [], unsupported: [] };
  for (const key of keys.split(' ')) {
    const { text, path } = probe(key);
    const refusal = (await problemsOf(text)).find(
      (problem) =>
        problem.path === path &&
        /not support|not a (?:Compose )?key|unknown/i.test(problem.message) &&
        problem.message.includes(`"${key}"`),
    );
    if (refusal === undefined) out.supported.push(key);
    else out.unsupported.push({ key, instead: refusal.hint ?? '' });
  }
  return out;
}

async function problemsOf(text: string): Promise<readonly ComposeProblem[]> {
  try {
    await parseCompose(text);
    return [];
  } catch (error) {
    if (!isHeptadError(error, 'COMPOSE_INVALID')) throw error;
    const { problems } = error.details;
    return Array.isArray(problems) ? problems : [];
  }
}

function part({ supported, unsupported }: Sorted): string {
  const yes = `Supported: ${supported.map((key) => `\`${key}\``).join(', ')}.`;
  if (unsupported.length === 0) return yes;
  const rows = unsupported.map(({ key, instead }) => [`\`${key}\``, cell(instead)]);
  return `${yes}\n\n${table(['not supported', 'instead'], rows)}`;
}
