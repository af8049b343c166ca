/**
 * `millrace balancer`: what it prints, and that the real programs take it and serve by it. There is no
 * Envoy in Debian, so its config is held to its structure alone.
 *
 * @module
 */
import assert from "node:assert/strict";
import { parse } from "yaml";
import { balancer } from "../cli/balancer.ts";
import { call, TestIo, withFiles } from "../cli/test_io.ts";
import { freePort } from "./free_port.ts";

const CONFIG = `
services:
  - name: first
    partitions: 2
    peers: 2
    source:
      distributed_http:
        { host: 127.0.0.1, port: 9000, shared: false, path: api/v1, maxBodyBytes: 1000, replyTimeoutMs: 5000 }
    sink: { http: { replyCol: value } }
  - name: other one
    source: { http: { port: 9100, path: api } }
    sink: { http: { replyCol: value } }
  - name: tick
    source: { rate: { rowsPerSecond: 1 } }
    sink: { memory: {} }
`;

/** Calls the command with a config in a file. */
async function print(args: readonly string[], config = CONFIG) {
  let result: Awaited<ReturnType<typeof call>> | undefined;
  await withFiles({ "config.yaml": config }, async (path) => {
    const replaced = args.map((arg) => arg === "CONFIG" ? path("config.yaml") : arg);
    result = await call(["balancer", ...replaced]);
    result.stderr = result.stderr.replaceAll(path("config.yaml"), "CONFIG");
  });
  return result!;
}

Deno.test("nginx gets an upstream a service, with a server a listener, and the service's limits", async () => {
  const { code, stdout, stderr } = await print(["nginx", "CONFIG"]);
  assert.deepEqual([code, stderr], [0, ""]);
  const servers = [...stdout.matchAll(/^ +server (\S+) max_fails/gm)].map(([, each]) => each);
  const ports = ["9000", "9001", "9002", "9003", "9100"];
  assert.deepEqual(servers, ports.map((port) => `127.0.0.1:${port}`));
  assert.equal(stdout.match(/least_conn;/g)!.length, 2);
  const [first] = stdout.split("location = /api/v1 {")[1]!.split("}");
  assert.match(first!, /client_max_body_size 1000;/);
  assert.match(first!, /proxy_read_timeout 20000ms;/);
  assert.match(first!, /proxy_pass http:\/\/first_0;/);
  assert.match(stdout, /listen 0\.0\.0\.0:8080;/);
  assert.match(stdout, /^ +proxy_next_upstream error timeout;$/m);
  assert.doesNotMatch(stdout, /tick/);
});

Deno.test("HAProxy matches the longest path first, and retries what is idempotent", async () => {
  const { code, stdout } = await print(["haproxy", "CONFIG", "--listen", "[::1]:99"]);
  assert.equal(code, 0);
  assert.match(stdout, /bind \[::1\]:99$/m);
  const rules = [...stdout.matchAll(/use_backend (\S+)/g)].map(([, each]) => each);
  assert.deepEqual(rules, ["first_0", "other_one_1"]);
  assert.equal(stdout.match(/^ {2}server backend_\d 127\.0\.0\.1:9\d\d\d #/gm)!.length, 5);
  assert.match(stdout, /disable-l7-retry unless \{ method GET HEAD PUT DELETE OPTIONS \}/);
});

Deno.test("Envoy's config is YAML of its structure", async () => {
  const { code, stdout } = await print(["envoy", "CONFIG", "--listen", "10.0.0.1:80"]);
  assert.equal(code, 0);
  const { listeners: [listener], clusters } = parse(stdout).static_resources;
  assert.deepEqual(listener.address, {
    socket_address: { address: "10.0.0.1", port_value: 80 },
  });
  assert.deepEqual(
    clusters.map(({ name, lb_policy, type, load_assignment }: Record<string, unknown>) => [
      name,
      lb_policy,
      type,
      (load_assignment as { endpoints: { lb_endpoints: unknown[] }[] }).endpoints[0]!.lb_endpoints
        .length,
    ]),
    [["first_0", "LEAST_REQUEST", "STATIC", 4], ["other_one_1", "LEAST_REQUEST", "STATIC", 1]],
  );
  const manager = listener.filter_chains[0].filters[0].typed_config;
  const [{ routes }] = manager.route_config.virtual_hosts;
  assert.deepEqual(
    routes.map(({ match, route, direct_response }: {
      match: Record<string, unknown>;
      route?: { cluster: string; timeout: string; retry_policy: { retry_on: string } };
      direct_response?: { status: number };
    }) => [
      match.path_separated_prefix ?? match.prefix,
      match.headers !== undefined,
      route?.cluster ?? direct_response!.status,
      route?.timeout,
      route?.retry_policy.retry_on,
    ]),
    [
      ["/api/v1", true, "first_0", "20s", "connect-failure,refused-stream,reset"],
      ["/api/v1", false, "first_0", "20s", "connect-failure,refused-stream"],
      ["/api", true, "other_one_1", "75s", "connect-failure,refused-stream,reset"],
      ["/api", false, "other_one_1", "75s", "connect-failure,refused-stream"],
      ["/", false, 404, undefined, undefined],
    ],
  );
  assert.deepEqual(manager.http_filters.map(({ name }: { name: string }) => name), [
    "envoy.filters.http.buffer",
    "envoy.filters.http.router",
  ]);
  for (const cluster of clusters) {
    assert.deepEqual(cluster.health_checks[0].http_health_check, { path: "/readyz" });
  }
});

const SERVICE = (source: string, name = "api") => `
  - name: ${name}
    source: { http: ${source} }
    sink: { http: { replyCol: value } }
`;
const wrong: [title: string, args: string[], config: string, error: string][] = [
  [
    "an unknown program",
    ["apache", "CONFIG"],
    CONFIG,
    "error: command-argument value 'apache' is invalid for argument 'program'. " +
    "Allowed choices are nginx, haproxy, envoy.\n",
  ],
  [
    "an address without a port",
    ["nginx", "CONFIG", "--listen", "localhost"],
    CONFIG,
    'error: Cannot listen at "localhost": wanted HOST:PORT, such as 0.0.0.0:8080\n',
  ],
  [
    "a watch that has nothing to watch",
    ["nginx", "CONFIG", "--watch", "--output", "x"],
    CONFIG,
    "error: Cannot watch: --watch wants --admin URL and --output FILE\n",
  ],
  [
    "a reload without a file",
    ["nginx", "CONFIG", "--reload", "true"],
    CONFIG,
    "error: Cannot reload: --reload wants --output FILE\n",
  ],
  [
    "a config without HTTP",
    ["nginx", "CONFIG"],
    "services: [{ name: a, source: { rate: {} }, sink: { memory: {} } }]",
    'error: Cannot balance the services of "CONFIG": none has an HTTP source\n',
  ],
  [
    "a port that is not known",
    ["nginx", "CONFIG"],
    `services:${SERVICE("{ port: 0 }")}`,
    'error: Cannot tell where "api" listens: port 0 takes any free one; name the admin listener of ' +
    "the running service with --admin URL\n",
  ],
  [
    "two services at one path",
    ["haproxy", "CONFIG"],
    `services:${SERVICE("{ port: 1, path: x }")}${SERVICE("{ port: 2, path: /x/ }", "b")}`,
    'error: Cannot balance "b" at path "/x": "api" answers there; change http.path\n',
  ],
  [
    "a path that would break the config",
    ["nginx", "CONFIG"],
    `services:${SERVICE('{ port: 1, path: "x;y{" }')}`,
    'error: Cannot write path "/x;y{" of "api" into a config of nginx: wanted the characters of a ' +
    "URL path\n",
  ],
];
for (const [title, args, config, error] of wrong) {
  Deno.test(`${title} is bad use`, async () => {
    assert.deepEqual(await print(args, config), { code: 2, stdout: "", stderr: error });
  });
}

Deno.test("an admin listener that is not there is an error that says what to do", async () => {
  const admin = `http://127.0.0.1:${freePort()}`;
  const { code, stdout, stderr } = await print(["nginx", "CONFIG", "--admin", admin]);
  assert.deepEqual([code, stdout], [1, ""]);
  assert.match(
    stderr,
    /^error: Cannot ask "http.*": .*; start `millrace run --admin-port` or change --admin\n$/,
  );
});

Deno.test("--watch keeps the file current with the listeners that take requests", async () => {
  const listener = (port: number, more = {}) => ({
    query: "first",
    name: "api/v1",
    url: `http://0.0.0.0:${port}/api/v1`,
    host: "0.0.0.0",
    port,
    path: "/api/v1",
    peer: 0,
    partition: 0,
    state: "ready",
    ...more,
  });
  let listed: unknown = [listener(9001), listener(9000), listener(8080, { peer: -1 })];
  let polls = 0;
  const waiting = new Set<() => void>();
  const admin = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    polls++;
    for (const check of waiting) check();
    return listed === undefined
      ? new Response("", { status: 500 })
      : Response.json({ services: listed });
  });
  /** Resolves when the list has been seen and dealt with: the next question comes afterwards. */
  const seen = async () => {
    const target = polls + 2;
    const { promise, resolve } = Promise.withResolvers<void>();
    const check = () => polls >= target && resolve();
    waiting.add(check);
    await promise;
    waiting.delete(check);
  };
  await withFiles({ "config.yaml": CONFIG }, async (path) => {
    const io = new TestIo();
    const output = path("nginx.conf");
    const done = balancer(
      "nginx",
      path("config.yaml"),
      {
        listen: "0.0.0.0:80",
        admin: `http://127.0.0.1:${admin.addr.port}`,
        output,
        watch: true,
        reload: `echo again >> ${path("log")}; test $(wc -l < ${path("log")}) -lt 3 || {
        echo no more >&2
        exit 7
      }`,
      },
      io,
      5,
    );
    await seen();
    const servers = async () =>
      [...(await Deno.readTextFile(output)).matchAll(/server (\S+) max_fails/g)].map(([, at]) =>
        at
      );
    assert.deepEqual(await servers(), ["127.0.0.1:9000", "127.0.0.1:9001"]);
    listed = [listener(9000, { state: "stopping" }), listener(9001)];
    await seen();
    assert.deepEqual(await servers(), ["127.0.0.1:9001"]);
    listed = undefined;
    await seen();
    await seen();
    assert.deepEqual(await servers(), ["127.0.0.1:9001"]);
    assert.equal(io.stderr.match(/it answered with status 500/g)!.length, 1);
    listed = [];
    await seen();
    assert.deepEqual(await servers(), []);
    assert.match(await Deno.readTextFile(output), /return 503/);
    // Written three times, and not when nothing had changed.
    assert.equal(await Deno.readTextFile(path("log")), "again\n".repeat(3));
    assert.match(io.stderr, /error: The reload command `echo.*` ended with code 7: no more\n/s);
    io.signal();
    assert.equal(await done, 0);
    const files = Array.from(Deno.readDirSync(path("."))).map(({ name }) => name).sort();
    assert.deepEqual(files, ["config.yaml", "log", "nginx.conf"]);
  });
  await admin.shutdown();
});

const SERVED = `
services:
  - name: api
    source: { http: { host: 127.0.0.1, port: \${PORT}, maxBodyBytes: 1000 } }
    transforms: [{ with_column: { reply: "concat('\${NAME} ', value)" } }]
    sink: { http: {} }
`;

/** A service in a process of its own. */
class ServiceProcess {
  readonly port = freePort();
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;

  constructor(readonly name: string, config: string) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--unstable-net", "main.ts", "run", config],
      cwd: new URL("..", import.meta.url),
      env: { PORT: String(this.port), NAME: name },
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#reader = this.#child.stdout.getReader();
  }

  /** Resolves when it says where it is. */
  async ready(): Promise<void> {
    const { value } = await this.#reader.read();
    assert.match(new TextDecoder().decode(value), /api is ready/);
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#reader.cancel();
  }
}

interface Program {
  readonly name: "nginx" | "haproxy";
  check(file: string, directory: string): string[];
  run(file: string, directory: string): string[];
}

const PROGRAMS: readonly Program[] = [
  {
    name: "nginx",
    check: (file, directory) => ["-t", "-q", "-c", file, "-g", `pid ${directory}/pid;`],
    run: (file, directory) => ["-c", file, "-g", `pid ${directory}/pid; daemon off;`],
  },
  {
    name: "haproxy",
    check: (file) => ["-c", "-q", "-f", file],
    run: (file) => ["-db", "-q", "-f", file],
  },
];

for (const { name, check, run } of PROGRAMS) {
  const isThere = await installed(name);
  if (!isThere) console.log(`${name} is not installed: its config is not tried`);
  Deno.test(`${name} takes its config, and serves while a backend is killed`, {
    ignore: !isThere,
  }, async () => {
    await withFiles({ "service.yaml": SERVED }, async (path) => {
      const services = ["a", "b"].map((each) => new ServiceProcess(each, path("service.yaml")));
      await Promise.all(services.map((service) => service.ready()));
      const [a, b] = services as [ServiceProcess, ServiceProcess];
      const listed = services.map(({ port, name }, peer) => ({
        query: "api",
        host: "127.0.0.1",
        path: "/api",
        port,
        name,
        peer,
        partition: 0,
        state: "ready",
      }));
      const admin = Deno.serve(
        { hostname: "127.0.0.1", port: 0, onListen: () => {} },
        () => Response.json({ services: listed }),
      );
      const port = freePort();
      const url = `http://127.0.0.1:${port}/api`;
      const file = path(`${name}.conf`);
      const written = await call([
        ...["balancer", name, path("service.yaml"), "--listen", `127.0.0.1:${port}`],
        ...["--output", file, "--admin", `http://127.0.0.1:${admin.addr.port}`],
      ], { PORT: "0", NAME: "" });
      await admin.shutdown();
      assert.deepEqual(written, { code: 0, stdout: "", stderr: "" });
      const checked = await new Deno.Command(name, { args: check(file, path(".")) }).output();
      // Warnings are errors here.
      assert.equal(new TextDecoder().decode(checked.stderr), "");
      assert.equal(checked.code, 0);
      const program = new Deno.Command(name, {
        args: run(file, path(".")),
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      try {
        await answers(url);
        await checkServing(url, a);
      } finally {
        program.kill("SIGTERM");
        await program.status;
        await b.kill();
      }
    });
  });
}

/** Sends requests through a balancer to two backends, of which the first is killed meanwhile. */
async function checkServing(url: string, a: ServiceProcess): Promise<void> {
  const seen = new Set<string>();
  for (let count = 0; count < 10; count++) seen.add(await text(url, "x"));
  assert.deepEqual([...seen].sort(), ["a x", "b x"]);
  for (const [path, body, status] of [["", "x".repeat(1001), 413], ["x", "x", 404]] as const) {
    const response = await fetch(url + path, { method: "POST", body });
    await response.body?.cancel();
    assert.equal(response.status, status);
  }
  assert.match(await text(`${url}/below?x=1`, "y"), /^[ab] y$/);
  let isOver = false;
  let gets = 0, posts = 0, lost = 0;
  const load = Array.from({ length: 8 }, async (_, at) => {
    while (!isOver) {
      const isGet = at % 2 === 0;
      const response = await fetch(url, isGet ? {} : { method: "POST", body: "z" });
      const reply = await response.text();
      if (isGet) {
        gets++;
        assert.match(`${response.status} ${reply}`, /^200 [ab] $/);
      } else {
        posts++;
        if (response.status === 200) assert.match(reply, /^[ab] z$/);
        else {
          // One that had been sent is not sent again.
          assert.equal(response.status, 502);
          lost++;
        }
      }
    }
  });
  const more = async (count: number) => {
    const target = gets + posts + count;
    while (gets + posts < target) {
      await Promise.race([
        ...load,
        new Promise((r) => setTimeout(r, 5)),
      ]);
    }
  };
  await more(100);
  await a.kill();
  await more(300);
  isOver = true;
  await Promise.all(load);
  assert.ok(lost <= 4, `${lost} of ${posts} were lost`);
  for (let count = 0; count < 10; count++) assert.equal(await text(url, "x"), "b x");
}

async function text(url: string, body: string): Promise<string> {
  return await (await fetch(url, { method: "POST", body })).text();
}

/** Resolves when a server replies well. */
async function answers(url: string): Promise<void> {
  for (;;) {
    try {
      const response = await fetch(url);
      await response.body?.cancel();
      if (response.ok) return;
    } catch (error) {
      // Not bound yet.
      if (!(error instanceof TypeError)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function installed(program: string): Promise<boolean> {
  try {
    await new Deno.Command(program, { args: ["-v"], stdout: "null", stderr: "null" }).output();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
