import { localGround } from '../executors/local/local-ground.ts';
import { executorSuite } from './executor.suite.ts';

executorSuite('LocalExecutor', localGround);
