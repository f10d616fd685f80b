import { MOUNT_RULES, type MountRule, type StorageCode } from './mount-belief.ts';
import { meaningOfProbe, speechOf, type MountCase } from './mount-case.ts';
import type { AddressSeen, CanarySeen, ProbeSeen } from './mount-evidence.ts';

/** Linux numbers, ESTALE, ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM; every other is STORAGE_ERROR. */
const CODES: ReadonlyMap<number, StorageCode> = new Map<number, StorageCode>([
  [116, 'STORAGE_STALE'],
  [28, 'STORAGE_FULL'],
  [122, 'STORAGE_FULL'],
  [27, 'STORAGE_FULL'],
  [30, 'STORAGE_READONLY'],
  [13, 'STORAGE_DENIED'],
  [1, 'STORAGE_DENIED'],
]);

/**
 * Returns the code of a belief; null while trusted.
 *
 * A stalled mount has only codes that a machine may retry: EACCES and an absent epoch pass by themselves when a server
 * restarts, and a client that is told to wait for an operator would give up. After the limit they say what they are.
 */
export function codeFor(rule: MountRule, now: MountCase): StorageCode | null {
  const { probe } = now.doubts;
  switch (rule) {
    case 'reads-back':
      return null;
    case 'replaced':
      return 'STORAGE_REPLACED';
    case 'emptied':
      return 'STORAGE_EMPTIED';
    case 'stale':
      return 'STORAGE_STALE';
    case 'elsewhere':
      return 'STORAGE_UNREACHABLE';
    case 'limit':
      return codeAtLimit(now);
    case 'unread':
    case 'missed':
    case 'silence':
      return 'STORAGE_TIMEOUT';
    case 'error':
      return isStale(probe, now) ? 'STORAGE_STALE' : 'STORAGE_ERROR';
    case 'unproven':
      return 'STORAGE_ERROR';
    case 'writes-fail':
      return now.writes?.answer.is === 'missed' ? 'STORAGE_TIMEOUT' : 'STORAGE_ERROR';
    default:
      return rule satisfies never;
  }
}

/** Says in one sentence what is believed and why, for a journal line, a log and the answer to a refused request. */
export function sentenceFor(rule: MountRule, now: MountCase): string {
  return [clauseFor(rule, now), serverClause(rule, now)].filter((clause) => clause !== '').join('; ');
}

function clauseFor(rule: MountRule, now: MountCase): string {
  const { doubts, writes, address } = now;
  switch (rule) {
    case 'reads-back':
      return 'the volume reads back its epoch';
    case 'unread':
      return 'the epoch of the volume has not been found yet';
    case 'missed':
    case 'error':
    case 'unproven':
      return seen(doubts.probe, now);
    case 'silence':
      return `no probe of the volume has reported for ${seconds(now.steppedAtMs - now.reportedAtMs)}`;
    case 'writes-fail':
      return `the volume reads, but a trial of writing ${writeFailure(writes)}`;
    case 'replaced':
      return 'the volume is another one: another epoch was read twice';
    case 'emptied':
      return 'the volume answers and its epoch is gone, twice';
    case 'stale':
      return 'the volume answers only with stale file handles, while its server is well';
    case 'elsewhere':
      return movedTo(address);
    case 'limit':
      return `the volume gave no good answer for ${seconds(now.steppedAtMs - now.goodAtMs)}, which is the limit; last, ${seen(doubts.probe, now)}`;
    default:
      return rule satisfies never;
  }
}

function serverClause(rule: MountRule, { doubts: { server, restarted } }: MountCase): string {
  if (MOUNT_RULES[rule].verdict === 'trusted') return '';
  if (restarted !== undefined) return 'its server has restarted';
  if (server === undefined || speechOf(server) !== 'silent' || server.answer.is === 'boot-id') return '';
  return `its server at ${server.address} does not answer: ${server.answer.says}`;
}

function codeAtLimit(now: MountCase): StorageCode {
  const { probe, server } = now.doubts;
  const meaning = probe === undefined ? undefined : meaningOfProbe(probe, now.expected);
  if (meaning?.is === 'other') return 'STORAGE_REPLACED';
  if (meaning?.is === 'absent' || meaning?.is === 'empty') return 'STORAGE_EMPTIED';
  // EIO and ESTALE of a soft mount say only that the server is away.
  if (server !== undefined && speechOf(server) === 'silent') return 'STORAGE_UNREACHABLE';
  if (meaning?.is === 'stale' || meaning?.is === 'error') {
    return CODES.get(meaning.errno.number) ?? 'STORAGE_ERROR';
  }
  return 'STORAGE_TIMEOUT';
}

function isStale(probe: ProbeSeen | undefined, now: MountCase): boolean {
  return probe !== undefined && meaningOfProbe(probe, now.expected).is === 'stale';
}

function seen(probe: ProbeSeen | undefined, now: MountCase): string {
  const meaning = probe === undefined ? { is: 'nothing' as const } : meaningOfProbe(probe, now.expected);
  switch (meaning.is) {
    case 'good':
      return 'the epoch read back';
    case 'other':
      return 'another epoch was read';
    case 'absent':
      return 'the epoch was missing while the root answered';
    case 'empty':
      return 'the file of the epoch was empty';
    case 'missed':
      return `a look at it had no answer within ${missedAfter(probe)}`;
    case 'stale':
    case 'error':
      return `a look at it was answered with ${meaning.errno.name}`;
    case 'nothing':
      return 'nothing was heard of it';
    default:
      return meaning satisfies never;
  }
}

function missedAfter(probe: ProbeSeen | undefined): string {
  const answer = [probe?.root, probe?.epoch].find((one) => one?.is === 'missed');
  return answer?.is === 'missed' ? seconds(answer.afterMs) : 'its deadline';
}

function movedTo(address: AddressSeen | undefined): string {
  if (address === undefined) return 'the server of the volume has moved';
  const { name, resolved, mounted } = address;
  return `${name} is now at ${resolved.join(', ')}, and the mount holds on to ${mounted}`;
}

function writeFailure(writes: CanarySeen | undefined): string {
  const answer = writes?.answer;
  if (answer?.is === 'missed') return `had no answer within ${seconds(answer.afterMs)}`;
  if (answer?.is === 'errno') return `was answered with ${answer.name}`;
  return answer?.is === 'differs' ? `did not read back: ${answer.says}` : 'failed';
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
