import { accessSync, constants, statSync } from 'node:fs';
import { Fault } from '../protocol/fault.ts';
import type { Language } from '../protocol/run-order.ts';

/** Where execvp(3) looks when there is no PATH. */
const DEFAULT_PATH = '/usr/local/bin:/usr/bin:/bin';

/**
 * Finds the interpreter of a language on the runner's own PATH; a script's variable of that name must not choose it.
 *
 * @throws {Fault} INTERPRETER_MISSING.
 */
export function interpreterFor(language: Language, path = DEFAULT_PATH): string {
  for (const folder of path.split(':')) {
    const place = `${folder}/${language}`;
    if (folder.startsWith('/') && isExecutable(place)) return place;
  }
  throw new Fault('INTERPRETER_MISSING', `there is no ${language} in ${path}`);
}

function isExecutable(place: string): boolean {
  // Without exceptions for the folders that do not have it: each costs a start 0.05 ms.
  if (statSync(place, { throwIfNoEntry: false })?.isFile() !== true) return false;
  try {
    accessSync(place, constants.X_OK);
    return true;
  } catch {
    // Somebody else may run it; the next folder may have one for us.
    return false;
  }
}
