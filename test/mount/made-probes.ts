import type { ProbeKind, ProbeReport, ProbeStep } from '../../src/mount/probe-words.ts';

export const EPOCH = 'ab'.repeat(16);

const CANARY_STEPS = ['write', 'rename', 'read'] as const;

/** Probes of a volume that shows what the test says: an epoch, an errno, or nothing at all. */
export class MadeProbes {
  shows: { epoch: string } | { errno: number; root?: number } | 'hang' | 'gone' = { epoch: EPOCH };
  canaryErrno: number | undefined;
  isUp = true;
  asked: Record<ProbeKind, number> = { liveness: 0, canary: 0 };
  starts = 0;
  isClosed = false;
  readonly leaked = new Map<ProbeKind, number>();

  start(): void {
    this.starts += 1;
    this.isUp = true;
  }

  async probe(kind: ProbeKind): Promise<ProbeReport> {
    this.asked[kind] += 1;
    // As a real one, which is another process.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.shows === 'gone' || !this.isUp) return report(kind, 'none', []);
    if (this.shows === 'hang') return report(kind, 'missed', []);
    return report(kind, 'answered', kind === 'liveness' ? this.#looks() : this.#writes());
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }

  #looks(): ProbeStep[] {
    const { shows } = this;
    if (typeof shows === 'string') return [];
    if ('epoch' in shows) return [step('statfs'), { ...step('epoch'), text: `${shows.epoch}\n` }];
    const { errno, root } = shows;
    const roots = root === undefined ? [step('statfs')] : [step('statfs', root), step('list', root)];
    return [...roots, step('epoch', errno)];
  }

  #writes(): ProbeStep[] {
    return this.canaryErrno === undefined
      ? CANARY_STEPS.map((name) => step(name))
      : [step('write', this.canaryErrno)];
  }
}

function step(name: ProbeStep['step'], errno?: number): ProbeStep {
  return { step: name, seconds: 0, ...(errno !== undefined && { errno, says: 'it failed' }) };
}

function report(kind: ProbeKind, end: ProbeReport['end'], steps: readonly ProbeStep[]): ProbeReport {
  return { kind, end, steps, seconds: 0, leaked: 0 };
}
