import type { RunOrder } from '../protocol/run-order.ts';
import { scriptEnvironment } from './environment.ts';
import { interpreterFor } from './interpreter.ts';
import { scriptPlaces } from './script-places.ts';
import { ScriptProcess } from './script-process.ts';

/**
 * Starts the interpreter for a script, up to the point where it waits for the word to begin; nothing of the script
 * runs before that, so that this may go on beside claim and verification.
 *
 * @throws {Fault} INTERPRETER_MISSING, or RUNNER_FAILED for an order that lacks its folder.
 */
export async function prepareScript(order: RunOrder, environment: NodeJS.ProcessEnv): Promise<ScriptProcess> {
  const places = scriptPlaces(order);
  return ScriptProcess.prepare({
    bash: interpreterFor(order.language, environment['PATH']),
    folder: places.files,
    script: places.script,
    arguments: order.arguments,
    environment: scriptEnvironment(order, environment),
  });
}
