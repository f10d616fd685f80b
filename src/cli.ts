#!/usr/bin/env -S UV_THREADPOOL_SIZE=64 node
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { connect, type Connection } from './client/agent-connection.ts';
import type { LongshoreClient } from './client/client.ts';
import { pushCommand, type PushArguments } from './client/push-command.ts';
import { runCommand, type RunArguments } from './client/run-command.ts';
import {
  artifactsCommand,
  cancelCommand,
  completeCommand,
  logsCommand,
  statusCommand,
} from './client/script-commands.ts';
import type { Terminal } from './client/terminal.ts';
import packageJson from '../package.json' with { type: 'json' };
import { configRows } from './config-schema.ts';
import { defaultTokensFile, environmentValue, loadConfig } from './config.ts';
import { FAILURES } from './protocol/failure-table.ts';
import { Fault } from './protocol/fault.ts';

type RunOptions = Partial<Omit<RunArguments, 'arguments'>>;

const terminal: Terminal = {
  out: process.stdout,
  err: process.stderr,
  isInteractive: process.stderr.isTTY,
};

/** What a shell says of a command whose reader went away. */
const BROKEN_PIPE = 141;

const EXAMPLES = `
Examples:
  longshore serve --volume /srv/volume
  longshore doctor --volume /srv/volume
  longshore push web.1.2.3.zip --id web --version 1.2.3
  longshore run deploy.sh --package web@1.2.3 --var TARGET=production -- --verbose
  longshore run --body 'echo hello; exit 3' ; echo $?
  longshore logs --follow 5f3c…

The commands find the agent of this machine and its token by themselves; --url and --token-file name another one.
A script's output goes to stdout and stderr as it came; what the agent says goes to stderr. Exit codes other than the
script's own are listed in docs/reference/failures.md.`;

const DOCTOR_HELP = `
Examples:
  longshore doctor --volume /mnt/volume
  longshore doctor --volume /volume --claim longshore --runner-image registry.example.com/longshore-runner:0.1.0

It needs no agent and disturbs none. Exit codes: 0 good, perhaps with notes, 1 a warning, 74 something that is bad or
that hangs. Each check is explained in docs/reference/doctor.md.`;

function count(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted');
  return Number(text);
}

function collect(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Options that were not given, which commander leaves out. */
const NO_LISTS = { package: [], file: [], var: [], secret: [], secretEnv: [] };

function withConnection(command: Command): Command {
  return command
    .addOption(
      new Option('--url <url>', 'where the agent listens')
        .env('LONGSHORE_URL')
        .default('http://127.0.0.1:8460'),
    )
    .addOption(new Option('--token <token>', 'token of this server; better a file').env('LONGSHORE_TOKEN'))
    .option('--token-file <file>', 'file with the token, or a tokens file of an agent');
}

async function withClient(
  connection: Connection,
  work: (client: LongshoreClient) => Promise<number>,
): Promise<void> {
  const client = await connect(connection, terminal, defaultTokensFile());
  try {
    process.exitCode = await work(client);
  } finally {
    client.close();
  }
}

async function serveCommand(flags: readonly string[]): Promise<void> {
  const config = loadConfig(flags);
  const { serve } = await import('./serve.ts');
  const agent = await serve(config);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void agent.stop());
  process.exitCode = await agent.stopped;
  // A call that hangs on the mount keeps its thread, and an ordinary exit would wait for it for ever.
  if (agent.hasStuckOperations()) process.kill(process.pid, 'SIGKILL');
}

/** Settings are those of the agent, so that what is tested is what it would use. */
async function doctorCommand(
  flags: readonly string[],
  options: { json?: boolean; limit: number },
): Promise<void> {
  const config = loadConfig(flags);
  const { doctorCommand: run } = await import('./doctor/doctor-command.ts');
  const stopping = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stopping.abort());
  const { json = false, limit } = options;
  process.exitCode = await run(config, { json, limitMs: limit * 1000, signal: stopping.signal }, terminal);
}

function serveHelp(): string {
  const rows = configRows().map(({ flag, says, initial }) =>
    wrapped(`  ${flag.padEnd(30)} `, `${says}${initial && ` (default: ${initial})`}`),
  );
  const head = 'Settings, each also as LONGSHORE_… in the environment or in the JSON file of --config FILE:';
  return `\n${head}\n${rows.join('\n')}\n\nTheir rules are in docs/reference/configuration.md.`;
}

/** Puts `text` behind `head`, in lines of at most 100 characters. */
function wrapped(head: string, text: string): string {
  const lines = [head];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line.length + word.length < 100)
      lines[lines.length - 1] = line.endsWith(' ') ? line + word : `${line} ${word}`;
    else lines.push(' '.repeat(head.length) + word);
  }
  return lines.join('\n');
}

function program(): Command {
  const top = new Command('longshore')
    .version(packageJson.version)
    // `push --version` is the version of a package.
    .enablePositionalOptions()
    .description(
      'Runs the scripts of a deployment server next to a shared volume, and says truthfully how each ended.',
    )
    .addHelpText('after', EXAMPLES)
    .configureOutput({ writeOut: (text) => process.stdout.write(text) })
    .exitOverride();
  top
    .command('serve')
    .description('run the agent')
    .allowUnknownOption()
    .allowExcessArguments()
    .argument('[settings...]')
    .addHelpText('after', serveHelp)
    .action((_settings: string[], _options: object, command: Command) => serveCommand(command.args));
  withConnection(top.command('push'))
    .description('make sure that the agent has a package; sends nothing where it has it')
    .argument('<file>', 'the package, for example web.1.2.3.zip')
    .requiredOption('--id <id>', 'id of the package')
    .requiredOption('--version <version>', 'version of the package')
    .action((file: string, options: Connection & Omit<PushArguments, 'file'>) =>
      withClient(options, (client) => pushCommand(client, { ...options, file }, terminal)),
    );
  top
    .command('doctor')
    .description(
      'test a volume for what Longshore needs of it; with --claim, from two nodes of the cluster too',
    )
    .allowUnknownOption()
    .allowExcessArguments()
    .argument(
      '[settings...]',
      'those of serve: --volume DIR, --kubeconfig FILE, --namespace NAME, --claim NAME …',
    )
    .option('--json', 'write the report as JSON')
    .option('--limit <seconds>', 'longest time for all of it, at least 5', count, 28)
    .addHelpText('after', DOCTOR_HELP)
    .action((_settings: string[], options: { json?: boolean; limit: number }, command: Command) =>
      doctorCommand(command.args, options),
    );
  addRun(top);
  addScriptCommands(top);
  return top;
}

function addRun(top: Command): void {
  withConnection(top.command('run'))
    .description('start a script, show its journal, leave with its exit code')
    .argument('[script]', 'file with the script')
    .argument('[arguments...]', 'arguments of the script; put -- in front of those that begin with a dash')
    .option('--body <text>', 'the script itself instead of a file')
    .option('--package <id@version>', 'package that the script gets (repeatable)', collect)
    .option('--file <path=local>', 'file in the working directory of the script (repeatable)', collect)
    .option('--var <name=value>', 'variable, as environment variable of the script (repeatable)', collect)
    .option('--secret <name=file>', 'sensitive variable, its value read from a file (repeatable)', collect)
    .option(
      '--secret-env <name[=variable]>',
      'sensitive variable, its value taken from the environment (repeatable)',
      collect,
    )
    .option('--storage <storage>', 'shared: work on the volume; copied: on a copy on local disk')
    .option('--isolation <name>', 'run alone among the scripts of this name')
    .option('--isolation-timeout <seconds>', 'longest wait for that', count)
    .option('--deadline <seconds>', 'end the script after this long', count)
    .option('--grace <seconds>', 'time between TERM and KILL', count)
    .option('--ticket <ticket>', 'name of this run; the same name again finds the same run')
    .option('--keep', 'leave the finished script on the volume')
    .option('--json', 'write every piece of news as a line of JSON')
    .action((script: string | undefined, rest: string[], options: Connection & RunOptions) => {
      const given =
        options.body === undefined ? { script, arguments: rest } : { arguments: bodyArguments(script, rest) };
      const interrupts = (interrupted: () => void): void => void process.on('SIGINT', interrupted);
      return withClient(options, (client) =>
        runCommand(client, { ...NO_LISTS, ...options, ...given }, { terminal, interrupts, environmentValue }),
      );
    });
}

/** With --body there is no script file, so the first word is an argument too. */
function bodyArguments(first: string | undefined, rest: readonly string[]): readonly string[] {
  return first === undefined ? rest : [first, ...rest];
}

function addScriptCommands(top: Command): void {
  withConnection(top.command('logs'))
    .description('show the journal of a script')
    .argument('<ticket>')
    .option('-f, --follow', 'go on to the end, and leave with the exit code of the script')
    .option('--json', 'write lines of JSON')
    .action((ticket: string, options: Connection & { follow?: boolean; json?: boolean }) =>
      withClient(options, (client) =>
        logsCommand(
          client,
          { ticket, follow: options.follow ?? false, json: options.json ?? false },
          terminal,
        ),
      ),
    );
  withConnection(top.command('status'))
    .description('show state and outcome of a script')
    .argument('<ticket>')
    .option('--json', 'write JSON')
    .action((ticket: string, options: Connection & { json?: boolean }) =>
      withClient(options, (client) =>
        statusCommand(client, { ticket, json: options.json ?? false }, terminal),
      ),
    );
  withConnection(top.command('cancel'))
    .description('end a script: TERM, grace, KILL; one that has not started never will')
    .argument('<ticket>')
    .option('--wait', 'show the journal to its end')
    .action((ticket: string, options: Connection & { wait?: boolean }) =>
      withClient(options, (client) =>
        cancelCommand(client, { ticket, wait: options.wait ?? false }, terminal),
      ),
    );
  withConnection(top.command('artifacts'))
    .description('list what a finished script left, or write one of its files to stdout')
    .argument('<ticket>')
    .argument('[name]', 'a file of the list')
    .option('--json', 'write lines of JSON')
    .action((ticket: string, name: string | undefined, options: Connection & { json?: boolean }) =>
      withClient(options, (client) =>
        artifactsCommand(client, { ticket, name, json: options.json ?? false }, terminal),
      ),
    );
  withConnection(top.command('complete'))
    .description('remove what a finished script left')
    .argument('<ticket>')
    .action((ticket: string, options: Connection) =>
      withClient(options, (client) => completeCommand(client, ticket, terminal)),
    );
}

/** Says an error as one sentence that a person can act on, and returns the exit code. */
function told(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : FAILURES.REQUEST_INVALID.exit;
  if (error instanceof Fault) {
    process.stderr.write(`longshore: ${error.message} (${error.code})\n`);
    return FAILURES[error.code].exit;
  }
  process.stderr.write(
    `longshore: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  return FAILURES.AGENT_FAILED.exit;
}

process.stdout.on('error', (error: Error) => {
  // `longshore logs … | head`: nobody reads any more. The script goes on.
  if ('code' in error && error.code === 'EPIPE') process.exit(BROKEN_PIPE);
  throw error;
});
try {
  await program().parseAsync(process.argv);
} catch (error) {
  process.exitCode = told(error);
}
