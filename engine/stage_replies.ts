/**
 * Replies of a sink in a partition whose rows come from elsewhere too: those for rows of others go back
 * along the calls that the rows came with.
 *
 * @module
 */
import type { Answer, ReplyRouter } from "../plugins/contract.ts";
import type { RowsOwner } from "./stage_runner.ts";

/** Routes replies by whose rows the sink has at the moment: an id may be in use in several partitions. */
export class StageReplies implements ReplyRouter {
  readonly #replies: ReplyRouter;
  readonly #sinking: () => RowsOwner | undefined;

  /** @param replies of this partition's own source */
  constructor(replies: ReplyRouter, sinking: () => RowsOwner | undefined) {
    this.#replies = replies;
    this.#sinking = sinking;
  }

  offer(service: string, answer: Answer): () => void {
    return this.#replies.offer(service, answer);
  }

  claim(service?: string): Answer {
    const own = this.#replies.claim(service);
    return (id, reply) => {
      const owner = this.#sinking();
      if (owner === undefined || owner.isLocal) return own(id, reply);
      owner.reply(id, reply);
      return true;
    };
  }

  isClaimed(service: string): boolean {
    return this.#replies.isClaimed(service);
  }
}
