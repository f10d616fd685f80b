import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants, openSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { Fault } from '../protocol/fault.ts';
import { COOKIE_VARIABLE, PRELUDE_VARIABLE } from './environment.ts';
import { readStat } from './process-stat.ts';

export interface ScriptProcessOptions {
  /** Absolute path of the interpreter. */
  readonly bash: string;
  /** Entered by the child itself: a spawn with a folder of a hung mount would stop this process too. */
  readonly folder: string;
  readonly script: string;
  readonly arguments: readonly string[];
  readonly environment: NodeJS.ProcessEnv;
}

/** How a process ended: one of the two is null. */
export interface ProcessExit {
  readonly exitCode: number | null;
  readonly signal: string | null;
}

/**
 * What bash does before it becomes the script. It gets the folder and then the script with its arguments.
 *
 *  1. Makes two pipes: what a spawn of Node gives is a socket, and `echo > /dev/stderr` does not work on one (ENXIO).
 *     A process substitution is a pipe; opening its /dev/fd name for writing makes this shell the writer.
 *  2. Says that it is ready, and waits for the word, which is the cookie: before that, no process is one of the script.
 *     The runner opens the reading ends through /proc meanwhile. Where it ends without a word, so does this.
 *  3. Enters the folder. Up to here its messages go to descriptor 3; what stands there means that nothing ran.
 *  4. Ignores real-time signals: Node reports a process that one of them ended as exit code 0 (signo_string() in
 *     node.cc knows the names of 1 to 31), which would be a success that nobody had (invariant 4).
 *  5. Becomes the script: same process, same group, nothing inherited but the three standard streams.
 */
const PRELUDE = [
  `exec 2>&3 4< <(:) 5< <(:) 6>/dev/fd/4 7>/dev/fd/5 || exit 126`,
  `echo ready >&3; read -r ${COOKIE_VARIABLE} <&3 || exit 0; export ${COOKIE_VARIABLE}`,
  `cd -- "$1" || exit 126; shift; unset OLDPWD ${PRELUDE_VARIABLE}`,
  `trap '' {34..64}`,
  `exec 1>&6 2>&7 3>&- 4<&- 5<&- 6>&- 7>&-`,
  `exec "$BASH" "$@"`,
].join('\n');

/** Descriptors of the prelude: the pipes of stdout and stderr, and the line to talk to it. */
const STDOUT_PIPE = 4;
const STDERR_PIPE = 5;
const TALK = 3;
const READY = 'ready\n';

/** The script's own process: first prepared, then told to begin. Leader of its own session and process group. */
export class ScriptProcess {
  readonly pid: number;
  readonly startTicks: number;
  readonly exited: Promise<ProcessExit>;
  /** Settles when the script has begun, with '', or with what kept it from beginning. */
  readonly begun: Promise<string>;
  readonly #ready: Promise<undefined>;
  readonly #talk: Duplex;

  private constructor(child: ChildProcess, pid: number, talk: Duplex) {
    this.pid = pid;
    this.startTicks = readStat(pid)?.startTicks ?? 0;
    this.exited = new Promise((resolve) => {
      child.once('exit', (exitCode, signal) => resolve({ exitCode, signal }));
    });
    this.#talk = talk;
    const ready = Promise.withResolvers<undefined>();
    const begun = Promise.withResolvers<string>();
    this.#ready = ready.promise;
    this.begun = begun.promise;
    let said = '';
    talk.on('data', (bytes: Buffer) => {
      said += bytes.toString('utf8');
      if (said.startsWith(READY)) ready.resolve(undefined);
    });
    const over = (): void => {
      ready.reject(new Fault('INTERPRETER_MISSING', `bash ended before it was ready: ${said.trim()}`));
      begun.resolve(said.slice(READY.length).trim());
    };
    // An error here is a broken pipe: it ended, and the end of what it said tells the same.
    talk.once('end', over).on('error', over);
  }

  /** Starts the interpreter up to the point where it waits for `begin`. @throws {Fault} INTERPRETER_MISSING. */
  static async prepare(options: ScriptProcessOptions): Promise<ScriptProcess> {
    const child = await spawned(options);
    const talk = child.stdio[TALK];
    // By the options of the spawn it is one; this is for the compiler.
    if (child.pid === undefined || !(talk instanceof Duplex))
      throw new TypeError('a child without its streams');
    const script = new ScriptProcess(child, child.pid, talk);
    await script.#ready;
    return script;
  }

  /** Opens the reading ends of its output; before `begin`. */
  openOutput(): { stdout: number; stderr: number } {
    const flags = constants.O_RDONLY | constants.O_NONBLOCK;
    const open = (pipe: number): number => openSync(`/proc/${this.pid}/fd/${pipe}`, flags);
    return { stdout: open(STDOUT_PIPE), stderr: open(STDERR_PIPE) };
  }

  /** Lets it become the script; its processes carry the cookie. */
  begin(cookie: string): void {
    this.#talk.write(`${cookie}\n`);
  }

  /** Ends it before it began. */
  async abandon(): Promise<void> {
    this.#talk.end();
    await this.exited;
  }
}

async function spawned(options: ScriptProcessOptions): Promise<ChildProcess> {
  const { bash, folder, script, environment } = options;
  try {
    // -p: BASH_ENV and functions of the environment are for the script and not for the prelude.
    const child = spawn(bash, ['-p', '-c', PRELUDE, bash, folder, script, ...options.arguments], {
      cwd: '/',
      detached: true,
      env: environment,
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    });
    await once(child, 'spawn');
    return child;
  } catch (error) {
    // ENOENT and the like come as an event, E2BIG and the like are thrown.
    const text = error instanceof Error ? error.message : String(error);
    throw new Fault('INTERPRETER_MISSING', `bash could not be started: ${text}`, { cause: error });
  }
}
