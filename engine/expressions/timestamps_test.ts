import assert from "node:assert/strict";
import fc from "fast-check";
import { formatTimestamp, parseTimestamp, TimestampPattern, TRUNCATE } from "./timestamps.ts";

const timestamp = fc.date({
  min: new Date("1000-01-01"),
  max: new Date("9999-12-31"),
  noInvalidDate: true,
}).map((date) => date.getTime());

Deno.test("A timestamp's text reads back as the timestamp", () => {
  fc.assert(fc.property(timestamp, (t) => {
    assert.equal(parseTimestamp(formatTimestamp(t)), t);
    assert.equal(parseTimestamp(new Date(t).toISOString()), t);
  }));
});

Deno.test("What a pattern writes, it reads", () => {
  const patterns = [
    "yyyy-MM-dd HH:mm:ss.SSS",
    "EEEE, d MMMM yyyy 'at' hh:mm:ss.SSS a",
    "yyyyMMddHHmmssSSS",
    "dd/MMM/yyyy''HH.mm.ss,SSSXXX",
  ].map((pattern) => new TimestampPattern(pattern));
  fc.assert(fc.property(timestamp, fc.constantFrom(...patterns), (t, pattern) => {
    assert.equal(pattern.parse(pattern.format(t)), t);
  }));
});

Deno.test("A pattern reads nothing else", () => {
  const cases: [pattern: string, text: string][] = [
    ["yyyy-MM-dd", "2024-5-06"],
    ["yyyy-MM-dd", "2024-05-06 "],
    ["yyyy-MM-dd", "2024-13-01"],
    ["yyyy.MM", "2024x05"],
    ["HH:mm", "24:00"],
    ["HH:mm", "12:60"],
    ["MMM", "Foo"],
  ];
  for (const [pattern, text] of cases) {
    assert.equal(new TimestampPattern(pattern).parse(text), null, `${pattern}: ${text}`);
  }
});

Deno.test("A unit starts at or before its times, and starts where it starts", () => {
  const years = fc.integer({ min: -8e14, max: 8e14 });
  fc.assert(fc.property(years, fc.constantFrom(...Object.keys(TRUNCATE)), (t, unit) => {
    const truncate = TRUNCATE[unit]!;
    const start = truncate(t);
    assert(start <= t);
    assert.equal(truncate(start), start);
    assert(t - start < 367 * 24 * 3_600_000);
    if (unit === "week") assert.equal(new Date(start).getUTCDay(), 1);
  }));
});

Deno.test("A time that is too far away for microseconds is its own start", () => {
  assert.equal(TRUNCATE.microsecond!(-128578964818553), -128578964818553);
});
