/** etcd, the API server, the controller manager and the scheduler, in the machine's own namespaces. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keyFiles, kubeconfigOf } from './authority.ts';
import { binary } from './binaries.ts';
import { start } from './daemon.ts';
import { network, places } from './places.ts';
import { apiServerReady } from './readiness.ts';

/** In the order in which they end: an API server that has lost its etcd does not end by itself. */
export const controlPlane = ['kube-scheduler', 'kube-controller-manager', 'kube-apiserver', 'etcd'] as const;

const { certificate, key, authority } = keyFiles;
const serviceAccountKey = join(places.keys, 'service-accounts.key');
/** Sockets and no ports, so that this API server never finds the etcd of another cluster. */
const etcdSocket = (name: string): string => `unix://${join(places.run, `etcd-${name}`)}`;

/** Starts what does not run, and returns when the API server answers. */
export async function startControlPlane(): Promise<void> {
  mkdirSync(places.log, { recursive: true });
  // Written once: whoever watches it would take a second writing for a change of credentials.
  if (!existsSync(places.kubeconfig)) {
    const text = kubeconfigOf('admin', `https://127.0.0.1:${network.apiPort}`);
    writeFileSync(places.kubeconfig, text, { mode: 0o600 });
  }
  writeFileSync(auditPolicy.file, JSON.stringify(auditPolicy.policy));
  // etcd wants to advertise an address with a port; nobody asks for it.
  const nobody = 'http://localhost:1';
  start('etcd', binary('etcd'), [
    ...['--name', 'longshore', '--data-dir', join(places.run, 'etcd'), '--unsafe-no-fsync'],
    ...['--listen-client-urls', etcdSocket('client'), '--advertise-client-urls', nobody],
    ...['--listen-peer-urls', etcdSocket('peer'), '--initial-advertise-peer-urls', nobody],
    ...['--initial-cluster', `longshore=${nobody}`],
  ]);
  start('kube-apiserver', binary('kube-apiserver'), apiServerFlags());
  await apiServerReady();
  // Without a port of their own nothing of the machine can be in their way.
  const identity = ['--kubeconfig', places.kubeconfig, '--leader-elect=false', '--secure-port=0'];
  start('kube-controller-manager', binary('kube-controller-manager'), [
    ...[...identity, '--use-service-account-credentials', '--root-ca-file', authority],
    ...['--service-account-private-key-file', serviceAccountKey],
  ]);
  start('kube-scheduler', binary('kube-scheduler'), identity);
}

/** Every request of a service account that is not the cluster's own: what a product asked for, and what it was refused. */
const auditPolicy = {
  file: join(places.run, 'audit-policy.json'),
  policy: {
    apiVersion: 'audit.k8s.io/v1',
    kind: 'Policy',
    omitStages: ['RequestReceived'],
    rules: [
      { level: 'None', userGroups: ['system:serviceaccounts:kube-system'] },
      { level: 'Metadata', userGroups: ['system:serviceaccounts'] },
      { level: 'None' },
    ],
  },
};

function apiServerFlags(): string[] {
  const issuer = 'https://kubernetes.default.svc.cluster.local';
  const flags: Readonly<Record<string, string>> = {
    'etcd-servers': etcdSocket('client'),
    'bind-address': '0.0.0.0',
    'advertise-address': network.host,
    'secure-port': String(network.apiPort),
    'service-cluster-ip-range': network.services,
    'authorization-mode': 'Node,RBAC',
    'enable-admission-plugins': 'NodeRestriction',
    'allow-privileged': 'true',
    'client-ca-file': authority,
    'tls-cert-file': certificate('apiserver'),
    'tls-private-key-file': key('apiserver'),
    'kubelet-client-certificate': certificate('admin'),
    'kubelet-client-key': key('admin'),
    'kubelet-certificate-authority': authority,
    'kubelet-preferred-address-types': 'InternalIP',
    'service-account-issuer': issuer,
    'service-account-key-file': serviceAccountKey,
    'service-account-signing-key-file': serviceAccountKey,
    'audit-policy-file': auditPolicy.file,
    'audit-log-path': join(places.log, 'audit.log'),
    'feature-gates': 'ImageVolume=true',
  };
  return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
}
