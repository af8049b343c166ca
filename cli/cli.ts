/**
 * The command line: verbs, their arguments and their help. What a verb does is in the file of its name,
 * loaded when it is called.
 *
 * @module
 */
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { ConfigError } from "../engine/config.ts";
import { PlanError } from "../plugins/errors.ts";
import { BAD_USE, DONE, FAILED, type Io, processIo } from "./io.ts";
import { VERSION } from "./version.ts";

/**
 * Runs a command.
 * @param args without the program's name
 * @returns the exit code: 0 done, 1 failed while running, 2 bad use or bad config
 */
export async function runCli(args: readonly string[], io: Io = processIo): Promise<number> {
  let code = DONE;
  const program = createProgram(io, (result) => code = result);
  try {
    await program.parseAsync([...args], { from: "user" });
    return code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? DONE : BAD_USE;
    const isBadUse = error instanceof ConfigError || error instanceof PlanError;
    const message = error instanceof Error ? error.message : String(error);
    io.err(`${error instanceof ConfigError ? "" : "error: "}${message}\n`);
    return isBadUse ? BAD_USE : FAILED;
  }
}

/** Where an admin listener is looked for. */
const DEFAULT_ADMIN_URL = "http://127.0.0.1:8900";

function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text);
    if (text.trim() !== "" && Number.isInteger(number) && number >= least && number <= most) {
      return number;
    }
    throw new InvalidArgumentError(`Wanted a whole number from ${least} to ${most}.`);
  };
}

/** The program, with its commands told what to do. `done` is given the exit code. */
export function createProgram(io: Io, done: (code: number) => void): Command {
  const program = new Command("millrace")
    .description("Serves streaming pipelines as web services.")
    .version(VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .addHelpText("after", "\nExit codes: 0 done, 1 failed while running, 2 bad use or bad config.")
    .configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      getOutHelpWidth: () => Math.min(io.width, 100),
      getErrHelpWidth: () => Math.min(io.width, 100),
    })
    .exitOverride();
  const kind = () =>
    new Option("-k, --kind <kind>", "only plugins of this kind").choices(
      ["source", "transform", "sink"],
    );
  const json = () => new Option("--json", "print JSON");
  const plugin = () =>
    new Option(
      "-p, --plugin <specifier>",
      "load an outside plugin too: a path, a URL or an npm package; may be repeated",
    ).default([], "none").argParser((each: string, before: string[]) => [...before, each]);

  program.command("run")
    .description("Start the services of config files and keep them running.")
    .argument("<file...>", "YAML or JSON configs")
    .option("-w, --watch", "restart services when their config or plugins change")
    .addOption(
      new Option("--log-level <level>", "lowest level that is logged")
        .choices(["debug", "info", "warn", "error"]).default("info"),
    )
    .addOption(
      new Option("--log-format <format>", "default: human on a terminal, else json")
        .choices(["human", "json"]),
    )
    .addOption(
      new Option(
        "--peers <number>",
        "run each service in so many processes, whatever its config says",
      ).argParser(wholeNumber(1, 256)),
    )
    .addOption(
      new Option(
        "--admin-port <port>",
        "tell on this port what runs: /services, /queries, /healthz, /readyz; 0 takes any free one",
      ).argParser(wholeNumber(0, 65_535)),
    )
    .addOption(new Option("--admin-host <host>", "its address").default("127.0.0.1"))
    .addHelpText(
      "after",
      "\nAll files are checked before anything starts. SIGINT and SIGTERM answer what has been taken," +
        "\nthen stop; a second one stops at once. SIGHUP restarts the peers of services one after another," +
        "\nwhile the others serve.",
    )
    .action(async (files, options) => {
      done(await (await import("./run.ts")).run(files, options, io));
    });
  program.command("peer", { hidden: true })
    .description("Serve for a supervisor.")
    .action(async () => done(await (await import("./peer.ts")).peer(io)));
  program.command("services")
    .description("List where the services of a running `millrace run --admin-port` can be reached.")
    .option("--cluster", "list those of all machines of its clusters")
    .option("--admin <url>", "its admin listener", DEFAULT_ADMIN_URL)
    .addOption(json())
    .action(async (options) => done(await (await import("./services.ts")).services(options, io)));
  program.command("balancer")
    .description("Print the config of a balancer for the services of a config file.")
    .addArgument(new Argument("<program>", "which balancer").choices(["nginx", "haproxy", "envoy"]))
    .argument("<file>", "YAML or JSON config")
    .option("--listen <host:port>", "where the balancer listens", "0.0.0.0:8080")
    .option(
      "--admin <url>",
      "ask the admin listener of the running services where they listen; default: by the config",
    )
    .option("-o, --output <file>", "write there instead, the whole file at once")
    .option("-w, --watch", "go on, and write the file whenever the listeners change")
    .option("--reload <command>", "run in a shell when the file has been written")
    .addHelpText(
      "after",
      "\nFor example, with nginx kept current while peers come and go:" +
        "\n  millrace balancer nginx config.yaml --admin " + DEFAULT_ADMIN_URL + " --watch \\" +
        "\n    --output /etc/nginx/nginx.conf --reload 'nginx -s reload'",
    )
    .action(async (balancer, file, options) => {
      done(await (await import("./balancer.ts")).balancer(balancer, file, options, io));
    });
  program.command("lint")
    .description("Check config files, the plugins they name and the columns; start nothing.")
    .argument("<file...>", "YAML or JSON configs")
    .action(async (files) => done(await (await import("./lint.ts")).lint(files, io)));
  program.command("list")
    .description("List the plugins there are.")
    .addOption(kind())
    .addOption(json())
    .addOption(plugin())
    .action(async (options) => done(await (await import("./list.ts")).list(options, io)));
  program.command("describe")
    .description("Tell what a plugin does, its options and examples.")
    .argument("<plugin>", "name or alias")
    .addOption(kind())
    .addOption(json())
    .addOption(plugin())
    .action(async (name, options) => {
      done(await (await import("./describe.ts")).describe(name, options, io));
    });
  program.command("create")
    .description("Print a config to start from, with every option and what it is for.")
    .argument(
      "[pipeline]",
      "SOURCE/TRANSFORM,.../SINK, such as http/with_column/http; SOURCE/SINK without transforms",
    )
    .option("-e, --example [name]", "print an example instead; without a name, list them")
    .addOption(plugin())
    .action(async (pipeline, options) => {
      if (options.example === undefined) {
        done(await (await import("./create.ts")).create(pipeline, options, io));
      } else if (pipeline === undefined) {
        const name = options.example === true ? undefined : options.example;
        done(await (await import("./examples.ts")).example(name, io));
      } else {
        throw new PlanError(
          `Cannot create "${pipeline}": wanted a pipeline or --example, not both`,
        );
      }
    });
  program.command("schema")
    .description("Print the JSON Schema of config files, for editors.")
    .addOption(plugin())
    .addHelpText(
      "after",
      "\nWrite it to a file and name it in the first line of a config:" +
        "\n  # yaml-language-server: $schema=./millrace.schema.json",
    )
    .action(async (options) => done(await (await import("./schema.ts")).schema(options, io)));
  return program;
}
