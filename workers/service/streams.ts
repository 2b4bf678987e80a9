import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';

import type { SaccadeError } from '../../engine/support/errors.js';
import { ServiceError } from './errors.js';
import {
  decisionOptions,
  type DecisionOptions,
  type StreamMessage,
  type StreamState,
  streamStates,
} from './messages.js';
import { type EventSource, type StreamContext, StreamSession } from './session.js';

/** Every stream of a service, by name. Their number and what is kept of old ones is bounded. */
export class Streams {
  private readonly sessions = new Map<string, StreamSession>();
  private readonly timer: NodeJS.Timeout;
  private closing = false;

  constructor(
    private readonly context: StreamContext,
    private readonly onProblem: (message: string) => void,
    /** Where snapshots are kept: how often one of each open stream is written. They are evicted at the end, to go on later. */
    private readonly keepEveryMs?: number,
  ) {
    const everyMs = Math.max(20, Math.min(1000, context.limits.idleMs / 4));
    this.timer = setInterval(() => void this.evictIdle(), everyMs).unref();
    if (keepEveryMs !== undefined) void this.keepOpen(keepEveryMs);
  }

  /** Takes over what an earlier service evicted. What does not fit the model stays where it is, and is told. */
  takeOver(snapshots: ReadonlyMap<string, Uint8Array>): void {
    for (const [id, bytes] of snapshots) {
      try {
        this.sessions.set(id, StreamSession.evicted(this.context, id, bytes));
      } catch (error) {
        this.onProblem(`stream ${id} is not taken over: ${(error as Error).message}`);
      }
    }
    this.forgetOld();
  }

  /** @throws ServiceError where there is no stream of that name. */
  get(id: string): StreamSession {
    const session = this.sessions.get(id);
    if (session === undefined) throw new ServiceError('missing', `no such stream: ${id}`);
    return session;
  }

  find(id: string): StreamSession | undefined {
    return this.sessions.get(id);
  }

  list(): StreamMessage[] {
    return [...this.sessions.values()].map((session) => session.describe());
  }

  counts(): Record<StreamState, number> {
    const counts = Object.fromEntries(streamStates.map((state) => [state, 0])) as Record<
      StreamState,
      number
    >;
    for (const { state } of this.sessions.values()) counts[state]++;
    return counts;
  }

  /**
   * A new stream, or one that goes on from a snapshot, whose options it then has.
   *
   * @throws ServiceError where the name is taken or there are too many streams.
   */
  async create(
    id: string = randomUUID(),
    options: Partial<DecisionOptions> = {},
    snapshot?: Uint8Array,
  ): Promise<StreamSession> {
    this.requireRoom(id);
    const session =
      snapshot === undefined
        ? StreamSession.create(this.context, id, decisionOptions.parse(options))
        : await StreamSession.resume(this.context, id, snapshot);
    try {
      // Others may have come meanwhile.
      this.requireRoom(id);
    } catch (error) {
      await session.end();
      throw error;
    }
    this.sessions.delete(id);
    this.sessions.set(id, session);
    this.forgetOld();
    return session;
  }

  /** Runs a source to its end; its failure is the stream's, and nobody else's. */
  async run(session: StreamSession, source: EventSource): Promise<void> {
    if (this.closing) throw new ServiceError('unavailable', 'the service is stopping');
    try {
      await session.attach(source);
    } catch (error) {
      this.onProblem(`stream ${session.id}: ${(error as SaccadeError).message}`);
      throw error;
    } finally {
      this.forgetOld();
    }
  }

  /** Ends a stream and forgets it. */
  async delete(id: string): Promise<void> {
    await this.get(id).end();
    this.sessions.delete(id);
  }

  /** Takes no more, and ends all: what is in work is finished first. */
  async close(): Promise<void> {
    this.closing = true;
    clearInterval(this.timer);
    const reason = 'the service is stopping';
    await Promise.all(
      [...this.sessions.values()].map(async (session) => {
        if (this.keepEveryMs === undefined) return session.end(reason);
        if (session.isOpen) await this.evict(session, reason);
      }),
    );
  }

  private requireRoom(id: string): void {
    if (this.closing) throw new ServiceError('unavailable', 'the service is stopping');
    const taken = this.sessions.get(id);
    if (taken?.isOpen === true || taken?.state === 'evicted') {
      throw new ServiceError('conflict', `there is a stream of this name: ${id}`);
    }
    const { running, waiting } = this.counts();
    const most = this.context.limits.streams;
    if (running + waiting >= most) {
      throw new ServiceError('limit', `there are ${most} streams, which is the most`);
    }
  }

  private async evictIdle(): Promise<void> {
    const { idleMs } = this.context.limits;
    const beforeMs = performance.now() - idleMs;
    for (const session of this.sessions.values()) {
      if (!session.isIdle(beforeMs)) continue;
      await this.evict(session, `no events for ${idleMs / 1e3} s`);
    }
    this.forgetOld();
  }

  /** Writes a snapshot of each open stream that has news, one after the other, again and again. */
  private async keepOpen(everyMs: number): Promise<void> {
    while (!this.closing) {
      await sleep(everyMs, undefined, { ref: false });
      for (const session of [...this.sessions.values()]) {
        if (this.closing) return;
        if (!session.isOpen) continue;
        await session.keep().catch((error: unknown) => {
          this.onProblem(`stream ${session.id}: no snapshot: ${(error as Error).message}`);
        });
      }
    }
  }

  private async evict(session: StreamSession, reason: string): Promise<void> {
    await session.evict(reason).catch((error: unknown) => {
      this.onProblem(`stream ${session.id}: cannot be evicted: ${(error as Error).message}`);
      return session.end();
    });
  }

  /** Keeps the newest of those that are over, and of the snapshots as many as there is room for. */
  private forgetOld(): void {
    const { remembered, snapshotBytes } = this.context.limits;
    const sessions = [...this.sessions.values()];
    const over = sessions.filter(({ isOpen }) => !isOpen);
    let bytes = over.reduce((sum, { storedBytes }) => sum + storedBytes, 0);
    for (const session of over) {
      if (bytes <= snapshotBytes) break;
      if (session.storedBytes === 0) continue;
      bytes -= session.storedBytes;
      session.forget('its snapshot was dropped for those of others');
    }
    for (const { id } of over.slice(0, Math.max(0, over.length - remembered))) {
      this.sessions.delete(id);
    }
  }
}
