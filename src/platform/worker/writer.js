// Writes an answer to the client through the runtime's identity stream, which costs less than a stream with callbacks for each
// chunk.

export class Writer {
  /**
   * `client` is aborted when the client leaves. `onSettled` receives whether a write succeeded, and `false` when the client has
   * left. With `length`, the number of bytes that will come, the answer has a `Content-Length`.
   * @param {AbortSignal | undefined} client
   * @param {(isWritten: boolean) => void} onSettled
   * @param {number | undefined} length
   */
  constructor(client, onSettled, length) {
    const { readable, writable } = length === undefined ? new IdentityTransformStream() : new FixedLengthStream(length);
    this.readable = readable;
    this.writer = writable.getWriter();
    /** @type {typeof onSettled | undefined} */
    this.onSettled = onSettled;
    this.onWritten = () => this.onSettled?.(true);
    this.onGone = () => this.onSettled?.(false);
    client?.addEventListener("abort", this.onGone);
    this.writer.closed.catch(this.onGone);
    this.client = client;
  }

  /** @param {Uint8Array} chunk */
  write(chunk) {
    this.writer.write(chunk).then(this.onWritten, this.onGone);
  }

  /**
   * Closes the answer, or aborts it with `exception`. Later calls do nothing.
   * @param {unknown} exception
   */
  end(exception) {
    if (this.onSettled === undefined) return;
    this.onSettled = undefined;
    this.client?.removeEventListener("abort", this.onGone);
    const ended = exception === undefined ? this.writer.close() : this.writer.abort(exception);
    ended.catch(() => {});
  }
}
