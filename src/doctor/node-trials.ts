import { setTimeout as pause } from 'node:timers/promises';
import type { TrialPod, TrialPods } from '../executors/kubernetes/trial-pods.ts';
import { ApiRefusal } from '../executors/kubernetes/api-error.ts';
import { refusalFor } from '../executors/kubernetes/creation-refusal.ts';
import { TRIAL_VOLUME, type TrialSide } from '../executors/kubernetes/trial-pod-template.ts';
import { Fault } from '../protocol/fault.ts';
import { VolumeLayout } from '../protocol/volume-layout.ts';
import type { Finding } from './finding.ts';
import { nodeFindings, type NodeLines } from './node-findings.ts';
import { placesIn, type NodeLine, type NodeOrder } from './node-words.ts';
import { parsedLine } from './trial-words.ts';

export interface NodeTrialsOptions {
  readonly pods: Pick<TrialPods, 'sweep' | 'start' | 'look' | 'log' | 'lastWarning' | 'remove'>;
  /** Source of the program of the pods. */
  readonly program: string;
  /** 16 random hex digits. */
  readonly word: string;
  /** On the clock of performance.now(); the removal of the pods comes behind it. */
  readonly untilMs: number;
  readonly signal: AbortSignal;
  /** Of the mount on this machine, where there is one. */
  readonly mountOptions: () => string | undefined;
}

const LOOK_MS = 300;
const ROUNDS = 5;
const SEEN_MS = 3000;
/** A scheduler that finds no node for so long finds none. */
const HOMELESS_MS = 5000;
const SIDES = ['left', 'right', 'inside'] as const satisfies readonly TrialSide[];

type Pods = ReadonlyMap<TrialSide, TrialPod>;

/** Tries a claim from two nodes at once, by pods that are gone afterwards. Never rejects. */
export class NodeTrials {
  readonly #options: NodeTrialsOptions;
  readonly #folder: string;
  #lines: NodeLines = { left: [], right: [], inside: [] };
  #pods: Pods = new Map();
  #hasInside = false;
  #homelessSince: number | undefined;

  constructor(options: NodeTrialsOptions) {
    this.#options = options;
    this.#folder = new VolumeLayout(TRIAL_VOLUME).doctorFolder(options.word);
  }

  async run(): Promise<Finding[]> {
    const findings: Finding[] = [];
    try {
      await this.#options.pods.sweep();
      await Promise.all([this.#start('left'), this.#start('right')]);
      await this.#watch();
      findings.push(await this.#podsFinding(), ...this.#found());
    } catch (error) {
      if (!this.#options.signal.aborted) findings.push(refused(error), ...this.#found());
    }
    findings.push(...(await this.#remove()));
    return findings;
  }

  #found(): Finding[] {
    const mountOptions = this.#options.mountOptions();
    const here = { seenMs: SEEN_MS, ...(mountOptions !== undefined && { mountOptions }) };
    return [...nodeFindings(this.#lines, here), ...this.#subPathMissing()];
  }

  async #start(side: TrialSide, more: { node?: string; subPath?: string } = {}): Promise<void> {
    const { pods, program, word, untilMs } = this.#options;
    const limitMs = Math.max(1000, Math.round(untilMs - performance.now()));
    const folder = side === 'inside' ? TRIAL_VOLUME : this.#folder;
    const order: NodeOrder = { side, folder, word, limitMs, seenMs: SEEN_MS, rounds: ROUNDS };
    await pods.start({ side, program, argument: JSON.stringify(order), ...more });
  }

  async #watch(): Promise<void> {
    const { pods, untilMs, signal } = this.#options;
    while (performance.now() < untilMs && !signal.aborted) {
      this.#pods = await pods.look();
      await this.#read();
      await this.#startInside();
      if (this.#isOver()) return;
      await pause(LOOK_MS, undefined, { signal });
    }
  }

  async #read(): Promise<void> {
    const begun = SIDES.filter((side) => !['waiting', undefined].includes(this.#pods.get(side)?.state));
    const read = await Promise.all(
      begun.map(async (side) => {
        const lines = await this.#options.pods.log(side);
        return [side, lines.flatMap((line) => parsedLine<NodeLine>(line) ?? [])] as const;
      }),
    );
    this.#lines = { ...this.#lines, ...Object.fromEntries(read) };
  }

  /** As soon as one node has made the folder, on the other one. */
  async #startInside(): Promise<void> {
    const node = this.#pods.get('right')?.node ?? '';
    if (this.#hasInside || node === '' || !this.#has('left', 'made')) return;
    this.#hasInside = true;
    const subPath = placesIn(this.#folder).sub.slice(TRIAL_VOLUME.length + 1);
    await this.#start('inside', { node, subPath });
  }

  #isOver(): boolean {
    const [left, right] = [this.#pods.get('left'), this.#pods.get('right')];
    const isHomeless = (left?.isHomeless ?? false) || (right?.isHomeless ?? false);
    this.#homelessSince = isHomeless ? (this.#homelessSince ?? performance.now()) : undefined;
    if (performance.now() - (this.#homelessSince ?? Infinity) > HOMELESS_MS) return true;
    if (this.#has('left', 'failed') || this.#has('left', 'unvisited') || this.#has('right', 'failed'))
      return true;
    // A program that was killed ends without a word.
    if (!this.#has('left', 'end')) return left?.state === 'ended';
    // Left ends when somebody came to the folder; what that one saw there may still be on its way.
    return !this.#hasInside || this.#has('inside', 'end');
  }

  #has(side: TrialSide, type: NodeLine['type']): boolean {
    return this.#lines[side].some((line) => line.type === type);
  }

  async #podsFinding(): Promise<Finding> {
    const [left, right] = [this.#pods.get('left'), this.#pods.get('right')];
    const check = 'pods';
    if (this.#has('left', 'met')) {
      const measured = `${left?.node ?? ''}, ${right?.node ?? ''}`;
      return { check, verdict: 'good', measured, says: 'a pod on each of two nodes wrote to the claim' };
    }
    const late = [left, right].find((pod) => pod !== undefined && pod.state !== 'running') ?? right;
    const words =
      late?.words || (late && (await this.#options.pods.lastWarning(late.side))) || 'nothing more is said';
    if (late?.isHomeless)
      return {
        check,
        verdict: 'note',
        says: `there is no second node for a trial between two: ${words}`,
        advice: 'with one node nothing needs to be seen on another',
      };
    const isUp = late?.state === 'running';
    return {
      check,
      verdict: 'warn',
      says: isUp ? 'the two pods did not find each other in time' : `a pod was not up in time: ${words}`,
      advice: isUp
        ? 'see that the claim is one volume on all nodes, and that no network policy stands between the two'
        : 'run it again, now that the nodes have the image, or with a larger --limit',
    };
  }

  #subPathMissing(): Finding[] {
    if (!this.#hasInside || this.#has('inside', 'inside') || this.#has('inside', 'failed')) return [];
    const words = this.#pods.get('inside')?.words ?? '';
    const says = `no pod with a subPath of the claim was up in time${words && `: ${words}`}`;
    return [{ check: 'sub-path', verdict: 'warn', says }];
  }

  async #remove(): Promise<Finding[]> {
    try {
      await this.#options.pods.remove();
      return [];
    } catch (error) {
      const says = `its pods are still there: ${error instanceof Error ? error.message : String(error)}`;
      const advice = 'they end by themselves after 90 s, and the next doctor removes them';
      return [{ check: 'pods', verdict: 'note', says, advice }];
    }
  }
}

function refused(error: unknown): Finding {
  const refusal = error instanceof ApiRefusal ? refusalFor(error) : undefined;
  const said = error instanceof Error ? error.message : String(error);
  const code = error instanceof Fault ? error.code : (refusal?.code ?? 'CLUSTER_POD_REFUSED');
  return { check: 'pods', verdict: 'bad', says: refusal?.says ?? said, code };
}
