import { createHash, randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentProcess } from '../harness/agent-process.ts';

const DEFAULT_SCRIPT = `
echo "hello from $LONGSHORE_TICKET, in $(pwd | sed 's/.*longshore-v1/…/')"
echo "the package has $(wc -c < "$LONGSHORE_PACKAGES/web.1.2.3.zip") bytes, sha256 $(sha256sum < "$LONGSHORE_PACKAGES/web.1.2.3.zip" | cut -c1-12)…"
echo "configured for: $(cat conf/target)"
echo "the password is $DB_PASSWORD" >&2
for step in 1 2 3; do echo "step $step of 3"; sleep 0.2; done
echo "deployed" > "$LONGSHORE_ARTIFACTS/report.txt"
`;

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function step(text: string): void {
  say(`\n▸ ${text}`);
}

function tree(folder: string, indent = '  '): void {
  for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) =>
    a.name < b.name ? -1 : 1,
  )) {
    const path = join(folder, entry.name);
    say(`${indent}${entry.name}${entry.isDirectory() ? '/' : `  (${statSync(path).size} bytes)`}`);
    if (entry.isDirectory()) tree(path, `${indent}  `);
  }
}

async function expect(what: Promise<{ status: number; text: string }>, ...statuses: number[]): Promise<void> {
  const { status, text } = await what;
  if (!statuses.includes(status)) throw new Error(`the agent answered ${status}: ${text}`);
}

/** The main job from outside: a server pushes, the agent stages, a runner runs, the outcome comes back. */
async function demo(folder: string, body: string): Promise<number> {
  const volume = join(folder, 'volume');
  mkdirSync(volume);
  step('an agent starts on an empty volume');
  const agent = new AgentProcess({ volume, state: join(folder, 'state') });
  try {
    await agent.ready();
    say(`  listening on ${agent.url}, metrics on ${agent.metrics}`);
    return await deploy(agent, volume, body);
  } finally {
    await agent.stop();
  }
}

async function deploy(agent: AgentProcess, volume: string, body: string): Promise<number> {
  const bytes = randomBytes(2 << 20);
  step('PUT /v1/packages/web/1.2.3: hashed while it arrives, fsynced, renamed into place');
  await expect(agent.push('web', '1.2.3', bytes), 201);
  say(`  ${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex').slice(0, 12)}…`);

  step('PUT /v1/scripts/demo: the workspace is staged whole, one rename publishes it');
  const request = {
    language: 'bash',
    body,
    files: [{ path: 'conf/target', content: 'production' }],
    packages: [{ id: 'web', version: '1.2.3' }],
    variables: [{ name: 'DB_PASSWORD', value: randomBytes(9).toString('base64url'), sensitive: true }],
  };
  await expect(agent.call('PUT', '/v1/scripts/demo', request), 200);

  step('GET /v1/scripts/demo?after=…&wait=20: the journal, as it is written');
  const { status, lines } = await agent.follow('demo');
  for (const { stream, id, text } of lines) say(`  ${id.padStart(4)} ${stream.padEnd(6)} ${text}`);

  step('what lies on the volume');
  tree(volume);

  step('the outcome');
  say(JSON.stringify(status.outcome, undefined, 2).replace(/^/gm, '  '));

  step('DELETE /v1/scripts/demo: collected; only a tombstone stays, so that the ticket never runs again');
  await expect(agent.call('DELETE', '/v1/scripts/demo'), 204);
  await expect(agent.call('PUT', '/v1/scripts/demo', request), 410);
  return status.outcome?.exitCode ?? 70;
}

const folder = mkdtempSync(join(tmpdir(), 'longshore-demo-'));
try {
  process.exitCode = await demo(folder, process.argv[2] ?? DEFAULT_SCRIPT);
  say(
    `\nThe script ended with exit code ${process.exitCode}, and so does this demo. Nothing is left behind.`,
  );
} finally {
  rmSync(folder, { recursive: true, force: true });
}
