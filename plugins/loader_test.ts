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
