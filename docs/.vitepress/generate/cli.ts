// The command line, as `heptad --help` knows it.

import type { Command } from 'commander';
import { buildProgram } from '../../../apps/platform/src/cli/main.ts';
import { cell, table } from './markdown.ts';

/** The page of all commands. Commands that say they are not there yet are left out. */
export function cliPage(): string {
  const program = buildProgram();
  const sections = program.commands.map((command) => section(command)).filter((text) => text !== '');
  return `# Command line

\`./heptad\` in a checkout, \`heptad\` once \`@heptad/platform\` is installed. Data goes to standard output, progress to
standard error. This page is read off the program.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | error; the message says what, why and what to do |
| 2 | \`plan\`: there are changes |
| 3 | not found |
| 4 | refused by policy |
| 5 | timeout |

| variable | meaning | default |
| --- | --- | --- |
| \`HEPTAD_SERVER\` | the API server | \`http://127.0.0.1:7070\` |
| \`HEPTAD_TOKEN\` | bearer token | the last \`heptad security login\`, else the local administrator's |
| \`HEPTAD_HOME\` | where the platform keeps its files | \`/var/lib/heptad\` as root, else \`$XDG_DATA_HOME/heptad\` |

Every command takes:

${options(program)}

${sections.join('\n')}`;
}

function leaves(command: Command): Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leaves);
}

function path(command: Command): string {
  return command.parent === null ? command.name() : `${path(command.parent)} ${command.name()}`;
}

function section(top: Command): string {
  const ready = leaves(top).filter((command) => !command.description().includes('not there yet'));
  const parts = ready.map((command) => {
    const args = command.registeredArguments.map((argument) => {
      const name = `${argument.name()}${argument.variadic ? '...' : ''}`;
      return argument.required ? `<${name}>` : `[${name}]`;
    });
    const required = command.options
      .filter((option) => option.mandatory)
      .map((option) => option.flags.replace(/^-\w, /, ''));
    const usage = [path(command), ...args, ...required].join(' ');
    const list = options(command);
    return `\n\`\`\`text\n${usage}\n\`\`\`\n\n${sentence(command.description())}\n${list === '' ? '' : `\n${list}\n`}`;
  });
  return parts.length === 0 ? '' : `## ${top.name()}\n${parts.join('')}`;
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`.replace(/\.\.$/, '.');
}

function options(command: Command): string {
  const rows = command.options
    .filter((option) => !option.description.includes('not there yet') && option.long !== '--version')
    .map((option) => {
      const fallback =
        option.defaultValue === undefined || typeof option.defaultValue === 'object'
          ? ''
          : String(option.defaultValue);
      return [`\`${option.flags}\``, cell(option.description), cell(fallback)];
    });
  return rows.length === 0 ? '' : table(['option', 'meaning', 'default'], rows);
}
