import type { PodOrder, PodSetup } from './pod-setup.ts';

/** How the runner comes into the pod: it is part of the image, or is brought in one of two ways. */
export type RunnerSource = 'own' | PodSetup['runnerInjection'];

/** The image of a script: what it wishes, and otherwise the one of the configuration. */
export function imageFor({ wishes }: PodOrder, { scriptImage }: PodSetup): string {
  return wishes?.image ?? scriptImage;
}

/** The image of the configuration has the runner in it; any other one gets it. */
export function runnerSourceFor(podOrder: PodOrder, setup: PodSetup): RunnerSource {
  return imageFor(podOrder, setup) === setup.scriptImage ? 'own' : setup.runnerInjection;
}
