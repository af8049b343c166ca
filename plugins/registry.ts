/**
 * Plugins by name: those that come with Millrace, and those loaded from outside.
 *
 * @module
 */
import * as v from "valibot";
import type {
  Json,
  Plugin,
  PluginBase,
  PluginKind,
  SinkPlugin,
  SourcePlugin,
  TransformPlugin,
} from "./contract.ts";
import { PlanError } from "./errors.ts";
import { importModule } from "./loader.ts";
import { nearest } from "./nearest.ts";
import { listForMap, optionsError } from "./options_error.ts";

/** How a plugin is found before it is loaded. Name and aliases equal the module's own. */
export interface RegistryEntry {
  readonly kind: PluginKind;
  readonly name: string;
  readonly aliases: readonly string[];
  load(): Promise<{ readonly default: unknown }>;
}

interface PluginOfKind {
  readonly source: SourcePlugin;
  readonly transform: TransformPlugin;
  readonly sink: SinkPlugin;
}

const KINDS: readonly PluginKind[] = ["source", "transform", "sink"];
const NAME = /^[a-z][a-z0-9_]*$/;

/** The plugins that one query may use. */
export class Registry {
  readonly #entries = new Map<string, RegistryEntry>();
  readonly #plugins = new Map<RegistryEntry, Promise<Plugin>>();
  readonly #schemas = new WeakMap<object, v.GenericSchema<unknown, unknown>>();

  constructor(builtins: readonly RegistryEntry[]) {
    for (const entry of builtins) this.#add(entry);
  }

  /** All plugins, one entry each. */
  entries(): RegistryEntry[] {
    return [...new Set(this.#entries.values())];
  }

  /**
   * Loads a plugin from outside and adds it.
   * @param specifier see `loader.ts`
   * @throws {PlanError} when there is no such module, or it is no plugin, or its name is taken
   */
  async load(specifier: string, baseUrl: string): Promise<Plugin> {
    const module = await importModule(specifier, baseUrl);
    const plugin = checkPlugin(module.default, specifier);
    const { kind, name, aliases = [] } = plugin;
    const entry = { kind, name, aliases, load: () => Promise.resolve({ default: plugin }) };
    const taken = [name, ...aliases].find((each) => this.#entries.has(key(kind, each)));
    if (taken !== undefined) {
      throw new PlanError(
        `Cannot use plugin "${specifier}": there is a ${kind} named "${taken}" already; ` +
          "give it another name",
      );
    }
    this.#add(entry);
    return plugin;
  }

  /**
   * The plugin of a name or alias.
   * @throws {PlanError} with the nearest known name, when there is none
   */
  async resolve<Kind extends PluginKind>(kind: Kind, name: string): Promise<PluginOfKind[Kind]> {
    const entry = this.#entries.get(key(kind, name));
    if (entry === undefined) {
      throw new PlanError(`Unknown ${kind} "${name}": ${this.#suggestion(kind, name)}`);
    }
    let plugin = this.#plugins.get(entry);
    if (plugin === undefined) {
      plugin = entry.load().then((module) => module.default as Plugin);
      this.#plugins.set(entry, plugin);
    }
    return await plugin as PluginOfKind[Kind];
  }

  /**
   * The options with the defaults filled in.
   * @param options null stands for none
   * @throws {PlanError} whose path leads to what is wrong, and whose message says what is allowed
   */
  checkOptions<Options>(plugin: PluginBase<Options>, options: Json): Options {
    const schema = this.optionsSchema(plugin);
    const wrong = listForMap(options, schema);
    if (wrong !== undefined) throw wrong;
    const result = v.safeParse(schema, options ?? {});
    if (!result.success) throw optionsError(result.issues, schema);
    return result.output as Options;
  }

  /** The schema of a plugin's options. */
  optionsSchema(plugin: PluginBase<unknown>): v.GenericSchema<unknown, unknown> {
    const { options } = plugin;
    if (typeof options !== "function") return options;
    let schema = this.#schemas.get(plugin);
    if (schema === undefined) {
      schema = options(v);
      this.#schemas.set(plugin, schema);
    }
    return schema;
  }

  #add(entry: RegistryEntry): void {
    for (const name of [entry.name, ...entry.aliases]) {
      this.#entries.set(key(entry.kind, name), entry);
    }
  }

  /** The nearest name of the kind; or the other kind that has the name. */
  #suggestion(kind: PluginKind, name: string): string {
    const other = KINDS.find((each) => each !== kind && this.#entries.has(key(each, name)));
    const names = this.entries().filter((each) => each.kind === kind).map((each) => each.name);
    const list = nearest(name, names);
    return other === undefined ? list : `it is a ${other}; ${list}`;
  }
}

function key(kind: PluginKind, name: string): string {
  return `${kind} ${name}`;
}

/** @throws {PlanError} naming the field that makes it no plugin */
function checkPlugin(value: unknown, specifier: string): Plugin {
  const fail = (why: string) => new PlanError(`Cannot use plugin "${specifier}": ${why}`);
  if (value === undefined) throw fail("it has no default export; export the plugin as default");
  if (value === null || typeof value !== "object") {
    throw fail(`its default export is ${value === null ? "null" : typeof value}, wanted an object`);
  }
  const plugin = value as Partial<Record<string, unknown>>;
  if (!KINDS.includes(plugin.kind as PluginKind)) {
    throw fail(`kind is ${show(plugin.kind)}, wanted "source", "transform" or "sink"`);
  }
  if (typeof plugin.name !== "string" || !NAME.test(plugin.name)) {
    throw fail(`name is ${show(plugin.name)}, wanted lower_snake_case text`);
  }
  if (typeof plugin.summary !== "string" || plugin.summary === "") {
    throw fail(`summary is ${show(plugin.summary)}, wanted one sentence`);
  }
  const { aliases = [] } = plugin;
  if (!Array.isArray(aliases) || !aliases.every((each) => typeof each === "string")) {
    throw fail(`aliases is ${show(aliases)}, wanted a list of names`);
  }
  if (typeof plugin.create !== "function") {
    throw fail(`create is ${show(plugin.create)}, wanted a function`);
  }
  if (plugin.kind === "source" && typeof plugin.outputSchema !== "function") {
    throw fail(`outputSchema is ${show(plugin.outputSchema)}, wanted a function`);
  }
  let schema = plugin.options;
  if (typeof schema === "function") {
    try {
      schema = schema(v);
    } catch (cause) {
      throw fail(`its options cannot be made: ${(cause as Error).message}`);
    }
  }
  if (!isSchema(schema)) {
    throw fail(`options is ${show(schema)}, wanted a valibot schema or a function that makes one`);
  }
  return value as Plugin;
}

function isSchema(value: unknown): boolean {
  return typeof value === "object" && value !== null &&
    (value as { kind?: unknown }).kind === "schema" &&
    typeof (value as { "~run"?: unknown })["~run"] === "function";
}

function show(value: unknown): string {
  return typeof value === "function" ? "a function" : JSON.stringify(value) ?? String(value);
}
