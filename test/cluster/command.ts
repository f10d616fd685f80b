/** Other programs, run to their end. */
import { spawn } from 'node:child_process';

export interface CommandOptions {
  readonly input?: string | undefined;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** @default 60_000 */
  readonly deadlineMs?: number;
}

/** Runs a program and returns what it wrote to stdout.
 *  @throws {Error} when it does not end with 0 before the deadline; the message has the end of its stderr. */
export function command(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { input = '', cwd, env, deadlineMs = 60_000 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: 'pipe',
      env: { ...process.env, ...env },
      ...(cwd === undefined ? {} : { cwd }),
    });
    let [stdout, stderr, late] = ['', '', false];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr = (stderr + text).slice(-8192)));
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
      // A grandchild may hold the pipes for ever.
      child.stdout.destroy();
      child.stderr.destroy();
    }, deadlineMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(stdout);
      const how = late ? `no end after ${deadlineMs} ms` : (signal ?? `exit code ${code ?? ''}`);
      reject(new Error(`${program} ${args.slice(0, 6).join(' ')}: ${how}\n${stderr.trimEnd()}`));
    });
    // A program that reads no input may be gone before it is written.
    child.stdin.on('error', () => undefined).end(input);
  });
}

/** Whether the program ends with 0. */
export async function succeeds(program: string, args: readonly string[]): Promise<boolean> {
  try {
    await command(program, args);
    return true;
  } catch {
    return false;
  }
}
