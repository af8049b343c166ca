/**
 * Config files: YAML or JSON to drafts of plans, and these to plans. Whatever is wrong is told with file,
 * line and column, all of it at once as far as it can be seen.
 *
 * ```yaml
 * services:
 *   - name: my_query
 *     source: { http: { port: ${PORT:8888}, name: my_api } }
 *     transforms:
 *       - with_column: { newCol: length(value) }
 *     sink: { http: { replyCol: newCol } }
 * plugins: [./my_transform.ts]
 * ```
 *
 * @module
 */
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { closest } from "fastest-levenshtein/esm/mod.js";
import * as v from "valibot";
import { CLUSTER_SCHEMA } from "../cluster/cluster_options.ts";
import type { Json, PluginBase, PluginKind } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";
import { nearest } from "../plugins/nearest.ts";
import { listForMap, optionsError } from "../plugins/options_error.ts";
import type { Registry } from "../plugins/registry.ts";
import { ConfigDocument, type Path, type Problem } from "./config_document.ts";
import type { Env } from "./interpolate.ts";
import { ENGINE_SCHEMA, makePlan, type PlanDraft, TRIGGER_SCHEMA } from "./make_plan.ts";
import type { Plan, PluginUse } from "./plan.ts";

export type { Path, Problem } from "./config_document.ts";
export type { Env } from "./interpolate.ts";

/** Files that are no good. The message has a line for each problem: `file:line:column: message`. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    super(problems.map(formatProblem).join("\n"));
    this.problems = problems;
  }
}

/** `file:line:column: message`. */
export function formatProblem({ file, line, column, message }: Problem): string {
  return line === 0 ? `${file}: ${message}` : `${file}:${line}:${column}: ${message}`;
}

/** The keys of a config, and what they are for. */
export const CONFIG_KEYS: Readonly<Record<string, string>> = {
  services: "The pipelines of this file. They run in one process.",
  plugins:
    "Plugins from outside: paths that begin with ./ or ../ from this file, URLs, npm packages.",
  cluster: "The processes, on one machine or many, that serve these services together.",
};

/** The keys of a service that are not of {@linkcode ENGINE_SCHEMA}, and what they are for. */
export const SERVICE_KEYS: Readonly<Record<string, string>> = {
  name: "The query's name, unique in the process.",
  source: "Where rows come from: one source and its options.",
  transforms: "What is done with them, in this order.",
  sink: "Where they go: one sink and its options.",
  trigger: "When a micro-batch starts. Default: as soon as a partition is idle.",
};

const REQUIRED: Readonly<Record<string, string>> = {
  services: "a list of one service or more",
  name: "text",
  source: "{<plugin>: {options}}",
  sink: "{<plugin>: {options}}",
};

const ENGINE_KEYS = Object.keys(ENGINE_SCHEMA.entries);
const TUNING_SCHEMA = v.strictObject({
  ...ENGINE_SCHEMA.entries,
  trigger: v.optional(TRIGGER_SCHEMA),
});

/** A service of a config whose shape is right. */
export interface ConfigService {
  /** Leads to the service in the file. */
  readonly path: Path;
  readonly draft: PlanDraft;
}

/** A config file that has been read. */
export interface Config {
  /** The file as it was named. */
  readonly file: string;
  readonly services: readonly ConfigService[];
  readonly drafts: readonly PlanDraft[];
  /** Outside plugins as the file names them. */
  readonly plugins: readonly string[];
  /** The file's directory, a URL that ends in `/`. */
  readonly baseUrl: string;
  /** What is wrong with the file's shape. */
  readonly problems: readonly Problem[];
  /** Line and column, from 1, of the value a path leads to; else of the nearest value above it. */
  locate(path: Path): { line: number; column: number };
  /** An error of a service's plan as a problem of the file. */
  problemOf(error: unknown, service: ConfigService): Problem;
}

/** How configs are read. */
export interface ConfigOptions {
  /** Environment variables. Default: those of the process. */
  readonly env?: Env;
}

/** What {@linkcode loadPlans} needs besides. */
export interface LoadPlansOptions extends ConfigOptions {
  /** Makes an empty registry of the built-in plugins; `session.newRegistry`. */
  newRegistry(): Registry;
  /** Changes the specifier of an outside plugin before it is loaded. */
  readonly mapPlugin?: (specifier: string, baseUrl: string) => string;
  /** Engine options that go before those of the services. */
  readonly engine?: Readonly<Record<string, Json>>;
}

/** A file and its plans. */
export interface LoadedConfig {
  readonly file: string;
  readonly plans: readonly Plan[];
}

/**
 * Reads a config file and checks its shape; plugins and their options are not looked at.
 * @param path relative to the working directory
 * @throws {ConfigError} naming all problems
 */
export async function loadConfig(path: string, options: ConfigOptions = {}): Promise<Config> {
  const config = await readConfig(path, options);
  if (config.problems.length > 0) throw new ConfigError(config.problems);
  return config;
}

/** The same, with the problems told and not thrown; services that have none are there. */
export async function readConfig(path: string, options: ConfigOptions = {}): Promise<Config> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const message = `Cannot read the config: ${fileReason(error)}`;
    const config = parseConfig("", path, options);
    return { ...config, problems: [{ file: path, line: 0, column: 0, path: [], message }] };
  }
  return parseConfig(text, path, options);
}

/**
 * Reads a config from its text.
 * @param path the file's name in problems; what it names is relative to its directory
 */
export function parseConfig(text: string, path: string, options: ConfigOptions = {}): Config {
  const document = new ConfigDocument(path, text, options.env ?? ((name) => Deno.env.get(name)));
  const baseUrl = new URL(".", pathToFileURL(resolve(path))).href;
  const { services, plugins } = new ConfigReader(document, baseUrl).read();
  return {
    file: path,
    services,
    drafts: services.map(({ draft }) => draft),
    plugins,
    baseUrl,
    problems: document.problems,
    locate: (path) => document.locate(path),
    problemOf: (error, service) => {
      const own = error instanceof PlanError ? error.path : [];
      const isOfFile = own[0] === "plugins" || own[0] === "cluster";
      const path = isOfFile ? own : [...service.path, ...own];
      const message = error instanceof Error ? error.message : String(error);
      // A name that is not known is itself the culprit, not the value below it.
      const part = message.startsWith("Unknown ") ? "key" : "value";
      return { file: document.file, ...document.locate(path, part), path, message };
    },
  };
}

/**
 * Reads files and makes the plans of their services; loads the plugins that they name.
 * @throws {ConfigError} naming the problems of all files
 */
export async function loadPlans(
  files: readonly string[],
  options: LoadPlansOptions,
): Promise<LoadedConfig[]> {
  const problems: Problem[] = [];
  const loaded: LoadedConfig[] = [];
  const names = new Map<string, Problem>();
  for (const file of files) {
    const config = await readConfig(file, options);
    problems.push(...config.problems, ...repeatedNames(config, names));
    const { plans, problems: more } = await makePlans(config, options);
    problems.push(...more);
    loaded.push({ file, plans });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return loaded;
}

/** Plans of the services that have no problems, and the problems of the others. */
export async function makePlans(
  config: Config,
  { newRegistry, mapPlugin, engine }: Pick<
    LoadPlansOptions,
    "newRegistry" | "mapPlugin" | "engine"
  >,
): Promise<{ plans: Plan[]; problems: Problem[] }> {
  const specifiers = config.plugins.map((each) => mapPlugin?.(each, config.baseUrl) ?? each);
  const registry = newRegistry();
  const problems: Problem[] = [];
  for (const [position, specifier] of specifiers.entries()) {
    try {
      await registry.load(specifier, config.baseUrl);
    } catch (error) {
      const path = ["plugins", position];
      const message = error instanceof Error ? error.message : String(error);
      problems.push({ file: config.file, ...config.locate(path), path, message });
    }
  }
  // Without all plugins every use of a missing one would be told as an unknown name.
  if (problems.length > 0) return { plans: [], problems };
  const plans: Plan[] = [];
  for (const service of config.services) {
    const draft = {
      ...service.draft,
      engine: { ...service.draft.engine, ...engine },
      plugins: specifiers,
    };
    let errors: unknown[] = await optionErrors(draft, registry);
    if (errors.length === 0) {
      try {
        // A registry of its own: `makePlan` loads the plugins.
        plans.push(await makePlan(draft, newRegistry()));
      } catch (error) {
        errors = [error];
      }
    }
    problems.push(...errors.map((error) => config.problemOf(error, service)));
  }
  return { plans, problems };
}

/** All that is wrong with the options of a draft, not just the first; columns are not looked at. */
async function optionErrors(draft: PlanDraft, registry: Registry): Promise<PlanError[]> {
  const { engine, trigger } = draft;
  const errors = issuesOf(TUNING_SCHEMA, trigger === undefined ? engine : { ...engine, trigger });
  const uses: [PluginKind, Path, PluginUse][] = [
    ["source", ["source"], draft.source],
    ...draft.transforms.map((use, position): [PluginKind, Path, PluginUse] => [
      "transform",
      ["transforms", position],
      use,
    ]),
    ["sink", ["sink"], draft.sink],
  ];
  for (const [kind, path, { name, options }] of uses) {
    try {
      const plugin = await registry.resolve(kind, name) as PluginBase<unknown>;
      errors.push(
        ...issuesOf(registry.optionsSchema(plugin), options ?? {})
          .map((error) => error.within(...path, name)),
      );
    } catch (error) {
      // An unknown name, whose place is known better than the registry knows it; or a broken module.
      const message = error instanceof Error ? error.message : String(error);
      errors.push(new PlanError(message, { path: [...path, name], cause: error }));
    }
  }
  return errors;
}

/** @param within where the value is, when it is not options as a whole */
function issuesOf(
  schema: v.GenericSchema,
  value: unknown,
  within: readonly string[] = [],
): PlanError[] {
  const wrong = listForMap(value, schema);
  if (wrong !== undefined) return [wrong.within(...within)];
  const { success, issues } = v.safeParse(schema, value);
  return success ? [] : issues.map((issue) => optionsError([issue], schema, within));
}

/** Problems of services whose names earlier files have taken. */
function repeatedNames(config: Config, names: Map<string, Problem>): Problem[] {
  const problems: Problem[] = [];
  for (const { path: servicePath, draft: { name } } of config.services) {
    const path = [...servicePath, "name"];
    const first = names.get(name);
    const problem = { file: config.file, ...config.locate(path), path, message: "" };
    if (first === undefined) names.set(name, problem);
    else {
      const message = `Cannot use name "${name}" twice: ` +
        `it is that of the service at ${first.file}:${first.line} already`;
      problems.push({ ...problem, message });
    }
  }
  return problems;
}

/** Checks the shape of a document. */
class ConfigReader {
  readonly #document: ConfigDocument;
  readonly #baseUrl: string;

  constructor(document: ConfigDocument, baseUrl: string) {
    this.#document = document;
    this.#baseUrl = baseUrl;
  }

  read(): { services: ConfigService[]; plugins: string[] } {
    const { value, isReadable } = this.#document;
    const nothing = { services: [], plugins: [] };
    if (!isReadable) return nothing;
    if (value === null) {
      this.#report([], "The config is empty: wanted a map with a list of services");
      return nothing;
    }
    if (!isObject(value)) {
      this.#wrong(value, [], "the config", "a map with a list of services");
      return nothing;
    }
    const missing = this.#checkKeys(value, [], Object.keys(CONFIG_KEYS), ["services"]);
    const plugins = this.#plugins(value["plugins"]);
    const cluster = this.#cluster(value["cluster"]);
    if (missing.size > 0) return { services: [], plugins };
    const services = this.#services(value["services"]!, plugins);
    if (cluster === undefined) return { services, plugins };
    return {
      services: services.map(({ path, draft }) => ({ path, draft: { ...draft, cluster } })),
      plugins,
    };
  }

  #cluster(value: Json | undefined): Json | undefined {
    if (value === undefined || value === null) return undefined;
    if (!isObject(value)) {
      this.#wrong(value, ["cluster"], '"cluster"', "{nats: {name, servers}}");
      return undefined;
    }
    if (this.#document.hasProblem(["cluster"])) return undefined;
    const issues = issuesOf(CLUSTER_SCHEMA, value, ["cluster"]);
    for (const { path, message } of issues) {
      this.#report(path, message, message.startsWith("Unknown ") ? "key" : "value");
    }
    return issues.length > 0 ? undefined : value;
  }

  #plugins(value: Json | undefined): string[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) {
      this.#wrong(value, ["plugins"], '"plugins"', "a list of paths, URLs or packages");
      return [];
    }
    return value.filter((each, position): each is string => {
      if (typeof each === "string" && each !== "") return true;
      const path = ["plugins", position];
      this.#wrong(each, path, `"plugins[${position}]"`, "a path, a URL or a package");
      return false;
    });
  }

  #services(value: Json, plugins: string[]): ConfigService[] {
    if (!Array.isArray(value) || value.length === 0) {
      this.#wrong(value, ["services"], '"services"', REQUIRED["services"]!);
      return [];
    }
    const first = new Map<string, number>();
    const services: ConfigService[] = [];
    for (const [position, each] of value.entries()) {
      const path = ["services", position];
      const draft = this.#service(each, path, plugins);
      const name = isObject(each) ? each["name"] : undefined;
      if (typeof name === "string") {
        const line = first.get(name);
        if (line === undefined) first.set(name, this.#document.locate([...path, "name"]).line);
        else {
          this.#report(
            [...path, "name"],
            `Cannot use name "${name}" twice: it is that of the service in line ${line} already`,
          );
          continue;
        }
      }
      if (draft !== undefined) services.push({ path, draft });
    }
    return services;
  }

  #service(value: Json, path: Path, plugins: string[]): PlanDraft | undefined {
    const label = `"services[${path[1]}]"`;
    if (!isObject(value)) {
      this.#wrong(value, path, label, "a map with name, source and sink");
      return undefined;
    }
    const known = [...Object.keys(SERVICE_KEYS), ...ENGINE_KEYS];
    const missing = this.#checkKeys(value, path, known, ["name", "source", "sink"]);
    const name = value["name"];
    if (!missing.has("name") && (typeof name !== "string" || name === "")) {
      this.#wrong(name!, [...path, "name"], '"name"', "text");
    }
    const use = (key: "source" | "sink") =>
      missing.has(key) ? undefined : this.#use(value[key]!, [...path, key], key);
    const source = use("source");
    const transforms = this.#transforms(value["transforms"], [...path, "transforms"]);
    const sink = use("sink");
    if (this.#document.hasProblem(path)) return undefined;
    const { trigger } = value;
    return {
      name: name as string,
      source: source!,
      transforms,
      sink: sink!,
      ...(trigger === undefined ? {} : { trigger }),
      engine: Object.fromEntries(
        ENGINE_KEYS.flatMap((key) => value[key] === undefined ? [] : [[key, value[key]]]),
      ),
      plugins,
      baseUrl: this.#baseUrl,
    };
  }

  #transforms(value: Json | undefined, path: Path): PluginUse[] {
    if (value === undefined || value === null) return [];
    if (!Array.isArray(value)) {
      this.#wrong(value, path, '"transforms"', "a list of transforms");
      return [];
    }
    return value.flatMap((each, position) =>
      this.#use(each, [...path, position], `transforms[${position}]`) ?? []
    );
  }

  /** `{<plugin>: {options}}`, or the plugin's name alone. */
  #use(value: Json, path: Path, label: string): PluginUse | undefined {
    if (typeof value === "string" && value !== "") return { name: value, options: {} };
    if (!isObject(value) || Object.keys(value).length === 0) {
      this.#wrong(value, path, `"${label}"`, "{<plugin>: {options}}");
      return undefined;
    }
    const names = Object.keys(value);
    if (names.length > 1) {
      const list = names.map((name) => `"${name}"`).join(", ");
      this.#report(
        [...path, names[1]!],
        `Cannot use ${names.length} plugins (${list}) for "${label}": wanted one; ` +
          "its options are indented below it",
        "key",
      );
      return undefined;
    }
    return { name: names[0]!, options: value[names[0]!] ?? {} };
  }

  /**
   * Reports unknown keys and missing ones.
   * @returns the required keys that are missing
   */
  #checkKeys(
    value: { readonly [key: string]: Json },
    path: Path,
    known: readonly string[],
    required: readonly string[],
  ): Set<string> {
    const missing = new Set(required.filter((key) => value[key] === undefined));
    const misspelt = new Set<string>();
    for (const key of Object.keys(value)) {
      if (known.includes(key)) continue;
      misspelt.add(closest(key, known));
      this.#report([...path, key], `Unknown key "${key}": ${nearest(key, known)}`, "key");
    }
    for (const key of missing) {
      // It is there, under the name that was reported.
      if (misspelt.has(key)) continue;
      this.#report(path, `Missing key "${key}": wanted ${REQUIRED[key]}`);
    }
    return missing;
  }

  #wrong(value: Json, path: Path, label: string, wanted: string): void {
    // What could not be interpolated or read has been reported, and stands as null or "" here.
    if (path.length > 0 && this.#document.hasProblem(path)) return;
    this.#report(path, `Cannot use ${show(value)} for ${label}: wanted ${wanted}`);
  }

  #report(path: Path, message: string, part: "key" | "value" = "value"): void {
    this.#document.report(part, path, message);
  }
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function show(value: Json): string {
  const text = JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function fileReason(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.IsADirectory) return "it is a directory, wanted a file";
  if (error instanceof Deno.errors.PermissionDenied) return "reading it is not permitted";
  return error instanceof Error ? error.message : String(error);
}
