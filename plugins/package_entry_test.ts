import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { packageEntry } from "./package_entry.ts";

/** Packages by name: their `package.json`. Every file that a test names is there. */
const PACKAGES: Readonly<Record<string, unknown>> = {
  esm: { exports: { ".": { import: "./a.js" } } },
  sugar: { exports: "./a.js" },
  conditions: { exports: { require: "./c.cjs", import: "./a.js" } },
  nested: {
    exports: { ".": { node: { require: "./c.cjs", default: "./a.js" }, default: "./b.js" } },
  },
  first: { exports: { ".": [{ browser: "./b.js" }, "./a.js"] } },
  deno: { exports: { types: "./a.d.ts", deno: "./a.js", node: "./b.js" } },
  paths: {
    exports: { "./b": "./b.js", "./*": "./deep/*.js", "./deep/*/x": "./x/*.js", "./no": null },
  },
  "@scope/plain": { main: "./b.js" },
  bare_main: { main: "deep" },
  nothing: {},
  private: { imports: { "#own": "./a.js", "#other": "esm", "#deep/*": "./deep/*.js" } },
};
const FILES = ["a.js", "b.js", "c.cjs", "index.js", "deep/index.js", "deep/a.js", "x/a.js"];

async function withPackages(test: (base: string) => void): Promise<void> {
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "millrace packages %" }));
  try {
    for (const [name, manifest] of Object.entries(PACKAGES)) {
      const root = `${folder}/node_modules/${name}`;
      for (const each of ["deep", "x"]) await Deno.mkdir(`${root}/${each}`, { recursive: true });
      await Deno.writeTextFile(`${root}/package.json`, JSON.stringify(manifest));
      for (const each of FILES) await Deno.writeTextFile(`${root}/${each}`, "");
    }
    await Deno.mkdir(`${folder}/node_modules/broken`);
    await Deno.writeTextFile(`${folder}/node_modules/broken/package.json`, "{");
    // As some package managers lay it out: a link to a folder that has its own node_modules beside it.
    await Deno.mkdir(`${folder}/store/node_modules/inner`, { recursive: true });
    await Deno.mkdir(`${folder}/store/node_modules/linked`);
    for (const each of ["inner", "linked"]) {
      await Deno.writeTextFile(`${folder}/store/node_modules/${each}/index.js`, "");
    }
    await Deno.symlink("../store/node_modules/linked", `${folder}/node_modules/linked`);
    test(pathToFileURL(`${folder}/`).href);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("a name leads to the module that `import` would load", () =>
  withPackages((base) => {
    const cases: [name: string, entry: string | undefined][] = [
      ["esm", "esm/a.js"],
      ["sugar", "sugar/a.js"],
      ["conditions", "conditions/a.js"],
      ["nested", "nested/a.js"],
      ["first", "first/a.js"],
      ["deno", "deno/a.js"],
      ["paths/b", "paths/b.js"],
      ["paths/a", "paths/deep/a.js"],
      ["paths/deep/a/x", "paths/x/a.js"],
      ["@scope/plain", "@scope/plain/b.js"],
      ["@scope/plain/deep/a.js", "@scope/plain/deep/a.js"],
      ["@scope/plain/deep/a", "@scope/plain/deep/a.js"],
      ["bare_main", "bare_main/deep/index.js"],
      ["nothing", "nothing/index.js"],
      ["absent", undefined],
      ["@scope", undefined],
    ];
    for (const [name, entry] of cases) {
      const expected = entry === undefined ? undefined : `${base}node_modules/${entry}`;
      // From a folder, a module in it, and one far below.
      for (const from of [base, `${base}main.ts`, `${base}one/two/main.ts`]) {
        assert.equal(packageEntry(name, from), expected, `${name} from ${from}`);
      }
    }
  }));

Deno.test("Node's modules, with and without their prefix, are not looked for in folders", () => {
  assert.equal(packageEntry("fs", "file:///"), "node:fs");
  assert.equal(packageEntry("fs/promises", "file:///"), "node:fs/promises");
  assert.equal(packageEntry("node:sqlite", "file:///"), "node:sqlite");
});

Deno.test("what is not in a file has no packages", () => {
  assert.equal(packageEntry("esm", "data:text/javascript,1"), undefined);
});

Deno.test("a package has names of its own for its modules and for others", () =>
  withPackages((base) => {
    const from = `${base}node_modules/private/deep/a.js`;
    assert.equal(packageEntry("#own", from), `${base}node_modules/private/a.js`);
    assert.equal(packageEntry("#other", from), `${base}node_modules/esm/a.js`);
    assert.equal(packageEntry("#deep/a", from), `${base}node_modules/private/deep/a.js`);
    assert.equal(packageEntry("#none", from), undefined);
    assert.equal(packageEntry("#own", base), undefined);
  }));

Deno.test("a package that is a link is where it leads, with its own packages beside it", () =>
  withPackages((base) => {
    const entry = packageEntry("linked", base);
    assert.equal(entry, `${base}store/node_modules/linked/index.js`);
    assert.equal(packageEntry("inner", base), undefined);
    assert.equal(packageEntry("inner", entry), `${base}store/node_modules/inner/index.js`);
  }));

Deno.test("a package without the module says so", () =>
  withPackages((base) => {
    const cases: [name: string, message: RegExp][] = [
      ["esm/other", /^package "esm" has no export "\.\/other" for import$/],
      ["paths", /^package "paths" has no export "\." for import$/],
      ["paths/no", /^package "paths" has no export "\.\/no" for import$/],
      ["nothing/absent", /^package "nothing" has no module "\.\/absent"$/],
      ["broken", /node_modules\/broken\/package\.json cannot be read: .+/],
    ];
    for (const [name, message] of cases) {
      assert.throws(() => packageEntry(name, base), { name: "Error", message }, name);
    }
  }));
