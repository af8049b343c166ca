/**
 * Which source answers for which service, within this process.
 *
 * @module
 */
import type { Answer, ReplyRouter } from "../plugins/contract.ts";
import { PlanError } from "../plugins/errors.ts";

/** The services of a session. */
export class Replies {
  readonly #answers = new Map<string, Answer>();
  readonly #claimed = new Set<string>();

  offer(service: string, answer: Answer): () => void {
    if (this.#answers.has(service)) {
      throw new PlanError(
        `Cannot serve "${service}": a service of this name is running; stop it or change http.name`,
      );
    }
    this.#answers.set(service, answer);
    return () => {
      // A late withdrawal must not unhook a successor.
      if (this.#answers.get(service) === answer) this.#answers.delete(service);
    };
  }

  claim(service: string): Answer {
    this.#claimed.add(service);
    return (id, reply) => this.#answers.get(service)?.(id, reply) ?? false;
  }

  isClaimed(service: string): boolean {
    return this.#claimed.has(service);
  }
}

/** What one query sees of {@linkcode Replies}: it remembers what its own source has offered. */
export class QueryReplies implements ReplyRouter {
  readonly #replies: Replies;
  /** Answers the requests of the query's own source. */
  own: Answer | undefined;
  #claimed = false;

  constructor(replies: Replies) {
    this.#replies = replies;
  }

  offer(service: string, answer: Answer): () => void {
    const withdraw = this.#replies.offer(service, answer);
    this.own = answer;
    return withdraw;
  }

  claim(service?: string): Answer {
    if (service !== undefined) return this.#replies.claim(service);
    this.#claimed = true;
    return (id, reply) => this.own?.(id, reply) ?? false;
  }

  isClaimed(service: string): boolean {
    return this.#claimed || this.#replies.isClaimed(service);
  }
}
