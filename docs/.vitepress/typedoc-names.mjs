// TypeDoc names modules by their paths; readers know them by what they import.

import { Converter } from 'typedoc';

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, (context) => {
    for (const module of context.project.children ?? []) {
      const match = /^packages\/([\w-]+)\/src(?:\/([\w-]+))?$/.exec(module.name);
      if (match) module.name = match[2] ? `@heptad/${match[1]}/${match[2]}` : `@heptad/${match[1]}`;
    }
  });
}
