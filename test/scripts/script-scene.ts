import { randomBytes } from 'node:crypto';
import type { Volume } from '../../src/mount/volume.ts';
import { START_OF_JOURNAL } from '../../src/protocol/cursor.ts';
import type { ScriptRequest } from '../../src/protocol/script-request.ts';
import type { ScriptStatus } from '../../src/protocol/script-status.ts';
import { parseTicket, scriptKeyFor, type Ticket } from '../../src/protocol/ticket.ts';
import { AgentLines } from '../../src/scripts/agent-lines.ts';
import { KeptScripts } from '../../src/scripts/kept-scripts.ts';
import { ScriptBook } from '../../src/scripts/script-book.ts';
import type { ScriptEvent } from '../../src/scripts/script-events.ts';
import { type ScriptRoom } from '../../src/scripts/script-room.ts';
import { TicketRecords } from '../../src/scripts/ticket-record.ts';
import { BlobStore } from '../../src/staging/blob-store.ts';
import { PackageStore } from '../../src/staging/package-store.ts';
import { eventually } from '../harness/eventually.ts';
import { MadeTrust } from '../harness/made-trust.ts';
import { MadeExecutor } from '../harness/made-executor.ts';
import { temporaryVolume } from '../harness/temporary-volume.ts';
import { limits } from '../protocol/made-evidence.ts';

export const agentKey = randomBytes(32);
export const stores = { maxBytes: 1e9, memoryBytes: 1e8, minBytesPerSecond: 0, rateWindowMs: 30_000 };
export const space = { reserveBytes: 0, maxUploads: 10, unknownLengthBytes: 1 };
export const request: ScriptRequest = { language: 'bash', body: 'echo hello' };
export const HOUR_MS = 3_600_000;

export interface Scene {
  readonly room: ScriptRoom;
  readonly executor: MadeExecutor;
  readonly events: ScriptEvent[];
  readonly mount: MadeTrust;
  readonly book: ScriptBook;
}

export function sceneOn(volume: Volume, more: Partial<ScriptRoom> = {}): Scene {
  const executor = new MadeExecutor();
  const events: ScriptEvent[] = [];
  const mount = new MadeTrust('epoch');
  const blobs = new BlobStore(volume, { ...stores, ...space });
  const now = more.now ?? ((): Date => new Date());
  const room: ScriptRoom = {
    volume,
    stores: { blobs, packages: new PackageStore(volume, blobs) },
    records: new TicketRecords(volume, more.agentKey ?? agentKey),
    lines: new AgentLines(volume, now),
    executor,
    agentKey,
    mount,
    kept: new KeptScripts((more.executor ?? executor).keep, agentKey),
    limits: {
      maxScripts: 3,
      defaultDeadlineMs: 60_000,
      defaultGraceMs: 0,
      isolationTimeoutSeconds: 60,
      drainMs: 0,
      journalMaxBytes: 1 << 20,
      mount: limits,
      copyMaxBytes: 2 ** 30,
      collectMs: 10_000,
      volumeDeadlineMs: 5000,
      launchTimeoutMs: 300,
      reconcileMs: 50,
    },
    now,
    observe: (event) => events.push(event),
    ...more,
  };
  return { room, executor, events, mount, book: new ScriptBook(room) };
}

export async function scene(t: {
  teardown: (work: () => void | Promise<void>) => void;
}): Promise<Scene & { volume: Volume }> {
  const volume = await temporaryVolume(t);
  const made = sceneOn(volume);
  t.teardown(() => made.book.close());
  return { ...made, volume };
}

export function ticketOf(text: string): Ticket {
  const ticket = parseTicket(text);
  if (ticket === undefined) throw new TypeError(text);
  return ticket;
}

export const t1 = ticketOf('t1');
export const key1 = scriptKeyFor('server', t1);

export async function finished(book: ScriptBook, ticket = t1): Promise<ScriptStatus> {
  let status = await statusOf(book, ticket);
  await eventually(async () => (status = await statusOf(book, ticket)).outcome !== null);
  return status;
}

export async function statusOf(book: ScriptBook, ticket = t1): Promise<ScriptStatus> {
  return book.status('server', ticket, {
    after: START_OF_JOURNAL,
    waitMs: 0,
    signal: new AbortController().signal,
  });
}
