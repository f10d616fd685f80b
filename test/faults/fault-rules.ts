import { readFileSync } from 'node:fs';
import { SystemError, type ErrnoName } from './system-error.ts';

/** What a process does with the volume, as faults name it. */
export const OPERATIONS = [
  'lookup',
  'getattr',
  'chmod',
  'chown',
  'truncate',
  'utimens',
  'readlink',
  'symlink',
  'mkdir',
  'unlink',
  'rmdir',
  'rename',
  'link',
  'create',
  'open',
  'read',
  'write',
  'flush',
  'fsync',
  'readdir',
  'fsyncdir',
  'statfs',
] as const;
export type Operation = (typeof OPERATIONS)[number];

/** Every operation that changes what is on the volume; open for writing is not told apart from open. */
export const CHANGES: readonly Operation[] = OPERATIONS.filter(
  (one) => !['lookup', 'getattr', 'readlink', 'open', 'read', 'readdir', 'statfs'].includes(one),
);

/** One fault; it holds until all faults end. */
export interface FaultRule {
  /** @default all of them */
  readonly operations?: readonly Operation[];
  /** Path below the root with a slash in front; `*` stands for anything in one name, `**` for any path. @default all */
  readonly path?: string;
  readonly kind: 'errno' | 'hang' | 'delay';
  /** Of `errno`. */
  readonly errno?: ErrnoName;
  /** Of `delay`. */
  readonly delayMs?: number;
  /**
   * Of `hang`: a fatal signal ends the wait, as it does in most calls on NFS. Otherwise the process stays in the
   * kernel, as it does on NFS in fsync(2) and close(2) of a file with unwritten bytes. @default true
   */
  readonly killable?: boolean;
}

/** A call that hangs. */
export interface Held {
  readonly operation: Operation;
  readonly path: string;
  readonly pid: number;
}

interface Waiting extends Held {
  readonly killable: boolean;
  readonly go: () => void;
  readonly interrupt: () => void;
}

interface Rule {
  readonly rule: FaultRule;
  readonly pattern: RegExp;
  hits: number;
}

const LOOK_MS = 50;

/** The faults of a volume, the calls that hang, and how often each fault was met. */
export class FaultRules {
  #rules: Rule[] = [];
  readonly #waiting = new Map<bigint, Waiting>();

  add(rule: FaultRule): void {
    this.#rules.push({ rule, pattern: patternOf(rule.path ?? '/**'), hits: 0 });
  }

  /** Ends all faults; what hangs goes on. */
  clear(): void {
    this.#rules = [];
    for (const { go } of [...this.#waiting.values()]) go();
  }

  get state(): { hits: number[]; held: Held[] } {
    const held = [...this.#waiting.values()].map(({ operation, path, pid }) => ({ operation, path, pid }));
    return { hits: this.#rules.map(({ hits }) => hits), held };
  }

  /**
   * Lets an operation through, or makes it wait; `paths` are its one or two.
   *
   * @throws {SystemError} what the fault says; EINTR for a call that hung when its process was killed.
   */
  async pass(call: {
    unique: bigint;
    pid: number;
    operation: Operation;
    paths: readonly string[];
  }): Promise<void> {
    for (const one of [...this.#rules]) {
      const { rule, pattern } = one;
      if (rule.operations?.includes(call.operation) === false) continue;
      if (!call.paths.some((path) => pattern.test(path))) continue;
      one.hits += 1;
      if (rule.kind === 'errno') throw new SystemError(rule.errno ?? 'EIO');
      if (rule.kind === 'delay') await new Promise((resolve) => setTimeout(resolve, rule.delayMs ?? 0));
      if (rule.kind === 'hang') await this.#hang(call, rule.killable ?? true);
    }
  }

  /** The kernel tells it once of a call whose process got a signal, whatever signal that is. */
  interrupted(unique: bigint): void {
    const waiting = this.#waiting.get(unique);
    if (waiting?.killable !== true) return;
    if (dies(waiting.pid)) waiting.interrupt();
    else setTimeout(() => this.interrupted(unique), LOOK_MS);
  }

  async #hang(
    {
      unique,
      pid,
      operation,
      paths,
    }: { unique: bigint; pid: number; operation: Operation; paths: readonly string[] },
    killable: boolean,
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const interrupt = (): void => reject(new SystemError('EINTR'));
    const go = (): void => resolve(undefined);
    this.#waiting.set(unique, { operation, path: paths.join(' '), pid, killable, go, interrupt });
    try {
      await promise;
    } finally {
      this.#waiting.delete(unique);
    }
  }
}

/** Bit of SIGKILL in the masks of /proc: the kernel sets it in every thread of a process that a signal ends. */
const KILLED = 0x100n;

function dies(pid: number): boolean {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const masks = [...status.matchAll(/^(?:SigPnd|ShdPnd):\s*([0-9a-f]+)$/gm)];
    return masks.some(([, mask]) => (BigInt(`0x${mask ?? '0'}`) & KILLED) !== 0n);
  } catch (error) {
    // It is gone, and its call with it.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw error;
  }
}

function patternOf(glob: string): RegExp {
  const source = glob.replace(/\/\*\*$|\*\*|\*|[.+?^${}()|[\]\\]/g, (part) => GLOB[part] ?? `\\${part}`);
  return new RegExp(`^${source}$`);
}
const GLOB: Readonly<Record<string, string>> = { '/**': '(/.*)?', '**': '.*', '*': '[^/]*' };
