import { parseScriptKey, type ScriptKey } from '../../protocol/ticket.ts';

const POD_PREFIX = 'ls-';

/** Where the parts of a pod lie inside of it: the one contract between pod, images and runner. */
export const POD_PATHS = {
  /** tini, node and runner.cjs, in our images and where an init container puts them. */
  bin: '/longshore/bin',
  /** The whole runner image, where it is mounted as a volume. */
  runnerImage: '/longshore/image',
  /** The empty folder that an init container fills; the script's container has it as `bin`. */
  injected: '/longshore/injected',
  order: '/longshore/order',
  workspace: '/longshore/workspace',
  identity: '/longshore/identity',
  /** On the disk of the node, for a script that does not work on the volume. */
  copy: '/longshore/copy',
  temporary: '/tmp',
} as const;

/** Names inside a pod. */
export const SCRIPT_CONTAINER = 'script';
export const RUNNER_CONTAINER = 'runner';
export const ORDER_VOLUME = 'order';
export const ORDER_FILE = 'order.json';

export const LABEL_PREFIX = 'longshore.dev/';
export const GROUP_LABEL = `${LABEL_PREFIX}group`;
export const TICKET_ANNOTATION = `${LABEL_PREFIX}ticket`;
/** All labels of a script, also those that no label of a pod can say. */
export const LABELS_ANNOTATION = `${LABEL_PREFIX}labels`;

const OWN_LABELS = {
  'app.kubernetes.io/managed-by': 'longshore',
  'app.kubernetes.io/component': 'script',
} as const;

/** Names the pod of a script; at most 48 characters, so that it is its host name too and stands in the claim. */
export function podNameFor(key: ScriptKey): string {
  return `${POD_PREFIX}${key}`;
}

/** Returns the script of a pod, or undefined where the name is none of ours. */
export function scriptKeyOf(podName: string): ScriptKey | undefined {
  return podName.startsWith(POD_PREFIX) ? parseScriptKey(podName.slice(POD_PREFIX.length)) : undefined;
}

/** Names the Secret of one pod; `suffix` is 8 random hex digits, so that no later pod of the name finds it. */
export function orderSecretNameFor(key: ScriptKey, suffix: string): string {
  return `${podNameFor(key)}-${suffix}`;
}

/** What tells the pods of a group of agents from all others. */
export function ownLabelsFor(group: string): Record<string, string> {
  return { ...OWN_LABELS, [GROUP_LABEL]: group };
}

/** The same as a label selector of the API. */
export function podSelectorFor(group: string): string {
  return Object.entries(ownLabelsFor(group))
    .map(([name, value]) => `${name}=${value}`)
    .join(',');
}
