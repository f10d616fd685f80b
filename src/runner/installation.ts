import { cpSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Copies the folder of this program, with everything that a pod needs to start it, into `target`, which is there.
 *
 * By this program itself, so that the image which brings the runner into other images needs no shell.
 *
 * @throws {Error} of the copy, with its errno.
 */
export function installInto(target: string, program: string): void {
  cpSync(dirname(program), target, { recursive: true });
}
