/** A program that launches one script as an agent does, says so, and stays: to be killed. */
import { LocalExecutor } from '../../../src/executors/local/local-executor.ts';
import { parseRunOrder } from '../../../src/protocol/run-order.ts';

const [runnerPath = '', stateFolder = '', order = ''] = process.argv.slice(2);
const executor = new LocalExecutor({ runnerPath, stateFolder, environment: process.env });
const parsed = parseRunOrder(order);
if (parsed === undefined) throw new TypeError('no order');
await executor.launch(parsed);
console.log('launched');
setInterval(() => undefined, 1000);
