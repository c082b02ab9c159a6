// How this program starts itself again as another part of the platform.

import { fileURLToPath } from 'node:url';

/** The CLI's entry: beside us when built, in cli/ when run from source. */
function cliEntry(): string {
  const source = import.meta.url.endsWith('.ts');
  return fileURLToPath(
    new URL(
      source ? '../cli/main.ts' : import.meta.url.endsWith('/cli/main.js') ? './main.js' : './cli/main.js',
      import.meta.url,
    ),
  );
}

/** Command and arguments that run `heptad ...words` with the Node that runs us. */
export function selfCommand(words: readonly string[]): { command: string; args: string[] } {
  const conditions = import.meta.url.endsWith('.ts') ? ['--conditions=heptad-source'] : [];
  return {
    command: process.execPath,
    args: [...conditions, '--disable-warning=ExperimentalWarning', cliEntry(), ...words],
  };
}
