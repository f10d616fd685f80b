import type { Belief } from '../protocol/mount-belief.ts';
import type { Evidence } from '../protocol/mount-evidence.ts';
import type { Logger } from './logger.ts';
import { errorFields } from './logger.ts';
import type { Metrics } from './metrics.ts';

/** What whoever watches the mount tells, as far as it is counted. */
type MountNews =
  | { readonly type: 'belief'; readonly before: Belief; readonly belief: Belief }
  | { readonly type: 'evidence'; readonly evidence: Evidence }
  | { readonly type: 'epoch'; readonly before: string | undefined; readonly epoch: string }
  | {
      readonly type: 'probe';
      readonly report: {
        readonly kind: string;
        readonly end: string;
        readonly seconds: number;
        readonly says?: string;
      };
    };

/** Counts what is seen of the mount, and logs what is believed of it. */
export class MountReporter {
  readonly #metrics: Metrics;
  readonly #logger: Logger;

  constructor(metrics: Metrics, logger: Logger) {
    this.#metrics = metrics;
    this.#logger = logger;
  }

  tell(event: MountNews): void {
    switch (event.type) {
      case 'belief':
        return this.#belief(event.before, event.belief);
      case 'evidence': {
        const { kind } = event.evidence;
        return this.#metrics.count('longshore_mount_evidence_total', {
          kind,
          result: resultOf(event.evidence),
        });
      }
      case 'epoch':
        if (event.before !== undefined) this.#metrics.count('longshore_mount_epoch_changes_total');
        return this.#logger.info(
          { before: event.before, epoch: event.epoch },
          'the volume has another content',
        );
      case 'probe': {
        const { kind, end, seconds } = event.report;
        return this.#metrics.observe('longshore_mount_probe_seconds', { kind, end }, seconds);
      }
      default:
        event satisfies never;
    }
  }

  /** Going on with new data did not work, and is tried again. */
  recoveryFailed(error: unknown): void {
    this.#logger.warn(errorFields(error), 'the volume cannot be made usable yet');
  }

  #belief(before: Belief, belief: Belief): void {
    const { verdict, rule, code, says, after } = belief;
    if (before.verdict === verdict) {
      return this.#logger.info({ verdict, rule, code, says }, 'there is more to say of the volume');
    }
    const lastedSeconds = after ? after.lastedMs / 1000 : undefined;
    if (lastedSeconds !== undefined && before.verdict !== 'trusted') {
      this.#metrics.observe('longshore_mount_outage_seconds', { verdict: before.verdict }, lastedSeconds);
    }
    const fields = { verdict, before: before.verdict, rule, code, says, lastedSeconds };
    if (verdict === 'trusted') this.#logger.info(fields, 'the volume is trusted');
    else this.#logger.warn(fields, 'the volume is not trusted');
  }
}

/** A word for a label: there are few kinds of answers, and as many numbers of errno(3) as the kernel has. */
function resultOf(evidence: Evidence): string {
  switch (evidence.kind) {
    case 'probe': {
      const { root, epoch } = evidence;
      if (root.is !== 'ok') return root.is === 'errno' ? root.name : root.is;
      return epoch.is === 'errno' ? epoch.name : epoch.is;
    }
    case 'canary':
      return evidence.answer.is === 'errno' ? evidence.answer.name : evidence.answer.is;
    case 'server':
      return evidence.answer.is;
    case 'address':
      return evidence.resolved.includes(evidence.mounted) ? 'same' : 'other';
    default:
      evidence satisfies never;
      return 'unknown';
  }
}
