/**
 * Text to trees: expressions, types and schemas in Spark's SQL dialect.
 *
 * Names are case-sensitive, keywords and function names are not. Names with other characters stand
 * between backticks; text between single or double quotes is a string, as in Spark. In a string `''`
 * is a quote and `\n \r \t \b \0 \Z \\ \' \" \uXXXX` are escapes; a backslash before anything else
 * stays (Spark drops it), so the regular expression `'\d+'` means what it says. `r'...'` has no
 * escapes. `X'00ff'` is binary; `1L` is an int64, `1F` a float32, `1.0`, `1e3` and `1D` are float64.
 * A whole number beyond int32 is an int64. Positions in messages count from 1.
 *
 * @module
 */
import {
  createToken,
  defaultParserErrorProvider,
  EmbeddedActionsParser,
  EOF,
  type IRecognitionException,
  type IToken,
  Lexer,
  tokenLabel,
  type TokenType,
} from "chevrotain";
import { PlanError } from "../../plugins/errors.ts";
import { nearest } from "../../plugins/nearest.ts";
import { type DataType, type Field, Schema } from "../batch.ts";
import { columnsOf, type Expression, NAME, negative, print, RESERVED } from "./expression.ts";
import { canonicalName } from "./functions.ts";
import { TYPE_NAMES } from "./types.ts";

/**
 * Reads an expression; `x as y` and `*` are read too.
 * @throws {PlanError} with the position of the first thing that is wrong
 */
export function parseExpression(sql: string): Expression {
  return parse("expression", sql, (parser) => parser.top());
}

/** Parses and prints: one text for equal expressions. */
export function canonical(sql: string): string {
  return print(parseExpression(sql));
}

/** The columns that an expression reads; undefined: all of them (`*`). */
export function referencedColumns(sql: string): ReadonlySet<string> | undefined {
  return columnsOf(parseExpression(sql));
}

/**
 * Reads a type: ours (`int32`, `list<...>`), Spark's (`int`, `bigint`, `array<...>`), nested ones and
 * `tensor<float32>[3, 224, 224]`.
 * @throws {PlanError}
 */
export function parseType(ddl: string): DataType {
  return parse("type", ddl, (parser) => parser.typeAlone());
}

/**
 * Reads the columns of a schema: `a int, b struct<c: array<string>>, d string not null`.
 * @throws {PlanError}
 */
export function parseSchema(ddl: string): Schema {
  const fields = parse("schema", ddl, (parser) => parser.schema());
  try {
    return new Schema(fields);
  } catch (cause) {
    throw new PlanError(`Cannot parse schema ${JSON.stringify(ddl)}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

const Word = createToken({ name: "Word", label: "a name", pattern: Lexer.NA });
const Compare = createToken({ name: "Compare", pattern: Lexer.NA });
const Sum = createToken({ name: "Sum", pattern: Lexer.NA });
const Product = createToken({ name: "Product", pattern: Lexer.NA });

const NAME_AT = new RegExp(NAME.source, "uy");
const Identifier = createToken({
  name: "Identifier",
  label: "a name",
  // As a function: of a regular expression's flags the lexer keeps only `i`.
  pattern: (text, offset) => {
    NAME_AT.lastIndex = offset;
    return NAME_AT.exec(text) as [string] | null;
  },
  categories: [Word],
  line_breaks: false,
});
const Quoted = createToken({
  name: "Quoted",
  pattern: /`(?:[^`]|``)*`/,
  categories: [Word],
  line_breaks: true,
});
const Text = createToken({
  name: "Text",
  pattern: /'(?:[^'\\]|\\[\s\S]|'')*'|"(?:[^"\\]|\\[\s\S]|"")*"/,
  line_breaks: true,
});
const RawText = createToken({
  name: "RawText",
  pattern: /[rR](?:'[^']*'|"[^"]*")/,
  line_breaks: true,
});
const Hex = createToken({ name: "Hex", pattern: /[xX]'(?:[0-9a-fA-F][0-9a-fA-F])*'/ });
const Numeral = createToken({
  name: "Numeral",
  pattern: /(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?:[LlFfDd](?!\w))?/,
});
const keyword = Object.fromEntries(RESERVED.map((word) => [
  word,
  createToken({
    name: word.toUpperCase(),
    label: `"${word}"`,
    pattern: new RegExp(word, "i"),
    longer_alt: Identifier,
    categories: word === "div" ? [Word, Product] : [Word],
  }),
])) as Record<typeof RESERVED[number], TokenType>;

// Longer ones first: the lexer takes the first that fits.
const COMPARISONS = ["<=>", "<=", ">=", "<>", "!=", "==", "=", "<", ">"];
const SUMS = ["||", "+", "-"];
const PRODUCTS = ["*", "/", "%"];
const OTHERS = ["::", "(", ")", "[", "]", ",", ".", ":", "!"];
const symbol = Object.fromEntries(
  [COMPARISONS, SUMS, PRODUCTS, OTHERS].flatMap((texts, group) =>
    texts.map((text) => [
      text,
      createToken({
        name: text,
        label: `"${text}"`,
        pattern: text,
        categories: [[Compare], [Sum], [Product], []][group]!,
      }),
    ])
  ),
) as Record<string, TokenType>;

const TOKENS = [
  createToken({ name: "Space", pattern: /\s+/, group: Lexer.SKIPPED, line_breaks: true }),
  createToken({ name: "LineComment", pattern: /--[^\n]*/, group: Lexer.SKIPPED }),
  createToken({
    name: "Comment",
    pattern: /\/\*[\s\S]*?\*\//,
    group: Lexer.SKIPPED,
    line_breaks: true,
  }),
  RawText,
  Hex,
  ...Object.values(keyword),
  Identifier,
  Quoted,
  Text,
  Numeral,
  ...Object.values(symbol),
  Word,
  Compare,
  Sum,
  Product,
];

/** One rule for each level of precedence, the loosest first, as Spark's grammar has them. */
class Grammar extends EmbeddedActionsParser {
  constructor(skipValidations: boolean) {
    super(TOKENS, {
      maxLookahead: 1,
      skipValidations,
      errorMessageProvider: {
        ...defaultParserErrorProvider,
        buildMismatchTokenMessage: ({ expected }) =>
          expected === EOF ? "" : `, wanted ${tokenLabel(expected)}`,
      },
    });
    this.performSelfAnalysis();
  }

  readonly top = this.RULE("top", (): Expression => {
    const expression = this.OR([
      {
        ALT: (): Expression => {
          this.CONSUME(symbol["*"]!);
          return { kind: "star" };
        },
      },
      { ALT: () => this.SUBRULE(this.named) },
    ]);
    this.CONSUME(EOF);
    return expression;
  });

  readonly typeAlone = this.RULE("typeAlone", (): DataType => {
    const type = this.SUBRULE(this.type);
    this.CONSUME(EOF);
    return type;
  });

  readonly schema = this.RULE("schema", (): Field[] => {
    const fields = this.SUBRULE(this.fields, { ARGS: [true] });
    this.CONSUME(EOF);
    return fields;
  });

  private readonly named = this.RULE("named", (): Expression => {
    const of = this.SUBRULE(this.disjunction);
    return this.OPTION(() => {
      this.CONSUME(keyword.as);
      return { kind: "alias", of, name: this.SUBRULE(this.word) } as const;
    }) ?? of;
  });

  private readonly disjunction = this.RULE("disjunction", (): Expression => {
    let left = this.SUBRULE(this.conjunction);
    this.MANY(() => {
      this.CONSUME(keyword.or);
      left = call("or", left, this.SUBRULE2(this.conjunction));
    });
    return left;
  });

  private readonly conjunction = this.RULE("conjunction", (): Expression => {
    let left = this.SUBRULE(this.negation);
    this.MANY(() => {
      this.CONSUME(keyword.and);
      left = call("and", left, this.SUBRULE2(this.negation));
    });
    return left;
  });

  private readonly negation = this.RULE("negation", (): Expression =>
    this.OR([
      {
        ALT: () => {
          this.OR2([
            { ALT: () => this.CONSUME(keyword.not) },
            { ALT: () => this.CONSUME(symbol["!"]!) },
          ]);
          return call("not", this.SUBRULE(this.negation));
        },
      },
      { ALT: () => this.SUBRULE(this.predicate) },
    ]));

  private readonly predicate = this.RULE("predicate", (): Expression => {
    let left = this.SUBRULE(this.comparison);
    this.MANY(() => {
      left = this.OR([
        { ALT: () => this.SUBRULE(this.is, { ARGS: [left] }) },
        { ALT: () => this.SUBRULE(this.test, { ARGS: [left] }) },
      ]);
    });
    return left;
  });

  private readonly is = this.RULE("is", (left: Expression): Expression => {
    this.CONSUME(keyword.is);
    const not = this.OPTION(() => this.CONSUME(keyword.not)) !== undefined;
    return this.OR([
      {
        ALT: () => {
          this.CONSUME(keyword.null);
          return call(not ? "isnotnull" : "isnull", left);
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.true);
          return negated(not, call("<=>", left, TRUE));
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.false);
          return negated(not, call("<=>", left, FALSE));
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.distinct);
          this.CONSUME(keyword.from);
          return negated(!not, call("<=>", left, this.SUBRULE(this.comparison)));
        },
      },
    ]);
  });

  private readonly test = this.RULE("test", (left: Expression): Expression => {
    const not = this.OPTION(() => this.CONSUME(keyword.not)) !== undefined;
    const tested = this.OR([
      {
        ALT: () => {
          this.CONSUME(keyword.in);
          this.CONSUME(symbol["("]!);
          const items: Expression[] = [];
          this.AT_LEAST_ONE_SEP({
            SEP: symbol[","]!,
            DEF: () => items.push(this.SUBRULE(this.disjunction)),
          });
          this.CONSUME(symbol[")"]!);
          return call("in", left, ...items);
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.between);
          const low = this.SUBRULE(this.comparison);
          this.CONSUME(keyword.and);
          return call("between", left, low, this.SUBRULE2(this.comparison));
        },
      },
      {
        ALT: () => {
          const like = this.OR2([
            { ALT: () => this.CONSUME(keyword.like) },
            { ALT: () => this.CONSUME(keyword.ilike) },
          ]);
          const args = [left, this.SUBRULE3(this.comparison)];
          this.OPTION2(() => {
            this.CONSUME(keyword.escape);
            args.push(this.SUBRULE4(this.comparison));
          });
          return this.ACTION(() => call(like.image.toLowerCase(), ...args));
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.rlike);
          return call("rlike", left, this.SUBRULE5(this.comparison));
        },
      },
    ]);
    return negated(not, tested);
  });

  private readonly comparison = this.RULE("comparison", (): Expression => {
    let left = this.SUBRULE(this.sum);
    this.MANY(() => {
      const { image } = this.CONSUME(Compare);
      left = call(SAME_OPERATOR[image] ?? image, left, this.SUBRULE2(this.sum));
    });
    return left;
  });

  private readonly sum = this.RULE("sum", (): Expression => {
    let left = this.SUBRULE(this.product);
    this.MANY(() => {
      const { image } = this.CONSUME(Sum);
      left = call(image, left, this.SUBRULE2(this.product));
    });
    return left;
  });

  private readonly product = this.RULE("product", (): Expression => {
    let left = this.SUBRULE(this.unary);
    this.MANY(() => {
      const { image } = this.CONSUME(Product);
      left = call(image.toLowerCase(), left, this.SUBRULE2(this.unary));
    });
    return left;
  });

  private readonly unary = this.RULE("unary", (): Expression =>
    this.OR([
      {
        ALT: () => {
          this.CONSUME(symbol["-"]!);
          const { image } = this.LA(1);
          const operand = this.SUBRULE(this.unary);
          // Without its sign the least int32 is none.
          return this.ACTION(() =>
            image === "2147483648" && operand.kind === "literal" ? LEAST_INT32 : negative(operand)
          );
        },
      },
      {
        ALT: () => {
          this.CONSUME(symbol["+"]!);
          return this.SUBRULE2(this.unary);
        },
      },
      { ALT: () => this.SUBRULE(this.postfix) },
    ]));

  private readonly postfix = this.RULE("postfix", (): Expression => {
    let of = this.SUBRULE(this.primary);
    this.MANY(() => {
      of = this.OR([
        {
          ALT: (): Expression => {
            this.CONSUME(symbol["."]!);
            return { kind: "field", of, name: this.SUBRULE(this.word) };
          },
        },
        {
          ALT: (): Expression => {
            this.CONSUME(symbol["["]!);
            const index = this.SUBRULE(this.disjunction);
            this.CONSUME(symbol["]"]!);
            return { kind: "item", of, index };
          },
        },
        {
          ALT: (): Expression => {
            this.CONSUME(symbol["::"]!);
            return { kind: "cast", of, type: this.SUBRULE(this.type) };
          },
        },
      ]);
    });
    return of;
  });

  private readonly primary = this.RULE("primary", (): Expression =>
    this.OR([
      {
        ALT: (): Expression => {
          const token = this.CONSUME(Numeral);
          return this.ACTION(() => at(token, () => numeral(token.image)));
        },
      },
      {
        ALT: () => {
          const token = this.CONSUME(Text);
          return this.ACTION(() => text(unescape(token.image)));
        },
      },
      {
        ALT: () => {
          const token = this.CONSUME(RawText);
          return this.ACTION(() => text(token.image.slice(2, -1)));
        },
      },
      {
        ALT: () => {
          const token = this.CONSUME(Hex);
          return this.ACTION(() => bytes(token.image.slice(2, -1)));
        },
      },
      {
        ALT: (): Expression => {
          this.CONSUME(keyword.null);
          return { kind: "literal", value: null, type: undefined };
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.true);
          return TRUE;
        },
      },
      {
        ALT: () => {
          this.CONSUME(keyword.false);
          return FALSE;
        },
      },
      { ALT: () => this.SUBRULE(this.cases) },
      { ALT: () => this.SUBRULE(this.casts) },
      {
        ALT: () => {
          this.CONSUME(symbol["("]!);
          const inner = this.SUBRULE(this.disjunction);
          this.CONSUME(symbol[")"]!);
          return inner;
        },
      },
      {
        ALT: (): Expression => {
          const token = this.CONSUME(Quoted);
          return { kind: "column", name: unquote(token.image) };
        },
      },
      { ALT: () => this.SUBRULE(this.reference) },
    ]));

  /** A column, a call, or `timestamp '...'`. */
  private readonly reference = this.RULE("reference", (): Expression => {
    const token = this.CONSUME(Identifier);
    const { image: name } = token;
    return this.OPTION(() =>
      this.OR([
        {
          ALT: () => {
            this.CONSUME(symbol["("]!);
            const args: Expression[] = [];
            this.MANY_SEP({
              SEP: symbol[","]!,
              DEF: () => args.push(this.SUBRULE(this.named)),
            });
            this.CONSUME(symbol[")"]!);
            return this.ACTION(() => callNamed(canonicalName(name), args));
          },
        },
        {
          ALT: () => {
            const value = this.CONSUME(Text);
            return this.ACTION(() => typed(token, value));
          },
        },
      ])
    ) ??
      (name.toLowerCase() === "current_timestamp"
        ? call("current_timestamp")
        : { kind: "column", name });
  });

  private readonly cases = this.RULE("cases", (): Expression => {
    this.CONSUME(keyword.case);
    const operand = this.OPTION(() => this.SUBRULE(this.disjunction));
    const whens: { when: Expression; then: Expression }[] = [];
    this.AT_LEAST_ONE(() => {
      this.CONSUME(keyword.when);
      const when = this.SUBRULE2(this.disjunction);
      this.CONSUME(keyword.then);
      whens.push({ when, then: this.SUBRULE3(this.disjunction) });
    });
    const otherwise = this.OPTION2(() => {
      this.CONSUME(keyword.else);
      return this.SUBRULE4(this.disjunction);
    });
    this.CONSUME(keyword.end);
    return {
      kind: "case",
      ...(operand === undefined ? {} : { operand }),
      whens,
      ...(otherwise === undefined ? {} : { otherwise }),
    };
  });

  private readonly casts = this.RULE("casts", (): Expression => {
    this.CONSUME(keyword.cast);
    this.CONSUME(symbol["("]!);
    const of = this.SUBRULE(this.disjunction);
    this.CONSUME(keyword.as);
    const type = this.SUBRULE(this.type);
    this.CONSUME(symbol[")"]!);
    return { kind: "cast", of, type };
  });

  private readonly word = this.RULE("word", (): string => {
    const { image } = this.CONSUME(Word);
    return image.startsWith("`") ? unquote(image) : image;
  });

  private readonly type = this.RULE("type", (): DataType => {
    const token = this.CONSUME(Identifier);
    const name = this.ACTION(() => at(token, () => typeWord(token.image)));
    return this.OPTION(() => {
      this.CONSUME(symbol["<"]!);
      const inner = this.SUBRULE(this.fields, { ARGS: [name === "struct"] });
      this.CONSUME(symbol[">"]!);
      const shape = this.OPTION2(() => this.SUBRULE(this.shape));
      return this.ACTION(() => at(token, () => nested(name, inner, shape)));
    }) ?? this.ACTION(() => at(token, () => scalar(name)));
  });

  /** The fields of a struct or schema; for a list or a tensor bare types, as fields without names. */
  private readonly fields = this.RULE("fields", (named: boolean): Field[] => {
    const fields: Field[] = [];
    this.AT_LEAST_ONE_SEP({
      SEP: symbol[","]!,
      DEF: () => fields.push(this.SUBRULE(this.field, { ARGS: [named] })),
    });
    return fields;
  });

  private readonly field = this.RULE("field", (named: boolean): Field =>
    this.OR([
      {
        GATE: () => named,
        ALT: () => {
          const name = this.SUBRULE(this.word);
          this.OPTION(() => this.CONSUME(symbol[":"]!));
          const type = this.SUBRULE(this.type);
          const required = this.OPTION2(() => {
            this.CONSUME(keyword.not);
            return this.CONSUME(keyword.null);
          });
          return { name, type, ...(required === undefined ? {} : { nullable: false }) };
        },
      },
      { GATE: () => !named, ALT: () => ({ name: "", type: this.SUBRULE2(this.type) }) },
    ]));

  private readonly shape = this.RULE("shape", (): number[] => {
    const shape: number[] = [];
    this.CONSUME(symbol["["]!);
    this.MANY_SEP({
      SEP: symbol[","]!,
      DEF: () => shape.push(Number(this.CONSUME(Numeral).image)),
    });
    this.CONSUME(symbol["]"]!);
    return shape;
  });
}

const TRUE: Expression = { kind: "literal", value: true, type: "boolean" };
const FALSE: Expression = { kind: "literal", value: false, type: "boolean" };
const SAME_OPERATOR: Readonly<Record<string, string>> = { "==": "=", "<>": "!=" };
const LEAST_INT32: Expression = { kind: "literal", value: -(2 ** 31), type: "int32" };

/**
 * Checks the definitions of the lexer and the grammar. Parsing skips this: each worker would spend
 * 15 ms on it at its start.
 * @throws {Error} when a rule is ambiguous, a token unreachable and the like
 */
export function checkGrammar(): void {
  new Lexer(TOKENS);
  new Grammar(false);
}

let tools: { lexer: Lexer; grammar: Grammar } | undefined;

function parse<T>(what: string, source: string, rule: (grammar: Grammar) => T): T {
  // In safe mode the lexer does not look for shortcuts that take longer to find than they save here.
  tools ??= {
    lexer: new Lexer(TOKENS, {
      skipValidations: true,
      positionTracking: "onlyOffset",
      safeMode: true,
    }),
    grammar: new Grammar(true),
  };
  const { lexer, grammar } = tools;
  const fail = (message: string, cause?: unknown) =>
    new PlanError(`Cannot parse ${what} ${JSON.stringify(source)}: ${message}`, { cause });
  const { tokens, errors } = lexer.tokenize(source);
  const unreadable = errors[0];
  if (unreadable !== undefined) {
    const char = String.fromCodePoint(source.codePointAt(unreadable.offset)!);
    const open = `'"\``.includes(char);
    throw fail(
      `position ${unreadable.offset + 1}: ` +
        (open ? `${char} is opened and never closed` : `unexpected "${char}"`),
    );
  }
  grammar.input = tokens;
  let result: T;
  try {
    result = rule(grammar);
  } catch (error) {
    throw fail((error as Error).message, error);
  }
  const wrong = grammar.errors[0];
  if (wrong !== undefined) throw fail(describe(wrong, source));
  return result;
}

function describe(error: IRecognitionException, source: string): string {
  const { token } = error;
  if (token.tokenType === EOF) {
    return source.trim() === "" ? "it is empty" : "it ends too early";
  }
  const reserved = (RESERVED as readonly string[]).includes(token.image.toLowerCase())
    ? `; "${token.image}" is reserved: as a name it stands between backticks`
    : "";
  const wanted = error.name === "MismatchedTokenException" ? error.message : "";
  return `position ${token.startOffset + 1}: unexpected ${show(token)}${wanted}${reserved}`;
}

function show(token: IToken): string {
  return token.image.startsWith('"') ? token.image : `"${token.image}"`;
}

function call(name: string, ...args: Expression[]): Expression {
  return { kind: "call", name, args };
}

function negated(not: boolean, expression: Expression): Expression {
  return not ? call("not", expression) : expression;
}

/** Text that says `negative(5)` means `-5`. */
function callNamed(name: string, args: readonly Expression[]): Expression {
  return name === "negative" && args.length === 1 ? negative(args[0]!) : call(name, ...args);
}

/** Says where an error is. */
function at<T>(token: IToken, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { message } = error as Error;
    throw new SyntaxError(`position ${token.startOffset + 1}: ${message}`, { cause: error });
  }
}

function numeral(image: string): Expression {
  const suffix = /[a-z]$/i.exec(image)?.[0].toUpperCase();
  const digits = suffix === undefined ? image : image.slice(0, -1);
  const whole = /^\d+$/.test(digits);
  if (suffix === "L" && !whole) throw new RangeError(`"${image}" is no whole number`);
  if (whole && (suffix === undefined || suffix === "L")) {
    const value = BigInt(digits);
    if (suffix === undefined && value < 2n ** 31n) {
      return { kind: "literal", value: Number(value), type: "int32" };
    }
    // 2^63 itself may only follow a minus; the compiler refuses it elsewhere.
    if (value > 2n ** 63n) throw new RangeError(`${image} is out of the range of int64`);
    return { kind: "literal", value, type: "int64" };
  }
  const type = suffix === "F" ? "float32" : "float64";
  const value = type === "float32" ? Math.fround(Number(digits)) : Number(digits);
  if (!Number.isFinite(value)) throw new RangeError(`${image} is out of the range of ${type}`);
  return { kind: "literal", value, type };
}

function text(value: string): Expression {
  return { kind: "literal", value, type: "string" };
}

function bytes(hex: string): Expression {
  const value = Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
  return { kind: "literal", value, type: "binary" };
}

function typed(name: IToken, value: IToken): Expression {
  if (name.image.toLowerCase() !== "timestamp") {
    throw new SyntaxError(`position ${value.startOffset + 1}: unexpected ${show(value)}`);
  }
  return { kind: "cast", of: text(unescape(value.image)), type: "timestamp" };
}

function unquote(image: string): string {
  return image.slice(1, -1).replaceAll("``", "`");
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  b: "\b",
  0: "\0",
  Z: "\x1a",
  "\\": "\\",
  "'": "'",
  '"': '"',
};

function unescape(image: string): string {
  const quote = image[0]!;
  return image.slice(1, -1).replace(
    /\\u([0-9a-fA-F]{4})|\\([\s\S])|''|""/g,
    (whole, code: string | undefined, char: string | undefined) => {
      if (code !== undefined) return String.fromCharCode(parseInt(code, 16));
      if (char !== undefined) return ESCAPES[char] ?? whole;
      return whole[0] === quote ? quote : whole;
    },
  );
}

const NESTED = ["struct", "array", "list", "tensor"];

/** The name of a type in lower case. */
function typeWord(image: string): string {
  const name = image.toLowerCase();
  if (Object.hasOwn(TYPE_NAMES, name) || NESTED.includes(name)) return name;
  const known = [...Object.keys(TYPE_NAMES), ...NESTED];
  throw new SyntaxError(`unknown type "${image}"; ${nearest(name, known)}`);
}

function scalar(name: string): DataType {
  const type = TYPE_NAMES[name];
  if (type === undefined) throw new SyntaxError(`wanted ${NESTED_USAGE[name]}, given ${name}`);
  return type;
}

const NESTED_USAGE: Readonly<Record<string, string>> = {
  struct: "struct<name: type, ...>",
  array: "array<type>",
  list: "list<type>",
  tensor: "tensor<int32, int64, float32 or float64>[size, ...]",
};

function nested(name: string, inner: readonly Field[], shape: readonly number[] | undefined) {
  const bare = inner.length === 1 ? inner[0]!.type : undefined;
  const wrong = () => new SyntaxError(`wanted ${NESTED_USAGE[name] ?? `${name} alone`}`);
  switch (name) {
    case "struct":
      if (shape !== undefined) throw wrong();
      if (new Set(inner.map((field) => field.name)).size < inner.length) {
        throw new SyntaxError("a struct has two fields of the same name");
      }
      return { struct: inner };
    case "array":
    case "list":
      if (bare === undefined || shape !== undefined) throw wrong();
      return { list: bare };
    case "tensor":
      if (
        bare !== "int32" && bare !== "int64" && bare !== "float32" && bare !== "float64" ||
        shape === undefined || !shape.every((size) => Number.isInteger(size))
      ) throw wrong();
      return { tensor: bare, shape };
    default:
      throw wrong();
  }
}
