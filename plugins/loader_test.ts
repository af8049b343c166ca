import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { PlanError } from "./errors.ts";
import { importModule, resolveModule } from "./loader.ts";

/** A directory with files in it, and its URL. */
async function withFiles(
  files: Record<string, string>,
  test: (baseUrl: string, directory: string) => void | Promise<void>,
): Promise<void> {
  const directory = await Deno.realPath(await Deno.makeTempDir({ prefix: "millrace loader %" }));
  try {
    for (const [path, text] of Object.entries(files)) {
      const file = `${directory}/${path}`;
      await Deno.mkdir(file.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(file, text);
    }
    await test(pathToFileURL(`${directory}/`).href, directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function refuses(specifier: string, baseUrl: string, message: string | RegExp) {
  await assert.rejects(() => importModule(specifier, baseUrl), (error) => {
    assert(error instanceof PlanError, String(error));
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    return true;
  });
}

Deno.test("paths are relative to the config, or absolute, in any script language", () =>
  withFiles({
    "a.ts": 'import { b } from "./deep/b.ts"; export const value: string = `a${b}`;',
    "deep/b.ts": 'export const b: string = "b";',
    "c.js": 'export const value = "c";',
    "d.mjs": 'export const value = "d";',
  }, async (baseUrl, directory) => {
    const cases: [specifier: string, value: string][] = [
      ["./a.ts", "ab"],
      ["./deep/../a.ts", "ab"],
      ["./c.js", "c"],
      ["./d.mjs", "d"],
      [`${directory.replaceAll("%", "%25")}/c.js`, "c"],
      [new URL("c.js", baseUrl).href, "c"],
    ];
    for (const [specifier, value] of cases) {
      assert.equal((await importModule(specifier, baseUrl)).value, value, specifier);
    }
    assert.equal((await importModule("../c.js", new URL("deep/", baseUrl).href)).value, "c");
  }));

Deno.test("a data URL is a module", async () => {
  const { value } = await importModule("data:text/javascript,export const value = 7", "file:///");
  assert.equal(value, 7);
});

Deno.test("a package is found in node_modules beside the config and above it", () =>
  withFiles({
    "node_modules/plain/package.json": '{ "name": "plain", "main": "index.js", "type": "module" }',
    "node_modules/plain/index.js": 'export const value = "plain";',
    "node_modules/@scope/exports/package.json":
      '{ "name": "@scope/exports", "exports": { ".": "./a.mjs", "./b": "./b.mjs" } }',
    "node_modules/@scope/exports/a.mjs": 'export const value = "a";',
    "node_modules/@scope/exports/b.mjs": 'export const value = "b";',
    "deep/config.yaml": "",
  }, async (baseUrl) => {
    const cases: [specifier: string, value: string][] = [
      ["plain", "plain"],
      ["npm:plain", "plain"],
      ["npm:plain@^1.0.0", "plain"],
      ["@scope/exports", "a"],
      ["npm:@scope/exports@2/b", "b"],
    ];
    for (const base of [baseUrl, new URL("deep/", baseUrl).href]) {
      for (const [specifier, value] of cases) {
        assert.equal((await importModule(specifier, base)).value, value, specifier);
      }
    }
  }));

Deno.test("an npm: specifier that is not in node_modules is left to Deno", () =>
  withFiles({}, (baseUrl) => {
    assert.equal(resolveModule("npm:not-there@1", baseUrl), "npm:not-there@1");
    assert.equal(resolveModule("node:path", baseUrl), "node:path");
    assert.equal(resolveModule("https://example.com/a.ts", baseUrl), "https://example.com/a.ts");
  }));

Deno.test("what cannot be loaded is told with its reason", () =>
  withFiles({
    "syntax.js": "export const = 1;",
    "throws.ts": 'throw new RangeError("at import");',
    "broken_import.ts": 'import "./absent.ts";',
    "my_plugin.ts": "export default 1;",
  }, async (baseUrl) => {
    await refuses(
      "./absent.ts",
      baseUrl,
      `Cannot load module "./absent.ts": there is no file ${new URL("absent.ts", baseUrl)}`,
    );
    await refuses("./throws.ts", baseUrl, 'Cannot load module "./throws.ts": at import');
    await refuses("./syntax.js", baseUrl, /^Cannot load module "\.\/syntax\.js": .+/);
    await refuses(
      "./broken_import.ts",
      baseUrl,
      `Cannot load module "./broken_import.ts": there is no file ${new URL("absent.ts", baseUrl)}`,
    );
    await refuses(
      "my_plugin.ts",
      baseUrl,
      'Cannot load module "my_plugin.ts": no package "my_plugin.ts" in node_modules beside the ' +
        "config; install it there (npm install my_plugin.ts), or write ./my_plugin.ts for a file",
    );
    for (const specifier of ["", "!", "@scope"]) {
      await refuses(
        specifier,
        baseUrl,
        `Cannot load module ${
          JSON.stringify(specifier)
        }: wanted a path that begins with ./, ../ or ` +
          "/, a URL, or the name of an npm package",
      );
    }
    await refuses("data:text/javascript,export const = 1", baseUrl, /^Cannot load module "data:/);
  }));

/** Packages that import each other, and modules that import them. */
const PACKAGES = {
  "node_modules/esm/package.json": '{ "exports": { ".": { "import": "./a.mjs" } } }',
  "node_modules/esm/a.mjs": "export const counter = { count: 0 };",
  "node_modules/uses/package.json": '{ "type": "module", "main": "./main.js" }',
  "node_modules/uses/main.js": 'export { counter } from "esm"; export * from "./own.js";',
  "node_modules/uses/own.js": 'export { join } from "path"; export const own = "own";',
};

Deno.test("a module may import packages that are beside it, and those others; all share one", () =>
  withFiles({
    ...PACKAGES,
    "static.js":
      'import { counter, join, own } from "uses"; counter.count++; export { counter, own };' +
      "export const value = join(own, 'b');",
    "dynamic.js": 'import "uses"; export const value = async () => (await import("esm")).counter;',
    "above.mjs": 'export { counter } from "./static.js";',
  }, async (baseUrl) => {
    const { counter } = await importModule("esm", baseUrl) as { counter: { count: number } };
    const statics = await importModule("./static.js", baseUrl);
    assert.equal(statics.value, "own/b");
    const { value } = await importModule("./dynamic.js", baseUrl) as { value(): Promise<unknown> };
    const others = [
      statics.counter,
      (await importModule("uses", baseUrl)).counter,
      (await importModule("./above.mjs", baseUrl)).counter,
      await value(),
    ];
    for (const other of others) assert.equal(other, counter);
    // Once each: a module that several import is one.
    assert.equal(counter.count, 1);
  }));

Deno.test("a rewritten module knows where it is, and keeps its lines, templates and texts", () =>
  withFiles({
    ...PACKAGES,
    "data.json": '{ "a": 1 }',
    "main.ts": `import "uses";
import data from "./data.json" with { type: "json" };
export const place: string[] = [import.meta.url, import.meta.filename!, import.meta.dirname!];
export const text: string = 'import "esm"'; // import "esm"
export const a: number = data.a;
export const late = (name: string) => import(\`\${name}.js\`);
export const line = (): number => Number(/:(\\d+):/.exec(new Error().stack!)![1]);
`,
  }, async (baseUrl, directory) => {
    const main = await importModule("./main.ts", baseUrl) as Record<string, unknown> & {
      late(name: string): Promise<{ own: string }>;
      line(): number;
    };
    const url = new URL("main.ts", baseUrl).href;
    assert.deepEqual(main.place, [url, `${directory}/main.ts`, directory]);
    assert.equal(main.text, 'import "esm"');
    assert.equal(main.a, 1);
    await assert.rejects(() => main.late(`${baseUrl}absent`), /absent\.js/);
    assert.equal(main.line(), 7);
  }));

Deno.test("what a module imports and is not there is told with its place", () =>
  withFiles({
    ...PACKAGES,
    "absent.js": 'import "./deep.js";',
    "deep.js": 'import "uses"; import "not-there";',
    "no_export.js": 'import "esm/other";',
    "circle.js": 'import "uses"; import "./back.js";',
    "back.js": 'import "./circle.js";',
    "types.ts": 'import "uses";\n  enum Color { Red }\n',
    "types_above.js": 'import "./types.ts";',
    "gone.js": 'import "uses"; import "./not_there.js";',
    "node_modules/common/package.json": '{ "main": "./common.js" }',
    "node_modules/common/common.js": 'exports.value = "common";',
    "common.js": 'import "uses"; import { value } from "common"; export { value };',
  }, async (baseUrl) => {
    const at = (path: string) => new URL(path, baseUrl).href;
    const cases: [specifier: string, why: string | RegExp][] = [
      [
        "./absent.js",
        `no package "not-there" in node_modules beside ${at("deep.js")} or above it`,
      ],
      ["./no_export.js", 'package "esm" has no export "./other" for import'],
      [
        "./circle.js",
        `${at("circle.js")} imports itself by way of ${at("back.js")}; take the circle apart, or ` +
        "bundle it into one file",
      ],
      ["./types.ts", `${at("types.ts")}:2:3: TypeScript enum is not supported in strip-only mode`],
      [
        "./types_above.js",
        `${at("types.ts")}:2:3: TypeScript enum is not supported in strip-only mode`,
      ],
      ["./gone.js", `there is no file ${at("not_there.js")}`],
      [
        "common",
        `exports is not defined: ${at("node_modules/common/common.js")} is CommonJS, wanted ES ` +
        "modules alone",
      ],
      [
        "./common.js",
        /'value'.*: file:.*\/common\/common\.js is CommonJS, wanted ES modules alone$/,
      ],
    ];
    for (const [specifier, why] of cases) {
      await refuses(
        specifier,
        baseUrl,
        typeof why === "string" ? `Cannot load module "${specifier}": ${why}` : why,
      );
    }
  }));

Deno.test("a dependency that was missing is found once it is there", () =>
  withFiles(
    { ...PACKAGES, "a.js": 'import "uses"; export { b } from "./b.js";' },
    async (baseUrl) => {
      await refuses("./a.js", baseUrl, /there is no file .*\/b\.js$/);
      await Deno.writeTextFile(new URL("b.js", baseUrl), "export const b = 2;");
      assert.equal((await importModule("./a.js?again", baseUrl)).b, 2);
    },
  ));
