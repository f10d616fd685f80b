import { nfsServerOf, type MountFacts } from '../mount/mount-info.ts';
import type { Finding } from './finding.ts';

/** Options that differ between machines although nothing else does. */
const OWN_OPTIONS: ReadonlySet<string> = new Set([
  'clientaddr',
  'relatime',
  'rw',
  'ro',
  'mountaddr',
  'nosuid',
  'nodev',
  'noexec',
]);

/** The options of a mount in one line, comparable between machines. */
export function optionsText({ fileSystem, options }: MountFacts): string {
  const said = [...options].filter(([name]) => !OWN_OPTIONS.has(name));
  const words = said.map(([name, value]) => (value === '' ? name : `${name}=${value}`));
  return `${fileSystem} ${words.toSorted().join(',')}`;
}

/** Seconds for which a directory is believed without asking, that still count as soon. */
const SOON_S = 3;

/** Judges the options of an NFS mount, each with its reason; nothing for other file systems. */
export function nfsFindings(mount: MountFacts): Finding[] {
  if (nfsServerOf(mount) === undefined && !/^nfs4?$/.test(mount.fileSystem)) return [];
  const { options } = mount;
  return [version(options), errors(options), lookups(options), coherence(options), port(options)];
}

type Options = MountFacts['options'];

function version(options: Options): Finding {
  const vers = options.get('vers') ?? options.get('nfsvers') ?? 'unknown';
  const isNew = /^4\.[1-9]/.test(vers);
  return {
    check: 'nfs-version',
    verdict: isNew ? 'good' : 'note',
    measured: `vers=${vers}`,
    says: isNew
      ? 'the server tells its boot id to whoever asks'
      : 'a server of this version does not tell its boot id',
    ...(!isNew && {
      advice: 'mount with nfsvers=4.1: then a restart of the server is told from a broken network at once',
    }),
  };
}

function errors(options: Options): Finding {
  const soft = ['soft', 'softerr'].find((name) => options.has(name));
  const check = 'nfs-errors';
  if (soft === undefined) {
    const says = 'calls wait for a server that is away, and no error comes where nothing was lost';
    return { check, verdict: 'good', measured: 'hard', says };
  }
  const [timeo, retrans] = [Number(options.get('timeo') ?? 600), Number(options.get('retrans') ?? 2)];
  const seconds = (timeo / 10) * (retrans + 1);
  return {
    check,
    verdict: 'note',
    measured: `${soft},timeo=${timeo},retrans=${retrans}`,
    figures: { firstErrorSeconds: seconds },
    says: `calls fail after ${seconds} s of a server that refuses, and later where it is silent`,
    advice:
      'hard is safer: with soft, written bytes may be lost with an error that only close tells, and a stale root is reported where nothing is stale; Longshore has deadlines of its own either way',
  };
}

function lookups(options: Options): Finding {
  const cache = options.get('lookupcache');
  const longest = Number(options.get('acdirmax') ?? options.get('actimeo') ?? 60);
  const isFresh = cache !== undefined && cache !== 'all';
  const isSoon = isFresh || options.has('noac') || longest <= SOON_S;
  const said = ['lookupcache', 'actimeo', 'acdirmax'].flatMap((name) => {
    const value = options.get(name);
    return value === undefined ? [] : [`${name}=${value}`];
  });
  const measured = [...said, ...(options.has('noac') ? ['noac'] : [])].join(',') || 'the default';
  return {
    check: 'nfs-lookups',
    verdict: isSoon ? 'good' : 'warn',
    measured,
    says: isSoon
      ? 'a new file of another node is seen within seconds'
      : 'a file that was looked for before another node made it may stay unseen for up to 60 s',
    ...(!isSoon && {
      advice: 'mount with lookupcache=none, or with actimeo=1: a lookup for each part of a path is the price',
    }),
  };
}

function coherence(options: Options): Finding {
  const check = 'nfs-coherence';
  if (options.has('nocto'))
    return {
      check,
      verdict: 'bad',
      measured: 'nocto',
      says: 'who opens a file need not see what another node has closed',
      advice: 'mount without nocto: agent and runner read what the other has closed',
    };
  if (options.has('nosharecache'))
    return {
      check,
      verdict: 'warn',
      measured: 'nosharecache',
      says: 'two mounts of this export on one machine do not see what the other renames',
      advice: 'mount without nosharecache, and with the same options everywhere',
    };
  return { check, verdict: 'good', says: 'who opens a file after it was closed sees its bytes' };
}

function port(options: Options): Finding {
  const isFree = options.has('noresvport');
  return {
    check: 'nfs-port',
    verdict: isFree ? 'good' : 'note',
    measured: isFree ? 'noresvport' : 'a reserved port',
    says: isFree
      ? 'a client that reconnects may take another port'
      : 'a client that reconnects takes one of few ports, often the same again',
    ...(!isFree && {
      advice:
        'mount with noresvport where the server allows it: a firewall or load balancer that still knows the old connection then does not stand in the way of the new one',
    }),
  };
}
