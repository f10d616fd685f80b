import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { apply, kubectl } from './kubectl.ts';
import { places } from './places.ts';

const size = { storage: '10Gi' };
/** No class: nothing but the names binds the two to each other. */
const spec = { accessModes: ['ReadWriteMany'], storageClassName: '' };

/** Makes a claim that pods on both nodes may write, and returns the host folder behind it.
 *  A file system that is mounted at that folder is seen by every pod that starts afterwards. */
export async function sharedClaim(namespace: string, name: string): Promise<string> {
  const volume = `${namespace}-${name}`;
  const folder = join(places.volumes, volume);
  mkdirSync(folder, { recursive: true });
  // Not left to the umask of whoever runs the tests; a kubelet makes folders of a subPath with this mode, too.
  chmodSync(folder, 0o777);
  await apply(
    {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: volume },
      spec: {
        ...spec,
        capacity: size,
        persistentVolumeReclaimPolicy: 'Retain',
        claimRef: { namespace, name },
        hostPath: { path: folder, type: 'Directory' },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { namespace, name },
      spec: { ...spec, volumeName: volume, resources: { requests: size } },
    },
  );
  const bound = ['wait', '--for=jsonpath={.status.phase}=Bound', `pvc/${name}`];
  await kubectl([...bound, '--namespace', namespace, '--timeout=150s']);
  return folder;
}
