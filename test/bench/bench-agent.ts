import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess } from '../harness/agent-process.ts';

/** Gives `work` a fresh agent on a fresh volume, both gone afterwards. */
export async function withAgent<T>(work: (agent: AgentProcess, folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'longshore-bench-'));
  const volume = join(folder, 'volume');
  mkdirSync(volume);
  const agent = new AgentProcess({ volume, state: join(folder, 'state') });
  try {
    await agent.ready();
    return await work(agent, folder);
  } finally {
    await agent.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
