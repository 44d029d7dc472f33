// Reads a body of the runtime's own.
//
// Each read that JavaScript makes is an entry into the isolate and gives one chunk of HTTP at most, that is one event of a
// stream; and these entries cost more than all the rest. So a stream of events is read ahead by the runtime itself: of its
// two branches one is piped through an identity stream, which needs no JavaScript, and read from there in large pieces
// which are thrown away; what the other gives is meanwhile kept by the runtime, for whoever reads it late.

/** How much of a stream of events is read at once. READ_SIZE of src/platform/messages.rs: after so much there is more. */
const EVENTS = 16 * 1024;
/** The runtime is let ahead of the reader by so many bytes. */
const MOST_AHEAD = 1024 * 1024;

export class Reader {
  /**
   * `bulk`: the size of pieces that are wanted as large as that, or 0. `events`: it is a stream of events. `give` gets a
   * piece, or `undefined` at the end, and copies it before it returns; `fail` gets an exception. Each call of `read` is
   * answered by one of them.
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} bulk
   * @param {boolean} events
   * @param {(piece: Uint8Array | undefined) => void} give
   * @param {(exception: unknown) => void} fail
   */
  constructor(stream, bulk, events, give, fail) {
    /** @type {ReadableStreamBYOBReader | undefined} */
    this.ahead = undefined;
    /** @type {(() => void) | undefined} */
    this.resume = undefined;
    this.lead = 0;
    this.stream = events ? this.readAhead(stream) : stream;
    this.least = events ? 1 : bulk;
    this.size = events ? EVENTS : bulk;
    // A reader with room of its own is dearer, so other small bodies are read without.
    this.byob = this.size ? this.stream.getReader({ mode: "byob" }) : undefined;
    this.reader = this.byob ?? this.stream.getReader();
    /** @type {typeof give | undefined} */
    this.give = give;
    /** @type {typeof fail | undefined} */
    this.fail = fail;
    /** @type {ArrayBufferLike | undefined} */
    this.room = undefined;
    this.hasEnded = false;
    /** @param {ReadableStreamReadResult<Uint8Array>} read */
    this.onRead = ({ done, value }) => this.came(done ? undefined : value);
    /** @param {unknown} exception */
    this.onFailure = (exception) => {
      this.hasEnded = true;
      this.fail?.(exception);
    };
  }

  /** @param {ReadableStream<Uint8Array>} stream */
  readAhead(stream) {
    const [ahead, behind] = stream.tee();
    const { readable, writable } = new IdentityTransformStream();
    // However it ends, the other branch tells of it.
    ahead.pipeTo(writable).catch(() => {});
    this.ahead = readable.getReader({ mode: "byob" });
    this.drive(this.ahead).catch(() => {});
    return behind;
  }

  /** @param {ReadableStreamBYOBReader} ahead */
  async drive(ahead) {
    for (let room = /** @type {ArrayBufferLike} */ (new ArrayBuffer(EVENTS)); ; ) {
      /** @type {ReadableStreamReadResult<Uint8Array>} */
      const { done, value } = await ahead.readAtLeast(EVENTS, new Uint8Array(room));
      if (done) return;
      room = value.buffer;
      this.lead += value.length;
      if (this.lead > MOST_AHEAD) await /** @type {Promise<void>} */ (new Promise((resume) => (this.resume = resume)));
    }
  }

  read() {
    const reading = this.byob
      ? this.byob.readAtLeast(this.least, new Uint8Array(this.room ?? new ArrayBuffer(this.size)))
      : /** @type {ReadableStreamDefaultReader<Uint8Array>} */ (this.reader).read();
    reading.then(this.onRead, this.onFailure);
  }

  /**
   * A read has ended, with the body if there is no `value`.
   * @param {Uint8Array | undefined} value
   */
  came(value) {
    this.hasEnded = value === undefined;
    if (this.give === undefined) return;
    this.give(value);
    if (value === undefined) return;
    this.room = value.buffer;
    this.lead -= value.length;
    if (this.lead <= MOST_AHEAD) this.resume?.();
  }

  /** Nobody asks any more; `give` and `fail` are not called again. */
  end() {
    this.give = this.fail = undefined;
  }

  /** Gives the stream up, and with it the connection behind. */
  cancel() {
    this.end();
    if (this.hasEnded) return;
    this.reader.cancel().catch(() => {});
    this.ahead?.cancel().catch(() => {});
    this.resume?.();
  }

  /** Lets somebody else read the rest. Fails, with `undefined`, while a read is open. */
  release() {
    try {
      this.reader.releaseLock();
    } catch {
      return undefined;
    }
    this.end();
    return this.stream;
  }
}
