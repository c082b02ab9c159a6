// Containers and services as people may see them: without secret values.

import type { ContainerResource, ServiceSpec } from '@heptad/core';
import type { Redactor } from '@heptad/security';

const HIDDEN = '***';

function redactSpec<S extends ServiceSpec>(redactor: Redactor, spec: S): S {
  return {
    ...spec,
    environment: redactor.environment(spec.environment, spec.secretEnvironment),
    files: spec.files.map((file) => (file.secret ? { ...file, content: HIDDEN } : file)),
  };
}

/** A container without the secrets of its template. */
export function redactContainer(redactor: Redactor, container: ContainerResource): ContainerResource {
  return {
    ...container,
    spec: { ...container.spec, template: redactSpec(redactor, container.spec.template) },
  };
}

/** A service without secrets. What comes back in a PUT with `***` keeps its old value: see {@link restoreSecrets}. */
export function redactService<R extends { readonly spec: ServiceSpec }>(redactor: Redactor, service: R): R {
  return { ...service, spec: redactSpec(redactor, service.spec) };
}

/**
 * Puts the old values back where a client returns what it was shown: `***`, or a text in which a part was hidden. They
 * stay secret, whatever the client says of them.
 */
export function restoreSecrets(
  redactor: Redactor,
  spec: ServiceSpec,
  current: ServiceSpec | undefined,
): ServiceSpec {
  if (current === undefined) return spec;
  const shown = redactSpec(redactor, current);
  const secretEnvironment = new Set(spec.secretEnvironment);
  const environment = Object.fromEntries(
    Object.entries(spec.environment).map(([name, value]) => {
      const old = current.environment[name];
      if (old === undefined || old === value || shown.environment[name] !== value) return [name, value];
      if (current.secretEnvironment.includes(name)) secretEnvironment.add(name);
      return [name, old];
    }),
  );
  const files = spec.files.map((file) => {
    const old = current.files.find((one) => one.target === file.target);
    return old?.secret === true && file.content === HIDDEN
      ? { ...file, content: old.content, secret: true }
      : file;
  });
  return { ...spec, environment, secretEnvironment: [...secretEnvironment], files };
}
