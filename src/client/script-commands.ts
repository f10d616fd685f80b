import type { LongshoreClient } from './client.ts';
import { exitCodeFor, showScript } from './run-command.ts';
import { say, showLine, type Terminal } from './terminal.ts';

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
      if (json) terminal.out.write(`${JSON.stringify({ ticket, type: 'line', line })}\n`);
      else showLine(terminal, line);
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
  if (json) terminal.out.write(`${JSON.stringify({ ticket, state, outcome, labels })}\n`);
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
