import type { FinalResults, Parser, Result } from 'tap-parser';

/** What one test file has shown: its counts, and a few readable lines for each failure.
 *  A test is a point at the top of the file; what lies below it decides only whether it passed. */
export class TestLog {
  passed = 0;
  failed = 0;
  skipped = 0;
  readonly lines: string[] = [];
  #failures = 0;
  #skips = 0;
  #broken: string | undefined;

  /** Follows the TAP of a file as it is printed. */
  listen(parser: Parser): void {
    this.#follow(parser, []);
    let skips = 0;
    parser.on('assert', (point: Result) => {
      if (!point.ok && !isLeftOut(point)) this.failed += 1;
      else if (isLeftOut(point) || this.#skips > skips) this.skipped += 1;
      else this.passed += 1;
      skips = this.#skips;
    });
    parser.on('bailout', (reason: string) => (this.#broken ??= `bailed out: ${reason}`));
    parser.on('complete', (results: FinalResults) => {
      const broken = results.failures.find((failure) => 'tapError' in failure && failure.tapError);
      if (!results.ok && broken) this.#broken ??= String(broken.tapError);
    });
  }

  /** Closes the log: `how` is how the process ended if that was not well. Answers what is wrong with the file as a whole,
   *  and counts it, unless a failed test has said it already. */
  ending(how: string | undefined): string | undefined {
    const tests = this.passed + this.failed + this.skipped;
    const says = how ?? this.#broken ?? (tests === 0 ? 'it holds no test' : undefined);
    if (says === undefined || this.failed > 0) return undefined;
    this.failed += 1;
    return this.#broken === undefined || says === this.#broken ? says : `${says} (${this.#broken})`;
  }

  /** Notes the innermost failures and skips; the points above them only repeat it. */
  #follow(parser: Parser, path: readonly string[]): void {
    let seen = this.#failures;
    parser.on('child', (child: Parser) => {
      seen = this.#failures;
      this.#follow(child, [...path, child.name]);
    });
    parser.on('assert', (point: Result) => {
      const name = [...path, point.name].join(' › ');
      if (isLeftOut(point)) {
        this.#skips += 1;
        const reason = [point.skip, point.todo].find((text) => typeof text === 'string') ?? 'no reason given';
        this.lines.push(`~ ${name}: ${point.todo ? 'todo' : 'skipped'}, ${reason}`);
      } else if (!point.ok && this.#failures === seen) {
        this.#failures += 1;
        this.lines.push(`✗ ${name}`, ...detailOf(point).map((line) => `    ${line}`));
      }
      seen = this.#failures;
    });
  }
}

function isLeftOut(point: Result): boolean {
  return Boolean(point.skip) || Boolean(point.todo);
}

/** The part of a diagnosis that a reader needs: where, what was found, what was wanted. */
function detailOf(point: Result): string[] {
  const { diff, stack, at, source, ...rest } = (point.diag ?? {}) as Record<string, unknown>;
  const place = typeof stack === 'string' ? stack.trimEnd().split('\n').slice(0, 6) : [];
  const said = Object.entries(rest)
    .filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([key, value]) =>
      `${key}: ${typeof value === 'string' ? value : JSON.stringify(value)}`.split('\n'),
    );
  return [...(typeof diff === 'string' ? diff.trimEnd().split('\n') : []), ...said, ...place];
}
