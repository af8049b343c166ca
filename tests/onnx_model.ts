/**
 * Writes small ONNX models for tests: a handful of nodes, with weights inside.
 *
 * @module
 */
import type { ElementType } from "../onnx/element.ts";

/** The length of an axis: a number, a name, or `""` for one that is not known. */
export type Axis = number | string;

/** An input or output; without a shape not even the number of axes is told. */
export interface Port {
  readonly name: string;
  readonly type?: ElementType;
  readonly shape?: readonly Axis[] | undefined;
  /** A type of another kind, by its field in `TypeProto`: 4 is a sequence, 5 a map. */
  readonly kind?: 4 | 5;
}

/** One node of the graph. */
export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Whole numbers and fractions are told apart by `float`. */
  readonly attributes?: Readonly<Record<string, number | { readonly float: number }>>;
}

/** A tensor with values in the graph. */
export interface Weights {
  readonly name: string;
  readonly type: "float32" | "int64";
  readonly shape: readonly number[];
  /** The values; or the file, beside the model, that has their bytes. */
  readonly values: readonly number[] | { readonly file: string };
}

/** A model in the making. */
export interface ModelParts {
  readonly inputs: readonly Port[];
  readonly outputs: readonly Port[];
  readonly nodes: readonly Node[];
  readonly weights?: readonly Weights[];
}

/** The numbers of element types in `TensorProto.DataType`. */
export const NUMBER_OF_ELEMENT: Readonly<Record<ElementType, number>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
};

const encoder = new TextEncoder();

/** The bytes of a model. */
export function onnxModel({ inputs, outputs, nodes, weights = [] }: ModelParts): Uint8Array {
  const graph = message(
    ...nodes.map((node) => field(1, nodeProto(node))),
    field(2, "test"),
    ...weights.map((each) => field(5, weightsProto(each))),
    ...inputs.map((port) => field(11, portProto(port))),
    ...outputs.map((port) => field(12, portProto(port))),
  );
  const opset = message(field(2, 17));
  return message(field(1, 8), field(7, graph), field(8, opset));
}

/** A model that makes its output of its input by one operation. */
export function oneNode(
  op: string,
  type: ElementType,
  shape: readonly Axis[] | undefined,
  attributes: Node["attributes"] = {},
): Uint8Array {
  return onnxModel({
    inputs: [{ name: "x", type, shape }],
    outputs: [{ name: "y", type, shape }],
    nodes: [{ op, inputs: ["x"], outputs: ["y"], attributes }],
  });
}

function nodeProto({ op, inputs, outputs, attributes = {} }: Node): Uint8Array {
  return message(
    ...inputs.map((name) => field(1, name)),
    ...outputs.map((name) => field(2, name)),
    field(4, op),
    ...Object.entries(attributes).map(([name, value]) =>
      field(
        5,
        typeof value === "number"
          ? message(field(1, name), field(3, value), field(20, 2))
          : message(field(1, name), float(2, value.float), field(20, 1)),
      )
    ),
  );
}

function weightsProto({ name, type, shape, values }: Weights): Uint8Array {
  const head = [
    ...shape.map((length) => field(1, length)),
    field(2, NUMBER_OF_ELEMENT[type]),
    field(8, name),
  ];
  if ("file" in values) {
    const entry = message(field(1, "location"), field(2, values.file));
    return message(...head, field(13, entry), field(14, 1));
  }
  const data = type === "float32" ? Float32Array.from(values) : BigInt64Array.from(values, BigInt);
  return message(...head, field(9, new Uint8Array(data.buffer)));
}

function portProto({ name, type = "float32", shape, kind }: Port): Uint8Array {
  if (kind !== undefined) {
    // Of tensors, or from int64 to tensors.
    const tensor = message(field(1, message(field(1, 1))));
    const content = kind === 4 ? message(field(1, tensor)) : message(field(1, 7), field(2, tensor));
    return message(field(1, name), field(2, message(field(kind, content))));
  }
  const axes = shape?.map((axis) =>
    field(
      1,
      axis === ""
        ? message()
        : typeof axis === "number"
        ? message(field(1, axis))
        : message(field(2, axis)),
    )
  );
  const tensor = message(
    field(1, NUMBER_OF_ELEMENT[type]),
    ...(axes === undefined ? [] : [field(2, message(...axes))]),
  );
  return message(field(1, name), field(2, message(field(1, tensor))));
}

function message(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let position = 0;
  for (const part of parts) {
    bytes.set(part, position);
    position += part.length;
  }
  return bytes;
}

/** A field with a whole number, a text, or bytes. */
function field(number: number, value: number | string | Uint8Array): Uint8Array {
  if (typeof value === "number") return message(varint(number * 8), varint(value));
  const bytes = typeof value === "string" ? encoder.encode(value) : value;
  return message(varint(number * 8 + 2), varint(bytes.length), bytes);
}

function float(number: number, value: number): Uint8Array {
  return message(varint(number * 8 + 5), new Uint8Array(Float32Array.of(value).buffer));
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return Uint8Array.of(...bytes, Number(rest));
}
