/**
 * The version, as it stands in `deno.json`; a test holds the two together. It is not read from there: a
 * compiled binary whose modules import JSON keeps no compiled code between its starts (Deno 2.4).
 *
 * @module
 */
export const VERSION = "0.1.0";
