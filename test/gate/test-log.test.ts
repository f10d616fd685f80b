import { test } from 'tap';
import { Parser } from 'tap-parser';
import { TestLog } from './test-log.ts';

/** The counts of a file that printed `tap` and ended well, or as `how` says. */
function countsOf(tap: string, how?: string) {
  const log = new TestLog();
  const parser = new Parser();
  log.listen(parser);
  parser.end(tap);
  const says = log.ending(how);
  return { passed: log.passed, failed: log.failed, skipped: log.skipped, says, lines: log.lines };
}

const good = '# Subtest: a\n    ok 1 - x\n    1..1\nok 1 - a\n';
const inner =
  '# Subtest: b\n    not ok 1 - x\n      ---\n      diff: |\n        -1\n      ...\n    1..1\nnot ok 2 - b\n';
const skips = '# Subtest: c\n    ok 1 - x # SKIP no disk\n    1..1\nok 2 - c\n';

test('TestLog counts a test once, however many assertions it holds', async (t) => {
  const two = '# Subtest: a\n    ok 1 - x\n    ok 2 - y\n    1..2\nok 1 - a\n1..1\n';
  t.match(countsOf(two), { passed: 1, failed: 0, skipped: 0, says: undefined, lines: [] });
});

test('TestLog names the innermost failure with its diagnosis', async (t) => {
  const counts = countsOf(`${good}${inner}1..2\n`, 'exit code 1');
  t.match(counts, { passed: 1, failed: 1, skipped: 0, says: undefined, lines: ['✗ b › x', '    -1'] });
});

test('TestLog counts a test that left an assertion out as skipped, and so a todo', async (t) => {
  t.match(countsOf(`${good}${skips}1..2\n`), {
    passed: 1,
    failed: 0,
    skipped: 1,
    lines: ['~ c › x: skipped, no disk'],
  });
  t.match(countsOf(`${good}not ok 2 - d # TODO later\n1..2\n`), { passed: 1, failed: 0, skipped: 1 });
});

test('TestLog counts a crash beside the tests that had passed before', async (t) => {
  t.match(countsOf(good, 'SIGKILL'), { passed: 1, failed: 1, says: /SIGKILL/ });
});

test('TestLog counts a plan that was not kept, a bail-out and a file without tests as failures', async (t) => {
  t.match(countsOf(`${good}1..3\n`), { passed: 1, failed: 1, says: /number of tests/ });
  t.match(countsOf(`${good}Bail out! no volume\n`), { passed: 1, failed: 1, says: /no volume/ });
  t.match(countsOf('1..0 # no tests found\n'), { passed: 0, failed: 1, says: /holds no test/ });
  t.match(countsOf(''), { passed: 0, failed: 1 });
});
