/** The page of docs/reference about the trust in the mount, from the rules that decide. */
import { MOUNT_RULES, VERDICTS, type MountRule } from '../../src/protocol/mount-belief.ts';
import { SERVER_FAILURES, type ServerFailure } from '../../src/protocol/mount-evidence.ts';
import { table } from './markdown-table.ts';

/** When a server is heard to say so. */
const HEARD: Readonly<Record<ServerFailure, string>> = {
  timeout: 'no whole reply within `serverProbeDeadlineMs`, also where the connection was taken',
  refused: 'nobody listens at the port',
  unreachable: 'a router or the own machine knows no way',
  reset: 'the connection was reset',
  closed: 'the connection was closed before a whole reply',
  'network-error': 'another error of the connection, shown as it came',
  denied: 'the RPC was denied, or answered with an NFS error',
  garbled: 'what came is no reply to the call',
  unsupported: 'an RPC server without NFS 4.1',
};

/** Renders docs/reference/mount.md. */
export function mountPage(): string {
  return `# Trust in the mount

What the agent, and each runner, believe of the volume, from which evidence, and why. \`GET /v1/mount\` shows it.

A file server that restarts is not seen as an error. Its clients hang, for seconds or for ever; then they get errors
that were also seen where nothing was lost, or none at all on a volume that is empty now. So nothing is decided by an
error. What decides is the **epoch**: a random id in \`identity/epoch\` on the volume, written once by an agent through
the mount. It outlives whatever keeps the data, and is gone or another one when the data is.

## Verdicts

\`\`\`
           one doubt, or silence               definitive evidence, or the limit
trusted ──────────────────────────▶ stalled ─────────────────────────────────────▶ lost
   ▲         the epoch reads back      │                                             │
   ├───────────────────────────────────┘    the epoch reads back twice in a row      │
   └─────────────────────────────────────────────────────────────────────────────────┘
\`\`\`

| verdict | meaning | new work | scripts that run on the volume |
| --- | --- | --- | --- |
| \`trusted\` | the last look read the epoch back | taken | run |
| \`stalled\` | something speaks against the volume, and nothing is proven | refused with 503 and a code that may be tried later | go on |
| \`lost\` | the data is not behind this mount, or nobody waits any longer | refused with 503 and the code of the loss | end with the code of the loss |

A loss ends by itself when the volume reads back its epoch, or a new one that the agent has made where \`replaced\` or
\`emptied\` proved that the old data is not there. Scripts that were settled stay settled.

## Evidence

| kind | what is done | where | what it is worth |
| --- | --- | --- | --- |
| probe | statfs of the root, and a listing where that fails; then open and read of the epoch | in a child that is killed at \`probeDeadlineMs\` | the only evidence that can restore trust |
| canary | create, write, fsync, close, rename, read back by path | in another child, at most one at a time | that the volume takes bytes; never a loss, since a process in fsync cannot be killed while the server is away |
| server | EXCHANGE_ID of NFS 4.1 over a TCP connection of its own | without touching a file system | its boot id: that it has restarted, not that data is lost |
| address | the addresses of the server's name beside the \`addr=\` of the mount | DNS and /proc/self/mountinfo | that this mount never finds its server again |

- The epoch is read only behind a root that answered. An NFS client answered an open from its cache for 36 s after its
  server had died, and reads of an open file for 140 s; a statfs goes to the server each time.
- An empty epoch is unknown and not absent: a client has shown a file as empty for 50 s.
- ENOENT of the epoch behind a root that fails is no absence.
- Inode numbers, the device, the file system id, times, open files and a TCP connection prove nothing: they were the
  same on another volume, or good on a dead one.

The server, when it is asked for its boot id. \`silent\` means that nobody speaks there, \`speaks\` that RPCs are answered;
\`unclear\` counts for neither.

${table(
  ['answer', 'when', 'counts as'],
  [
    ['`boot-id`', 'it named its boot id', 'speaks'],
    ...names(SERVER_FAILURES).map((name) => [`\`${name}\``, HEARD[name], SERVER_FAILURES[name]]),
  ],
)}

## Rules

Of each verdict, the first rule that holds. Any good read starts all counting anew.

${VERDICTS.map(rulesOf).join('\n\n')}

The rules of \`lost\` but \`limit\` are definitive: they prove that the data is not behind this mount. When the limit is
reached the code says what was seen last: \`STORAGE_UNREACHABLE\` where the server does not answer, the code of the errno
where there was one, \`STORAGE_TIMEOUT\` for a hang. A proof that comes after it replaces the code; the loss began before.

## Times

${table(
  ['setting', 'bounds', 'why so long'],
  [
    [
      '`probeIntervalMs`',
      'from the start of one probe to that of the next',
      'with the deadline of a probe it bounds when a hang is noticed: 7.5 s. A doubt about an ordinary operation starts one at once',
    ],
    [
      '`probeDeadlineMs`',
      'one probe; the first that misses it stalls the mount',
      'a healthy server answers in milliseconds, also under load; in 99 of 99 trials a dead one had a call hanging for 5 s within 3 to 8 s',
    ],
    ['`absentAgainMs`', 'two looks that must say the same', 'longer than a replayed rename shows nothing'],
    [
      '`staleAfterMs`',
      'ESTALE while the server answers',
      'a server that starts says it until its exports are there, which takes seconds',
    ],
    [
      '`stallLimitMs`',
      'no good read',
      'longer than every restart that keeps the data: 90 s where the grace period of the server is 10 s. Set 150000 where you do not know it, or where the server is a pod behind a cluster address, whose clients came back after up to 139 s',
    ],
    [
      '`serverProbeDeadlineMs`',
      'one question to the server, connection included',
      'it has taken connections for 40 s without a word',
    ],
    ['`canaryDeadlineMs`', 'one trial of writing', 'an fsync may wait for the disks of the server'],
  ],
)}

Time alone leads to \`stalled\` and \`lost\` too: no news from the probes is no good news. A watcher that was stopped itself
counts what it slept as no more than the silence of one missed probe, so that a machine that was paused does not give up
scripts on a volume that was well.

## What it cannot know

- A server that is away for longer than the limit and comes back whole was lost all the same: its scripts have ended.
- For some seconds after an outage a client may show the old epoch of a volume that is another one by then. The mount
  can be trusted for one look, and the next one says it.
- The boot id is that of kernel nfsd and nfs-ganesha. Of another server only a change of its client id is seen. It makes
  sentences sharper and decides nothing.
- The name of a server with changing addresses proves nothing, once it was seen to change while the mount worked.
- Servers of NFS 3 or SMB, and local disks, have no boot id here: without it ESTALE is believed at the limit.
`;
}

function rulesOf(verdict: (typeof VERDICTS)[number]): string {
  const rules = names(MOUNT_RULES).filter((name) => MOUNT_RULES[name].verdict === verdict);
  const rows = rules.map((rule: MountRule) => [`\`${rule}\``, MOUNT_RULES[rule].when, MOUNT_RULES[rule].why]);
  return `### ${verdict}\n\n${table(['rule', 'holds when', 'because'], rows)}`;
}

function names<T extends object>(rows: T): (keyof T & string)[] {
  // Object.keys() of a table says string, and the tables here have no other keys than those of their type.
  return Object.keys(rows) as (keyof T & string)[];
}
