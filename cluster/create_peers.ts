/**
 * Chooses how a query runs whose partitions serve by themselves: in peers, behind a balancer, or both.
 *
 * @module
 */
import * as v from "valibot";
import {
  DistributedExecution,
  type DistributedExecutionHost,
} from "../engine/distributed_execution.ts";
import type { Execution } from "../engine/execution.ts";
import { BalancedExecution } from "./balanced_execution.ts";
import { Balancer } from "./balancer.ts";
import { BALANCER_SCHEMA } from "./balancer_options.ts";
import { PeersExecution } from "./supervisor.ts";

/** The execution of a plan with `peers` or `balancer`. */
export function createPeers(host: DistributedExecutionHost): Execution {
  const { plan } = host;
  const create = (host: DistributedExecutionHost) =>
    plan.peers === undefined ? new DistributedExecution(host) : new PeersExecution(host);
  if (plan.balancer === undefined) return create(host);
  const balancer = new Balancer(v.parse(BALANCER_SCHEMA, plan.balancer));
  return new BalancedExecution(
    balancer,
    (servicesChanged) => create({ ...host, servicesChanged }),
  );
}
