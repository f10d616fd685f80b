import type { FailureCode } from '../../src/protocol/failure-table.ts';

/** What to do about each code, for whoever sees it; docs/reference/failures.md is made of this and of the table. */
export const FAILURE_ADVICE: Readonly<Record<FailureCode, string>> = {
  SUCCEEDED:
    'Nothing. The runner left an authentic end record with exit code 0. Fetch the artifacts if there are some, then complete the script.',
  SCRIPT_FAILED:
    "Read the journal: the last lines on stderr usually say why. The script's own exit code is in `exitCode`. The agent did its part, and starting the same script again under a new ticket does the same again.",
  SCRIPT_KILLED:
    'Look at `signal` and at `evidence.oomKills`. SIGKILL with a counted out-of-memory kill means that the script needs more memory. Otherwise something on the machine, or the script itself, sent the signal.',
  SCRIPT_CANCELLED:
    'Nothing, if the cancel was meant. The journal tells when it was asked for and what the script still did. What it had changed outside its workspace stays changed.',
  SCRIPT_DEADLINE:
    'Find out in the journal what took so long. If the time was needed, start it again under a new ticket with a longer `deadlineSeconds`. The script got TERM, then KILL after `graceSeconds`.',
  ISOLATION_TIMEOUT:
    'The journal names the script that stood in front. Wait for it or cancel it, then start again under a new ticket, or allow a longer `isolation.timeoutSeconds`. Nothing of the script ran.',
  INTERPRETER_MISSING:
    'Install bash where the runner runs and see that it is on the PATH of the agent. `evidence` has the error of the system. Nothing of the script ran.',
  STAGING_MISMATCH:
    'The journal names the first file that differs. Start again under a new ticket. If it happens again, somebody else writes into the volume or it gives back other bytes than it took: check the storage before you trust it.',
  STAGING_DISK_FULL:
    'The sentence names the folder and says what was missing: room on that disk, or `copyMaxBytes`. It is the disk of the machine or node that a script with `storage: copied` works on, not the volume. Make room or raise the limit, and start again under a new ticket. Nothing of the script ran.',
  WORKSPACE_LOST:
    'Somebody removed the workspace, or the volume was restored to an earlier state. Start again under a new ticket; if the script may have run halfway, `evidence` and the journal so far say how far.',
  RUNNER_LOST:
    'Nobody knows how the script ended: it may have done all, some or none of its work. Look at what it was to change before you start it again. The usual causes are a machine that restarted, an out-of-memory kill of the runner, or somebody who killed it.',
  RUNNER_FAILED:
    'The sentence of the outcome says what failed inside the runner, often a full or read-only disk. It is a fault of the agent or its machine and not of the script. Whether the script ran is in `evidence` and in the journal.',
  RUNNER_STOPPED:
    'Somebody sent TERM to the runner: a shutdown of the machine, or a person. The script got its TERM and its grace. Start again under a new ticket when the machine is back.',
  RUNNER_NOT_STARTED:
    'Nothing ran. Look at the log of the agent for the error of the start: no more processes, no memory, or a runner program that is not where it was installed. Start again under a new ticket.',

  CLUSTER_OOM:
    'Give the script more memory: `pod.resources.limits.memory` of its start where the policy allows it, `podDefaults` otherwise. The sentence names the limit that held. Look at what the script was to change before you start it again: it was ended in the middle.',
  CLUSTER_EVICTED:
    'Read why in the sentence. "Low on resource" is a node that ran out of memory or disk: request what the script needs, so that the scheduler keeps it free. A limit of ephemeral storage was passed: raise it, or write less outside the volume. The eviction API is a drain: start again under a new ticket when it is over. The script got TERM and perhaps not its whole grace, so look at what it was to change.',
  CLUSTER_PREEMPTED:
    'Give script pods a `priorityClassName` in `podDefaults` that others do not displace, or make room in the cluster. The script got TERM and its grace; look at what it was to change before you start it again under a new ticket.',
  CLUSTER_NODE_LOST:
    'Look at the node first: `kubectl describe node`, then its kubelet. While it is only cut off, the script may still be running there and go on changing things, so make sure that the machine is off before you start it again. The journal has every line that reached the volume.',
  CLUSTER_POD_DELETED:
    'Find out who deletes pods in the namespace: a person, a clean-up job, or the garbage collector because the Deployment of the agent was deleted. The audit log of the API server names who it was. The script got TERM and its grace; look at what it was to change before you start it again.',
  CLUSTER_POD_FAILED:
    'The sentence and `evidence` have the words of the cluster as they came; `kubectl describe pod` has the same while the pod is kept. Please report reasons that appear here, so that they get a code of their own.',
  CLUSTER_IMAGE_MISSING:
    'See whether the name and tag of the image exist, whether the node reaches the registry, and whether `podDefaults.imagePullSecrets` names a Secret that may pull. The sentence has the answer of the registry. With `imagePullPolicy` Never the image must be on every node before. Nothing of the script ran.',
  CLUSTER_IMAGE_INVALID:
    'Correct the image in `pod.image` of the start, or in `scriptImage` and `runnerImage` of the configuration: `registry/path:tag` in lower case, without spaces. Nothing of the script ran.',
  CLUSTER_UNSCHEDULABLE:
    'The sentence has the words of the scheduler, with a count of nodes for each reason: too little cpu or memory, a node selector that no node has, a taint that nothing tolerates. With `claimAccess` rwo only the node of the agent counts, and a cordon of it is enough. If nodes are added on demand and take long, raise `podLaunchTimeoutMs`. Nothing of the script ran; start it again under a new ticket.',
  CLUSTER_CLAIM_UNBOUND:
    'Look at the claim that `claim` names, with `kubectl describe pvc` in the namespace of the script pods: it must exist there and be bound. Nothing of the script ran.',
  CLUSTER_MOUNT_FAILED:
    'The sentence has the words of the node. If it is the volume of the claim, look at its file server and at the driver on that node; other nodes may be well. If it is the Secret of the pod, the agent could not make it, and its log says why. Nothing of the script ran; start it again under a new ticket.',
  CLUSTER_INIT_FAILED:
    'The image of the script is not ours, so an init container of `runnerImage` brings the runner. Exit code and last words are in the sentence. Usual causes: another architecture than that of the node, too little memory, an image of another version than the agent. Nothing of the script ran.',
  CLUSTER_CONTAINER_REFUSED: `The sentence has the words of the node. "no such file or directory" for tini or node means that the image is not built on glibc, or lacks the runner although it is named as ours. A sandbox that cannot be made is the network of the node. A Secret or ConfigMap that is not found comes from something that changes pods on their way. Nothing of the script ran.`,
  CLUSTER_ACCOUNT_MISSING:
    'Make the service account in the namespace of the script pods, or change `pod.serviceAccount` of the start or `podDefaults.serviceAccount`. Nothing of the script ran.',
  CLUSTER_QUOTA:
    'Wait for other pods to end, or raise the ResourceQuota that the sentence names. The agent has tried until `podLaunchTimeoutMs` was over. Nothing of the script ran; start it again under a new ticket.',
  CLUSTER_POD_REFUSED:
    'The sentence has the words of who refused: the pod security or a LimitRange of the namespace, a quota that wants requests and limits, an admission webhook, the API server that finds a field invalid, or a node. Change what it names, in `pod` of the start or in `podDefaults`. Script pods keep the restricted pod security, so a refusal by that has come from something that changes pods on their way. Nothing of the script ran.',
  CLUSTER_FORBIDDEN:
    "Give the agent's service account the Role of docs/reference/rbac.md in the namespace of the script pods; the sentence names what is missing. If the credentials are refused as such, see that the token of the service account is mounted and not expired.",
  CLUSTER_UNREACHABLE:
    'See whether the API server answers, with `kubectl get --raw /readyz`, and whether the agent reaches it: network policy, DNS, proxy. A webhook that does not answer is named in the sentence. Scripts that run go on, and their journal is read from the volume.',

  PACKAGE_NAME_INVALID:
    'Change the id, version or file name; `rule` has the rule and `value` what was sent. A file name needs an extension only if the script shall see one.',
  PACKAGE_UNKNOWN: 'Push the package. A push that sends `Repr-Digest` sends nothing twice.',
  PACKAGE_EXISTS:
    'Leave out `If-None-Match: *` if the same bytes are fine: then a push of them answers 200. Otherwise choose another version.',
  PACKAGE_CONFLICT:
    'Choose another version: one that exists never changes. The answer has the digest that the version has. If your build makes other bytes from the same source each time, push it once and start scripts by its version.',
  PACKAGE_MISSING:
    'Push the package that the answer names, then send the same start again: nothing was staged by this one. A package that nothing uses for a long time is removed, so ask with HEAD before a start.',
  BLOB_UNKNOWN: 'Push the blob under its digest.',
  BLOB_MISSING:
    'Push the blob that the answer names, then send the same start again: nothing was staged by this one.',
  BLOB_EXISTS: 'Nothing: the agent has exactly these bytes, since the address of a blob is their digest.',
  DIGEST_INVALID:
    'Write a digest as the place wants it: 64 lower-case hex digits in an address, `sha256:<hex>` in a start, `sha-256=:<base64>:` in `Repr-Digest`.',
  DIGEST_MISMATCH:
    'Push again: the bytes changed on their way, or the file changed while it was read. If it happens again, compute the digest anew; the answer has both. Nothing of the upload was kept.',
  PATH_INVALID:
    'Name a file by a plain relative path; `rule` has the rule. Two paths that differ only in case or Unicode form are refused too, because some volumes take them for one.',
  UPLOAD_INCOMPLETE:
    'Push again. The connection broke, or the length that was announced was wrong. Nothing of the upload was kept.',
  UPLOAD_TOO_SLOW:
    'Push again over a better connection. If the clients are that slow, lower `uploadMinBytesPerSecond` or raise `uploadStallMs`.',
  UPLOADS_TOO_MANY:
    'Send it again after the seconds of `Retry-After`; the client of this project does. If it happens all the time, raise `maxUploads`, at a cost in memory and load on the volume.',

  REQUEST_INVALID:
    'Change the request: `field` names the place, `rule` what must hold there, `value` what came. The schemas are in `/v1/openapi.json`.',
  FIELD_UNSUPPORTED:
    'Leave the field out or ask another agent: this one would not do what it says, and so does nothing. `/v1/capabilities` lists what it can do.',
  POD_NOT_ALLOWED:
    'Leave the wish out, or let the operator allow it in `podPolicy`: `field` names the place, `rule` what is allowed, `value` what was asked for. What no policy can allow is the identity of the pod, its mounts, its security context and its restart policy.',
  CURSOR_INVALID:
    'Hand back `journal.next` or the last event id as it came, or start at the beginning without a cursor. Do not build cursors.',
  UNAUTHENTICATED:
    'Send `Authorization: Bearer TOKEN` with a token of the tokens file of the agent. After a rotation the old token is unknown at once; the log of the agent says when the file was read and which line it could not read.',
  ROUTE_UNKNOWN: 'Check method and address against `/v1/openapi.json`. Addresses have no slash at their end.',
  BODY_TOO_LARGE:
    'Send less: large files belong into packages and blobs, not into a start. The limits are in `/v1/capabilities`; the operator moves them with `uploadMaxBytes` and `scriptBodyMaxBytes`.',
  MEDIA_TYPE_UNSUPPORTED:
    'Send a start with `Content-Type: application/json`, and an upload without `Content-Encoding`: its bytes are stored as they come.',
  TICKET_INVALID: 'Choose another ticket; `rule` has the rule. A UUID is a good one.',
  TICKET_UNKNOWN:
    'Check the ticket and the token: a ticket belongs to the server that made it, and other servers get this answer. It is also given when a completed ticket has been forgotten after `tombstoneRetentionHours`.',
  TICKET_CONFLICT:
    'Use a new ticket for another script. If the body was meant to be the same, compare what you send: any difference counts, also in order of arguments or labels.',
  TICKET_COMPLETED:
    'Use a new ticket. The script was over and was completed; the answer names its outcome, and its journal is gone.',
  SCRIPT_UNFINISHED: 'Wait for the outcome, or cancel the script first, then send this again.',
  SCRIPTS_TOO_MANY:
    'Send it again after the seconds of `Retry-After`. If it happens all the time, raise `maxScripts`, or look for scripts that wait for each other.',
  ARTIFACT_UNKNOWN:
    'List the artifacts of the script. It must write plain files below `$LONGSHORE_ARTIFACTS`; links are not followed.',

  AGENT_STARTING:
    'Wait: the agent reads its records on the volume. If it lasts, the volume is slow or hangs; the metrics of volume operations show it.',
  AGENT_STOPPING:
    'Send it again to the agent that comes next. Scripts that run go on, and the next agent finds them.',
  AGENT_FAILED:
    'This is a bug, or an answer of the world that nobody foresaw. The log of the agent has the error under the request id of the answer; report it with that.',
  AGENT_UNREACHABLE:
    'Check that the agent runs and listens at the address of `--url` or `LONGSHORE_URL`. Scripts go on without it; follow them again when it is back.',
  KEY_FOREIGN:
    'Give all agents of one volume the same key file (`key`). A script that was started under another key can only be read by an agent that has it.',
  CONFIG_INVALID:
    'Change the settings that the message names; it lists all broken ones at once, each with its source and its rule.',

  STORAGE_FULL:
    'Make room or raise the quota: complete finished scripts, shorten the retention, enlarge the volume. The agent keeps `volumeReserveBytes` free for scripts that run.',
  STORAGE_READONLY:
    'Find out why the volume is mounted read-only. File systems do that by themselves after errors, so look at the log of the kernel before you mount it again.',
  STORAGE_DENIED:
    'Give the user of the agent the right to read and write the folder of the volume. On NFS look at root squashing and at the uid on the server.',
  STORAGE_STALE:
    'Wait: after a restart of the file server handles become good again. If it lasts, what the agent had open was replaced on the server, and the volume must be mounted anew.',
  STORAGE_ERROR:
    'Look at the log of the kernel and of the file server; `errno` in the answer is what the system said. The same request may go well later.',
  STORAGE_TIMEOUT:
    'Look at the file server and the network: the call still hangs in the kernel. Work goes on by itself when it returns. If the volume is healthy and slow, raise `volumeDeadlineMs`.',
  STORAGE_UNREACHABLE:
    'See that the file server runs and can be reached. If it runs at another address now, mounts made before never find it: give it a fixed address, which in a cluster is a Service that is not headless, and mount the volume anew.',
  STORAGE_BUSY:
    'Wait: calls that hang hold every place to the volume, or more work came than it can take. Look at `longshore_volume_oldest_operation_seconds` to tell which.',
  STORAGE_EMPTIED:
    'The volume answers and what was on it is gone: somebody removed it, or an empty volume is mounted in its place. Mount the right one. To begin anew on an empty volume, empty its folder wholly and start the agent again.',
  STORAGE_REPLACED:
    'Another volume is mounted than the one on which the script was staged. Mount the right one, or start again under a new ticket if the change was meant.',
};
