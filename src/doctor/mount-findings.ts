import { isNetworkFileSystem, type MountFacts } from '../mount/mount-info.ts';
import type { AddressSeen, ServerSeen } from '../protocol/mount-evidence.ts';
import type { Finding } from './finding.ts';
import { nfsFindings } from './mount-options.ts';

/** Judges a mount by what the kernel tells of it, without a look at the volume. */
export function mountFindings(mount: MountFacts | undefined): Finding[] {
  if (mount === undefined)
    return [{ check: 'file-system', verdict: 'note', says: 'the kernel here does not tell what is mounted' }];
  return [fileSystemFinding(mount), ...nfsFindings(mount)];
}

function fileSystemFinding({ fileSystem, source, options }: MountFacts): Finding {
  const found = { check: 'file-system', measured: `${fileSystem} ${source}` } as const;
  if (options.has('ro'))
    return {
      ...found,
      verdict: 'bad',
      says: 'it is mounted read-only',
      code: 'STORAGE_READONLY',
      advice: 'mount it for writing',
    };
  if (!isNetworkFileSystem(fileSystem))
    return {
      ...found,
      verdict: 'note',
      says: 'only this machine has it, which is enough for scripts that run here',
      advice: 'script pods on other nodes need a file system of the network',
    };
  if (/^nfs4?$/.test(fileSystem))
    return {
      ...found,
      verdict: 'good',
      says: 'a file system of the network, whose options are judged below',
    };
  return {
    ...found,
    verdict: 'note',
    says: 'its options are not judged, since only those of NFS are known here',
    advice: 'go by what was measured, from two nodes too',
  };
}

/** Judges what the server of an NFS mount said, and where its name points. */
export function serverFindings(seen: readonly (ServerSeen | AddressSeen)[]): Finding[] {
  return seen.map((one) => (one.kind === 'server' ? serverFinding(one) : addressFinding(one)));
}

function serverFinding({ address, answer }: ServerSeen): Finding {
  if (answer.is === 'boot-id')
    return {
      check: 'server',
      verdict: 'good',
      measured: `${address}, boot id ${answer.bootId}`,
      says: 'it tells its boot id, so that a restart is told from a broken network',
    };
  const isOld = answer.is === 'unsupported';
  return {
    check: 'server',
    verdict: isOld ? 'note' : 'warn',
    measured: `${address}, ${answer.is}`,
    says: `it does not tell its boot id: ${answer.says}`,
    advice: isOld
      ? 'a restart is then seen by the epoch alone, which is enough, and later'
      : 'let the agent reach TCP port 2049 of the server: without it a restart is seen later, by the epoch alone',
  };
}

const CLUSTER_NAME = /\.svc(\.|$)/;

function addressFinding({ name, mounted, resolved }: AddressSeen): Finding {
  const found = {
    check: 'server-address',
    measured: `${name} ▶ ${resolved.join(' ') || 'nothing'}`,
  } as const;
  if (resolved.length === 0)
    return {
      ...found,
      verdict: 'note',
      says: `its name is not known here, and the mount has ${mounted}`,
      advice: 'look that the name keeps its address: a mount is bound to one for ever',
    };
  if (!resolved.includes(mounted))
    return {
      ...found,
      verdict: 'bad',
      says: `its name points elsewhere now, and the mount is bound to ${mounted} for ever`,
      code: 'STORAGE_UNREACHABLE',
      advice: 'mount it anew, from a service with an address of its own (ClusterIP) and not a headless one',
    };
  if (resolved.length > 1)
    return {
      ...found,
      verdict: 'warn',
      says: `its name has ${resolved.length} addresses, and the mount is bound to one of them`,
      advice:
        'mount from a name with one address that stays: of a headless service it is that of a pod, and goes with it',
    };
  if (CLUSTER_NAME.test(name))
    return {
      ...found,
      verdict: 'note',
      says: 'its name is that of a service of the cluster',
      advice:
        'see that it has a ClusterIP: the address of a headless service is that of a pod, and mounts of a pod that was replaced hang for ever',
    };
  return { ...found, verdict: 'good', says: 'its name has the address of the mount' };
}
