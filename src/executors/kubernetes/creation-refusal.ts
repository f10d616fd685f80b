import type { FailureCode } from '../../protocol/failure-table.ts';
import { inOneLine, shortened } from './loose-json.ts';
import { quoted } from './pod-trouble.ts';

/** What the API server answered instead of making an object. */
export interface ApiWords {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
}

/** Why an object was not made; the codes with retry `later` are worth another try. */
export interface CreationRefusal {
  readonly code: FailureCode;
  readonly says: string;
  readonly evidence: Readonly<Record<string, unknown>>;
}

interface Row {
  readonly test: (words: ApiWords) => boolean;
  readonly code: FailureCode;
  readonly says: (what: string) => string;
}

const says = (pattern: RegExp) => (words: ApiWords) => pattern.test(words.message);

/**
 * The first row that fits decides; the reason is `Forbidden` for nearly all, so that only the words tell them apart.
 *
 * Source: kubernetes v1.34.4 plugin/pkg/admission and apiserver v0.34.4 pkg/admission/plugin.
 */
const ROWS: readonly Row[] = [
  {
    test: ({ status, message }) => status === 401 || /\bcannot \w+ resource "/.test(message),
    code: 'CLUSTER_FORBIDDEN',
    says: (what) => `the agent may not create ${what}`,
  },
  {
    // 409: too many pods were counted at once, and the quota could not be written.
    test: ({ status, message }) =>
      /\bexceeded quota:|\bstatus unknown for quota:/.test(message) ||
      (status === 409 && /\bresourcequotas\b/.test(message)),
    code: 'CLUSTER_QUOTA',
    says: (what) => `the quota of the namespace leaves no room for ${what}`,
  },
  {
    test: says(/\b(failed|insufficient) quota\b/),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `the quota of the namespace wants more to be said of ${what}`,
  },
  {
    test: says(/\b(maximum|minimum) \S+ usage per (Container|Pod)\b|\bmax limit to request ratio\b/),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `a limit range of the namespace forbids ${what}`,
  },
  {
    test: says(/\bviolates PodSecurity\b/),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `the pod security of the namespace forbids ${what}`,
  },
  {
    test: says(/\berror looking up service account\b|\bno service account specified\b/),
    code: 'CLUSTER_ACCOUNT_MISSING',
    says: (what) => `${what} names a service account that the namespace does not have`,
  },
  {
    test: says(/\bis being terminated\b/),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `the namespace of ${what} is being deleted`,
  },
  {
    test: ({ status, message }) => status === 404 && /^namespaces? "/.test(message),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `the namespace of ${what} does not exist`,
  },
  {
    test: says(/\bfailed calling webhook\b/),
    code: 'CLUSTER_UNREACHABLE',
    says: (what) => `a webhook that has a say in ${what} did not answer`,
  },
  {
    test: says(/\badmission webhook "|\bValidatingAdmissionPolicy '/),
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `an admission rule of the cluster forbids ${what}`,
  },
  {
    test: ({ status }) => status === 422,
    code: 'CLUSTER_POD_REFUSED',
    says: (what) => `the API server finds ${what} invalid`,
  },
  {
    test: ({ status }) => status === 429 || status >= 500,
    code: 'CLUSTER_UNREACHABLE',
    says: (what) => `the API server could not create ${what} now`,
  },
];

const MAX_RAW = 2000;

/**
 * Says why the API server did not make an object, from its answer; `what` names the object for the sentence.
 *
 * Not for 409 AlreadyExists, which is no refusal. What no row knows is CLUSTER_POD_REFUSED with the raw words.
 */
export function refusalFor({ status, reason, message }: ApiWords, what = 'the pod'): CreationRefusal {
  const row = ROWS.find(({ test }) => test({ status, reason, message }));
  const sentence = row?.says(what) ?? `the API server refused ${what} (${status} ${inOneLine(reason, 100)})`;
  return {
    code: row?.code ?? 'CLUSTER_POD_REFUSED',
    says: `${sentence}${quoted(message)}`,
    evidence: { status, reason: shortened(reason, 200), message: shortened(message, MAX_RAW) },
  };
}
