import { Fault } from '../protocol/fault.ts';
import type { ScriptRequest } from '../protocol/script-request.ts';
import { agentKeyName } from '../protocol/seal.ts';
import type { ScriptKey, Ticket } from '../protocol/ticket.ts';
import { publishWorkspace, removeStaged, stageWorkspace } from '../staging/workspace.ts';
import { sealVariables } from './run-order.ts';
import { bodyMarkOf, variablesOf, workspacePlanFor } from './script-plan.ts';
import { proveAbsence, type ScriptRoom } from './script-room.ts';
import type { Asked } from './ticket-record.ts';

/** Who asks for what. */
export interface Start {
  readonly key: ScriptKey;
  readonly server: string;
  readonly ticket: Ticket;
  readonly request: ScriptRequest;
}

/** The record of a script, and whether this call made it. */
export interface Published {
  readonly asked: Asked;
  readonly isNew: boolean;
}

/**
 * Stages and publishes a script, or finds that it was published before; returns its record.
 *
 * Everything is staged first; one rename of the record then makes the script exist, and names the staging folder, so
 * that of concurrent starts, also from several agents, exactly one workspace is ever used (invariants 1 and 3).
 *
 * @throws {Fault} TICKET_CONFLICT, TICKET_COMPLETED, and the codes of staging, after which nothing is left.
 */
export async function publishScript(room: ScriptRoom, start: Start): Promise<Published> {
  const earlier = room.kept.get(start.key)?.asked ?? (await room.records.asked(start.key));
  if (earlier) return { asked: await sameOrFault(room, start, earlier), isNew: false };
  const asked = await stage(room, start).catch((error: unknown) => refused(room, error));
  if (await room.records.publish(asked)) return { asked, isNew: true };
  await removeStaged(room.volume, asked.staging);
  const winner = await room.records.asked(start.key);
  if (winner === undefined)
    throw new Fault('STORAGE_ERROR', `the record of ${start.ticket} vanished while it was published`);
  return { asked: await sameOrFault(room, start, winner), isNew: false };
}

/** Gives the staged folder of a record its name, which an agent that was killed may not have come to; false where there is none. */
export async function placeWorkspace({ volume }: ScriptRoom, { staging, key }: Asked): Promise<boolean> {
  try {
    await publishWorkspace(volume, staging, key);
    return true;
  } catch (error) {
    if (error instanceof Fault && error.code === 'WORKSPACE_LOST') return false;
    throw error;
  }
}

async function sameOrFault(
  room: ScriptRoom,
  { key, ticket, request }: Start,
  earlier: Asked,
): Promise<Asked> {
  const detail = { ticket };
  if (room.kept.get(key)?.tombstone ?? (await tombstoneOnVolume(room, key))) {
    throw new Fault('TICKET_COMPLETED', `${ticket} was completed and never runs again; use a new ticket`, {
      detail,
    });
  }
  if (earlier.agentKeyName !== agentKeyName(room.agentKey)) throw foreignKey(earlier, room);
  if (earlier.bodyMark === bodyMarkOf(room.agentKey, key, request)) return earlier;
  throw new Fault('TICKET_CONFLICT', `${ticket} was started at ${earlier.askedAt} with another body`, {
    detail,
  });
}

/** On an emptied volume no package is there, and a server that is told so would not come again. */
async function refused(room: ScriptRoom, error: unknown): Promise<never> {
  const isAbsence = error instanceof Fault && ['PACKAGE_MISSING', 'BLOB_MISSING'].includes(error.code);
  if (isAbsence) await proveAbsence(room);
  throw error;
}

/** Says that a script can be neither read nor driven here. */
export function foreignKey(asked: Asked, room: ScriptRoom): Fault {
  const own = agentKeyName(room.agentKey);
  return new Fault(
    'KEY_FOREIGN',
    `${asked.ticket} is sealed with the agent key ${asked.agentKeyName}, and this agent has ${own}; agents of one volume need one key file`,
    { detail: { ticket: asked.ticket } },
  );
}

async function tombstoneOnVolume({ records, kept }: ScriptRoom, key: ScriptKey): Promise<boolean> {
  return kept.get(key) === undefined && (await records.tombstone(key)) !== undefined;
}

async function stage(room: ScriptRoom, { key, server, ticket, request }: Start): Promise<Asked> {
  const staged = await stageWorkspace(room.volume, room.stores, workspacePlanFor(key, request));
  const { limits, agentKey } = room;
  return {
    version: 1,
    key,
    server,
    ticket,
    askedAt: room.now().toISOString(),
    bodyMark: bodyMarkOf(agentKey, key, request),
    agentKeyName: agentKeyName(agentKey),
    ...staged,
    language: request.language,
    arguments: request.arguments ?? [],
    sealedVariables: sealVariables(room, key, variablesOf(request)),
    isolation: request.isolation
      ? { timeoutSeconds: limits.isolationTimeoutSeconds, ...request.isolation }
      : null,
    deadlineMs:
      request.deadlineSeconds === undefined ? limits.defaultDeadlineMs : request.deadlineSeconds * 1000,
    graceMs: request.graceSeconds === undefined ? limits.defaultGraceMs : request.graceSeconds * 1000,
    ...(request.storage === 'copied' && { storage: request.storage }),
    labels: request.labels ?? {},
    ...(request.pod && { pod: request.pod }),
  };
}
