import { Type } from 'typebox';
import { isNetworkFileSystem, nfsServerOf } from '../mount/mount-info.ts';
import type { MountView } from '../mount/mount-watch.ts';
import { VERDICTS } from '../protocol/mount-belief.ts';

const Milliseconds = Type.Integer();
const Facts = Type.Object({
  mountPoint: Type.String(),
  fileSystem: Type.String({ description: 'such as nfs4' }),
  source: Type.String(),
  network: Type.Boolean({ description: 'whether others may change what is there' }),
  server: Type.Union([Type.String(), Type.Null()], { description: 'of an NFS mount, its address' }),
  options: Type.Record(Type.String(), Type.String()),
});

/** What the agent believes of its volume, and why. */
export const MountAnswer = Type.Object(
  {
    verdict: Type.Enum([...VERDICTS], {
      description: 'stalled: new work is refused, scripts go on; lost: scripts that need the volume end',
    }),
    rule: Type.String({ description: 'the rule that led to it; see the page on mounts' }),
    code: Type.Union([Type.String(), Type.Null()], { description: 'what work is refused with' }),
    says: Type.String({ description: 'one sentence for a person' }),
    since: Type.String({ format: 'date-time' }),
    epoch: Type.Union([Type.String(), Type.Null()], {
      description: 'the identity that the volume must show',
    }),
    evidence: Type.Array(Type.Record(Type.String(), Type.Unknown()), {
      description: 'the latest of each kind, with the seconds since then as `ageSeconds`',
    }),
    thresholds: Type.Record(Type.String(), Milliseconds, { description: 'the settings that decide' }),
    heldProbes: Type.Integer({ description: 'processes that the kernel holds in a call on the volume' }),
    mount: Type.Union([Facts, Type.Null()], { description: 'as the kernel tells it' }),
  },
  { title: 'Mount' },
);

/** Renders what is known of the mount at the wall-clock time `now`. */
export function mountAnswer(view: MountView, now: Date): Readonly<Record<string, unknown>> {
  const { belief, epoch, evidence, limits, leaked, nowMs } = view;
  const { verdict, rule, code, says, sinceMs } = belief;
  const { probeIntervalMs, probeDeadlineMs, absentAgainMs, staleAfterMs, stallLimitMs } = limits;
  return {
    ...{ verdict, rule, code, says, epoch: epoch ?? null },
    since: new Date(now.getTime() - (nowMs - sinceMs)).toISOString(),
    evidence: evidence.map(({ atMs, ...seen }) => ({ ...seen, ageSeconds: (nowMs - atMs) / 1000 })),
    thresholds: { probeIntervalMs, probeDeadlineMs, absentAgainMs, staleAfterMs, stallLimitMs },
    heldProbes: [...leaked.values()].reduce((sum, count) => sum + count, 0),
    mount: factsOf(view),
  };
}

function factsOf({ mount }: MountView): Readonly<Record<string, unknown>> | null {
  if (mount === undefined) return null;
  const { mountPoint, fileSystem, source, options } = mount;
  return {
    ...{ mountPoint, fileSystem, source },
    network: isNetworkFileSystem(fileSystem),
    server: nfsServerOf(mount)?.address ?? null,
    options: Object.fromEntries(options),
  };
}
