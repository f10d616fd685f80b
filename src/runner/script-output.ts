import { monotonicMs } from './clock.ts';
import type { FrameWriter } from './frame-writer.ts';
import { LineSplitter } from './line-splitter.ts';
import { Masker } from './masker.ts';
import { PipeReader } from './pipe-reader.ts';
import type { StdoutWitness } from './stdout-witness.ts';

export interface ScriptOutputOptions {
  readonly kind: 'stdout' | 'stderr';
  /** The pipe's end to read from. */
  readonly fd: number;
  readonly secrets: readonly Buffer[];
  readonly journal: FrameWriter;
  readonly stdout: StdoutWitness;
}

/** A part of a line is shown when nothing has followed for so long, or when it is so old. */
const IDLE_MS = 1000;
const MAX_AGE_MS = 5000;

/**
 * One stream of the script on its way into the journal.
 *
 *   pipe ─▶ masked ─▶ cut into lines ─▶ frames        (held when the runner's own stdout has no room)
 */
export class ScriptOutput {
  readonly ended: Promise<void>;
  /** As the script wrote them, before masking. */
  bytes = 0;
  readonly #options: ScriptOutputOptions;
  readonly #reader: PipeReader;
  readonly #masker: Masker;
  readonly #splitter: LineSplitter;
  #timer: NodeJS.Timeout | undefined;
  #lastAt = 0;
  #partialSince = 0;
  #isOver = false;

  constructor(options: ScriptOutputOptions) {
    this.#options = options;
    this.#masker = new Masker(options.secrets);
    this.#splitter = new LineSplitter((run) => options.journal.append(options.kind, run));
    this.#reader = new PipeReader(options.fd, (bytes) => this.#take(bytes));
    this.ended = this.#reader.ended.then(() => this.#finish());
  }

  /** Reads no more, whoever still holds the stream open; what was read goes into the journal. */
  close(): void {
    this.#reader.close();
    this.#finish();
  }

  #take(bytes: Buffer): void {
    this.bytes += bytes.length;
    this.#splitter.push(this.#masker.push(bytes));
    this.#watchPartial();
    if (!this.#options.stdout.isCongested) return;
    this.#reader.hold();
    void this.#options.stdout.drained().then(() => this.#reader.release());
  }

  #watchPartial(): void {
    this.#lastAt = monotonicMs();
    if (this.#splitter.heldBytes === 0 || this.#timer !== undefined) return;
    this.#partialSince = this.#lastAt;
    this.#timer = setTimeout(() => this.#lookAtPartial(), IDLE_MS);
  }

  #lookAtPartial(): void {
    this.#timer = undefined;
    if (this.#splitter.heldBytes === 0) return;
    const now = monotonicMs();
    const dueMs = Math.min(this.#lastAt + IDLE_MS, this.#partialSince + MAX_AGE_MS) - now;
    if (dueMs <= 0) this.#splitter.flushPartial();
    else this.#timer = setTimeout(() => this.#lookAtPartial(), dueMs);
  }

  #finish(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#splitter.push(this.#masker.end());
    this.#splitter.end();
  }
}
