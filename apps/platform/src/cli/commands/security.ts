// Commands for who may do what.

import type { Command } from 'commander';

/** Adds them to the program. */
export function registerSecurityCommands(program: Command): void {
  const load = () => import('../run/security.ts');
  const security = program.command('security').description('users, roles, keys, tokens, audit');
  security
    .command('login')
    .description('log in and keep the token for later commands')
    .option('-u, --user <name>', 'user', 'admin')
    .option('--password-stdin', 'read the password from standard input')
    .action(async (options, command) => (await load()).login(options, command));
  const user = security.command('user').description('users');
  user
    .command('ls')
    .description('all users')
    .action(async (_o, command) => (await load()).users(command));
  user
    .command('add <name>')
    .description('add a user; prints its generated password once')
    .requiredOption('--role <role>', 'admin, operator or viewer')
    .action(async (name, options, command) => (await load()).addUser(name, options, command));
  user
    .command('reset-password <name>')
    .description('give a user a new generated password; prints it once and ends their sessions')
    .action(async (name, _o, command) => (await load()).resetPassword(name, command));
  user
    .command('rm <name>')
    .description('remove a user')
    .action(async (name, _o, command) => (await load()).removeUser(name, command));
  security
    .command('role')
    .description('roles and what they may do')
    .action(async (_o, command) => (await load()).roles(command));
  const key = security.command('key').description('encryption keys');
  key
    .command('ls')
    .description('all keys')
    .action(async (_o, command) => (await load()).keys(command));
  key
    .command('create <name>')
    .description('a new key')
    .action(async (name, _o, command) => (await load()).createKey(name, command));
  key
    .command('rotate <name>')
    .description('add a version')
    .action(async (name, _o, command) => (await load()).rotateKey(name, command));
  security
    .command('token')
    .description('a token for a script')
    .requiredOption('--role <role>', 'admin, operator or viewer')
    .option('--name <name>', 'what it is for', 'cli')
    .action(async (options, command) => (await load()).token(options, command));
  const audit = security.command('audit').description('the audit log');
  audit
    .command('verify')
    .description('prove that the audit log is intact, or say where it is not')
    .action(async (_o, command) => (await load()).verifyAudit(command));
  audit
    .command('ls')
    .description('the newest records')
    .option('--limit <n>', 'how many', Number, 50)
    .action(async (options, command) => (await load()).auditLog(options, command));
}
