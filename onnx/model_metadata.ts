/**
 * What a model says of itself: the names, types and shapes of its inputs and outputs, read out of its
 * protobuf without loading it.
 *
 * @module
 */
import { ELEMENT_OF_NUMBER, type ElementType } from "./element.ts";
import {
  type ByteSource,
  type ProtobufField,
  protobufFields,
  protobufNumber,
  protobufText,
} from "./protobuf.ts";

/** The length of an axis: known, known by a name alone (equal wherever the name appears), or unknown (`""`). */
export type Dimension = number | string;

/** An input or output. */
export interface TensorSpec {
  readonly name: string;
  readonly type: ElementType;
  /** Undefined: the model does not even tell the number of axes. */
  readonly shape: readonly Dimension[] | undefined;
}

/** What is no tensor of a type that can be had in JavaScript. */
export interface OtherSpec {
  readonly name: string;
  /** What it is instead, such as `a sequence`. */
  readonly other: string;
}

/** A model's inputs and outputs, in the model's order. */
export interface ModelMetadata {
  /** Those that must be fed; inputs with a default value are among `optionalInputs`. */
  readonly inputs: readonly (TensorSpec | OtherSpec)[];
  readonly optionalInputs: readonly (TensorSpec | OtherSpec)[];
  readonly outputs: readonly (TensorSpec | OtherSpec)[];
  /** Files with weights, relative to the model's folder. */
  readonly externalFiles: readonly string[];
}

const MODEL = { graph: 7 };
const GRAPH = { initializer: 5, input: 11, output: 12, sparseInitializer: 15 };
const VALUE_INFO = { name: 1, type: 2 };
const TYPE = { tensor: 1 };
const TENSOR_TYPE = { element: 1, shape: 2 };
const SHAPE = { dimension: 1 };
const DIMENSION = { value: 1, parameter: 2 };
const TENSOR = { name: 8, externalData: 13 };
const SPARSE_TENSOR = { values: 1 };
const ENTRY = { key: 1, value: 2 };
const OTHER_TYPES: Readonly<Record<number, string>> = {
  4: "a sequence",
  5: "a map",
  7: "an opaque value",
  8: "a sparse tensor",
  9: "an optional value",
};

/**
 * Reads a model's metadata.
 * @throws {RangeError} saying why the bytes are no ONNX model
 */
export function readModelMetadata(source: ByteSource): ModelMetadata {
  const graph = last(fieldsOf(source, { start: 0, end: source.length }), MODEL.graph);
  if (graph === undefined) throw new RangeError("there is no graph in it");
  const initialized = new Set<string>(), external = new Set<string>();
  const inputs: (TensorSpec | OtherSpec)[] = [], outputs: (TensorSpec | OtherSpec)[] = [];
  for (const field of fieldsOf(source, graph)) {
    switch (field.number) {
      case GRAPH.initializer:
        readInitializer(source, field, initialized, external);
        break;
      case GRAPH.sparseInitializer: {
        const values = last(fieldsOf(source, field), SPARSE_TENSOR.values);
        if (values !== undefined) readInitializer(source, values, initialized, external);
        break;
      }
      case GRAPH.input:
        inputs.push(readValueInfo(source, field));
        break;
      case GRAPH.output:
        outputs.push(readValueInfo(source, field));
    }
  }
  if (outputs.length === 0) throw new RangeError("its graph has no output");
  return {
    inputs: inputs.filter(({ name }) => !initialized.has(name)),
    optionalInputs: inputs.filter(({ name }) => initialized.has(name)),
    outputs,
    externalFiles: [...external],
  };
}

/** A spec as messages have it: `tensor<float32>[batch, 3, ?]`. */
export function specText(spec: TensorSpec | OtherSpec): string {
  if ("other" in spec) return spec.other;
  const axes = spec.shape?.map((length) => length === "" ? "?" : length).join(", ");
  return `tensor<${spec.type}>[${axes ?? "..."}]`;
}

function readInitializer(
  source: ByteSource,
  tensor: ProtobufField,
  names: Set<string>,
  files: Set<string>,
): void {
  for (const field of fieldsOf(source, tensor)) {
    if (field.number === TENSOR.name) names.add(protobufText(source, field));
    if (field.number !== TENSOR.externalData) continue;
    const entry = [...fieldsOf(source, field)];
    const key = entry.find(({ number }) => number === ENTRY.key);
    const value = entry.find(({ number }) => number === ENTRY.value);
    if (key && value && protobufText(source, key) === "location") {
      files.add(protobufText(source, value));
    }
  }
}

function readValueInfo(source: ByteSource, info: ProtobufField): TensorSpec | OtherSpec {
  let name = "", type: ProtobufField | undefined;
  for (const field of fieldsOf(source, info)) {
    if (field.number === VALUE_INFO.name) name = protobufText(source, field);
    if (field.number === VALUE_INFO.type) type = field;
  }
  const kind = type &&
    [...fieldsOf(source, type)].find(({ number }) =>
      number === TYPE.tensor || OTHER_TYPES[number] !== undefined
    );
  if (kind === undefined) return { name, other: "a value of unknown type" };
  const other = OTHER_TYPES[kind.number];
  return other === undefined ? readTensorType(source, name, kind) : { name, other };
}

function readTensorType(
  source: ByteSource,
  name: string,
  tensor: ProtobufField,
): TensorSpec | OtherSpec {
  let element = 0, shape: Dimension[] | undefined;
  for (const field of fieldsOf(source, tensor)) {
    if (field.number === TENSOR_TYPE.element) element = protobufNumber(field);
    if (field.number === TENSOR_TYPE.shape) {
      shape = [...fieldsOf(source, field)].filter(({ number }) => number === SHAPE.dimension)
        .map((dimension) => readDimension(source, dimension));
    }
  }
  const type = ELEMENT_OF_NUMBER[element];
  return type === undefined
    ? { name, other: `a tensor whose elements are of ONNX's type ${element}` }
    : { name, type, shape };
}

function readDimension(source: ByteSource, dimension: ProtobufField): Dimension {
  for (const field of fieldsOf(source, dimension)) {
    // Some exporters write 0 or -1 for what is not known.
    if (field.number === DIMENSION.value) {
      const length = protobufNumber(field);
      return length > 0 ? length : "";
    }
    if (field.number === DIMENSION.parameter) return protobufText(source, field);
  }
  return "";
}

function fieldsOf(source: ByteSource, { start, end }: { start: number; end: number }) {
  return protobufFields(source, start, end);
}

function last(fields: Iterable<ProtobufField>, number: number): ProtobufField | undefined {
  let found: ProtobufField | undefined;
  for (const field of fields) if (field.number === number) found = field;
  return found;
}
