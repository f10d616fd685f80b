import { rmSync, symlinkSync } from 'node:fs';
import type { Test } from 'tap';
import type { Executor } from '../../../src/executors/executor.ts';
import { LocalExecutor, type LocalExecutorOptions } from '../../../src/executors/local/local-executor.ts';
import type { RunOrder } from '../../../src/protocol/run-order.ts';
import { countedScript, publishedFrom } from '../../contracts/counted-script.ts';
import type { ExecutorGround } from '../../contracts/executor.suite.ts';
import { temporaryFolder } from '../../harness/temporary-volume.ts';
import { runnerProgram, stageScript } from '../../runner/staged-script.ts';

export interface LocalGround extends ExecutorGround {
  readonly state: string;
  readonly agent: (changes?: Partial<LocalExecutorOptions>) => LocalExecutor & Executor;
  readonly publish: (script: string, changes?: Partial<RunOrder>) => ReturnType<typeof publishedFrom>;
}

/** Agents of this machine on one state folder; all is ended and removed with the test. */
export function localGround(t: Test): LocalGround {
  const state = temporaryFolder(t, 'longshore-state');
  const publish: LocalGround['publish'] = (script, changes) =>
    publishedFrom(stageScript(t, countedScript(script), changes));
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
