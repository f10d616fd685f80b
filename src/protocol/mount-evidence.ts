/**
 * What can be seen of a mount, in the words that the verdict machine weighs.
 *
 * Every `atMs` is the time at which the answer was there, or its deadline had passed, by one monotonic clock of whoever
 * watches. What each kind is worth, and why, stands at the rules in mount-belief.ts and in docs/reference/mount.md.
 */
export type Evidence = ProbeSeen | ServerSeen | AddressSeen | CanarySeen;

/** The call returned, and the volume did what was asked. */
export interface Answered {
  readonly is: 'ok';
}

/** The call returned with an error of the kernel; by number, since Node has no name for ESTALE, which is 116. */
export interface Failed {
  readonly is: 'errno';
  /** Positive, as in errno(3). */
  readonly number: number;
  /** For people: `ESTALE`. */
  readonly name: string;
}

/** The call had not returned at its deadline. It may hang for ever. */
export interface Missed {
  readonly is: 'missed';
  /** The deadline, counted from the start of the call. */
  readonly afterMs: number;
}

/**
 * One look at the volume: its root first and, only if that call returned, the epoch, opened and read by path.
 *
 * The order is a promise: an NFS client may answer an open from its cache for more than 100 s after the server died,
 * and never a statfs, so that an epoch that was read behind a hung root would prove nothing.
 */
export interface ProbeSeen {
  readonly kind: 'probe';
  readonly atMs: number;
  /** `ok` where statfs of the root answered or, if that failed, a listing of it; else the errno of the statfs. */
  readonly root: Answered | Failed | Missed;
  readonly epoch: EpochAnswer;
}

/**
 * What a read of the epoch brought.
 *
 * - `read`: it holds a text, without its line end. Text that no agent wrote is another epoch too; at most 64 characters.
 * - `empty`: it is there and holds nothing. That is unknown, not absent: a client has shown a file of 33 bytes as empty
 *   for 50 s.
 * - `absent`: ENOENT or ENOTDIR, for the file or its folder.
 * - `unasked`: the root was `missed`.
 */
export type EpochAnswer =
  | { readonly is: 'read'; readonly epoch: string }
  | { readonly is: 'empty' }
  | { readonly is: 'absent' }
  | { readonly is: 'unasked' }
  | Failed
  | Missed;

/** What the NFS server at the address of the mount said to an EXCHANGE_ID, a call that touches no file system. */
export interface ServerSeen {
  readonly kind: 'server';
  readonly atMs: number;
  /** Where it was asked: the `addr=` of the mount. */
  readonly address: string;
  readonly answer: ServerAnswer;
}

export type ServerAnswer =
  { readonly is: 'boot-id'; readonly bootId: string } | { readonly is: ServerFailure; readonly says: string };

/**
 * Why there is no boot id, and whether somebody speaks at the address.
 *
 * `speaks` answers RPCs, `silent` does not; `unclear` proves neither: a server refuses RPCs while it starts and stops.
 */
export const SERVER_FAILURES = {
  timeout: 'silent',
  refused: 'silent',
  unreachable: 'silent',
  reset: 'silent',
  closed: 'silent',
  'network-error': 'silent',
  denied: 'unclear',
  garbled: 'unclear',
  unsupported: 'speaks',
} as const satisfies Record<string, 'speaks' | 'silent' | 'unclear'>;

export type ServerFailure = keyof typeof SERVER_FAILURES;

/** The address that the mount holds on to, beside those that the name of its server has now; none is no evidence. */
export interface AddressSeen {
  readonly kind: 'address';
  readonly atMs: number;
  readonly name: string;
  readonly mounted: string;
  readonly resolved: readonly string[];
}

/** One trial of writing: create, fsync, close, rename, read back by path. `differs`: other bytes came back. */
export interface CanarySeen {
  readonly kind: 'canary';
  readonly atMs: number;
  readonly answer: Answered | Failed | Missed | { readonly is: 'differs'; readonly says: string };
}
