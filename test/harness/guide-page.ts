import { spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { delimiter, dirname, join, resolve } from 'node:path';

/** A block of code of a page; `language` is the word behind its first fence. */
export interface PageBlock {
  readonly language: string;
  readonly body: string;
}

/** The blocks of code of a page, in their order. */
export function blocksOf(page: string): PageBlock[] {
  return [...readFileSync(page, 'utf8').matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(
    ([, language = '', body = '']) => ({ language, body }),
  );
}

/** Puts a command `longshore` on a PATH, which is what the guides ask of their reader. */
export function pathWithLongshore(folder: string): string {
  mkdirSync(folder, { recursive: true });
  const [node, program] = [process.execPath, resolve('.build/cli.js')];
  const file = join(folder, 'longshore');
  writeFileSync(file, `#!/bin/sh\nexec env UV_THREADPOOL_SIZE=64 "${node}" "${program}" "$@"\n`);
  chmodSync(file, 0o755);
  return [folder, dirname(node), process.env['PATH'] ?? ''].join(delimiter);
}

export async function freePort(): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((listening) => server.once('listening', listening));
  // An address of TCP is an object.
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return String(port);
}

export interface ShellOptions {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of bash. @default -e -u -o pipefail */
  readonly flags?: readonly string[];
  /** @default 120_000 */
  readonly deadlineMs?: number;
}

/** Runs a shell to its end, in a group of its own; what it leaves running is ended with the test. */
export async function shell(
  t: { teardown: (work: () => void) => void },
  commands: string,
  options: ShellOptions,
): Promise<{ code: number | null; output: string }> {
  const { cwd, env, flags = ['-euo', 'pipefail'], deadlineMs = 120_000 } = options;
  const child = spawn('bash', [...flags, '-c', commands], {
    cwd,
    env: { HOME: cwd, LANG: 'C.UTF-8', ...env },
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: deadlineMs,
  });
  t.teardown(() => endGroup(child.pid));
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  const code = await new Promise<number | null>((ended) => child.once('exit', ended));
  return { code, output };
}

function endGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
