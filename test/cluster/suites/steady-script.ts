import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { parseTicket, scriptKeyFor, type ScriptKey } from '../../../src/protocol/ticket.ts';
import type { JournalLine, ScriptStatus } from '../../../src/protocol/script-status.ts';
import { bytesOf, type AgentProcess } from '../../harness/agent-process.ts';
import { eventually } from '../../harness/eventually.ts';

/** It leaves with this when it is told to stop, so that an outcome cannot be right by chance. */
export const STEADY_EXIT_CODE = 7;

/** Each line goes to the journal and to a file of the volume, with which the journal is compared. */
const BODY = `
until test -e stop; do
  echo "line $((++i))"
  echo "line $i" >> "$LONGSHORE_ARTIFACTS/written"
  sleep 0.02
done
exit ${STEADY_EXIT_CODE}`;

const NOTHING = Buffer.alloc(0);

export interface SteadyOptions {
  /** Whichever agent lives now. */
  readonly agent: () => AgentProcess;
  /** The folder of the volume, on this machine. */
  readonly volume: string;
  readonly ticket: string;
  /** More of the body of its start. */
  readonly more?: object;
}

/** A script that writes a numbered line every 20 ms until it is told to stop, and a server that follows it meanwhile. */
export class SteadyScript {
  /** All lines that the server was given, in the order in which they came. */
  readonly lines: JournalLine[] = [];
  /** How it ended, as the server was told. */
  readonly finished: Promise<ScriptStatus>;
  readonly #options: SteadyOptions;
  readonly #workspace: string;
  #cursor = 's0.a0';
  #isAbandoned = false;

  private constructor(options: SteadyOptions) {
    this.#options = options;
    this.#workspace = join(options.volume, 'longshore-v1/work', keyOf(options.ticket));
    this.finished = this.#follow();
    // A test that fails before it asks for the end has said what is wrong.
    this.finished.catch(() => undefined);
  }

  /** Starts one, which is followed until it ends, or the test does. */
  static async start(t: Test, options: SteadyOptions): Promise<SteadyScript> {
    await put(options.agent(), options.ticket, { body: BODY, ...options.more });
    const script = new SteadyScript(options);
    t.teardown(() => (script.#isAbandoned = true));
    return script;
  }

  get ticket(): string {
    return this.#options.ticket;
  }

  /** What it has written. */
  get written(): Buffer {
    const path = join(this.#workspace, 'out/artifacts/written');
    return existsSync(path) ? readFileSync(path) : NOTHING;
  }

  /** What the server was given of it. */
  get told(): Buffer {
    return bytesOf(this.lines, 'stdout');
  }

  /** Waits until it has written so many lines more: 500 are some 15 seconds. */
  async writes(lines: number): Promise<void> {
    const enough = linesIn(this.written) + lines;
    await eventually(() => linesIn(this.written) >= enough, 120_000);
  }

  /** Waits until the server was given what the script had written by now. */
  async isTold(): Promise<void> {
    const enough = this.written.length;
    await eventually(() => this.told.length >= enough, 60_000);
  }

  stop(): void {
    writeFileSync(join(this.#workspace, 'files/stop'), '');
  }

  /** Follows it with one cursor, whichever agent answers, and however often none does. */
  async #follow(): Promise<ScriptStatus> {
    const { ticket } = this.#options;
    let last: ScriptStatus | undefined;
    let trouble: unknown;
    await eventually(async () => {
      if (this.#isAbandoned) return true;
      last = await this.#page().catch((error: unknown) => void (trouble = error));
      return isWhole(last);
    }, 600_000).catch((cause: unknown) => {
      trouble ??= cause;
    });
    if (!isWhole(last)) throw new Error(`${ticket} has no outcome`, { cause: trouble });
    return last;
  }

  async #page(): Promise<ScriptStatus> {
    const { agent, ticket } = this.#options;
    const path = `/v1/scripts/${ticket}?after=${this.#cursor}&wait=5`;
    const { status, json, text } = await agent().call('GET', path);
    if (status !== 200) throw new Error(`GET ${ticket} answered ${status}: ${text}`);
    // Checked against the schema in test/api; here it is read.
    const page = json as unknown as ScriptStatus;
    this.lines.push(...page.journal.lines);
    this.#cursor = page.journal.next;
    return page;
  }
}

/** Starts a bash script. */
export async function put(agent: AgentProcess, ticket: string, script: object): Promise<void> {
  const { status, text } = await agent.call('PUT', `/v1/scripts/${ticket}`, { language: 'bash', ...script });
  if (status !== 200) throw new Error(`PUT ${ticket} answered ${status}: ${text}`);
}

/** What names a script on the volume and, behind `ls-`, in the cluster. */
export function keyOf(ticket: string): ScriptKey {
  const parsed = parseTicket(ticket);
  if (parsed === undefined) throw new RangeError(`no ticket: ${ticket}`);
  return scriptKeyFor('default', parsed);
}

/** It is over, and all of it was given. */
function isWhole(status: ScriptStatus | undefined): status is ScriptStatus {
  return status !== undefined && status.outcome !== null && !status.journal.more;
}

function linesIn(bytes: Buffer): number {
  return bytes.toString('latin1').split('\n').length - 1;
}
