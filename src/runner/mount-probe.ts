import { constants } from 'node:os';
import type { Answered, EpochAnswer, Failed, ProbeSeen } from '../protocol/mount-evidence.ts';
import type { RunOrder } from '../protocol/run-order.ts';
import { monotonicMs } from './clock.ts';
import { errnoOf, isAbsent } from './storage-fault.ts';
import type { VolumeFiles } from './volume-files.ts';
import { within } from './within.ts';

const MAX_EPOCH_BYTES = 4096;
const MAX_SHOWN_CHARACTERS = 64;
/** Its calls have no deadline of their own, so that one that hangs is known to hang; setTimeout() takes no more. */
const NEVER_MS = 2 ** 31 - 1;

/**
 * Looks at the volume from this process: statfs of its root, then open and read of the epoch.
 *
 * Not in a child that can be killed: in a pod each would cost memory and a spawn, which itself hangs beside a volume
 * that does. Instead at most one call of each kind is in the kernel, whatever hangs; a later look waits for that one.
 */
export class MountProbe {
  readonly #files: VolumeFiles;
  readonly #order: RunOrder;
  readonly #deadlineMs: number;
  #statfs: Promise<Answered | Failed> | undefined;
  #read: Promise<EpochAnswer> | undefined;

  constructor(order: RunOrder, files: VolumeFiles) {
    this.#files = files.withDeadline(NEVER_MS);
    this.#order = order;
    this.#deadlineMs = order.mount.probeDeadlineMs;
  }

  /** Never rejects, and takes no longer than the deadline of a probe. */
  async look(): Promise<ProbeSeen> {
    const until = monotonicMs() + this.#deadlineMs;
    const missed = { is: 'missed', afterMs: this.#deadlineMs } as const;
    this.#statfs ??= this.#askRoot().finally(() => (this.#statfs = undefined));
    const root = (await within(this.#statfs, this.#deadlineMs)) ?? missed;
    if (root.is === 'missed') return seen(root, { is: 'unasked' });
    this.#read ??= this.#readEpoch().finally(() => (this.#read = undefined));
    const epoch = await within(this.#read, Math.max(0, until - monotonicMs()));
    return seen(root, epoch ?? missed);
  }

  async #askRoot(): Promise<Answered | Failed> {
    const { mountFolder } = this.#order;
    try {
      await this.#files.askFileSystem(mountFolder);
      return { is: 'ok' };
    } catch (error) {
      // One of the two may be stale on a volume that answers.
      const lists = await this.#files.list(mountFolder).then(
        () => true,
        () => false,
      );
      return lists ? { is: 'ok' } : failedBy(error);
    }
  }

  async #readEpoch(): Promise<EpochAnswer> {
    try {
      const bytes = await this.#files.readAll(this.#order.epochFile, MAX_EPOCH_BYTES);
      const epoch = bytes.toString('utf8').trim().slice(0, MAX_SHOWN_CHARACTERS);
      return epoch === '' ? { is: 'empty' } : { is: 'read', epoch };
    } catch (error) {
      if (isAbsent(error)) return { is: 'absent' };
      // Longer than any epoch: another one.
      if (error instanceof RangeError) return { is: 'read', epoch: error.message };
      return failedBy(error);
    }
  }
}

function seen(root: ProbeSeen['root'], epoch: EpochAnswer): ProbeSeen {
  return { kind: 'probe', atMs: monotonicMs(), root, epoch };
}

function failedBy(error: unknown): Failed {
  const number = errnoOf(error) ?? 0;
  const name = Object.entries(constants.errno).find(([, value]) => value === number)?.[0];
  return { is: 'errno', number, name: name ?? `errno ${number}` };
}
