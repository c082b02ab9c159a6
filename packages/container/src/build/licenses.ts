// Licences as packages state them, in CycloneDX's terms: an SPDX expression where it is one, a name where it is not.

import type { PackageManifest } from './package-manifest.ts';

/** An entry of CycloneDX's `licenses`. */
export type LicenseChoice = { readonly expression: string } | { readonly license: { readonly name: string } };

// SPDX specification, annex D: identifiers, a + for later versions, WITH, AND, OR and parentheses.
const IDENTIFIER = /^(?:DocumentRef-[\w.-]+:)?[A-Za-z0-9][A-Za-z0-9.-]*\+?$/;
const MAX_LICENSE_CHARACTERS = 500;

/** The licences of a package.json. An expression stands alone, as CycloneDX demands. */
export function licensesOf(manifest: Pick<PackageManifest, 'license' | 'licenses'>): LicenseChoice[] {
  const stated = [manifest.license ?? manifest.licenses].flat().flatMap(textOf);
  const [only] = stated;
  if (stated.length === 1 && only !== undefined && isSpdxExpression(only)) return [{ expression: only }];
  return stated.map((name) => ({ license: { name } }));
}

/** Old packages state an object, or a list of them, with the licence in `type`. */
function textOf(value: unknown): string[] {
  const text =
    typeof value === 'object' && value !== null && 'type' in value ? (value.type as unknown) : value;
  return typeof text === 'string' && text.trim() !== '' ? [text.trim().slice(0, MAX_LICENSE_CHARACTERS)] : [];
}

/** Whether a text is built as an SPDX expression; whether its identifiers are on SPDX's list is not looked at. */
export function isSpdxExpression(text: string): boolean {
  // npm's own words for "none" and "look there".
  if (/^(UNLICENSED|SEE LICENSE IN )/.test(text)) return false;
  const tokens = text.match(/[()]|[^\s()]+/g) ?? [];
  let depth = 0;
  let wantsOperand = true;
  for (const token of tokens) {
    const isOperator = token === 'AND' || token === 'OR' || token === 'WITH';
    if (token === ')') {
      if (wantsOperand || depth === 0) return false;
      depth -= 1;
    } else if (isOperator) {
      if (wantsOperand) return false;
      wantsOperand = true;
    } else {
      if (!wantsOperand) return false;
      if (token === '(') depth += 1;
      else if (IDENTIFIER.test(token)) wantsOperand = false;
      else return false;
    }
  }
  return !wantsOperand && depth === 0;
}
