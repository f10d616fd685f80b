import type { CopyOrder, RunOrder, Variable } from '../protocol/run-order.ts';
import { openText, scriptSealKey, sealText } from '../protocol/seal.ts';
import { Fault } from '../protocol/fault.ts';
import { cookieOf, epochOf, journalKeyOf, type ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';

/** Seals variables for the record: sensitive values are never on the volume in clear (invariant 11). */
export function sealVariables(room: ScriptRoom, key: Asked['key'], variables: readonly Variable[]): string {
  return sealText(scriptSealKey(room.agentKey, key, 'variables'), key, JSON.stringify(variables));
}

/** Writes the order that a runner gets; the same one however often it is asked for. @throws {Fault} KEY_FOREIGN. */
export function runOrderFor(room: ScriptRoom, asked: Asked): RunOrder {
  const { key, ticket, manifestDigest, language, deadlineMs, graceMs } = asked;
  const { layout } = room.volume;
  const { drainMs, journalMaxBytes, volumeDeadlineMs } = room.limits;
  return {
    version: 1,
    key,
    ticket,
    journalKey: journalKeyOf(room, key).toString('base64'),
    cookie: cookieOf(room, key),
    workspace: layout.workspace(key).root,
    epochFile: layout.epoch,
    epoch: epochOf(room),
    manifestDigest,
    language,
    arguments: asked.arguments,
    variables: openVariables(room, asked),
    deadlineMs,
    graceMs,
    drainMs,
    journalMaxBytes,
    volumeDeadlineMs,
    mountFolder: layout.mountFolder,
    mount: room.limits.mount,
    copy: asked.storage === 'copied' ? copyOrderFor(room) : null,
  };
}

function copyOrderFor({ limits }: ScriptRoom): CopyOrder {
  return { folder: null, maxBytes: limits.copyMaxBytes, collectMs: limits.collectMs };
}

function openVariables(room: ScriptRoom, asked: Asked): Variable[] {
  const text = openText(
    scriptSealKey(room.agentKey, asked.key, 'variables'),
    asked.key,
    asked.sealedVariables,
  );
  if (text === undefined) {
    throw new Fault('KEY_FOREIGN', `the variables of ${asked.ticket} do not open with the key of this agent`);
  }
  // Sealed by sealVariables under a key that only agents have.
  return JSON.parse(text) as Variable[];
}
