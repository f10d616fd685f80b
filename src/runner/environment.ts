import { environmentNameFor } from '../protocol/environment-name.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { scriptPlaces } from './script-places.ts';

/** What belongs to the runner and not to the script: names of Longshore, of Node, and the size of libuv's pool. */
const OF_THE_RUNNER = /^(?:LONGSHORE_|NODE_|UV_THREADPOOL_SIZE$)/;

/** The variable by which processes of a script are found, whatever group or session they moved to; see PRELUDE. */
export const COOKIE_VARIABLE = 'LONGSHORE_COOKIE';

/** The same for the interpreter that waits for its word, of this runner or of another one that wants the script. */
export const PRELUDE_VARIABLE = 'LONGSHORE_PRELUDE';

/** Returns the environment of the script: the runner's own, the variables of the order, and the script's places. */
export function scriptEnvironment(order: RunOrder, base: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const places = scriptPlaces(order);
  return {
    ...Object.fromEntries(Object.entries(base).filter(([name]) => !OF_THE_RUNNER.test(name))),
    ...Object.fromEntries(order.variables.map(({ name, value }) => [environmentNameFor(name), value])),
    LONGSHORE_TICKET: order.ticket,
    LONGSHORE_WORKSPACE: places.root,
    LONGSHORE_PACKAGES: places.packages,
    LONGSHORE_ARTIFACTS: places.artifacts,
    [PRELUDE_VARIABLE]: order.cookie,
  };
}
