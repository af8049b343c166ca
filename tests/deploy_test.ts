/**
 * The files in docs/deploy: each is read by the program it is for, where that can be had, and by a parser
 * of its format otherwise.
 *
 * @module
 */
import assert from "node:assert/strict";
import { validate } from "dockerfile-utils";
import { parseAllDocuments } from "yaml";
import { loadPlans } from "../engine/config.ts";
import { builtins } from "../plugins/builtins.ts";
import { Registry } from "../plugins/registry.ts";

const DEPLOY = new URL("../docs/deploy/", import.meta.url);
const read = (name: string) => Deno.readTextFile(new URL(name, DEPLOY));

Deno.test("systemd takes the unit", async () => {
  const folder = await Deno.makeTempDir();
  try {
    // The program that the unit starts must be there.
    const unit = (await read("millrace.service")).replace("/usr/local/bin/millrace", "/bin/true");
    await Deno.writeTextFile(`${folder}/millrace.service`, unit);
    const { code, stderr } = await new Deno.Command("systemd-analyze", {
      args: ["verify", "--man=no", `${folder}/millrace.service`],
    }).output();
    const text = new TextDecoder().decode(stderr);
    assert.equal(code, 0, text);
    // It warns of keys that it does not know, and of other units of the machine.
    assert.doesNotMatch(text, /millrace\.service/);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.log("skipped: systemd-analyze is not installed");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the container file is well formed", async () => {
  assert.deepEqual(validate(await read("Containerfile")), []);
});

Deno.test("the Kubernetes manifests fit each other, and the config in them is right", async () => {
  const documents = parseAllDocuments(await read("kubernetes.yaml"));
  for (const document of documents) assert.deepEqual(document.errors, []);
  const objects = documents.map((document) => document.toJS());
  assert.deepEqual(objects.map(({ kind }) => kind), ["ConfigMap", "Deployment", "Service"]);
  const [configMap, deployment, service] = objects;
  const { template, selector } = deployment.spec;
  assert.deepEqual(template.metadata.labels, selector.matchLabels);
  assert.deepEqual(template.metadata.labels, service.spec.selector);
  const [container] = template.spec.containers;
  const ports = container.ports.map(({ name }: { name: string }) => name);
  for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"]) {
    assert.ok(ports.includes(container[probe].httpGet.port), probe);
  }
  assert.ok(ports.includes(service.spec.ports[0].targetPort));
  assert.equal(template.spec.volumes[0].configMap.name, configMap.metadata.name);
  const folder = await Deno.makeTempDir();
  try {
    const [file, text] = Object.entries<string>(configMap.data)[0]!;
    await Deno.writeTextFile(`${folder}/${file}`, text);
    const [loaded] = await loadPlans([`${folder}/${file}`], {
      newRegistry: () => new Registry(builtins),
    });
    const [plan] = loaded!.plans;
    assert.equal(plan!.source.name, "distributed_http");
    const { port } = plan!.source.options as { port: number };
    assert.equal(port, container.ports[0].containerPort);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
