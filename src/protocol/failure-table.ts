/** What kind of thing failed; the first question of whoever is paged. */
export type FailureCategory = 'script' | 'cluster' | 'storage' | 'staging' | 'agent' | 'server';

/** May the same request be sent again: never with this content, later by a machine, or after an operator acted. */
export type Retry = 'never' | 'later' | 'operator';

interface FailureRow {
  readonly category: FailureCategory;
  /** HTTP status when it answers a request; null where it only ever ends a script. */
  readonly status: number | null;
  /** Exit code of the command line when nothing better is known (sysexits(3), timeout(1)). */
  readonly exit: number;
  readonly retry: Retry;
  readonly says: string;
}

/**
 * Every way in which a request or a script can end, once.
 *
 * The code is the API field, the metric label, the word in the journal and the anchor in docs/reference/failures.md.
 * Codes are never renamed and never reused. Order: how a script ends, in general and in a cluster, then staging, server, agent, storage.
 * One row a line, since a table is read by its columns.
 */
// prettier-ignore
export const FAILURES = {
  SUCCEEDED: { category: 'script', status: null, exit: 0, retry: 'never', says: 'the script ended with exit code 0' },
  SCRIPT_FAILED: { category: 'script', status: null, exit: 1, retry: 'never', says: 'the script ended with an exit code other than 0' },
  SCRIPT_KILLED: { category: 'script', status: null, exit: 137, retry: 'never', says: 'a signal that nobody here sent ended the script' },
  SCRIPT_CANCELLED: { category: 'script', status: null, exit: 130, retry: 'never', says: 'the script was cancelled' },
  SCRIPT_DEADLINE: { category: 'script', status: null, exit: 124, retry: 'never', says: 'the script ran into its deadline and was ended' },
  ISOLATION_TIMEOUT: { category: 'script', status: null, exit: 124, retry: 'later', says: 'the script waited too long for its isolation line and never ran' },
  INTERPRETER_MISSING: { category: 'script', status: null, exit: 127, retry: 'operator', says: 'the interpreter of the script could not be started' },
  STAGING_MISMATCH: { category: 'staging', status: null, exit: 65, retry: 'later', says: 'the runner found other files than those that were staged, so nothing ran' },
  STAGING_DISK_FULL: { category: 'staging', status: null, exit: 74, retry: 'operator', says: 'the local disk has no room for what was staged, so nothing ran' },
  WORKSPACE_LOST: { category: 'staging', status: null, exit: 74, retry: 'later', says: 'the workspace of the script is no longer on the volume' },
  RUNNER_LOST: { category: 'agent', status: null, exit: 70, retry: 'never', says: 'the runner vanished without an end record, so nobody knows how the script ended' },
  RUNNER_FAILED: { category: 'agent', status: null, exit: 70, retry: 'operator', says: 'the runner itself failed' },
  RUNNER_STOPPED: { category: 'agent', status: null, exit: 143, retry: 'later', says: 'somebody other than the agent told the runner to stop' },
  RUNNER_NOT_STARTED: { category: 'agent', status: null, exit: 71, retry: 'later', says: 'the runner could not be started in time, so nothing ran' },

  CLUSTER_OOM: { category: 'cluster', status: null, exit: 137, retry: 'never', says: 'the kernel ended the script because its pod used more memory than it may' },
  CLUSTER_EVICTED: { category: 'cluster', status: null, exit: 75, retry: 'operator', says: 'the pod of the script was evicted from its node' },
  CLUSTER_PREEMPTED: { category: 'cluster', status: null, exit: 75, retry: 'operator', says: 'the scheduler ended the pod of the script for one of higher priority' },
  CLUSTER_NODE_LOST: { category: 'cluster', status: null, exit: 75, retry: 'operator', says: 'the node of the script is lost, so nobody knows how the script ended' },
  CLUSTER_POD_DELETED: { category: 'cluster', status: null, exit: 75, retry: 'operator', says: 'somebody other than the agent deleted the pod of the script' },
  CLUSTER_POD_FAILED: { category: 'cluster', status: null, exit: 70, retry: 'operator', says: 'the pod of the script failed for a reason that the agent does not know' },
  CLUSTER_IMAGE_MISSING: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'an image of the pod could not be fetched, so nothing ran' },
  CLUSTER_IMAGE_INVALID: { category: 'cluster', status: null, exit: 64, retry: 'never', says: 'the name of the image is no name of an image, so nothing ran' },
  CLUSTER_UNSCHEDULABLE: { category: 'cluster', status: null, exit: 75, retry: 'later', says: 'no node took the pod of the script in time, so nothing ran' },
  CLUSTER_CLAIM_UNBOUND: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'the volume claim of the pod is missing or not bound, so nothing ran' },
  CLUSTER_MOUNT_FAILED: { category: 'cluster', status: null, exit: 75, retry: 'later', says: 'the node could not mount a volume of the pod in time, so nothing ran' },
  CLUSTER_INIT_FAILED: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'the container that brings the runner into the pod failed, so nothing ran' },
  CLUSTER_CONTAINER_REFUSED: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'the node could not make or start the container of the script, so nothing ran' },
  CLUSTER_ACCOUNT_MISSING: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'the service account of the pod does not exist, so nothing ran' },
  CLUSTER_QUOTA: { category: 'cluster', status: null, exit: 75, retry: 'later', says: 'a quota or limit of the namespace left no room for the pod in time, so nothing ran' },
  CLUSTER_POD_REFUSED: { category: 'cluster', status: null, exit: 71, retry: 'operator', says: 'the cluster refused the pod of the script, so nothing ran' },
  CLUSTER_FORBIDDEN: { category: 'cluster', status: 503, exit: 77, retry: 'operator', says: 'the agent lacks a right in the cluster' },
  CLUSTER_UNREACHABLE: { category: 'cluster', status: 503, exit: 69, retry: 'later', says: 'the API server of the cluster did not answer' },

  PACKAGE_NAME_INVALID: { category: 'staging', status: 400, exit: 64, retry: 'never', says: 'a package id, version or file name breaks the rules for names' },
  PACKAGE_UNKNOWN: { category: 'staging', status: 404, exit: 66, retry: 'never', says: 'the agent does not have this package' },
  PACKAGE_EXISTS: { category: 'staging', status: 412, exit: 73, retry: 'never', says: 'the package exists, and the request wanted to create it' },
  PACKAGE_CONFLICT: { category: 'staging', status: 409, exit: 65, retry: 'never', says: 'this version of the package exists with other bytes' },
  PACKAGE_MISSING: { category: 'staging', status: 422, exit: 66, retry: 'never', says: 'the script names a package that was not pushed' },
  BLOB_UNKNOWN: { category: 'staging', status: 404, exit: 66, retry: 'never', says: 'the agent does not have this blob' },
  BLOB_MISSING: { category: 'staging', status: 422, exit: 66, retry: 'never', says: 'the script names a blob that was not pushed' },
  BLOB_EXISTS: { category: 'staging', status: 412, exit: 73, retry: 'never', says: 'the blob exists, and the request wanted to create it' },
  DIGEST_INVALID: { category: 'staging', status: 400, exit: 64, retry: 'never', says: 'a digest is not written as the rules say' },
  DIGEST_MISMATCH: { category: 'staging', status: 422, exit: 65, retry: 'later', says: 'the bytes that arrived do not have the digest that was announced' },
  PATH_INVALID: { category: 'staging', status: 400, exit: 64, retry: 'never', says: 'a path is not a plain relative path inside the workspace' },
  UPLOAD_INCOMPLETE: { category: 'staging', status: 400, exit: 65, retry: 'later', says: 'the body ended before the length that was announced' },
  UPLOAD_TOO_SLOW: { category: 'staging', status: 408, exit: 75, retry: 'later', says: 'the body arrived more slowly than the configured minimum' },
  UPLOADS_TOO_MANY: { category: 'staging', status: 429, exit: 75, retry: 'later', says: 'as many uploads as the agent takes at once are under way' },

  REQUEST_INVALID: { category: 'server', status: 400, exit: 64, retry: 'never', says: 'the request does not follow the schema' },
  FIELD_UNSUPPORTED: { category: 'server', status: 422, exit: 64, retry: 'never', says: 'this agent cannot honour a field of the request' },
  POD_NOT_ALLOWED: { category: 'server', status: 422, exit: 64, retry: 'never', says: 'the configuration does not allow what the script wishes of its pod' },
  CURSOR_INVALID: { category: 'server', status: 400, exit: 64, retry: 'never', says: 'the cursor is not one that this agent gave' },
  UNAUTHENTICATED: { category: 'server', status: 401, exit: 77, retry: 'never', says: 'the request carries no token that this agent knows' },
  ROUTE_UNKNOWN: { category: 'server', status: 404, exit: 64, retry: 'never', says: 'there is nothing at this address' },
  BODY_TOO_LARGE: { category: 'server', status: 413, exit: 64, retry: 'never', says: 'the body is larger than the configured limit' },
  MEDIA_TYPE_UNSUPPORTED: { category: 'server', status: 415, exit: 64, retry: 'never', says: 'the body is of a media type that this call does not take' },
  TICKET_INVALID: { category: 'server', status: 400, exit: 64, retry: 'never', says: 'the ticket breaks the rules for tickets' },
  TICKET_UNKNOWN: { category: 'server', status: 404, exit: 66, retry: 'never', says: 'there is no script of this ticket for this token' },
  TICKET_CONFLICT: { category: 'server', status: 409, exit: 65, retry: 'never', says: 'the ticket was used before with another body' },
  TICKET_COMPLETED: { category: 'server', status: 410, exit: 66, retry: 'never', says: 'the script was completed and its ticket never runs again' },
  SCRIPT_UNFINISHED: { category: 'server', status: 409, exit: 75, retry: 'later', says: 'the script has not finished; cancel it first' },
  SCRIPTS_TOO_MANY: { category: 'server', status: 429, exit: 75, retry: 'later', says: 'as many scripts as the agent takes at once are unfinished' },
  ARTIFACT_UNKNOWN: { category: 'server', status: 404, exit: 66, retry: 'never', says: 'the script left no artifact of this name' },

  AGENT_STARTING: { category: 'agent', status: 503, exit: 75, retry: 'later', says: 'the agent has not found its state on the volume yet' },
  AGENT_STOPPING: { category: 'agent', status: 503, exit: 75, retry: 'later', says: 'the agent takes no new work because it is stopping' },
  AGENT_FAILED: { category: 'agent', status: 500, exit: 70, retry: 'operator', says: 'the agent met an error that it does not know' },
  AGENT_UNREACHABLE: { category: 'agent', status: null, exit: 69, retry: 'later', says: 'the agent could not be reached or broke off' },
  KEY_FOREIGN: { category: 'agent', status: 409, exit: 78, retry: 'operator', says: 'the script was sealed with the key of another agent' },
  CONFIG_INVALID: { category: 'agent', status: null, exit: 78, retry: 'operator', says: 'the configuration breaks a rule' },

  STORAGE_FULL: { category: 'storage', status: 507, exit: 74, retry: 'operator', says: 'the volume has no room or no quota left for this' },
  STORAGE_READONLY: { category: 'storage', status: 503, exit: 74, retry: 'operator', says: 'the volume is mounted read-only' },
  STORAGE_DENIED: { category: 'storage', status: 503, exit: 74, retry: 'operator', says: 'the volume refuses access to the user of the agent' },
  STORAGE_STALE: { category: 'storage', status: 503, exit: 74, retry: 'later', says: 'the volume answers with stale file handles' },
  STORAGE_ERROR: { category: 'storage', status: 503, exit: 74, retry: 'later', says: 'the volume answered with an input or output error' },
  STORAGE_TIMEOUT: { category: 'storage', status: 503, exit: 74, retry: 'later', says: 'the volume did not answer in time' },
  STORAGE_UNREACHABLE: { category: 'storage', status: 503, exit: 74, retry: 'later', says: 'the file server of the volume does not answer at the address of the mount' },
  STORAGE_BUSY: { category: 'storage', status: 503, exit: 75, retry: 'later', says: 'as many operations as the agent allows wait for the volume' },
  STORAGE_EMPTIED: { category: 'storage', status: 503, exit: 74, retry: 'operator', says: 'the volume answers, and its identity is gone' },
  STORAGE_REPLACED: { category: 'storage', status: 503, exit: 74, retry: 'operator', says: 'the volume is another one than the one that was staged on' },
} as const satisfies Record<string, FailureRow>;

export type FailureCode = keyof typeof FAILURES;

/** A code that may answer an HTTP request. */
export type RequestFailureCode = {
  [Code in FailureCode]: (typeof FAILURES)[Code]['status'] extends number ? Code : never;
}[FailureCode];

/** Tells whether `text` is a code of the table. */
export function isFailureCode(text: string): text is FailureCode {
  return Object.hasOwn(FAILURES, text);
}
