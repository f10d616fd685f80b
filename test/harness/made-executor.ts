import { writeFileSync } from 'node:fs';
import type {
  Executor,
  PodLine,
  ScriptKeep,
  Sighting,
  Trouble,
  Witness,
} from '../../src/executors/executor.ts';
import type { EndRecord } from '../../src/protocol/end-record.ts';
import type { RunOrder, StartedClaim } from '../../src/protocol/run-order.ts';
import type { ScriptKey } from '../../src/protocol/ticket.ts';
import { WorkspaceLayout } from '../../src/protocol/volume-layout.ts';
import { endSegment, framesOf, MadeWitness, stdout } from './made-journal.ts';

type Presence = Sighting['presence'];
type Watch = Parameters<Executor['watch']>[2];

/** An executor without processes, for what real ones will not do on demand: every step of a runner is a call of the test. */
export class MadeExecutor implements Executor {
  kind: Executor['kind'] = 'local';
  keep: MadeKeep = new MadeKeep();
  readonly launched: RunOrder[] = [];
  readonly stopped: ScriptKey[] = [];
  readonly cleared: ScriptKey[] = [];
  readonly removed: ScriptKey[] = [];
  readonly abandoned: ScriptKey[] = [];
  readonly #presence = new Map<ScriptKey, Presence>();
  readonly #output = new Map<ScriptKey, Buffer>();
  readonly #watches = new Map<ScriptKey, Watch>();
  /** What look says beside the presence. */
  readonly troubles = new Map<ScriptKey, Trouble>();
  readonly doubtful = new Set<ScriptKey>();
  /** What launch does instead of succeeding. */
  refuses: Error | undefined;
  /** Called with each order, as a runner that is on its way. */
  onLaunch: (order: RunOrder) => void = () => undefined;

  launch(order: RunOrder): Promise<void> {
    if (this.refuses) return Promise.reject(this.refuses);
    this.launched.push(order);
    this.#presence.set(order.key, 'alive');
    this.onLaunch(order);
    return Promise.resolve();
  }

  /** The runner takes its claim. */
  claims(order: RunOrder): StartedClaim & { by: 'runner' } {
    const claim: StartedClaim & { by: 'runner' } = {
      by: 'runner',
      pid: 1,
      startTicks: '1',
      bootId: 'boot',
      host: 'host',
      stdout: null,
      at: new Date().toISOString(),
    };
    writeFileSync(new WorkspaceLayout(order.workspace).started, JSON.stringify(claim), { flag: 'wx' });
    this.#watches.get(order.key)?.changed();
    return claim;
  }

  /** The runner writes a line and its end record, and is gone. */
  ends(order: RunOrder, record: Partial<EndRecord>): void {
    this.records(order, record);
    this.vanishes(order.key);
  }

  /** The runner writes a line and its end record, and nobody sees it go. */
  records(order: RunOrder, record: Partial<EndRecord>): void {
    const key = Buffer.from(order.journalKey, 'base64');
    const end = endSegment({ lines: 1, ...record });
    this.says(order.key, Buffer.concat(framesOf(key, [[stdout('hello\n')], [end]])));
  }

  /** There is something of a script that this one did not launch. */
  exists(key: ScriptKey): void {
    this.#presence.set(key, 'alive');
  }

  says(key: ScriptKey, bytes: Buffer): void {
    this.#output.set(key, Buffer.concat([this.#output.get(key) ?? Buffer.alloc(0), bytes]));
    this.#watches.get(key)?.changed();
  }

  vanishes(key: ScriptKey): void {
    this.#presence.set(key, 'gone');
    this.#watches.get(key)?.changed();
  }

  look(key: ScriptKey): Promise<Sighting> {
    const presence = this.#presence.get(key) ?? 'none';
    if (presence === 'none') return Promise.resolve({ presence });
    const trouble = this.troubles.get(key);
    if (presence === 'gone') return Promise.resolve({ presence, exitCode: 1, signal: null, trouble });
    return Promise.resolve({ presence, trouble, maybeOver: this.doubtful.has(key) });
  }

  /** Something happens to the pod. */
  tells(key: ScriptKey, line: PodLine): void {
    this.#watches.get(key)?.says?.(line);
  }

  /** Somebody still wants to know what becomes of the script. */
  isWatched(key: ScriptKey): boolean {
    return this.#watches.get(key)?.signal.aborted === false;
  }

  stop(key: ScriptKey): Promise<boolean> {
    this.stopped.push(key);
    return Promise.resolve(true);
  }

  clear(key: ScriptKey): Promise<void> {
    this.cleared.push(key);
    this.vanishes(key);
    return Promise.resolve();
  }

  abandon(key: ScriptKey): Promise<void> {
    this.abandoned.push(key);
    return Promise.resolve();
  }

  witness(key: ScriptKey): Promise<Witness | undefined> {
    const bytes = this.#output.get(key);
    return Promise.resolve(bytes && new MadeWitness(bytes));
  }

  watch(key: ScriptKey, _claim: StartedClaim | undefined, watch: Watch): void {
    this.#watches.set(key, watch);
  }

  remove(key: ScriptKey): Promise<void> {
    this.removed.push(key);
    return Promise.resolve();
  }

  keys(): Promise<readonly ScriptKey[]> {
    return Promise.resolve([...this.#presence.keys()].filter((key) => !this.removed.includes(key)));
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** Keeps in memory, which outlives an agent of a test as long as the test hands it on; refuses while it is told to. */
export class MadeKeep implements ScriptKeep {
  readonly texts = new Map<ScriptKey, string>();
  refuses: Error | undefined;

  put(key: ScriptKey, text: string): Promise<void> {
    if (this.refuses) return Promise.reject(this.refuses);
    this.texts.set(key, text);
    return Promise.resolve();
  }

  all(): Promise<ReadonlyMap<ScriptKey, string>> {
    return this.refuses ? Promise.reject(this.refuses) : Promise.resolve(new Map(this.texts));
  }

  forget(key: ScriptKey): Promise<void> {
    if (this.refuses) return Promise.reject(this.refuses);
    this.texts.delete(key);
    return Promise.resolve();
  }
}
