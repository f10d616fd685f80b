import type { PodResources } from '../../protocol/pod-wishes.ts';
import { exceeds } from './quantity.ts';

/**
 * Joins what a script wishes with what every pod has; a wish wins by the name of the resource.
 *
 * Where a wish contradicts a default (a request above the limit, a limit below the request), the default gives way, since
 * the API server would refuse the pod.
 */
export function resourcesFor(wishes: PodResources = {}, defaults: PodResources = {}): PodResources {
  const requests = { ...defaults.requests, ...wishes.requests };
  const limits = { ...defaults.limits, ...wishes.limits };
  for (const [name, request] of Object.entries(requests)) {
    const limit = limits[name];
    if (limit === undefined || !exceeds(request, limit)) continue;
    const wished = { request: wishes.requests?.[name], limit: wishes.limits?.[name] };
    if (wished.request === undefined && wished.limit !== undefined) requests[name] = limit;
    if (wished.limit === undefined && wished.request !== undefined) limits[name] = request;
  }
  return {
    ...(Object.keys(requests).length > 0 && { requests }),
    ...(Object.keys(limits).length > 0 && { limits }),
  };
}
