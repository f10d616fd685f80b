import ts from 'typescript';

/** Path below the project's root → source text. Rules work on this map alone, so that a test can plant a violation. */
export type Tree = ReadonlyMap<string, string>;

/** One import, re-export, `import()`, `import type` or `require()` of a file. */
export interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
  /** What is taken by name; empty for a namespace, default, bare or dynamic import. */
  readonly names: readonly string[];
  readonly line: number;
}

/** A place in a file: a piece of a string literal, a global that is read, a construct. */
export interface Mark {
  readonly text: string;
  readonly line: number;
}

export interface SourceFacts {
  readonly path: string;
  readonly lines: number;
  readonly imports: readonly Import[];
  /** String literals and the constant pieces of templates, without import specifiers. */
  readonly texts: readonly Mark[];
  /** `a.b` of two identifiers such as `process.env`, and calls of a global such as `setTimeout`. */
  readonly reads: readonly Mark[];
  /** `default export`, `enum`, `namespace`, `any`, and a lint rule that is switched off without a reason. */
  readonly constructs: readonly Mark[];
}

/** Reads what the rules need from one TypeScript source, by its syntax alone. */
export function factsOf(path: string, text: string): SourceFacts {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true, ts.ScriptKind.TS);
  const lineOf = (node: ts.Node) => source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
  const imports: Import[] = [];
  const marks = { texts: [] as Mark[], reads: [] as Mark[], constructs: silencedLint(text) };

  const visit = (node: ts.Node): void => {
    const found = importOf(node);
    if (found) imports.push({ ...found, line: lineOf(node) });
    const mark = (list: Mark[], words: string | undefined) => {
      if (words !== undefined) list.push({ text: words, line: lineOf(node) });
    };
    mark(marks.texts, textOf(node));
    mark(marks.reads, readOf(node));
    mark(marks.constructs, constructOf(node));
    ts.forEachChild(node, visit);
  };
  visit(source);
  const lines = text === '' ? 0 : text.replace(/\n$/, '').split('\n').length;
  return { path, lines, imports, ...marks };
}

function importOf(node: ts.Node): Omit<Import, 'line'> | undefined {
  if (ts.isImportDeclaration(node)) return importDeclared(node);
  if (ts.isExportDeclaration(node) && node.moduleSpecifier) {
    const named = node.exportClause && ts.isNamedExports(node.exportClause) ? node.exportClause.elements : [];
    return taken(node.moduleSpecifier, node.isTypeOnly, named);
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
    return taken(node.argument.literal, true, []);
  if (!ts.isCallExpression(node)) return undefined;
  const dynamic = node.expression.kind === ts.SyntaxKind.ImportKeyword;
  const required = ts.isIdentifier(node.expression) && node.expression.text === 'require';
  return (dynamic || required) && node.arguments[0] ? taken(node.arguments[0], false, []) : undefined;
}

function importDeclared({ importClause: clause, moduleSpecifier }: ts.ImportDeclaration) {
  const named =
    clause?.namedBindings && ts.isNamedImports(clause.namedBindings) ? clause.namedBindings.elements : [];
  const whole = clause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
  const each = named.length > 0 && clause?.name === undefined && named.every((element) => element.isTypeOnly);
  return taken(moduleSpecifier, whole || each, named);
}

type Named = ts.ImportSpecifier | ts.ExportSpecifier;

function taken(from: ts.Node, typeOnly: boolean, named: readonly Named[]): Omit<Import, 'line'> | undefined {
  if (!ts.isStringLiteralLike(from)) return undefined;
  return { specifier: from.text, typeOnly, names: named.map((one) => (one.propertyName ?? one.name).text) };
}

function textOf(node: ts.Node): string | undefined {
  if (ts.isTemplateHead(node) || ts.isTemplateMiddle(node) || ts.isTemplateTail(node)) return node.text;
  return ts.isStringLiteralLike(node) && !importOf(node.parent) ? node.text : undefined;
}

function readOf(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    return `${node.expression.text}.${node.name.text}`;
  }
  if (ts.isElementAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const key = node.argumentExpression;
    return ts.isStringLiteralLike(key) ? `${node.expression.text}.${key.text}` : undefined;
  }
  if (ts.isBindingElement(node) && ts.isVariableDeclaration(node.parent.parent)) {
    const from = node.parent.parent.initializer;
    const key = node.propertyName ?? node.name;
    return from && ts.isIdentifier(from) && ts.isIdentifier(key) ? `${from.text}.${key.text}` : undefined;
  }
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length)
    return 'new Date';
  return ts.isCallExpression(node) && ts.isIdentifier(node.expression) ? node.expression.text : undefined;
}

function constructOf(node: ts.Node): string | undefined {
  if (ts.isExportAssignment(node)) return 'default export';
  if (
    ts.canHaveModifiers(node) &&
    ts.getModifiers(node)?.some((one) => one.kind === ts.SyntaxKind.DefaultKeyword)
  ) {
    return 'default export';
  }
  if (ts.isExportSpecifier(node) && node.name.text === 'default') return 'default export';
  if (ts.isEnumDeclaration(node)) return 'enum';
  if (ts.isModuleDeclaration(node) && ts.isIdentifier(node.name) && node.name.text !== 'global')
    return 'namespace';
  return node.kind === ts.SyntaxKind.AnyKeyword ? 'any' : undefined;
}

/** Comments that switch a lint rule off need ` -- reason` behind them. */
function silencedLint(text: string): Mark[] {
  return text.split('\n').flatMap((line, index) => {
    const silenced = /eslint-disable(?!.*\s--\s+\S)/.test(line) || /@ts-(ignore|nocheck)/.test(line);
    return silenced ? [{ text: 'lint switched off without a reason', line: index + 1 }] : [];
  });
}
