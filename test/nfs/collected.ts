/** A script's end, as its server collects it. */
import type { LongshoreClient, Outcome } from '../../src/client/client.ts';

export interface Collected {
  readonly outcome: Outcome;
  readonly stdout: string;
  /** Lines of the agent and of the runner. */
  readonly said: readonly string[];
}

/** Follows a script to its outcome. */
export async function collected(
  client: LongshoreClient,
  ticket: string,
  signal?: AbortSignal,
): Promise<Collected> {
  let stdout = '';
  const said: string[] = [];
  for await (const news of client.follow(ticket, undefined, signal)) {
    if (news.type === 'outcome') return { outcome: news.outcome, stdout, said };
    if (news.type === 'state') continue;
    const { stream, text } = news.line;
    if (stream === 'stdout') stdout += `${text}\n`;
    if (stream === 'agent' || stream === 'pod') said.push(text);
  }
  throw new Error(`the journal of ${ticket} ended without an outcome`);
}
