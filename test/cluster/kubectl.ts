import { binary } from './binaries.ts';
import { command } from './command.ts';
import { places } from './places.ts';

/** Runs kubectl to its end and returns its stdout. @throws {Error} with its stderr when it fails. */
export async function kubectl(args: readonly string[], input?: string): Promise<string> {
  return command(binary('kubectl'), ['--kubeconfig', places.kubeconfig, ...args], {
    input,
    deadlineMs: 180_000,
  });
}

/** Creates or changes objects. */
export async function apply(...items: readonly object[]): Promise<void> {
  await kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
}
