import { existsSync, readFileSync } from 'node:fs';
import { parseStartedClaim } from '../../src/protocol/run-order.ts';
import type { StagedScript } from '../runner/staged-script.ts';
import type { Published } from './executor.suite.ts';

/** A script of bash that leaves a line among its artifacts each time it runs. */
export function countedScript(script: string): string {
  return `echo run >> ../out/artifacts/runs\n${script}`;
}

/** What can be seen of a staged `countedScript` from its volume. */
export function publishedFrom(staged: StagedScript): Published & { readonly staged: StagedScript } {
  const { order, key, places } = staged;
  const read = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
  return {
    ...{ staged, order, key },
    claim: () => parseStartedClaim(read(places.started)),
    runs: () => read(`${places.artifacts}/runs`).split('\n').length - 1,
  };
}
