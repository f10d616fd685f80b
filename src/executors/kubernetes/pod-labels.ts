import { GROUP_LABEL, LABEL_PREFIX, LABELS_ANNOTATION, TICKET_ANNOTATION } from './pod-names.ts';

/** Source: Kubernetes, labels and selectors: what a name behind the prefix may be, and a value that is not empty. */
const TERM = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** A script must not take the names that the agent itself goes by. */
const OWN: ReadonlySet<string> = new Set([GROUP_LABEL, TICKET_ANNOTATION, LABELS_ANNOTATION]);

/** Returns those labels of a script that can be labels of its pod, as `longshore.dev/<name>`. */
export function podLabelsFor(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels)
      .filter(([name, value]) => TERM.test(name) && (value === '' || TERM.test(value)))
      .map(([name, value]) => [`${LABEL_PREFIX}${name}`, value] as const)
      .filter(([name]) => !OWN.has(name)),
  );
}

/** Returns all labels of a script as one annotation, a JSON object; none where it has no labels. */
export function labelsAnnotationFor(labels: Readonly<Record<string, string>>): Record<string, string> {
  if (Object.keys(labels).length === 0) return {};
  return { [LABELS_ANNOTATION]: JSON.stringify(labels) };
}
