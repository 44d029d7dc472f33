// Reads a body of the runtime.
//
// Each read by JavaScript is an entry into the isolate and returns at most one chunk of HTTP, which is one event of a stream.
// These entries cost more than the rest of the work. Therefore the runtime itself reads an event stream ahead. The stream is
// split into two branches. One branch is piped through an identity stream, which needs no JavaScript, and read from there in
// large chunks that are discarded. Meanwhile the runtime buffers what the other branch returns to a slower reader.

/** The size of a read of an event stream: READ_SIZE of src/platform/messages.rs. A full chunk means that more has arrived. */
const READ_SIZE = 16 * 1024;
/** How many bytes the runtime may be ahead of the reader. */
const MAX_AHEAD = 1024 * 1024;

export class Reader {
  /**
   * `bulkSize`: the wanted size of chunks, or 0 for chunks as they arrive. `isEventStream`: the runtime reads ahead. `onChunk`
   * receives a chunk, or `undefined` at the end, and copies it before it returns. `onError` receives an exception. Each call of
   * `read` leads to one call of either.
   * @param {ReadableStream<Uint8Array>} stream
   * @param {number} bulkSize
   * @param {boolean} isEventStream
   * @param {(chunk: Uint8Array | undefined) => void} onChunk
   * @param {(exception: unknown) => void} onError
   */
  constructor(stream, bulkSize, isEventStream, onChunk, onError) {
    /** @type {ReadableStreamBYOBReader | undefined} */
    this.ahead = undefined;
    /** @type {(() => void) | undefined} */
    this.resume = undefined;
    this.lead = 0;
    this.stream = isEventStream ? this.readAhead(stream) : stream;
    this.minimum = isEventStream ? 1 : bulkSize;
    this.size = isEventStream ? READ_SIZE : bulkSize;
    // A reader with its own buffer costs more, so other small bodies are read without one.
    this.byob = this.size ? this.stream.getReader({ mode: "byob" }) : undefined;
    this.reader = this.byob ?? this.stream.getReader();
    /** @type {typeof onChunk | undefined} */
    this.onChunk = onChunk;
    /** @type {typeof onError | undefined} */
    this.onError = onError;
    /** @type {ArrayBufferLike | undefined} */
    this.buffer = undefined;
    this.hasEnded = false;
    /** @param {ReadableStreamReadResult<Uint8Array>} read */
    this.onResolved = ({ done, value }) => this.settle(done ? undefined : value);
    /** @param {unknown} exception */
    this.onRejected = (exception) => {
      this.hasEnded = true;
      this.onError?.(exception);
    };
  }

  /** @param {ReadableStream<Uint8Array>} stream */
  readAhead(stream) {
    const [ahead, behind] = stream.tee();
    const { readable, writable } = new IdentityTransformStream();
    // The other branch reports a failure.
    ahead.pipeTo(writable).catch(() => {});
    this.ahead = readable.getReader({ mode: "byob" });
    this.drive(this.ahead).catch(() => {});
    return behind;
  }

  /**
   * Reads and discards the branch ahead, at most MAX_AHEAD bytes before the reader.
   * @param {ReadableStreamBYOBReader} ahead
   */
  async drive(ahead) {
    for (let buffer = /** @type {ArrayBufferLike} */ (new ArrayBuffer(READ_SIZE)); ; ) {
      /** @type {ReadableStreamReadResult<Uint8Array>} */
      const { done, value } = await ahead.readAtLeast(READ_SIZE, new Uint8Array(buffer));
      if (done) return;
      buffer = value.buffer;
      this.lead += value.length;
      if (this.lead > MAX_AHEAD) await /** @type {Promise<void>} */ (new Promise((resume) => (this.resume = resume)));
    }
  }

  read() {
    const reading = this.byob
      ? this.byob.readAtLeast(this.minimum, new Uint8Array(this.buffer ?? new ArrayBuffer(this.size)))
      : /** @type {ReadableStreamDefaultReader<Uint8Array>} */ (this.reader).read();
    reading.then(this.onResolved, this.onRejected);
  }

  /**
   * Ends a read with a chunk, or with the end of the body if there is no `chunk`.
   * @param {Uint8Array | undefined} chunk
   */
  settle(chunk) {
    this.hasEnded = chunk === undefined;
    if (this.onChunk === undefined) return;
    this.onChunk(chunk);
    if (chunk === undefined) return;
    this.buffer = chunk.buffer;
    this.lead -= chunk.length;
    if (this.lead <= MAX_AHEAD) this.resume?.();
  }

  /** Prevents further calls of `onChunk` and `onError`. */
  end() {
    this.onChunk = this.onError = undefined;
  }

  /** Cancels the stream, which closes its connection. */
  cancel() {
    this.end();
    if (this.hasEnded) return;
    this.reader.cancel().catch(() => {});
    this.ahead?.cancel().catch(() => {});
    this.resume?.();
  }

  /** Returns the stream with its unread rest, or `undefined` while a read is pending. */
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
