import type { Config } from '../../config.ts';
import { Fault } from '../../protocol/fault.ts';

/**
 * The user of script pods: the agent's own unless the configuration names one, since files on a network volume belong to
 * whoever wrote them.
 *
 * @throws {Fault} CONFIG_INVALID for user 0.
 */
export function podUser({ podUid, podGid }: Pick<Config, 'podUid' | 'podGid'>): { uid: number; gid: number } {
  const uid = podUid ?? process.getuid?.() ?? 0;
  const gid = podGid ?? process.getgid?.() ?? 0;
  if (uid > 0) return { uid, gid };
  const rule =
    'script pods never run as user 0: run the agent as another user, or set podUid to one that may write to the volume';
  throw new Fault('CONFIG_INVALID', rule, { detail: { key: 'podUid' } });
}
