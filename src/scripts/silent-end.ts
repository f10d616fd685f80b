import type { Trouble } from '../executors/executor.ts';
import type { EndRecord } from '../protocol/end-record.ts';
import type { StartedClaim } from '../protocol/run-order.ts';
import type { ScriptRoom } from './script-room.ts';
import { findAuthenticEnd } from './settle.ts';
import type { Asked } from './ticket-record.ts';

/** A kubelet that ends a pod tells why before it does; on its way through the API server that may be overtaken. */
const WHO_STOPPED_MS = 15_000;

/** An end record of a script whose executor has not said yet that it is over. */
export class SilentEnd {
  readonly #room: ScriptRoom;
  readonly #asked: Asked;
  #stoppedSinceMs: number | undefined;

  constructor(room: ScriptRoom, asked: Asked) {
    this.#room = room;
    this.#asked = asked;
  }

  /**
   * Whether there is one, and nothing better is to be waited for.
   *
   * Where somebody else than the agent stopped the runner, the executor has some time to say who did: the record is
   * read from a log that is quicker than the status of the pod.
   */
  async isBelieved(
    claim: StartedClaim & { by: 'runner' },
    { cancelled, trouble }: { readonly cancelled: boolean; readonly trouble: Trouble | undefined },
  ): Promise<boolean> {
    const end = await findAuthenticEnd(this.#room, this.#asked, claim);
    if (end === undefined) return false;
    // The lines that the volume lacks are on their way, and would be told as lost.
    if (!end.isLive && end.record.framesNotOnVolume > 0) return false;
    return trouble !== undefined || !this.#mayBeExplained(end.record, cancelled);
  }

  /** Whether a runner that is gone was stopped by somebody, and the cluster still has time to say by whom. */
  async isUnexplained(claim: StartedClaim & { by: 'runner' }, cancelled: boolean): Promise<boolean> {
    if (this.#room.executor.kind === 'local') return false;
    const end = await findAuthenticEnd(this.#room, this.#asked, claim);
    return end !== undefined && this.#mayBeExplained(end.record, cancelled);
  }

  #mayBeExplained({ stoppedBy }: EndRecord, cancelled: boolean): boolean {
    if (stoppedBy !== 'signal' || cancelled) return false;
    const nowMs = this.#room.now().getTime();
    this.#stoppedSinceMs ??= nowMs;
    return nowMs - this.#stoppedSinceMs < WHO_STOPPED_MS;
  }
}
