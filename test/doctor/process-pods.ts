import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { NodeTrialsOptions } from '../../src/doctor/node-trials.ts';
import { TRIAL_VOLUME, type TrialSide } from '../../src/executors/kubernetes/trial-pod-template.ts';
import type { TrialPod } from '../../src/executors/kubernetes/trial-pods.ts';

interface Running {
  readonly child: ChildProcess;
  readonly node: string;
  out: string;
}

/** Trial pods that are processes of this machine, on a folder instead of a claim; nodes are names alone. */
export class ProcessPods {
  /** Sides that no node takes, by what the scheduler says. */
  readonly homeless = new Map<TrialSide, string>();
  /** What happens before a pod is made; an error is the cluster's no. */
  before: (side: TrialSide) => void = () => undefined;
  removed = 0;
  readonly #volume: string;
  readonly #running = new Map<TrialSide, Running>();

  constructor(t: { teardown: (work: () => void) => void }, volume: string) {
    this.#volume = volume;
    t.teardown(() => this.#kill());
  }

  async sweep(): Promise<void> {
    // No doctor was killed here.
  }

  async start({
    side,
    program,
    argument,
    node,
    subPath,
  }: Parameters<NodeTrialsOptions['pods']['start']>[0]): Promise<void> {
    this.before(side);
    if (this.homeless.has(side)) return;
    const folder = subPath === undefined ? this.#volume : join(this.#volume, subPath);
    // As a kubelet does it.
    if (!existsSync(folder)) mkdirSync(folder, { recursive: true });
    const child = spawn(process.execPath, ['-e', program, argument.replaceAll(TRIAL_VOLUME, folder)], {
      cwd: '/',
      env: { UV_THREADPOOL_SIZE: '16' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const running: Running = { child, node: node ?? `node-${side}`, out: '' };
    child.stdout.on('data', (bytes: Buffer) => (running.out += bytes.toString('utf8')));
    this.#running.set(side, running);
  }

  async look(): Promise<ReadonlyMap<TrialSide, TrialPod>> {
    const waiting = [...this.homeless].map(
      ([side, words]) =>
        [side, { side, node: '', state: 'waiting', words, isHomeless: words.includes('nodes') }] as const,
    );
    const running = [...this.#running].map(([side, { child, node }]) => {
      const isOver = child.exitCode !== null || child.signalCode !== null;
      return [
        side,
        { side, node, state: isOver ? 'ended' : 'running', words: '', isHomeless: false },
      ] as const;
    });
    return new Map<TrialSide, TrialPod>([...waiting, ...running]);
  }

  async log(side: TrialSide): Promise<string[]> {
    return (this.#running.get(side)?.out ?? '').split('\n').slice(0, -1);
  }

  async lastWarning(): Promise<string> {
    return 'FailedMount: as the kubelet says it';
  }

  async remove(): Promise<void> {
    this.removed += 1;
    for (const { child } of this.#running.values()) child.kill('SIGTERM');
  }

  #kill(): void {
    for (const { child } of this.#running.values()) child.kill('SIGKILL');
  }
}
