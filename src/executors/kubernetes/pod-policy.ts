import { Fault } from '../../protocol/fault.ts';
import type { PodResources, PodToleration, PodWishes } from '../../protocol/pod-wishes.ts';
import { exceeds, parseQuantity } from './quantity.ts';

/** What a script may wish of its pod; what is not named, none may. Source: `podPolicy` of the configuration. */
export interface PodPolicy {
  /** Exact, or with a * at the end that stands for any rest. */
  readonly images?: readonly string[];
  /** The same. */
  readonly serviceAccounts?: readonly string[];
  /** The most of each resource, as request and as limit. */
  readonly resources?: Readonly<Record<string, string>>;
  /** The values of each label. */
  readonly nodeSelector?: Readonly<Record<string, readonly string[]>>;
  /** A wish must be one of these, or tolerate less; without `effect`, `value` or `key` any. */
  readonly tolerations?: readonly PodToleration[];
}

const MAX_SHOWN = 200;

/**
 * Returns the wishes of a script where all of them are allowed.
 *
 * @throws {Fault} POD_NOT_ALLOWED for the first one that is not; `detail` has field (as a JSON pointer into the body of
 * the start), rule and value.
 */
export function checkPod(wishes: PodWishes, policy: PodPolicy): PodWishes {
  const { image, serviceAccount, resources = {}, nodeSelector = {}, tolerations = [] } = wishes;
  if (image !== undefined) checkName('image', image, policy.images);
  if (serviceAccount !== undefined) checkName('serviceAccount', serviceAccount, policy.serviceAccounts);
  checkResources(resources, policy.resources ?? {});
  for (const [label, value] of Object.entries(nodeSelector)) {
    const allowed = ownOf(policy.nodeSelector ?? {}, label) ?? [];
    if (!allowed.includes(value)) throw notAllowed(`nodeSelector/${pointed(label)}`, anyOf(allowed), value);
  }
  tolerations.forEach((toleration, index) => {
    const allowed = policy.tolerations ?? [];
    if (allowed.some((one) => covers(one, toleration))) return;
    const rule = anyOf(allowed.map((one) => JSON.stringify(one)));
    throw notAllowed(`tolerations/${index}`, rule, JSON.stringify(toleration));
  });
  return wishes;
}

function checkName(field: string, value: string, patterns: readonly string[] = []): void {
  if (!patterns.some((pattern) => isMatch(pattern, value))) throw notAllowed(field, anyOf(patterns), value);
}

function isMatch(pattern: string, value: string): boolean {
  return pattern.endsWith('*') ? value.startsWith(pattern.slice(0, -1)) : value === pattern;
}

function checkResources(resources: PodResources, most: Readonly<Record<string, string>>): void {
  for (const kind of ['requests', 'limits'] as const) {
    for (const [name, quantity] of Object.entries(resources[kind] ?? {})) {
      const field = `resources/${kind}/${pointed(name)}`;
      const maximum = ownOf(most, name);
      if (maximum === undefined) throw notAllowed(field, anyOf(Object.keys(most)), name);
      if (parseQuantity(quantity) === undefined) {
        throw notAllowed(field, 'a quantity of Kubernetes, 0 or more', quantity);
      }
      // A maximum that cannot be read allows nothing.
      if (parseQuantity(maximum) === undefined || exceeds(quantity, maximum)) {
        throw notAllowed(field, `at most ${maximum}`, quantity);
      }
      const limit = ownOf(resources.limits ?? {}, name);
      if (kind === 'requests' && limit !== undefined && exceeds(quantity, limit)) {
        throw notAllowed(field, `at most its limit ${limit}`, quantity);
      }
    }
  }
}

/**
 * Tells whether everything that `wished` tolerates is tolerated by `allowed` too.
 *
 * Source: Kubernetes API, core/v1 Toleration: no operator is Equal, no effect is every effect, no key (with Exists) is
 * every key, no tolerationSeconds is for ever.
 */
function covers(allowed: PodToleration, wished: PodToleration): boolean {
  const anyKey = !allowed.key && allowed.operator === 'Exists';
  const sameKey = anyKey || (!!wished.key && allowed.key === wished.key);
  const sameValue =
    allowed.operator === 'Exists' ||
    (wished.operator !== 'Exists' && (allowed.value ?? '') === (wished.value ?? ''));
  const sameEffect = allowed.effect === undefined || allowed.effect === wished.effect;
  const { tolerationSeconds: most } = allowed;
  const soEnough =
    most === undefined || (wished.tolerationSeconds !== undefined && wished.tolerationSeconds <= most);
  return sameKey && sameValue && sameEffect && soEnough;
}

/** What the record itself holds, and not what every object has by its prototype. */
function ownOf<T>(record: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

/** Source: RFC 6901, 3. */
function pointed(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1');
}

function anyOf(allowed: readonly string[]): string {
  return allowed.length === 0 ? 'left out' : `one of ${allowed.join(', ')}`;
}

function notAllowed(field: string, allowed: string, seen: string): Fault {
  const [rule, value] = [allowed, seen].map((text) => text.slice(0, MAX_SHOWN));
  const place = `/pod/${field}`;
  return new Fault(
    'POD_NOT_ALLOWED',
    `${place} must be ${rule ?? ''} by podPolicy of the configuration, not ${JSON.stringify(value)}`,
    { detail: { field: place, rule, value } },
  );
}
