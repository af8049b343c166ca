/**
 * Configs of balancers from outside, for the listeners of services: nginx, HAProxy and Envoy. Each is
 * whole: the program starts with it as it is.
 *
 * What all of them do: the backend with the fewest requests gets the next one; connections to backends
 * are kept; a request is tried at another backend when no connection could be made, and, if its method is
 * idempotent, when the connection broke before the reply; the limits of bodies and times are those of the
 * services; who called is told in `X-Forwarded-For`, `-Host` and `-Proto`.
 *
 * @module
 */
import { stringify } from "yaml";
import { PlanError } from "../plugins/errors.ts";

/** The programs there are configs for. */
export const BALANCERS = ["nginx", "haproxy", "envoy"] as const;

/** One of {@linkcode BALANCERS}. */
export type BalancerProgram = typeof BALANCERS[number];

/** A listener behind the balancer. */
export interface BalancedBackend {
  readonly host: string;
  readonly port: number;
  /** `peer/partition`, or what else it is called. */
  readonly key: string;
}

/** A service behind the balancer. */
export interface BalancedService {
  /** The query's name. */
  readonly name: string;
  /** The service answers there and below. */
  readonly path: string;
  readonly maxBodyBytes: number;
  readonly replyTimeoutMs: number;
  readonly backends: readonly BalancedBackend[];
}

/** Where the balancer listens. */
export interface BalancerAddress {
  readonly host: string;
  readonly port: number;
}

/** How long a connection to a backend may take, in ms. */
const CONNECT_MS = 2_000;
/** What a balancer waits for a reply on top of the service's own time, in ms: its 504 says more. */
const GRACE_MS = 15_000;
/** How often a request is tried besides the first time. */
const RETRIES = 3;
/** How often health is asked for, and how long a backend is left out that failed, in ms. */
const HEALTH_MS = 500;
const IDEMPOTENT = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"];
const NO_SERVICE = JSON.stringify({ error: "No service at this path" });
const NO_BACKEND = JSON.stringify({ error: "No backend is up: try again later" });

/**
 * The config of a program.
 * @throws {PlanError} when two services have one path, or a value cannot be written into a config
 */
export function balancerConfig(
  program: BalancerProgram,
  services: readonly BalancedService[],
  listen: BalancerAddress,
): string {
  const paths = new Map<string, string>();
  for (const { name, path, backends } of services) {
    const other = paths.get(path);
    if (other !== undefined) {
      throw new PlanError(
        `Cannot balance "${name}" at path "${path}": "${other}" answers there; change http.path`,
      );
    }
    paths.set(path, name);
    // What is not plain is left to no program's quoting.
    if (!/^\/[\w.~!&'()*+,:@%/-]*$/.test(path)) {
      throw new PlanError(
        `Cannot write path "${path}" of "${name}" into a config of ${program}: wanted the characters ` +
          "of a URL path",
      );
    }
    for (const { host } of backends) checkHost(host);
  }
  checkHost(listen.host);
  const entries = services
    .toSorted((a, b) => b.path.length - a.path.length)
    .map((service, at): Entry => ({
      ...service,
      id: `${service.name.replace(/[^\w-]+/g, "_")}_${at}`,
      readTimeoutMs: service.replyTimeoutMs + GRACE_MS,
      hasReadyz: !isAt("/readyz", service.path),
    }));
  return { nginx, haproxy, envoy }[program](entries, listen);
}

interface Entry extends BalancedService {
  /** A name that all programs take. */
  readonly id: string;
  readonly readTimeoutMs: number;
  /** Whether `/readyz` of its listeners tells of them, and is not the service's own. */
  readonly hasReadyz: boolean;
}

function nginx(entries: readonly Entry[], listen: BalancerAddress): string {
  const upstreams = entries.filter(({ backends }) => backends.length > 0).map((entry) =>
    `  upstream ${entry.id} {
    # Shared by the workers, so that they count requests together.
    zone ${entry.id} 256k;
    least_conn;
${
      lines(entry.backends, ({ key, ...backend }) =>
        `    server ${authority(backend)} max_fails=1 fail_timeout=1s; # ${comment(key)}`)
    }
    keepalive ${Math.max(32, entry.backends.length * 16)};
    keepalive_timeout 60s;
  }
`
  );
  const locations = entries.flatMap((entry) => {
    const matches = entry.path === "/" ? ["/"] : [`= ${entry.path}`, `${entry.path}/`];
    return matches.map((match) =>
      entry.backends.length === 0
        ? `    location ${match} {
      default_type application/json;
      return 503 '${NO_BACKEND}';
    }
`
        : `    location ${match} {
      client_max_body_size ${entry.maxBodyBytes};
      proxy_read_timeout ${entry.readTimeoutMs}ms;
      proxy_send_timeout ${entry.readTimeoutMs}ms;
      proxy_pass http://${entry.id};
    }
`
    );
  });
  const root = entries.some(({ path }) => path === "/") ? "" : `    location / {
      default_type application/json;
      return 404 '${NO_SERVICE}';
    }
`;
  return `${TITLE}
worker_processes auto;
worker_rlimit_nofile 16384;
events {
  worker_connections 4096;
}
http {
  access_log off;
${upstreams.join("")}  server {
    listen ${authority(listen)};
    client_body_buffer_size 64k;
    proxy_connect_timeout ${CONNECT_MS}ms;
    # Connections to backends are kept.
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header Forwarded "";
    # A POST or PATCH is not sent again once it has been sent. A reply that is late is not worth a second
    # try, so the time for all tries is short. nginx has no health checks without its commercial edition:
    # a backend that fails is left out for a second.
    proxy_next_upstream error timeout;
    proxy_next_upstream_tries ${RETRIES + 1};
    proxy_next_upstream_timeout ${CONNECT_MS * 2}ms;
${locations.join("")}${root}  }
}
`;
}

function haproxy(entries: readonly Entry[], listen: BalancerAddress): string {
  const longest = Math.max(GRACE_MS, ...entries.map(({ readTimeoutMs }) => readTimeoutMs));
  const rules = entries.map(({ id, path }) =>
    path === "/"
      ? `  default_backend ${id}\n`
      : `  use_backend ${id} if { path -m str ${path} } || { path -m beg ${path}/ }\n`
  );
  const root = entries.some(({ path }) => path === "/") ? "" : "  default_backend no_service\n";
  const backends = entries.map((entry) => `
backend ${entry.id}
  balance leastconn
  timeout server ${entry.readTimeoutMs}ms
  http-request return status 413 content-type application/json string '${
    JSON.stringify({ error: `Body too large: at most ${entry.maxBodyBytes} bytes are allowed` })
  }' if { req.body_size gt ${entry.maxBodyBytes} }
  # What has been sent is sent again only when twice is as good as once.
  http-request disable-l7-retry unless { method ${IDEMPOTENT.join(" ")} }
  retries ${RETRIES}
  retry-on conn-failure empty-response
  option redispatch 1
${
    entry.hasReadyz
      ? "  option httpchk GET /readyz\n"
      : ""
  }  default-server check inter ${HEALTH_MS}ms fall 1 rise 1 observe layer4 error-limit 1 on-error mark-down
${
    lines(entry.backends, ({ key, ...backend }, at) =>
      `  server backend_${at} ${authority(backend)} # ${comment(key)}`)
  }
`);
  return `${TITLE}
global
  maxconn 4096

defaults
  mode http
  timeout connect ${CONNECT_MS}ms
  timeout client ${longest}ms
  timeout server ${longest}ms
  timeout queue ${CONNECT_MS}ms
  timeout http-request ${longest}ms
  timeout http-keep-alive 60s
  timeout check ${CONNECT_MS}ms

frontend services
  bind ${authority(listen)}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request del-header Forwarded
${rules.join("")}${root}${backends.join("")}
backend no_service
  http-request return status 404 content-type application/json string '${NO_SERVICE}'
`;
}

function envoy(entries: readonly Entry[], listen: BalancerAddress): string {
  const duration = (ms: number) => `${ms / 1000}s`;
  const type = (name: string) => `type.googleapis.com/envoy.${name}`;
  const address = ({ host, port }: BalancerAddress) => ({
    socket_address: { address: host, port_value: port },
  });
  const buffer = (bytes: number) => ({ max_request_bytes: Math.min(bytes, 4_294_967_295) });
  const routes = entries.flatMap((entry) => {
    const path = entry.path === "/" ? { prefix: "/" } : { path_separated_prefix: entry.path };
    const route = (retryOn: string) => ({
      cluster: entry.id,
      timeout: duration(entry.readTimeoutMs),
      retry_policy: {
        retry_on: retryOn,
        num_retries: RETRIES,
        retry_host_predicate: [{
          name: "envoy.retry_host_predicates.previous_hosts",
          typed_config: {
            "@type": type("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
          },
        }],
        host_selection_retry_max_attempts: 3,
      },
    });
    const filters = {
      typed_per_filter_config: {
        "envoy.filters.http.buffer": {
          "@type": type("extensions.filters.http.buffer.v3.BufferPerRoute"),
          buffer: buffer(entry.maxBodyBytes),
        },
      },
    };
    const idempotent = [{
      name: ":method",
      string_match: { safe_regex: { regex: IDEMPOTENT.join("|") } },
    }];
    return [
      // What has been sent is sent again only when twice is as good as once.
      {
        match: { ...path, headers: idempotent },
        route: route("connect-failure,refused-stream,reset"),
        ...filters,
      },
      { match: path, route: route("connect-failure,refused-stream"), ...filters },
    ];
  });
  const json = [{ header: { key: "content-type", value: "application/json" } }];
  const manager = {
    "@type": type(
      "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    ),
    stat_prefix: "services",
    use_remote_address: true,
    preserve_external_request_id: true,
    // The path goes on as it came.
    normalize_path: false,
    stream_idle_timeout: duration(
      Math.max(GRACE_MS, ...entries.map(({ readTimeoutMs }) => readTimeoutMs)),
    ),
    route_config: {
      name: "services",
      request_headers_to_add: [{
        header: { key: "x-forwarded-host", value: "%REQ(:AUTHORITY)%" },
        append_action: "OVERWRITE_IF_EXISTS_OR_ADD",
      }],
      request_headers_to_remove: ["forwarded"],
      virtual_hosts: [{
        name: "services",
        domains: ["*"],
        routes: [...routes, {
          match: { prefix: "/" },
          direct_response: { status: 404, body: { inline_string: NO_SERVICE } },
          response_headers_to_add: json,
        }],
      }],
    },
    http_filters: [
      {
        name: "envoy.filters.http.buffer",
        typed_config: {
          "@type": type("extensions.filters.http.buffer.v3.Buffer"),
          ...buffer(Math.max(1, ...entries.map(({ maxBodyBytes }) => maxBodyBytes))),
        },
      },
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": type("extensions.filters.http.router.v3.Router") },
      },
    ],
  };
  const clusters = entries.map((entry) => ({
    name: entry.id,
    // Names are looked up again as they change.
    type: entry.backends.every(({ host }) => isIp(host)) ? "STATIC" : "STRICT_DNS",
    lb_policy: "LEAST_REQUEST",
    connect_timeout: duration(CONNECT_MS),
    load_assignment: {
      cluster_name: entry.id,
      endpoints: [{
        lb_endpoints: entry.backends.map((backend) => ({
          endpoint: { address: address(backend) },
        })),
      }],
    },
    health_checks: [{
      timeout: duration(CONNECT_MS),
      interval: duration(HEALTH_MS),
      unhealthy_threshold: 1,
      healthy_threshold: 1,
      ...(entry.hasReadyz ? { http_health_check: { path: "/readyz" } } : { tcp_health_check: {} }),
    }],
    outlier_detection: {
      split_external_local_origin_errors: true,
      consecutive_local_origin_failure: 1,
      consecutive_5xx: 0,
      consecutive_gateway_failure: 0,
      base_ejection_time: "1s",
      interval: "1s",
      max_ejection_percent: 100,
    },
    // Without this, a service none of whose backends is healthy would get requests nevertheless.
    common_lb_config: { healthy_panic_threshold: { value: 0 } },
  }));
  const config = {
    static_resources: {
      listeners: [{
        name: "services",
        address: address(listen),
        filter_chains: [{
          filters: [{
            name: "envoy.filters.network.http_connection_manager",
            typed_config: manager,
          }],
        }],
      }],
      clusters,
    },
  };
  return `${TITLE}\n${stringify(config, { aliasDuplicateObjects: false, lineWidth: 0 })}`;
}

const TITLE = "# Written by `millrace balancer`.";

function lines<T>(items: readonly T[], text: (item: T, at: number) => string): string {
  return items.map(text).join("\n");
}

/** `HOST:PORT`, with an IPv6 address in brackets. */
function authority({ host, port }: BalancerAddress): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

function comment(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, " ");
}

function isAt(path: string, own: string): boolean {
  return own === "/" || path === own || path.startsWith(`${own}/`);
}

function isIp(host: string): boolean {
  return host.includes(":") || /^\d+(\.\d+){3}$/.test(host);
}

function checkHost(host: string): void {
  if (/^[\w.-]+$/.test(host) || /^[\da-f:.]+$/i.test(host)) return;
  throw new PlanError(`Cannot write host "${host}" into a config: wanted a name or an IP address`);
}
