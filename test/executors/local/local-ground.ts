import { existsSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import type { Test } from 'tap';
import type { Executor } from '../../../src/executors/executor.ts';
import { LocalExecutor, type LocalExecutorOptions } from '../../../src/executors/local/local-executor.ts';
import { parseStartedClaim, type RunOrder } from '../../../src/protocol/run-order.ts';
import type { ExecutorGround, Published } from '../../contracts/executor.suite.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { runnerProgram, stageScript, type StagedScript } from '../../runner/staged-script.ts';

export interface LocalGround extends ExecutorGround {
  readonly state: string;
  readonly agent: (changes?: Partial<LocalExecutorOptions>) => LocalExecutor & Executor;
  readonly publish: (
    script: string,
    changes?: Partial<RunOrder>,
  ) => Published & { readonly staged: StagedScript };
}

/** Agents of this machine on one state folder; all is ended and removed with the test. */
export function localGround(t: Test): LocalGround {
  const state = temporaryFolder(t, 'longshore-state');
  const publish: LocalGround['publish'] = (script, changes) => {
    const staged = stageScript(t, `echo run >> ../out/artifacts/runs\n${script}`, changes);
    const { order, key, places } = staged;
    const read = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
    return {
      ...{ staged, order, key },
      claim: () => parseStartedClaim(read(places.started)),
      runs: () => read(`${places.artifacts}/runs`).split('\n').length - 1,
    };
  };
  return {
    state,
    publish,
    agent: (changes = {}) => {
      const environment = process.env;
      const executor = new LocalExecutor({
        runnerPath: runnerProgram(),
        stateFolder: state,
        environment,
        ...changes,
      });
      t.teardown(() => executor.close());
      return executor;
    },
    publishBroken: () => {
      const published = publish('true');
      const { places } = published.staged;
      rmSync(places.out, { recursive: true });
      symlinkSync('/proc', places.out);
      return published;
    },
  };
}
