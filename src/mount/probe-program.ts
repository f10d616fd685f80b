import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** A nursery or one of its children: orders go in and lines come out. */
export type ProbeProcess = ChildProcessByStdio<Writable, Readable, null>;

/** A small heap and no helper threads: a probe does little, and lives beside every agent. */
const SMALL = ['--max-semi-space-size=1', '--max-old-space-size=32', '--v8-pool-size=0'];

/**
 * Starts a Node with `program`, which is the bundle of the probes.
 *
 * With cwd `/` and from local disk, so that no spawn waits for the volume. In a session of its own: signals of a
 * terminal are for the agent. Throws nothing: errors come as events.
 */
export function startProbeProgram(program: string, ...rest: '--child'[]): ProbeProcess {
  const child = spawn(process.execPath, [...SMALL, program, ...rest], {
    cwd: '/',
    // It reads none, and must not take settings of the agent's Node, such as debuggers.
    env: {},
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  // EPIPE: it is gone, which its exit tells.
  child.stdin.on('error', () => undefined);
  return child;
}
