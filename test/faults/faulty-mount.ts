import { spawn, type ChildProcessByStdio } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  chownSync,
  constants,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  statSync,
  type Stats,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { eventually } from '../harness/eventually.ts';
import type { FaultRule, Held } from './fault-rules.ts';
import { unmount } from './fuse-device.ts';
import type { Asked } from './volume-server.ts';

interface Teardown {
  teardown: (work: () => Promise<void>) => void;
}

/** Says in one sentence why no faulty volume can be mounted here; undefined where it can. */
export function missingForFaults(): string | undefined {
  const lacks = [
    ...(process.platform === 'linux' ? [] : ['Linux']),
    ...(process.platform === 'linux' && !mayMount() ? ['the right to mount (root with CAP_SYS_ADMIN)'] : []),
    ...(isUsable('/dev/fuse') ? [] : ['/dev/fuse']),
  ];
  return lacks.length === 0 ? undefined : `A volume with faults needs ${lacks.join(', ')}.`;
}

const CAP_SYS_ADMIN = 1n << 21n;

function mayMount(): boolean {
  const [, mask] = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return (BigInt(`0x${mask ?? '0'}`) & CAP_SYS_ADMIN) !== 0n;
}

function isUsable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const DEADLINE_MS = 20_000;

/**
 * A volume whose calls fail, hang and wait when the test says so: a real mount, served by a process of its own.
 *
 * What a method tells holds when it returns. Nothing stays mounted after the test, however it ends.
 */
export class FaultyMount {
  /** Where the volume is mounted. */
  readonly volume: string;
  /** What the server of the volume has on its disk, without faults. */
  readonly behind: string;
  readonly #folder: string;
  /** As it was before it was mounted over, when a look at it could not hang. */
  readonly #root: Stats;
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Ends a server that is frozen, and cannot see that the test was killed. */
  readonly #guard: ChildProcessByStdio<Writable, null, null>;
  readonly #answers: Interface;
  readonly #waiting: ((line: string) => void)[] = [];
  #said = '';

  private constructor(folder: string, places: { behind: string; volume: string }) {
    this.#folder = folder;
    ({ behind: this.behind, volume: this.volume } = places);
    this.#root = statSync(this.behind);
    // A session of its own: the end of the test's process group would leave a dead mount.
    this.#child = spawn(process.execPath, [SERVER, this.behind, this.volume], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#guard = spawn('sh', ['-c', GUARD, 'sh', String(this.#child.pid), this.volume], {
      cwd: '/',
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#said += text));
    this.#child.stdin.on('error', (error) => (this.#said += String(error)));
    this.#answers = createInterface({ input: this.#child.stdout });
    this.#answers.on('line', (line) => this.#waiting.shift()?.(line));
  }

  /** Mounts a fresh volume below `folder`, which is a temporary one of the test. */
  static async start(t: Teardown, folder: string): Promise<FaultyMount> {
    const places = { behind: join(folder, 'behind'), volume: join(folder, 'volume') };
    for (const place of Object.values(places)) mkdirSync(place, { mode: 0o777 });
    return FaultyMount.#mounted(t, folder, places);
  }

  /** Mounts over a folder that is there, whose files stay visible; `folder` is for other contents of the volume. */
  static async over(t: Teardown, covered: string, folder: string): Promise<FaultyMount> {
    return FaultyMount.#mounted(t, folder, { behind: covered, volume: covered });
  }

  static async #mounted(
    t: Teardown,
    folder: string,
    places: { behind: string; volume: string },
  ): Promise<FaultyMount> {
    const mount = new FaultyMount(folder, places);
    t.teardown(() => mount.stop());
    await mount.#line();
    return mount;
  }

  /** Makes calls fail, hang or wait; several faults hold together. */
  async fault(rule: FaultRule): Promise<void> {
    await this.#ask({ do: 'fault', rule });
  }

  /** Ends all faults: what hangs goes on. The content stays as it is now. */
  async heal(): Promise<void> {
    await this.#ask({ do: 'heal' });
  }

  /** Gives the volume another, empty content; handles of the content before are stale. */
  async empty(): Promise<void> {
    const empty = mkdtempSync(join(this.#folder, 'empty-'));
    chmodSync(empty, this.#root.mode);
    chownSync(empty, this.#root.uid, this.#root.gid);
    await this.replaceBy(empty);
  }

  /** Gives the volume the content of `folder`; handles of the content before are stale. */
  async replaceBy(folder: string): Promise<void> {
    await this.#ask({ do: 'replace', folder });
  }

  /** Gives the volume its first content back; handles of that are good again. */
  async comeBack(): Promise<void> {
    await this.#ask({ do: 'original' });
  }

  /** How often each fault was met since it holds, in their order, and the calls that hang now. */
  async state(): Promise<{ readonly hits: readonly number[]; readonly held: readonly Held[] }> {
    return (await this.#ask({ do: 'state' })) as { hits: number[]; held: Held[] };
  }

  /** Waits until a call hangs that `is` right. */
  async held(is: (call: Held) => boolean = () => true): Promise<void> {
    await eventually(async () => (await this.state()).held.some(is));
  }

  /** Stops the server of the volume where it is: what is asked of it waits in the kernel. */
  freeze(): void {
    this.#child.kill('SIGSTOP');
  }

  thaw(): void {
    this.#child.kill('SIGCONT');
  }

  /** Whether its server lives: without one, the volume cannot be asked for anything any more. */
  get isServed(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends the server as a crash does: every call fails with ENOTCONN until the volume is unmounted. */
  async crash(): Promise<void> {
    if (!this.isServed) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }

  /** Unmounts; what still hangs on the volume gets an error. May be repeated. */
  async stop(): Promise<void> {
    // Its end first: umount(8) looks at the mount point, which would hang with it.
    await this.crash();
    await unmount(this.volume);
    // Before the number of the server may be somebody else's.
    this.#guard.kill('SIGKILL');
    this.#answers.close();
  }

  async #ask(asked: Asked): Promise<unknown> {
    if (!this.isServed) throw new Error(`the server of ${this.volume} has ended: ${this.#said}`);
    this.#child.stdin.write(`${JSON.stringify(asked)}\n`);
    const answer = JSON.parse(await this.#line()) as { done?: unknown; failed?: string };
    if (answer.failed !== undefined) throw new Error(`${asked.do}: ${answer.failed}`);
    return answer.done;
  }

  async #line(): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.#waiting.push(resolve);
    const gone = (): void => reject(new Error(`the server of ${this.volume} ended: ${this.#said}`));
    const timer = setTimeout(
      () =>
        reject(
          new Error(`the server of ${this.volume} did not answer within ${DEADLINE_MS} ms: ${this.#said}`),
        ),
      DEADLINE_MS,
    );
    this.#child.once('exit', gone);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#child.off('exit', gone);
    }
  }
}

/** Waits until the test's end of its standard input is closed, by the test's own end at the latest. */
const GUARD = 'cat > /dev/null; kill -KILL "$1"; umount -l "$2"';
const SERVER = resolve('.build/test/faults/volume-server.js');
