import type { ApiCaller, ApiEvent, RestartReason } from './api-call.ts';
import { pathFor } from './api-call.ts';
import { ApiRefusal } from './api-error.ts';
import { Backoff } from './backoff.ts';
import { LogLines } from './log-lines.ts';
import { LogPosition, parseStampedLine } from './log-stamp.ts';
import { SilentStream, untilSilent } from './silence.ts';

export interface LogFollowOptions {
  readonly connection: ApiCaller;
  readonly pod: string;
  readonly container: string;
  /**
   * Takes whole lines, each with its `\n`, in their order; the next ones are read when it has returned. What it throws
   * is told, and the same lines come again.
   */
  readonly take: (lines: Buffer) => void | Promise<void>;
  /** Tells that the container has ended, so that no line is written any more; `wake()` says when it may have changed. */
  readonly isOver: () => boolean;
  /** Tells that nobody would say whether the container has ended; `wake()` says when it may have changed. */
  readonly isDoubtful?: () => boolean;
  readonly observe: (event: ApiEvent) => void;
  /** A script may be silent for hours; this is how late a dead connection is found. @default 120 s */
  readonly silenceMs?: number;
  /** The same when the container has ended, or nobody would say so. @default 5 s */
  readonly silenceAfterEndMs?: number;
  /** How long the rest of the log is asked for after the container has ended, while nothing comes. @default 60 s */
  readonly tailDeadlineMs?: number;
  /** Until the head of an answer. @default 30 s */
  readonly connectDeadlineMs?: number;
  /** @default 30 s */
  readonly longestPauseMs?: number;
}

/** Why a follow ended. */
export type LogEnd =
  /** The container has ended, and the log was read to its end once more after that. */
  | { readonly reason: 'complete' }
  /** The pod is gone, and its log with it: the end may be missing. */
  | { readonly reason: 'gone' }
  /** The container has ended, and the rest of its log did not come in time: its node may be lost. */
  | { readonly reason: 'incomplete'; readonly error: unknown }
  | { readonly reason: 'closed' };

/** How one answer went. */
interface Pass {
  readonly reason: RestartReason;
  readonly error?: unknown;
  /** Lines were taken. */
  readonly news: boolean;
  /** A last line without an end. */
  readonly rest: Buffer;
}

/** An answer that is being read. */
interface Answer {
  readonly cutting: AbortController;
  /** It was asked for after the container had ended, and is not followed. */
  readonly isTail: boolean;
  heardAt: number;
}

/** What took the lines failed. */
class NotTaken extends Error {}

/** After an end in good order: usually the container has ended as well, and word of it is on its way. */
const PAUSE_AFTER_END_MS = 1000;
/** A stream that held for so long was a good one, also when it brought nothing. */
const GOOD_PASS_MS = 10_000;
const LAG_EVERY_MS = 1000;
const NOTHING = Buffer.alloc(0);

/**
 * Follows the log of one container from its beginning and gives out every line once, whatever becomes of connections,
 * API servers and kubelets.
 *
 * It cannot give what the node does not have any more: a kubelet rotates logs and reads only the newest file of them.
 * A line that was half written then comes whole to an answer that is open, and as its second half to a later one.
 * Source: pkg/kubelet/kuberuntime/logs/logs.go, ReadLogs(); decision 0023.
 */
export class LogFollow {
  readonly done: Promise<LogEnd>;
  readonly #options: LogFollowOptions;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  readonly #position = new LogPosition();
  #answer: Answer | undefined;
  #hurry: NodeJS.Timeout | undefined;
  /** The last line without an end of the tail before this one. */
  #rest: Buffer = NOTHING;
  /** Since when nothing came, of a container that has ended. */
  #quietSince: number | undefined;
  #lagToldAt = -Infinity;
  /** Since when there is no answer to read. */
  #awaySince: number | undefined = performance.now();

  constructor(options: LogFollowOptions) {
    this.#options = options;
    this.#backoff = new Backoff(options.longestPauseMs);
    this.done = this.#run();
  }

  /** For how long the log could not be read, in ms; 0 while an answer is open, however quiet it is. */
  get awayMs(): number {
    return this.#awaySince === undefined ? 0 : performance.now() - this.#awaySince;
  }

  /** Says that something about the pod is new: an attempt that waits comes now, and an end is noticed. */
  wake(): void {
    this.#backoff.wake();
    const answer = this.#answer;
    if (answer === undefined || answer.isTail || !this.#mayBeDead()) return;
    // The answer of a container that has ended ends by itself now, unless its connection is dead.
    if (this.#hurry === undefined) this.#cutWhenSilent(answer, this.#options.silenceAfterEndMs ?? 5000);
  }

  /** Ends it; nothing is given out any more when this returns. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.done;
  }

  #mayBeDead(): boolean {
    const { isOver, isDoubtful } = this.#options;
    return isOver() || isDoubtful?.() === true;
  }

  #cutWhenSilent(answer: Answer, limitMs: number, waitMs: number = limitMs): void {
    this.#hurry = setTimeout(() => {
      this.#hurry = undefined;
      if (!this.#mayBeDead()) return;
      const left = answer.heardAt + limitMs - performance.now();
      if (left > 0) this.#cutWhenSilent(answer, limitMs, left);
      else answer.cutting.abort(new SilentStream(limitMs));
    }, waitMs);
  }

  async #run(): Promise<LogEnd> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      const isTail = this.#options.isOver();
      const beganAt = performance.now();
      const pass = await this.#pass(isTail);
      if (signal.aborted) break;
      if (isGone(pass.error, this.#options.pod)) return { reason: 'gone' };
      if (isTail && (await this.#isComplete(pass))) return { reason: 'complete' };
      if (isTail && this.#isTooLate(pass)) return { reason: 'incomplete', error: pass.error };
      this.#tellRestart(pass, isTail);
      const isGood = pass.news || performance.now() - beganAt > GOOD_PASS_MS;
      if (isGood) this.#backoff.reset();
      await this.#backoff.pause(signal, !isTail && pass.reason === 'ended' ? PAUSE_AFTER_END_MS : 0);
    }
    return { reason: 'closed' };
  }

  /**
   * Tells whether a tail says that there is nothing more.
   *
   * An API server ends its answer in good order also when its own connection to the kubelet broke. So an end is
   * believed when it brings nothing new: whoever was cut off before finds the kubelet away, or the rest of the log.
   */
  async #isComplete({ reason, news, rest }: Pass): Promise<boolean> {
    if (reason !== 'ended' || news) return false;
    const isSettled = rest.equals(this.#rest);
    this.#rest = rest;
    if (!isSettled) return false;
    const line = parseStampedLine(rest);
    if (line === undefined || !this.#position.isNew(line)) return true;
    // A program's last words may have no end of line; whoever takes lines gets one.
    return this.#give(Buffer.concat([line.bytes, Buffer.from('\n')]), line.at).then(
      () => true,
      () => false,
    );
  }

  #isTooLate({ news }: Pass): boolean {
    const now = performance.now();
    if (news || this.#quietSince === undefined) this.#quietSince = now;
    return now - this.#quietSince > (this.#options.tailDeadlineMs ?? 60_000);
  }

  /** Reads one answer to its end, however that comes. */
  async #pass(isTail: boolean): Promise<Pass> {
    const { pod, observe, silenceMs = 120_000, silenceAfterEndMs = 5000 } = this.#options;
    const cutting = new AbortController();
    const cut = (): void => cutting.abort(this.#closing.signal.reason);
    this.#closing.signal.addEventListener('abort', cut);
    const answer: Answer = { cutting, isTail, heardAt: performance.now() };
    this.#answer = answer;
    this.#position.goOnFrom(this.#position.mark);
    const lines = new LogLines(this.#position, (text) => observe({ type: 'log-stray', pod, text }));
    let news = false;
    try {
      const body = await this.#open(isTail, cutting.signal);
      this.#awaySince = undefined;
      const limitMs = isTail ? silenceAfterEndMs : silenceMs;
      for await (const chunk of untilSilent(body, limitMs, (error) => cutting.abort(error))) {
        news = (await this.#take(lines, chunk)) || news;
        answer.heardAt = performance.now();
      }
      return { reason: 'ended', news, rest: lines.takeRest() };
    } catch (error) {
      // Cut because of silence: whoever reads only learns that it was cut.
      const why: unknown = cutting.signal.aborted ? cutting.signal.reason : error;
      return { reason: restartReasonOf(why), error: why, news, rest: NOTHING };
    } finally {
      this.#closing.signal.removeEventListener('abort', cut);
      this.#awaySince ??= performance.now();
      clearTimeout(this.#hurry);
      this.#hurry = undefined;
      this.#answer = undefined;
      cutting.abort();
    }
  }

  async #open(isTail: boolean, signal: AbortSignal): Promise<AsyncIterable<Buffer>> {
    const { connection, pod, container, connectDeadlineMs = 30_000 } = this.#options;
    const since = this.#position.mark?.stamp;
    const { body } = await connection.stream(
      {
        verb: 'get',
        resource: 'pods/log',
        path: pathFor(connection.namespace, 'pods/log', pod),
        query: {
          container,
          timestamps: 'true',
          ...(!isTail && { follow: 'true' }),
          ...(since !== undefined && { sinceTime: since }),
        },
      },
      { signal, connectDeadlineMs },
    );
    return body;
  }

  /** Gives out the new lines of a chunk; false where there is none. */
  async #take(lines: LogLines, chunk: Buffer): Promise<boolean> {
    const { mark } = this.#position;
    const batch = lines.push(chunk);
    if (batch === undefined || this.#closing.signal.aborted) return false;
    try {
      await this.#give(batch.lines, batch.at);
    } catch (error) {
      this.#position.goOnFrom(mark);
      throw error;
    }
    return true;
  }

  /** @throws {NotTaken} when whoever takes lines throws. */
  async #give(lines: Buffer, at: bigint): Promise<void> {
    try {
      await this.#options.take(lines);
    } catch (error) {
      throw new NotTaken('the lines of a log were not taken', { cause: error });
    }
    const now = performance.now();
    if (now - this.#lagToldAt < LAG_EVERY_MS) return;
    this.#lagToldAt = now;
    this.#options.observe({ type: 'log-lag', seconds: (Date.now() - Number(at / 1_000_000n)) / 1000 });
  }

  #tellRestart({ reason, error }: Pass, isTail: boolean): void {
    // The usual beginning and the usual end are no troubles: a container that is not up yet, and one that has ended.
    const isEarly = error instanceof ApiRefusal && error.status === 400;
    if (isEarly || (reason === 'ended' && (isTail || this.#options.isOver()))) return;
    this.#options.observe({
      type: 'log-restart',
      resource: 'pods/log',
      reason,
      ...(error !== undefined && { error }),
    });
  }
}

function restartReasonOf(error: unknown): RestartReason {
  if (error instanceof SilentStream) return 'silent';
  if (error instanceof NotTaken) return 'not-taken';
  const refusal = error instanceof Error && error.cause instanceof ApiRefusal ? error.cause : error;
  return refusal instanceof ApiRefusal ? 'refused' : 'reset';
}

/** A kubelet that does not know the pod yet is 404 as well, in other words. */
function isGone(error: unknown, pod: string): boolean {
  return error instanceof ApiRefusal && error.status === 404 && error.message === `pods "${pod}" not found`;
}
