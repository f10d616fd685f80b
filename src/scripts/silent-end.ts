import type { Trouble } from '../executors/executor.ts';
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
    if (end.record.stoppedBy !== 'signal' || cancelled || trouble) return true;
    const nowMs = this.#room.now().getTime();
    this.#stoppedSinceMs ??= nowMs;
    return nowMs - this.#stoppedSinceMs >= WHO_STOPPED_MS;
  }
}
