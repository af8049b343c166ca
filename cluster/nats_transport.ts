/**
 * The NATS client over sockets whose late errors harm nobody.
 *
 * The client takes its listeners off a socket before it destroys it. In Deno, a read that is under way
 * may still fail after that, and an error that nobody listens to ends the process: at a refused
 * password, say, or when a server restarts.
 *
 * @module
 */
import type { Socket } from "node:net";
import {
  type ConnectionOptions,
  type NatsConnection,
  NatsConnectionImpl,
  setTransportFactory,
} from "@nats-io/transport-node";
// The client's own class, which it does not hand out by its front door.
import { nodeResolveHost, NodeTransport } from "@nats-io/transport-node/lib/node_transport.js";

/** Connects; see the client's function of this name. */
export function connect(options: ConnectionOptions): Promise<NatsConnection> {
  setTransportFactory({ factory: () => new Transport(), dnsResolveFn: nodeResolveHost });
  return NatsConnectionImpl.connect(options);
}

type Host = Parameters<NodeTransport["dial"]>[0];

class Transport extends NodeTransport {
  #host = "";

  override async dial(host: Host): Promise<Socket> {
    this.#host = host.hostname;
    return deaf(await super.dial(host));
  }

  override async tlsFirst(host: Host): ReturnType<NodeTransport["tlsFirst"]> {
    return deaf(await super.tlsFirst(host));
  }

  override async startTLS(): ReturnType<NodeTransport["startTLS"]> {
    // A server that is named by its address has no name to check, and would be checked as "localhost".
    const tls = { host: this.#host, ...this.options.tls };
    this.options = { ...this.options, tls };
    return deaf(await super.startTLS());
  }
}

/** The socket, with a listener to errors that cannot be taken off. */
function deaf<S extends Socket>(socket: S): S {
  const ignore = () => {};
  const remove = socket.removeAllListeners.bind(socket);
  // No argument and an argument that is undefined are not the same here.
  socket.removeAllListeners = (...events) => {
    remove(...events);
    return socket.on("error", ignore);
  };
  return socket.on("error", ignore);
}
