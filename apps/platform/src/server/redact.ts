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

/** Puts the old secret values back where a client returns what it was shown. */
export function restoreSecrets(spec: ServiceSpec, current: ServiceSpec | undefined): ServiceSpec {
  if (current === undefined) return spec;
  const environment = Object.fromEntries(
    Object.entries(spec.environment).map(([name, value]) => [
      name,
      value === HIDDEN ? (current.environment[name] ?? value) : value,
    ]),
  );
  const files = spec.files.map((file) =>
    file.secret && file.content === HIDDEN
      ? { ...file, content: current.files.find((old) => old.target === file.target)?.content ?? file.content }
      : file,
  );
  return { ...spec, environment, files };
}
