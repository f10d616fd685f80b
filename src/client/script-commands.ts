import { pipeline } from 'node:stream/promises';
import type { LongshoreClient } from './client.ts';
import { exitCodeFor, showScript } from './run-command.ts';
import { say, showJson, showLine, type Terminal } from './terminal.ts';

/** Shows the lines that are there, or follows the script to its outcome and leaves with its exit code. */
export async function logsCommand(
  client: LongshoreClient,
  { ticket, follow, json }: { ticket: string; follow: boolean; json: boolean },
  terminal: Terminal,
): Promise<number> {
  if (follow) return exitCodeFor(await showScript(client, { ticket, json }, terminal));
  for (let after = 's0.a0', more = true; more;) {
    const { journal } = await client.status(ticket, { after });
    for (const line of journal.lines) {
      await (json ? showJson(terminal, { ticket, type: 'line', line }) : showLine(terminal, line));
    }
    // The first page may hold the agent's lines only; an empty one is the end.
    more = journal.lines.length > 0;
    after = journal.next;
  }
  return 0;
}

/** Shows state and outcome, without the journal. */
export async function statusCommand(
  client: LongshoreClient,
  { ticket, json }: { ticket: string; json: boolean },
  terminal: Terminal,
): Promise<number> {
  const { state, outcome, labels } = await client.status(ticket);
  if (json) await showJson(terminal, { ticket, state, outcome, labels });
  else terminal.out.write(`${ticket}  ${state}${outcome ? `  ${outcome.code}: ${outcome.says}` : ''}\n`);
  return 0;
}

/** Asks for the end of a script; with `wait` shows its journal to the end. */
export async function cancelCommand(
  client: LongshoreClient,
  { ticket, wait }: { ticket: string; wait: boolean },
  terminal: Terminal,
): Promise<number> {
  const { state } = await client.cancel(ticket);
  say(terminal, `cancel recorded; ${ticket} was ${state}`);
  if (wait) await showScript(client, { ticket, json: false }, terminal);
  return 0;
}

/** Removes what a finished script left. */
export async function completeCommand(
  client: LongshoreClient,
  ticket: string,
  terminal: Terminal,
): Promise<number> {
  await client.complete(ticket);
  say(terminal, `${ticket} is completed; its ticket never runs again`);
  return 0;
}

/** Lists what a finished script left, or writes one of its files to stdout. */
export async function artifactsCommand(
  client: LongshoreClient,
  { ticket, name, json }: { ticket: string; name: string | undefined; json: boolean },
  terminal: Terminal,
): Promise<number> {
  if (name !== undefined) {
    await pipeline(await client.artifact(ticket, name), terminal.out, { end: false });
    return 0;
  }
  for (const artifact of await client.artifacts(ticket)) {
    if (json) await showJson(terminal, { ticket, ...artifact });
    else terminal.out.write(`${String(artifact.size).padStart(12)}  ${artifact.name}\n`);
  }
  return 0;
}
