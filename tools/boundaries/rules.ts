// The boundaries of packages as rules over syntax trees: what may be imported, and where time and chance come from.

import { builtinModules } from 'node:module';
import { posix } from 'node:path';
import ts from 'typescript';

/** One break of a rule. */
export interface Violation {
  /** Path from the repository's root. */
  readonly file: string;
  readonly line: number;
  readonly rule: 'imports' | 'time-and-chance' | 'console';
  /** What stands there. */
  readonly what: string;
  /** Why it must not. */
  readonly why: string;
  /** What to write instead. */
  readonly instead: string;
}

/** A package as the rules see it. */
export interface PackageFacts {
  /** Directory from the repository's root, such as `packages/mesh`. */
  readonly directory: string;
  readonly name: string;
  /** Names a published file may import: dependencies, peer and optional ones. */
  readonly dependencies: ReadonlySet<string>;
  /** Names a test or script may import as well: its dev dependencies and the workspace's. */
  readonly devDependencies: ReadonlySet<string>;
}

/** The one package every other may import. */
const CORE = '@heptad/core';
const SCOPE = '@heptad/';
/** Here, and only here, the real clock, timers and chance are touched. */
const PORTS = 'packages/core/src/ports/';

const TIME_WHY = 'time and chance are passed in, so that every algorithm also runs in the simulator';
const CLOCK = 'take `clock: Clock` in the options (default `systemClock` of @heptad/core)';
const RANDOM = 'take `random: Random` in the options (default `systemRandom` of @heptad/core)';

/** Global functions that wait. */
const TIMERS: ReadonlySet<string> = new Set(['setTimeout', 'setInterval', 'setImmediate']);
/** Objects through which globals can be reached by another name. */
const GLOBAL_OBJECTS: ReadonlySet<string> = new Set(['globalThis', 'global', 'window', 'self']);
/** `object.property` that reads the ambient time or chance, and what to use. */
const MEMBERS: Readonly<Record<string, string>> = {
  'Date.now': CLOCK,
  'performance.now': CLOCK,
  'performance.timeOrigin': CLOCK,
  'process.hrtime': CLOCK,
  'AbortSignal.timeout': `${CLOCK}, and abort a controller from \`clock.timer\``,
  'Math.random': RANDOM,
  'crypto.randomUUID': `${RANDOM}; ids are \`random.uuid(clock.now())\``,
};
/** Modules that are timers. */
const TIMER_MODULES: ReadonlySet<string> = new Set([
  'timers',
  'timers/promises',
  'node:timers',
  'node:timers/promises',
]);

const BUILTINS: ReadonlySet<string> = new Set(builtinModules);

/** Whether a file is a test: those may use real time and say what they like. */
export function isTest(file: string): boolean {
  return /\.test\.[cm]?tsx?$/.test(file) || /^packages\/[^/]+\/test\//.test(file);
}

/** Whether a file is published source, in which all rules hold. */
function isSource(file: string): boolean {
  return /^packages\/[^/]+\/src\//.test(file) && !isTest(file);
}

/** All breaks of the rules in one file of a package. */
export function checkFile(file: string, text: string, facts: PackageFacts): Violation[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const found: Violation[] = [];
  const report = (node: ts.Node, violation: Omit<Violation, 'file' | 'line'>): void => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart(source));
    found.push({ file, line: line + 1, ...violation });
  };
  const visit = (node: ts.Node): void => {
    const imported = importedModule(node);
    if (imported !== undefined) {
      const problem = importProblem(imported.text, file, facts);
      if (problem !== undefined) report(imported, problem);
      if (isSource(file) && !file.startsWith(PORTS)) {
        const timed = moduleProblem(node, imported.text);
        if (timed !== undefined) report(imported, timed);
      }
    }
    if (isSource(file)) {
      if (!file.startsWith(PORTS)) {
        const ambient = ambientProblem(node);
        if (ambient !== undefined) report(node, ambient);
      }
      const spoken = consoleProblem(node);
      if (spoken !== undefined) report(node, spoken);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The module a node imports, by whatever syntax: import, export from, import type, import(), require(). */
function importedModule(node: ts.Node): ts.StringLiteralLike | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return literal(node.moduleSpecifier);
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return literal(node.argument.literal);
  if (ts.isImportEqualsDeclaration(node) && ts.isExternalModuleReference(node.moduleReference)) {
    return literal(node.moduleReference.expression);
  }
  if (!ts.isCallExpression(node)) return undefined;
  const called = node.expression;
  const imports =
    called.kind === ts.SyntaxKind.ImportKeyword || (ts.isIdentifier(called) && called.text === 'require');
  return imports ? literal(node.arguments[0]) : undefined;
}

function literal(node: ts.Node | undefined): ts.StringLiteralLike | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? node : undefined;
}

/** `@scope/name/deep` and `name/deep` -> the package's name. */
function packageOf(specifier: string): string {
  return specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
}

type Problem = Omit<Violation, 'file' | 'line'>;

function importProblem(specifier: string, file: string, facts: PackageFacts): Problem | undefined {
  const rule = 'imports';
  const what = `import of '${specifier}'`;
  if (specifier.startsWith('.')) {
    const target = posix.join(posix.dirname(file), specifier);
    // Every package shares the one recipe for builds.
    if (target.startsWith(`${facts.directory}/`) || target === 'tsup.base.ts') return undefined;
    return {
      rule,
      what,
      why: `it reaches out of ${facts.directory}: a package must work when it is installed alone`,
      instead:
        'import the other by its public name if that is @heptad/core; else take an interface of core/src/contracts',
    };
  }
  if (specifier.startsWith('node:')) return undefined;
  if (BUILTINS.has(specifier)) {
    return {
      rule,
      what,
      why: 'a package of that name could take its place',
      instead: `write 'node:${specifier}'`,
    };
  }
  const name = packageOf(specifier);
  if (name === facts.name || name === CORE) return undefined;
  if (name.startsWith(SCOPE)) {
    return {
      rule,
      what,
      why: 'packages import only @heptad/core, never each other',
      instead: 'put the small interface you need into core/src/contracts and have the caller pass it in',
    };
  }
  if (facts.dependencies.has(name)) return undefined;
  if (!isSource(file) && facts.devDependencies.has(name)) return undefined;
  return {
    rule,
    what,
    why: `${facts.directory}/package.json does not declare ${name}${isSource(file) ? ' as a dependency' : ''}`,
    instead: 'declare it there, or do without it',
  };
}

/** Modules and names whose import alone brings in time or chance. */
function moduleProblem(node: ts.Node, specifier: string): Problem | undefined {
  const rule = 'time-and-chance';
  if (TIMER_MODULES.has(specifier)) {
    return { rule, what: `import of '${specifier}'`, why: TIME_WHY, instead: CLOCK };
  }
  if (specifier !== 'node:crypto' && specifier !== 'crypto') return undefined;
  const bindings = ts.isImportDeclaration(node) ? node.importClause?.namedBindings : undefined;
  if (bindings === undefined || !ts.isNamedImports(bindings)) return undefined;
  const named = bindings.elements.some(
    (element) => (element.propertyName ?? element.name).text === 'randomUUID',
  );
  return named
    ? {
        rule,
        what: `import of randomUUID from '${specifier}'`,
        why: TIME_WHY,
        instead: MEMBERS['crypto.randomUUID'] ?? '',
      }
    : undefined;
}

/** The object and property of `object.property` and `object['property']`, seeing through `globalThis.`. */
function memberOf(node: ts.Node): { object: string; property: string } | undefined {
  const property = ts.isPropertyAccessExpression(node)
    ? node.name.text
    : ts.isElementAccessExpression(node)
      ? literal(node.argumentExpression)?.text
      : undefined;
  if (property === undefined) return undefined;
  if (!ts.isPropertyAccessExpression(node) && !ts.isElementAccessExpression(node)) return undefined;
  const { expression } = node;
  if (ts.isIdentifier(expression)) return { object: expression.text, property };
  const outer = memberOf(expression);
  if (outer !== undefined && GLOBAL_OBJECTS.has(outer.object)) return { object: outer.property, property };
  return undefined;
}

/** Uses of the ambient clock, timers and chance. */
function ambientProblem(node: ts.Node): Problem | undefined {
  const rule = 'time-and-chance';
  const member = memberOf(node);
  if (member !== undefined) {
    const name = `${member.object}.${member.property}`;
    const instead = MEMBERS[name];
    if (instead !== undefined) return { rule, what: name, why: TIME_WHY, instead };
    if (GLOBAL_OBJECTS.has(member.object) && TIMERS.has(member.property)) {
      return { rule, what: name, why: TIME_WHY, instead: CLOCK };
    }
    return undefined;
  }
  if (ts.isIdentifier(node) && TIMERS.has(node.text) && isValueUse(node)) {
    return { rule, what: node.text, why: TIME_WHY, instead: CLOCK };
  }
  if (ts.isNewExpression(node) && isNamed(node.expression, 'Date') && (node.arguments?.length ?? 0) === 0) {
    return {
      rule,
      what: 'new Date()',
      why: TIME_WHY,
      instead: `${CLOCK} and write \`new Date(clock.now())\``,
    };
  }
  if (ts.isCallExpression(node) && isNamed(node.expression, 'Date')) {
    return { rule, what: 'Date()', why: TIME_WHY, instead: CLOCK };
  }
  if (ts.isVariableDeclaration(node) && ts.isObjectBindingPattern(node.name))
    return takenApart(node, node.name);
  return undefined;
}

/** `const { now } = Date` is Date.now by another name. */
function takenApart(node: ts.VariableDeclaration, pattern: ts.ObjectBindingPattern): Problem | undefined {
  if (node.initializer === undefined || !ts.isIdentifier(node.initializer)) return undefined;
  const object = node.initializer.text;
  for (const element of pattern.elements) {
    const property = (element.propertyName ?? element.name).getText();
    const timer = GLOBAL_OBJECTS.has(object) && TIMERS.has(property);
    const instead = timer ? CLOCK : MEMBERS[`${object}.${property}`];
    if (instead !== undefined) {
      return { rule: 'time-and-chance', what: `${object}.${property}`, why: TIME_WHY, instead };
    }
  }
  return undefined;
}

function isNamed(node: ts.Node, name: string): boolean {
  if (ts.isIdentifier(node)) return node.text === name;
  const member = memberOf(node);
  return member !== undefined && GLOBAL_OBJECTS.has(member.object) && member.property === name;
}

/** Whether an identifier stands for a value, and not for the name of a member, a key or a type. */
function isValueUse(node: ts.Identifier): boolean {
  const { parent } = node;
  if (ts.isPropertyAccessExpression(parent) && parent.name === node) return false;
  if (ts.isPropertyAssignment(parent) && parent.name === node) return false;
  if (ts.isTypeNode(parent) || ts.isTypeElement(parent) || ts.isClassElement(parent)) return false;
  return !(ts.isBindingElement(parent) || ts.isQualifiedName(parent) || ts.isTypeQueryNode(parent));
}

/** Anything said to the console. */
function consoleProblem(node: ts.Node): Problem | undefined {
  if (!ts.isIdentifier(node) || node.text !== 'console' || !isValueUse(node)) return undefined;
  return {
    rule: 'console',
    what: 'console',
    why: 'a library has no console: its host decides what is shown and where',
    instead: 'throw, answer, call `onProgress`, or record with @opentelemetry/api',
  };
}
