/** The certificates of the cluster: one authority, made once for each cluster. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { generateKeyPairSync } from 'node:crypto';
import { join } from 'node:path';
import { command } from './command.ts';
import { addressOf, network, nodeNames, places } from './places.ts';
import type { NodeName } from './places.ts';

type Holder = 'apiserver' | 'admin' | NodeName;

const key = (name: string): string => join(places.keys, `${name}.key`);
const certificate = (name: string): string => join(places.keys, `${name}.crt`);

export const keyFiles = { key, certificate, authority: certificate('ca') };

/** Makes all keys of the cluster, or finds them. They appear together or not at all. */
export async function makeKeys(): Promise<void> {
  if (existsSync(places.keys)) return;
  const draft = `${places.keys}.new`;
  rmSync(draft, { recursive: true, force: true });
  mkdirSync(draft, { recursive: true, mode: 0o700 });
  const authority = ['-days', '3650', '-subj', '/CN=longshore-test', '-out', join(draft, 'ca.crt')];
  await openssl(['req', '-x509', ...newKey(join(draft, 'ca.key')), ...authority]);
  const service = 'kubernetes.default.svc';
  const names = ['kubernetes', 'kubernetes.default', service, `${service}.cluster.local`, 'localhost'];
  const addresses = ['127.0.0.1', network.host, network.firstService];
  await sign(draft, 'apiserver', '/CN=kube-apiserver', [...names, ...addresses]);
  // The control plane uses it too: what it may do is not what is tested here.
  await sign(draft, 'admin', '/O=system:masters/CN=admin', []);
  for (const node of nodeNames) {
    const subject = `/O=system:nodes/CN=system:node:${node}`;
    await sign(draft, node, subject, [node, addressOf(node).ip, '127.0.0.1']);
  }
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  writeFileSync(join(draft, 'service-accounts.key'), privateKey.export({ type: 'pkcs1', format: 'pem' }));
  renameSync(draft, places.keys);
}

/** The text of a kubeconfig for the holder of a certificate. It is JSON, which is YAML too. */
export function kubeconfigOf(holder: Holder, server: string): string {
  const base64 = (path: string): string => readFileSync(path).toString('base64');
  const cluster = { server, 'certificate-authority-data': base64(keyFiles.authority) };
  const user = {
    'client-certificate-data': base64(certificate(holder)),
    'client-key-data': base64(key(holder)),
  };
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'longshore', cluster }],
    users: [{ name: holder, user }],
    contexts: [{ name: 'longshore', context: { cluster: 'longshore', user: holder } }],
    'current-context': 'longshore',
  });
}

const newKey = (file: string): string[] => [
  '-newkey',
  'ec',
  '-pkeyopt',
  'ec_paramgen_curve:P-256',
  '-nodes',
  '-keyout',
  file,
];

async function openssl(args: readonly string[]): Promise<void> {
  await command('openssl', args);
}

/** Signs a certificate that serves under `names` and is good for a client as well. */
async function sign(
  folder: string,
  holder: Holder,
  subject: string,
  names: readonly string[],
): Promise<void> {
  const [ca, file] = [join(folder, 'ca'), join(folder, holder)];
  const alternatives = names.map((name) => `${/^[\d.]+$/.test(name) ? 'IP' : 'DNS'}:${name}`);
  const extensions = [
    'extendedKeyUsage=serverAuth,clientAuth',
    'basicConstraints=critical,CA:FALSE',
    ...(alternatives.length > 0 ? [`subjectAltName=${alternatives.join(',')}`] : []),
  ].flatMap((extension) => ['-addext', extension]);
  // `req -x509 -CA` signs in one step, without a request in between.
  const authority = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`];
  await openssl([
    ...['req', '-x509', ...newKey(`${file}.key`), ...authority],
    ...['-days', '3650', '-subj', subject, ...extensions, '-out', `${file}.crt`],
  ]);
}
