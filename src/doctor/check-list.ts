/** What a check looks at. */
export type CheckPart = 'mount' | 'volume' | 'nodes';

interface CheckRow {
  readonly part: CheckPart;
  /** What is done. */
  readonly does: string;
  /** What of Longshore rests on it. */
  readonly why: string;
  /** When it is what, as far as it is not `good`. */
  readonly otherwise: string;
}

/**
 * Every check of the doctor, in the order in which they are shown.
 *
 * docs/reference/doctor.md is made of it. One row is one line or two, since a table is read by its columns.
 */
// prettier-ignore
export const CHECKS = {
  answers: { part: 'volume', does: 'path, free space and list of the root', why: 'everything', otherwise: 'bad: an error; the rest is left out' },
  'file-system': { part: 'mount', does: 'reads /proc/self/mountinfo', why: 'who else may change the files, and what that file system is known for', otherwise: 'note: a disk of this machine alone, or a network file system whose options are not judged; bad: mounted read-only' },
  'nfs-version': { part: 'mount', does: 'option `vers`', why: 'from 4.1 on a server tells its boot id, so that a restart is told from a partition', otherwise: 'note: an older one' },
  'nfs-errors': { part: 'mount', does: 'options `hard`, `soft`, `timeo`, `retrans`', why: 'what a call does while the server is away', otherwise: 'note: soft, which gives errors where nothing was lost' },
  'nfs-lookups': { part: 'mount', does: 'options `lookupcache`, `actimeo`, `acdirmax`, `noac`', why: 'how soon one node sees the new files of another', otherwise: 'warn: the default, which may take 60 s' },
  'nfs-coherence': { part: 'mount', does: 'options `nocto`, `nosharecache`', why: 'who opens after a close sees the bytes', otherwise: 'bad: nocto; warn: nosharecache' },
  'nfs-port': { part: 'mount', does: 'option `noresvport`', why: 'a client that reconnects with another port gets through firewalls and load balancers that still hold the old connection', otherwise: 'note: without it' },
  server: { part: 'mount', does: 'asks the server of an NFS mount for its boot id, over a connection of its own', why: 'evidence of a restart that needs no file', otherwise: 'note: no NFS 4.1; warn: no answer' },
  'server-address': { part: 'mount', does: 'compares the address of the mount with what the name of its server resolves to now', why: 'a mount is bound to one address for ever', otherwise: 'bad: the name points elsewhere; warn: to several addresses; note: a service of the cluster that must not be headless' },
  folder: { part: 'volume', does: 'makes a folder of its own beside those of the agent, and removes those of doctors that were killed', why: 'the agent makes folders and files', otherwise: 'bad: an error' },
  rename: { part: 'volume', does: 'replaces a file by rename again and again, while two readers open and read it', why: 'whole or nothing: every file and record appears by a rename', otherwise: 'bad: a reader found none, or a mix of two; note: stale handles, after which a reader has to open again' },
  exclusive: { part: 'volume', does: 'eight creators at once for each of 20 names', why: 'at most once: the claim of a runner is an exclusive file', otherwise: 'bad: two won, or none' },
  fsync: { part: 'volume', does: 'fsync of files and of their folder', why: 'what the agent has answered is on stable storage', otherwise: 'bad: an error; note: slower than 100 ms; warn: than a second' },
  'close-to-open': { part: 'volume', does: 'writes, appends, closes, opens, reads', why: 'agent and runner read what the other has closed', otherwise: 'bad: other bytes' },
  listing: { part: 'volume', does: 'lists a folder after making and after removing files', why: 'an agent finds scripts and agents of before by listing', otherwise: 'bad: a file is missing or still there' },
  links: { part: 'volume', does: 'a second name for a file', why: 'a package is linked into a workspace where that works, and copied otherwise', otherwise: 'note: no hard links' },
  permissions: { part: 'volume', does: 'owner of a new file, chmod to 0444, read, removal', why: 'blobs and packages are read-only files; agent and script pods have the same user', otherwise: 'bad: an error; note: files belong to somebody else, or modes are not kept' },
  space: { part: 'volume', does: 'free space before and after 64 MiB, and after removing them', why: '`volumeReserveBytes` keeps room for running scripts', otherwise: 'bad: full; warn: less free than the reserve; note: the figures do not follow what is written' },
  throughput: { part: 'volume', does: 'those 64 MiB with one fsync at the end', why: 'how long packages take', otherwise: 'note: slower than 10 MiB/s' },
  'small-files': { part: 'volume', does: 'files of 1 KiB, one after the other', why: 'how long a workspace of many files takes', otherwise: 'note: fewer than 50 a second' },
  latency: { part: 'volume', does: 'median and 99th percentile of create, fsync, rename, open with stat, list, unlink', why: 'how long a start takes', otherwise: 'note: a median of more than 50 ms; warn: of more than 500 ms' },
  cleanup: { part: 'volume', does: 'removes its folder', why: 'nothing stays behind', otherwise: 'note: left for the next run' },
  pods: { part: 'nodes', does: 'starts a short pod on each of two nodes, with the claim, the user and the security of script pods', why: 'script pods run on any node', otherwise: 'bad: refused by the cluster; warn: not up in time, or not heard of; note: no second node' },
  'pod-user': { part: 'nodes', does: '`permissions` as the user of script pods', why: 'network file systems ignore fsGroup', otherwise: 'bad: an error; note: as `permissions`' },
  'pod-mount': { part: 'nodes', does: 'compares the mount options of a pod with those here', why: 'mounts of one export with different options do not see each other\'s changes', otherwise: 'note: they differ' },
  'nodes-create': { part: 'nodes', does: 'time until a new file opens on the other node, which had looked for it before', why: 'cancel, claim, outcome', otherwise: 'note: more than a second; warn: not within three' },
  'nodes-append': { part: 'nodes', does: 'the same for what was appended and closed', why: 'the journal on the volume', otherwise: 'as above' },
  'nodes-rename': { part: 'nodes', does: 'the same for a file that was replaced by rename', why: 'the end record', otherwise: 'as above' },
  'nodes-delete': { part: 'nodes', does: 'the same for a file that was removed', why: 'leaving an isolation line', otherwise: 'as above' },
  'nodes-list': { part: 'nodes', does: 'the same for a new name in a list', why: 'scripts that another agent took', otherwise: 'as above' },
  'nodes-whole': { part: 'nodes', does: 'one node replaces a file by rename, the other reads it', why: 'whole or nothing', otherwise: 'bad: a mix of two; warn: none; note: stale handles' },
  'nodes-exclusive': { part: 'nodes', does: 'both nodes create the same 40 names at once', why: 'at most once', otherwise: 'bad: both won, or none' },
  'sub-path': { part: 'nodes', does: 'a pod mounts, by subPath, a folder that the other node made a moment ago', why: 'that is how a script pod gets its workspace', otherwise: 'bad: another folder, or an empty one; warn: no pod came up in time' },
} as const satisfies Record<string, CheckRow>;

export type CheckName = keyof typeof CHECKS;
